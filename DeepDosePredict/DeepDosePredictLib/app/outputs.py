"""What a prediction leaves on disk: dose, DVH and metrics tables, report."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from .. import RESEARCH_USE, __version__
from ..dvh.metrics import OAR_METRICS, TARGET_METRICS, Metric, cumulative_dvh, roi_doses, score_patient
from ..io.atomic import atomic_path, staged_files
from ..io.dicom.write_dose import write_predicted_dose
from ..io.nrrd_case import write_dose
from ..io.openkbp import write_dose as write_openkbp_dose
from ..model.model_file import Model
from ..model.predictor import Prediction
from ..patient.case import Case
from ..patient.rois import is_target
from ..report import write_report
from ..report.html import PAGE, patient_page
from ..report.result import RESULT, MetricValue, Result

DVH_STEP_GY = 0.1


def model_label(model: Model) -> str:
    return f"{model.contract.name} {model.contract.version}"


def write_prediction(
    folder: str | Path,
    case: Case,
    prediction: Prediction,
    model: Model,
    *,
    openkbp: bool,
    key: str = "",
    in_cohort: bool = False,
) -> Result:
    """Write dose.nrrd, dvh.csv, metrics.csv, report.png, report.html and result.json into a folder: all or none.

    With `openkbp` also dose.csv, for a case from DICOM also dose.dcm. Returns what result.json holds.

    Args:
        key: hash of model, inputs and options, by which a later run knows this result.
        in_cohort: whether the page links to that of a cohort in the folder above.
    """
    label = f"{model_label(model)}, {RESEARCH_USE}"
    score = None
    if case.dose is not None:
        score = score_patient(case.name, case.dose, prediction.dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
    metrics = metric_values(case, prediction.dose)
    with staged_files(folder, last=RESULT) as stage:
        write_dose(stage / "dose.nrrd", prediction.dose, case.grid, **_provenance(case, prediction, model))
        write_dvh(stage / "dvh.csv", case, prediction.dose, label)
        write_metrics(stage / "metrics.csv", metrics, label)
        if openkbp:
            write_openkbp_dose(stage / "dose.csv", prediction.dose)
        if case.dicom is not None:
            write_predicted_dose(
                stage / "dose.dcm", prediction.dose, case, model_label(model), "; ".join(prediction.warnings)
            )
        pictures = write_report(
            stage / "report.png",
            case,
            prediction.dose,
            reference=case.dose,
            model=model_label(model),
            warnings=prediction.warnings,
        )
        result = Result(
            patient=case.name,
            key=key,
            model=model_label(model),
            model_sha256=model.sha256,
            version=__version__,
            finished=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=prediction.seconds,
            device=prediction.device,
            warnings=prediction.warnings,
            dose_error=score.dose_error if score else None,
            dvh_error=score.dvh_error if score else None,
            metrics=metrics,
            files={file.name: file.stat().st_size for file in sorted(stage.iterdir())},
        )
        page = patient_page(result, pictures, in_cohort=in_cohort).encode()
        (stage / PAGE).write_bytes(page)
        result = replace(result, files={**result.files, PAGE: len(page)})
        (stage / RESULT).write_bytes(result.to_json())
    return result


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


def metric_values(case: Case, dose: np.ndarray) -> list[MetricValue]:
    """The OpenKBP metrics of every structure with voxels."""
    predicted = roi_doses(dose, case.rois)
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    volume = case.voxel_volume_mm3
    return [
        MetricValue(
            roi,
            str(metric),
            metric.unit,
            metric.evaluate(reference[roi], volume) if reference else None,
            metric.evaluate(doses, volume),
        )
        for roi, doses in predicted.items()
        for metric in map(Metric.parse, (TARGET_METRICS if is_target(roi) else OAR_METRICS).values())
    ]


def write_metrics(path: str | Path, values: Iterable[MetricValue], label: str) -> None:
    """structure, metric, unit, reference, predicted, difference (predicted - reference), model."""
    rows = [
        (m.structure, m.metric, m.unit, _number(m.reference), _number(m.predicted), _number(m.difference), label)
        for m in values
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
