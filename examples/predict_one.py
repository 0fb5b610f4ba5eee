"""Predict one patient with the library and print what matters; no Slicer needed.

    python examples/predict_one.py demo/phantom dose.nrrd

The patient is a folder of any form that `deepdose predict` takes: OpenKBP, DICOM-RT, Slicer's files, the compact form.
"""

from __future__ import annotations

import sys

from DeepDosePredictLib.app.sources import read_case
from DeepDosePredictLib.dvh.metrics import Metric, roi_doses, score_patient
from DeepDosePredictLib.io.nrrd_case import write_dose
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.rois import is_target


def main(patient: str, output: str) -> None:
    model = open_model()
    case = read_case(patient, trained=model.contract.grid)
    prediction = Predictor(model).predict(case)

    for warning in prediction.warnings:  # what to know before trusting the dose
        print(f"warning: {warning}")

    # The dose is an array (K, J, I) in Gy: K grows to Superior, J to Posterior, I to patient Left.
    for roi, doses in roi_doses(prediction.dose, case.rois).items():
        metric = Metric.parse("D95%" if is_target(roi) else "Dmean")
        print(f"{roi:<14} {metric} {metric.evaluate(doses, case.voxel_volume_mm3):6.2f} Gy")

    if case.dose is not None:
        score = score_patient(case.name, case.dose, prediction.dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
        print(f"against the reference dose: dose error {score.dose_error:.2f} Gy, DVH error {score.dvh_error:.2f} Gy")

    write_dose(output, prediction.dose, case.grid)


if __name__ == "__main__":
    main(*sys.argv[1:])
