"""Predict a folder of patients in Slicer, without a window:

    Slicer --no-splash --no-main-window --python-script examples/predict_cohort.py COHORT OUT

Each patient is a folder with ct.nrrd, segmentation.seg.nrrd and, optionally, dose.nrrd. OUT/PATIENT gets dose.nrrd and
metrics.csv. The exit status is 1 if a patient failed. (`deepdose predict COHORT -o OUT` does this without Slicer.)
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer

from DeepDosePredict import DeepDosePredictLogic
from DeepDosePredictLib.mrml.comparison import exportComparisonCsv


def predict(patient: Path, output: Path) -> None:
    """One patient, in an empty scene."""
    slicer.mrmlScene.Clear()
    ct = slicer.util.loadVolume(str(patient / "ct.nrrd"))
    segmentation = slicer.util.loadSegmentation(str(patient / "segmentation.seg.nrrd"))
    plan = patient / "dose.nrrd"
    reference = slicer.util.loadVolume(str(plan)) if plan.exists() else None
    result = DeepDosePredictLogic().predict(ct, segmentation, reference)

    output.mkdir(parents=True, exist_ok=True)
    if not slicer.util.saveNode(result.doseNode, str(output / "dose.nrrd")):
        raise OSError(f"{output / 'dose.nrrd'} could not be written")
    exportComparisonCsv(result.metricsTableNode, output / "metrics.csv")
    print(f"{patient.name}: {result.seconds:.1f} s", *result.warnings, sep="\n  ")


def main(cohort: str, output: str) -> int:
    failed = 0
    for patient in sorted(path for path in Path(cohort).iterdir() if path.is_dir()):
        try:
            predict(patient, Path(output) / patient.name)
        except Exception as error:  # one bad patient does not stop the rest
            print(f"{patient.name}: {error}", file=sys.stderr)
            failed += 1
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
