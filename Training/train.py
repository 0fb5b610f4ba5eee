"""Train a dose prediction network: python Training/train.py CONFIG [key=value ...]; --help names what else there is."""

import sys

from deepdose_training.cli import main

if __name__ == "__main__":
    sys.exit(main())
