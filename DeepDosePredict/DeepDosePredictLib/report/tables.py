"""A prediction's DVHs and metrics as CSV tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..dvh.metrics import METHOD, OAR_METRICS, TARGET_METRICS, Metric, cumulative_dvh, roi_doses
from ..io.atomic import write_table
from ..patient.case import Case
from ..patient.rois import is_target
from .result import MetricValue

DVH_STEP_GY = 0.1


def write_dvh(path: str | Path, case: Case, dose: np.ndarray, label: str) -> None:
    """Cumulative DVHs in long form: structure, dose_gy, predicted_percent, reference_percent, method, model.

    A point every 0.1 Gy up to the maximum of both doses; percent of the structure's voxels with at least that dose.
    """
    highest = max(float(dose.max()), 0.0 if case.dose is None else float(case.dose.max()))
    axis = np.arange(0, highest + 2 * DVH_STEP_GY, DVH_STEP_GY)
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    rows: list[tuple[str, ...]] = []
    for roi, doses in roi_doses(dose, case.rois).items():
        predicted = map(number, cumulative_dvh(doses, axis))
        planned = map(number, cumulative_dvh(reference[roi], axis)) if reference else [""] * len(axis)
        rows += [
            (roi, f"{gray:.1f}", *percents, METHOD, label)
            for gray, *percents in zip(axis, predicted, planned, strict=True)
        ]
    write_table(path, ("structure", "dose_gy", "predicted_percent", "reference_percent", "method", "model"), rows)


def metric_values(case: Case, dose: np.ndarray) -> list[MetricValue]:
    """The OpenKBP metrics of every structure with voxels."""
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
        for roi, doses in roi_doses(dose, case.rois).items()
        for metric in map(Metric.parse, (TARGET_METRICS if is_target(roi) else OAR_METRICS).values())
    ]


def write_metrics(path: str | Path, values: Iterable[MetricValue], label: str) -> None:
    """structure, metric, unit, reference, predicted, difference (predicted - reference), method, model."""
    rows = [
        (m.structure, m.metric, m.unit, *map(number, (m.reference, m.predicted, m.difference)), METHOD, label)
        for m in values
    ]
    write_table(path, ("structure", "metric", "unit", "reference", "predicted", "difference", "method", "model"), rows)


def number(value: float | None) -> str:
    """A cell of a table."""
    return "" if value is None else f"{value:.4f}"
