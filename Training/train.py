"""Train a dose prediction network: python Training/train.py CONFIG [--resume] [--init MODEL] [key=value ...]"""

import sys

from deepdose_training.train import main

if __name__ == "__main__":
    sys.exit(main())
