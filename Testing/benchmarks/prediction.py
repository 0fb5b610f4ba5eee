"""Network time and peak memory of one prediction of the shipped model, 128x128x128 in and out, warm.

The dose mask's box (what the predictor computes) against the whole grid (the baseline), on the phantom.

    python Testing/benchmarks/prediction.py [MODEL]
"""

from __future__ import annotations

import json
import sys

import torch

from common import median_seconds, peak_megabytes, run_alone
from DeepDosePredictLib.core.case import dose_box
from DeepDosePredictLib.core.device import keep_freed_memory
from DeepDosePredictLib.core.phantom import head_and_neck_phantom
from DeepDosePredictLib.core.predictor import Predictor
from DeepDosePredictLib.models import open_model


def measure(part: str, model: str | None) -> dict:
    """Median seconds of Predictor's network run over the dose box or the whole grid, and the peak memory."""
    torch.set_num_threads(2)
    keep_freed_memory()  # as the command line does
    case = head_and_neck_phantom()
    predictor = Predictor(open_model(model))
    box = dose_box(case.dose_mask) if part == "box" else (slice(None),) * 3
    seconds = median_seconds(lambda: predictor._run(case, box), 7, 2)
    shape = "x".join(str(len(range(*s.indices(128)))) for s in box)
    return {"seconds": seconds, "peak": peak_megabytes(), "shape": shape, "device": predictor.device.type}


def main() -> None:
    model = sys.argv[1] if len(sys.argv) == 2 else None
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], None if sys.argv[2] == "None" else sys.argv[2])))
        return
    whole, box = (run_alone(__file__, part, model) for part in ("whole", "box"))
    for name, result in (("whole grid", whole), ("dose box", box)):
        print(f"{name:<12}{result['shape']:>14}  {result['seconds']:.3f} s  peak {result['peak']:.0f} MB"
              f"  ({result['device']}, two threads)")
    print(f"ratio box / whole: time {box['seconds'] / whole['seconds']:.2f}, memory {box['peak'] / whole['peak']:.2f}")


if __name__ == "__main__":
    main()
