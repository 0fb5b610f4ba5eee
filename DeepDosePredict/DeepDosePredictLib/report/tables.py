"""A prediction's DVHs and metrics as CSV tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..dvh.metrics import METHOD, OAR_METRICS, TARGET_METRICS, Metric, cumulative_dvh, roi_doses
from ..io.atomic import write_table
from ..patient.case import Case
from ..patient.rois import is_target
from ..trust.intervals import Band
from ..trust.plan_check import Checked
from .result import MetricValue

DVH_STEP_GY = 0.1
Bands = Mapping[str, Band]
NO_BANDS: Bands = {}


def write_dvh(path: str | Path, case: Case, dose: np.ndarray, label: str, bands: Bands = NO_BANDS) -> None:
    """Cumulative DVHs in long form, with the ends of the interval where the structure has a band.

    Columns: structure, dose_gy, predicted_percent, reference_percent, low_percent, high_percent, method, model.

    A point every 0.1 Gy up to the maximum of both doses; percent of the structure's voxels with at least that dose.
    """
    highest = max(float(dose.max()), 0.0 if case.dose is None else float(case.dose.max()))
    axis = np.arange(0, highest + 2 * DVH_STEP_GY, DVH_STEP_GY)
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    rows: list[tuple[str, ...]] = []
    for roi, doses in roi_doses(dose, case.rois).items():
        predicted = map(number, cumulative_dvh(doses, axis))
        planned = map(number, cumulative_dvh(reference[roi], axis)) if reference else [""] * len(axis)
        ends = [map(number, end) for end in bands[roi].volumes(axis)] if roi in bands else [[""] * len(axis)] * 2
        rows += [
            (roi, f"{gray:.1f}", *percents, METHOD, label)
            for gray, *percents in zip(axis, predicted, planned, *ends, strict=True)
        ]
    percents = ("predicted_percent", "reference_percent", "low_percent", "high_percent")
    write_table(path, ("structure", "dose_gy", *percents, "method", "model"), rows)


def metric_values(case: Case, dose: np.ndarray, bands: Bands = NO_BANDS) -> list[MetricValue]:
    """The OpenKBP metrics of every structure with voxels, with intervals where there are bands."""
    reference = {} if case.dose is None else roi_doses(case.dose, case.rois)
    volume = case.voxel_volume_mm3
    values = []
    for roi, doses in roi_doses(dose, case.rois).items():
        for metric in map(Metric.parse, (TARGET_METRICS if is_target(roi) else OAR_METRICS).values()):
            predicted = metric.evaluate(doses, volume)
            planned = metric.evaluate(reference[roi], volume) if reference else None
            low, high = bands[roi].interval(metric, predicted) if roi in bands else (None, None)
            values.append(MetricValue(roi, str(metric), metric.unit, planned, predicted, low=low, high=high))
    return values


def checked_metrics(values: Iterable[MetricValue]) -> list[Checked]:
    """The metrics by which a plan can be judged: those with a reference value and an interval."""
    return [
        Checked(m.structure, m.metric, m.unit, m.reference, m.predicted, m.low, m.high)
        for m in values
        if m.reference is not None and m.low is not None and m.high is not None
    ]


def write_metrics(path: str | Path, values: Iterable[MetricValue], label: str) -> None:
    """structure, metric, unit, reference, predicted, difference (predicted - reference), low, high, method, model."""
    numbers = ("reference", "predicted", "difference", "low", "high")
    rows = [
        (m.structure, m.metric, m.unit, *(number(getattr(m, name)) for name in numbers), METHOD, label) for m in values
    ]
    write_table(path, ("structure", "metric", "unit", *numbers, "method", "model"), rows)


def number(value: float | None) -> str:
    """A cell of a table."""
    return "" if value is None else f"{value:.4f}"
