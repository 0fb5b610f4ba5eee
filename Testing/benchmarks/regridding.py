"""What it costs that most CTs are resampled to the model grid: python regridding.py PATIENTS [N] [MODEL]

N patients (12) spread over a folder of OpenKBP patients are resampled to the spacing that the module gives to any CT of
another size, predicted there, and the dose is brought back and scored. Baseline: predicted at their own spacing. The
reference dose taken there and back tells how much of the difference is interpolation alone.

    python Testing/benchmarks/regridding.py data/openkbp/validation-pats 33
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from DeepDosePredictLib.core.bitmask import RoiMask
from DeepDosePredictLib.core.case import Case
from DeepDosePredictLib.core.metrics import dose_score, dvh_score, score_patient
from DeepDosePredictLib.core.predictor import Predictor
from DeepDosePredictLib.geometry import Grid, reslice
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model_grid import SPACING, lps_grid
from DeepDosePredictLib.models import open_model

AIR_HU = -1000


def resampled(case: Case, source: Grid, grid: Grid) -> Case:
    ct = reslice(case.ct, source, grid, AIR_HU, linear=True).round().astype(case.ct.dtype)
    masks = {roi: reslice(case.rois[roi], source, grid, 0, linear=False) > 0 for roi in case.rois}
    dose_mask = reslice(case.dose_mask, source, grid, 0, linear=False) > 0
    return replace(case, ct=ct, rois=RoiMask.encode(masks), dose_mask=dose_mask, spacing=grid.spacing, dose=None)


def main() -> None:
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    folders = sorted(Path(sys.argv[1]).iterdir())
    predictor = Predictor(open_model(sys.argv[3] if len(sys.argv) > 3 else None))
    scores = {"own spacing": [], "resampled": [], "reference, there and back": []}
    for folder in tqdm(folders[:: max(1, len(folders) // n)][:n], leave=False):
        case = read_openkbp(folder)
        source = lps_grid(case.shape, case.spacing, np.zeros(3))
        middle = np.argwhere(case.dose_mask).mean(0)[::-1]
        grid = lps_grid(case.shape, SPACING, source.ijk_to_ras[:3, :3] @ middle + source.ijk_to_ras[:3, 3])
        there = reslice(case.dose, source, grid, 0, linear=True)
        doses = (predictor.predict(case).dose, predictor.predict(resampled(case, source, grid)).dose, there)
        for (name, values), dose in zip(scores.items(), doses, strict=True):
            back = dose if name == "own spacing" else reslice(dose, grid, source, 0, linear=True) * case.dose_mask
            values.append(score_patient(case.name, case.dose, back, case.rois, case.dose_mask, case.voxel_volume_mm3))
    for name, values in scores.items():
        print(f"{name:<28} dose score {dose_score(values):.3f} Gy  DVH score {dvh_score(values):.3f} Gy")


if __name__ == "__main__":
    main()
