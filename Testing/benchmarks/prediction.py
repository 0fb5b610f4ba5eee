"""Time and peak memory of one prediction as shipped (plan, mirroring), 128x128x128 in and out, warm.

The dose mask's box (what the predictor computes) against the whole grid (the baseline), a single pass and the plan
of the beams alone, on the phantom.

    python Testing/benchmarks/prediction.py [MODEL]
"""

from __future__ import annotations

import json
import sys

import torch

from common import median_seconds, peak_megabytes, run_alone
from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import dose_box
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from DeepDosePredictLib.planner.delivery import plan_dose
from DeepDosePredictLib.planner.planning_case import PlanningCase


def measure(part: str, model: str | None) -> dict:
    """Median seconds of the predictor's run over the whole grid or the dose box, of a single pass, or of the plan."""
    torch.set_num_threads(2)
    keep_freed_memory()  # as the command line does
    case = head_and_neck_phantom()
    predictor = Predictor(open_model(model), single_pass=part == "single" or None)
    box = (slice(None),) * 3 if part == "whole" else dose_box(case.dose_mask)
    planner, angles = predictor.model.planner, predictor.channels.gantry_angles
    runs = {"plan": lambda: plan_dose(planner, PlanningCase.of(case, box), angles)}
    seconds = median_seconds(runs.get(part, lambda: predictor._run(case, box)), 7, 2)
    shape = "x".join(str(len(range(*s.indices(128)))) for s in box)
    return {"seconds": seconds, "peak": peak_megabytes(), "shape": shape, "device": predictor.device.type}


def main() -> None:
    model = sys.argv[1] if len(sys.argv) == 2 else None
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], None if sys.argv[2] == "None" else sys.argv[2])))
        return
    names = {"whole": "whole grid", "box": "dose box", "single": "single pass", "plan": "plan"}
    results = {part: run_alone(__file__, part, model) for part in names}
    for part, result in results.items():
        print(
            f"{names[part]:<12}{result['shape']:>14}  {result['seconds']:.3f} s  peak {result['peak']:.0f} MB"
            f"  ({result['device']}, two threads)"
        )
    whole, box = results["whole"], results["box"]
    print(f"ratio box / whole: time {box['seconds'] / whole['seconds']:.2f}, memory {box['peak'] / whole['peak']:.2f}")


if __name__ == "__main__":
    main()
