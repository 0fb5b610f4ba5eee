"""How near plans come to reference doses by themselves, and their time: python beams.py PATIENTS [N]

Over N patients (12) spread over a folder of OpenKBP patients, inside the dose mask: correlation and mean absolute
difference, plans being in units of the highest prescription. Baseline: open fields around the targets, no planning.

    python Testing/benchmarks/beams.py data/openkbp/validation-pats 33
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.patient.case import Case, dose_box
from DeepDosePredictLib.planner.beams import DoseMatrix, Physics
from DeepDosePredictLib.planner.delivery import plan_dose
from DeepDosePredictLib.planner.planner import untrained_planner
from DeepDosePredictLib.planner.planning_case import PlanningCase
from DeepDosePredictLib.planner.problem import make_problem

NINE = tuple(range(0, 360, 40))


def open_fields(patient: PlanningCase) -> np.ndarray:
    """Dose of open fields around the targets, 1 on average in the highest."""
    problem, rays, _ = make_problem(patient, NINE)
    dose = np.zeros(patient.ct.shape, np.float32)
    dose[patient.region] = DoseMatrix(rays, Physics()).dose(problem.fluence)
    voxels = problem.voxels
    return dose / float(DoseMatrix(voxels.rays, Physics()).dose(problem.fluence)[voxels.top].mean())


def compare(case: Case, plan: Callable[[PlanningCase], np.ndarray]) -> tuple[float, float, float]:
    """Correlation, mean absolute difference in Gy and seconds."""
    box = dose_box(case.dose_mask)
    mask, reference = case.dose_mask[box], case.dose[box]
    start = time.perf_counter()
    dose = 70 * plan(PlanningCase.of(case, box))
    seconds = time.perf_counter() - start
    return np.corrcoef(dose[mask], reference[mask])[0, 1], np.abs(dose - reference)[mask].mean(), seconds


def main() -> None:
    torch.set_num_threads(2)
    keep_freed_memory()
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    folders = sorted(Path(sys.argv[1]).iterdir())
    cases = [read_openkbp(folder) for folder in folders[:: max(1, len(folders) // n)][:n]]
    untrained, trained = untrained_planner(), open_model(None).planner
    variants = {
        "open fields": open_fields,
        "untrained planner": lambda patient: plan_dose(untrained, patient, NINE),
        "the model's planner": lambda patient: plan_dose(trained, patient, NINE),
        "turned by 20": lambda patient: plan_dose(trained, patient, [angle + 20 for angle in NINE]),
        "36 beams": lambda patient: plan_dose(trained, patient, range(0, 360, 10)),
    }
    print(f"{len(cases)} patients, two threads")
    for name, plan in variants.items():
        correlation, difference, seconds = np.mean([compare(case, plan) for case in cases], axis=0)
        print(f"{name:<20} correlation {correlation:.3f}  difference {difference:.2f} Gy  {seconds:.3f} s")


if __name__ == "__main__":
    main()
