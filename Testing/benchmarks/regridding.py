"""What it costs that a clinical CT is resampled to the model grid: python regridding.py PATIENTS [N] [MODEL]

N patients (12) spread over a folder of OpenKBP patients get a CT and structures of four times finer pixels, with the
slices they have. These go the way of every clinical CT to the model grid, whose voxels are then made of the CT's own,
and the predicted dose is brought back and scored. The same with the CT turned by 2 degrees, which takes the commonest
spacing of the training patients. Baseline: predicted as they are. The reference dose taken there and back tells how
much of the difference is interpolation alone.

    python Testing/benchmarks/regridding.py data/openkbp/validation-pats 33
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from DeepDosePredictLib.dvh.metrics import dose_score, dvh_score, score_patient
from DeepDosePredictLib.geometry.clinical_case import clinical_case
from DeepDosePredictLib.geometry.model_grid import lps_grid
from DeepDosePredictLib.geometry.shapes import LabelmapShape
from DeepDosePredictLib.geometry.volume import Volume, reslice
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.patient.rois import DOSE_MASK

AIR_HU = -1000
FINER = (1, 4, 4)
ANGLE = np.deg2rad(2)
TURN = np.block(
    [
        [np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]]), np.zeros((2, 2))],
        [np.zeros((2, 2)), np.eye(2)],
    ]
)


def regridded(case: Case, source: Grid) -> Case:
    """The case as it comes from a CT of finer pixels, on its grid then."""
    fine = source.refined(FINER)
    ct = Volume(case.name, reslice(case.ct, source, fine, AIR_HU, linear=True), fine)
    masks = {**{roi: case.rois[roi] for roi in case.rois.present()}, DOSE_MASK: case.dose_mask}
    shapes = {roi: reslice(mask.astype(np.float32), source, fine, 0, linear=True) >= 0.5 for roi, mask in masks.items()}
    return clinical_case(
        ct, {roi: [(roi, LabelmapShape.cropped(mask, fine))] for roi, mask in shapes.items()}, case.name
    )


def main() -> None:
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    folders = sorted(Path(sys.argv[1]).iterdir())
    predictor = Predictor(open_model(sys.argv[3] if len(sys.argv) > 3 else None))
    scores = {}
    for folder in tqdm(folders[:: max(1, len(folders) // n)][:n], leave=False):
        case = read_openkbp(folder)
        doses = {"as they are": predictor.predict(case).dose}
        straight = lps_grid(case.shape, case.spacing, np.zeros(3))
        turned = Grid(case.shape, TURN @ straight.ijk_to_ras)
        for name, source in (("finer CT", straight), ("finer CT, oblique", turned)):
            there = regridded(case, source)
            for what, dose in (
                (name, predictor.predict(there).dose),
                (f"{name}: reference", reslice(case.dose, source, there.grid, 0, linear=True)),
            ):
                doses[what] = reslice(dose, there.grid, source, 0, linear=True) * case.dose_mask
        for name, dose in doses.items():
            scores.setdefault(name, []).append(
                score_patient(case.name, case.dose, dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
            )
    for name, values in scores.items():
        print(f"{name:<28} dose score {dose_score(values):.3f} Gy  DVH score {dvh_score(values):.3f} Gy")


if __name__ == "__main__":
    main()
