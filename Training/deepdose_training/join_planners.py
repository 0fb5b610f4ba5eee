"""Put independently trained planners into one: python Training/join_planners.py PLANNER PLANNER ... -o PLANNER

Its plan is the mean of theirs; the first one is the planner of single passes, the others are its partners.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import load_planner, save_planner
from DeepDosePredictLib.planner.planner import Planner


def join_planners(paths: Sequence[Path], output: Path) -> Path:
    """Write the planner; partners of the planners given become partners, too. Returns `output`."""
    if len(paths) < 2:
        raise DeepDoseError("two or more planners are joined")
    planners = [one for planner in map(load_planner, paths) for one in (planner, *planner.partners)]
    first, *others = planners
    joined = Planner(preferences=len(first.preferences), partners=[len(p.preferences) for p in others])
    weights = _own_weights(first)
    for n, partner in enumerate(others):
        weights |= {f"partners.{n}.{name}": tensor for name, tensor in _own_weights(partner).items()}
    joined.load_state_dict(weights)
    save_planner(output, joined)
    return output


def _own_weights(planner: Planner) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in planner.state_dict().items() if not name.startswith("partners.")}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put independently trained planners into one.")
    parser.add_argument("planners", nargs="+", type=Path, metavar="PLANNER", help="planner files, or models")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PLANNER", help="file to write")
    options = parser.parse_args(arguments)
    try:
        print(f"Wrote {join_planners(options.planners, options.output)}")
    except (DeepDoseError, OSError) as error:
        print(f"join_planners: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
