"""What a prediction leaves on disk: dose, DVH and metrics tables, report."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .. import RESEARCH_USE, __version__
from ..core.case import Case
from ..core.metrics import OAR_METRICS, TARGET_METRICS, Metric, PatientScore, cumulative_dvh, roi_doses, score_patient
from ..core.model_file import Model
from ..core.predictor import Prediction
from ..core.rois import is_target
from .atomic import atomic_path, staged_files
from .nrrd_case import write_dose
from .openkbp import write_dose as write_openkbp_dose
from .report import write_report

DVH_STEP_GY = 0.1


def model_label(model: Model) -> str:
    return f"{model.contract.name} {model.contract.version}"


def write_prediction(folder: str | Path, case: Case, prediction: Prediction, model: Model, *,
                     openkbp: bool) -> PatientScore | None:
    """Write dose.nrrd, dvh.csv, metrics.csv and report.png (and dose.csv if `openkbp`) into a folder: all or none.

    Returns the comparison with the case's reference dose, or None where there is none.
    """
    label = f"{model_label(model)}, {RESEARCH_USE}"
    score = None
    if case.dose is not None:
        score = score_patient(case.name, case.dose, prediction.dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
    with staged_files(folder) as stage:
        write_dose(stage / "dose.nrrd", prediction.dose, case, **_provenance(case, prediction, model))
        write_dvh(stage / "dvh.csv", case, prediction.dose, label)
        write_metrics(stage / "metrics.csv", case, prediction.dose, label)
        if openkbp:
            write_openkbp_dose(stage / "dose.csv", prediction.dose)
        write_report(stage / "report.png", case, prediction.dose, reference=case.dose, model=model_label(model),
                     warnings=prediction.warnings)
    return score


def write_dvh(path: str | Path, case: Case, dose: np.ndarray, label: str) -> None:
    """Cumulative DVHs in long form: structure, dose_gy, predicted_percent, reference_percent, model.

    A point every 0.1 Gy up to the maximum of both doses; percent of the structure's voxels with at least that dose.
    """
    highest = max(float(dose.max()), 0.0 if case.dose is None else float(case.dose.max()))
    axis = np.arange(0, highest + 2 * DVH_STEP_GY, DVH_STEP_GY)
    predicted = roi_doses(dose, case.rois)
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    rows = []
    for roi, doses in predicted.items():
        curves = [cumulative_dvh(doses, axis), cumulative_dvh(reference[roi], axis) if reference else None]
        for n, gray in enumerate(axis):
            percents = (_number(None if curve is None else curve[n]) for curve in curves)
            rows.append((roi, f"{gray:.1f}", *percents, label))
    write_table(path, ("structure", "dose_gy", "predicted_percent", "reference_percent", "model"), rows)


def metric_rows(case: Case, dose: np.ndarray) -> list[tuple[str, Metric, float | None, float]]:
    """(structure, metric, reference or None, predicted) for the OpenKBP metrics of every structure with voxels."""
    predicted = roi_doses(dose, case.rois)
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    volume = case.voxel_volume_mm3
    return [
        (roi, metric, metric.evaluate(reference[roi], volume) if reference else None, metric.evaluate(doses, volume))
        for roi, doses in predicted.items()
        for metric in map(Metric.parse, (TARGET_METRICS if is_target(roi) else OAR_METRICS).values())
    ]


def write_metrics(path: str | Path, case: Case, dose: np.ndarray, label: str) -> None:
    """structure, metric, unit, reference, predicted, difference (predicted - reference), model."""
    rows = [
        (roi, str(metric), metric.unit, _number(reference), _number(predicted),
         _number(None if reference is None else predicted - reference), label)
        for roi, metric, reference, predicted in metric_rows(case, dose)
    ]
    write_table(path, ("structure", "metric", "unit", "reference", "predicted", "difference", "model"), rows)


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV table in one step."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _provenance(case: Case, prediction: Prediction, model: Model) -> dict[str, str]:
    """NRRD header entries that say where a dose comes from."""
    notes = {
        "Patient": case.name,
        "Model": model_label(model),
        "ModelSHA256": model.sha256,
        "Version": __version__,
        "Device": prediction.device,
        "Warnings": "; ".join(prediction.warnings),
        "Use": RESEARCH_USE,
    }
    return {f"DeepDosePredict_{key}": value.replace("\n", " ") for key, value in notes.items() if value}
