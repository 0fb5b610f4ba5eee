"""How near the rough plan of the beams comes to reference doses by itself, and its time: python beams.py PATIENTS [N]

Over N patients (12) spread over a folder of OpenKBP patients, inside the dose mask: correlation, and mean absolute
difference with the plan scaled to the reference's mean in the highest target. Baseline: strips of the targets with
attenuation, without the fit.

    python Testing/benchmarks/beams.py data/openkbp/train-pats
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from DeepDosePredictLib.core import beams
from DeepDosePredictLib.core.bitmask import RoiMask
from DeepDosePredictLib.core.case import Case, dose_box
from DeepDosePredictLib.core.channels import DEFAULT_CHANNELS, ChannelSpec, rough_plan
from DeepDosePredictLib.core.device import keep_freed_memory
from DeepDosePredictLib.core.rois import prescription
from DeepDosePredictLib.io.openkbp import read_openkbp

NINE = tuple(range(0, 360, 40))
VARIANTS = {  # name: angles, iterations of the fit
    "strips, no fit": (NINE, 0), "nine beams": (NINE, beams.ITERATIONS),
    "turned by 20": (tuple(a + 20 for a in NINE), beams.ITERATIONS),
    "36 beams": (tuple(range(0, 360, 10)), beams.ITERATIONS),
}


def compare(case: Case, angles: tuple[int, ...]) -> tuple[float, float, float]:
    """Correlation, mean absolute difference in Gy and seconds."""
    box = dose_box(case.dose_mask)
    rois, mask = RoiMask(case.rois.bits[box], case.rois.names), case.dose_mask[box]
    spec = ChannelSpec((*DEFAULT_CHANNELS, "beam_dose"), gantry_angles=angles)
    start = time.perf_counter()
    plan = rough_plan(case.ct[box], rois, mask, case.spacing, spec)
    seconds = time.perf_counter() - start
    dose, highest = case.dose[box], rois[max(case.targets(), key=prescription)] & mask
    scaled = plan * (dose[highest].mean() / plan[highest].mean())
    return np.corrcoef(plan[mask], dose[mask])[0, 1], np.abs(scaled - dose)[mask].mean(), seconds


def main() -> None:
    torch.set_num_threads(2)
    keep_freed_memory()
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    folders = sorted(Path(sys.argv[1]).iterdir())
    cases = [read_openkbp(folder) for folder in folders[:: max(1, len(folders) // n)][:n]]
    print(f"{len(cases)} patients, two threads")
    for name, (angles, iterations) in VARIANTS.items():
        with patch.object(beams, "ITERATIONS", iterations):
            correlation, difference, seconds = np.mean([compare(case, angles) for case in cases], axis=0)
        print(f"{name:<16} correlation {correlation:.3f}  difference {difference:.2f} Gy  {seconds:.3f} s")


if __name__ == "__main__":
    main()
