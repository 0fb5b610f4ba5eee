"""What was explored, as tables and pictures: DVHs and metrics of three doses, and curves of what sparing costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..dvh.metrics import METHOD, cumulative_dvh, roi_doses
from ..explore.trade_off import COVERAGE, TradeOff
from ..io.atomic import write_table
from ..patient.case import Case
from ..patient.rois import is_target
from .page import FAINT, INK, structure_colours
from .result import MetricValue
from .tables import DVH_STEP_GY, metric_values, number

DPI = 130
REFERENCE, PREDICTED, EXPLORED = "Reference", "Prediction", "Explored"
STYLES = {REFERENCE: "-", PREDICTED: "--", EXPLORED: ":"}


def doses_of(case: Case, predicted: np.ndarray, explored: np.ndarray) -> dict[str, np.ndarray]:
    """{title: (K, J, I) Gy}, the reference dose first where there is one."""
    given = {} if case.dose is None else {REFERENCE: case.dose}
    return {**given, PREDICTED: predicted, EXPLORED: explored}


def explored_metrics(case: Case, predicted: np.ndarray, explored: np.ndarray) -> list[MetricValue]:
    """OpenKBP's metrics of the three doses."""
    pairs = zip(metric_values(case, predicted), metric_values(case, explored), strict=True)
    return [replace(before, explored=after.predicted) for before, after in pairs]


def write_explored_metrics(path: str | Path, values: Iterable[MetricValue], label: str) -> None:
    """structure, metric, unit, reference, predicted, explored, change (explored - predicted), method, model."""
    rows = [
        (
            m.structure,
            m.metric,
            m.unit,
            *map(number, (m.reference, m.predicted, m.explored, m.change)),
            METHOD,
            label,
        )
        for m in values
    ]
    header = ("structure", "metric", "unit", "reference", "predicted", "explored", "change", "method", "model")
    write_table(path, header, rows)


def write_explored_dvh(path: str | Path, case: Case, doses: dict[str, np.ndarray], label: str) -> None:
    """Cumulative DVHs in long form, a point every 0.1 Gy: percent of a structure's voxels with at least that dose."""
    axis = np.arange(0, max(float(dose.max()) for dose in doses.values()) + 2 * DVH_STEP_GY, DVH_STEP_GY)
    columns = (REFERENCE, PREDICTED, EXPLORED)
    curves = {
        title: {roi: cumulative_dvh(values, axis) for roi, values in roi_doses(dose, case.rois).items()}
        for title, dose in doses.items()
    }
    rows = [
        (roi, f"{gray:.1f}", *(number(curves[one][roi][n]) if one in curves else "" for one in columns), METHOD, label)
        for roi in curves[PREDICTED]
        for n, gray in enumerate(axis)
    ]
    header = ("structure", "dose_gy", "reference_percent", "predicted_percent", "explored_percent", "method", "model")
    write_table(path, header, rows)


def write_curves(path: str | Path, curves: Iterable[TradeOff], label: str) -> None:
    """A row for every metric of every structure at every point of the curves, and of the reference dose."""
    rows = []
    for curve in curves:
        points = [(f"{point.priority:g}", point.metrics) for point in curve.points]
        given = [] if curve.reference is None else [("reference", curve.reference)]
        rows += [
            (curve.structure, priority, structure, name, number(value), METHOD, label)
            for priority, metrics in [*points, *given]
            for structure, values in metrics.items()
            for name, value in values.items()
        ]
    write_table(path, ("curve", "priority", "structure", "metric", "gy", "method", "model"), rows)


def dvh_picture(case: Case, doses: dict[str, np.ndarray], title: str) -> bytes:
    """PNG: targets on the left, organs on the right, the doses in the line styles of `STYLES`."""
    figure = Figure((13, 5.6), dpi=DPI, facecolor="white", layout="constrained")
    end = 1.02 * max(float(dose.max()) for dose in doses.values())
    axis = np.linspace(0, end, 400)
    colours = structure_colours(case.rois.present())
    for axes, targets in zip(figure.subplots(1, 2, sharey=True), (True, False), strict=True):
        names = [name for name in colours if is_target(name) == targets]
        for name in names:
            for what, dose in doses.items():
                axes.plot(
                    axis, cumulative_dvh(dose[case.rois[name]], axis), color=colours[name], ls=STYLES[what], lw=1.6
                )
        axes.set(xlim=(0, end), ylim=(0, 101))
        axes.set_xlabel("Dose [Gy]")
        keys = [Line2D([], [], color=colours[name]) for name in names]
        axes.legend(keys, names, loc="lower left" if targets else "upper right", fontsize=9, frameon=False)
        _plain(axes)
    figure.axes[0].set_ylabel("Volume [%]")
    figure.legend(
        [Line2D([], [], color=INK, ls=STYLES[what]) for what in doses],
        [*doses],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.suptitle(title, size=10, color=INK, parse_math=False)
    return _png(figure)


def curves_picture(curves: Sequence[TradeOff], title: str) -> bytes:
    """PNG, a row for each curve: against D95 of the targets, and against the mean doses of the other organs."""
    figure = Figure((13, 5.4 * len(curves) + 0.4), dpi=DPI, facecolor="white", layout="constrained")
    figure.suptitle(title, size=8, color=FAINT, parse_math=False)
    for part, curve in zip(figure.subfigures(len(curves), 1, squeeze=False)[:, 0], curves, strict=True):
        left, right = part.subplots(1, 2, sharey=True)
        _draw_coverage(left, curve)
        _draw_organs(right, curve)
        words = [curve.sentence(), *filter(None, [curve.judgement()])]
        part.suptitle("\n".join(line for text in words for line in textwrap.wrap(text, 140)), size=10, color=INK)
    return _png(figure)


def _draw_coverage(axes: Axes, curve: TradeOff) -> None:
    colours = structure_colours(curve.targets)
    for target in curve.targets:
        thick = target == curve.dearest_target
        label = f"{target}, the dearest" if thick and len(curve.targets) > 1 else target
        axes.plot(
            curve.coverage(target),
            curve.values,
            "o-",
            color=colours[target],
            lw=2.4 if thick else 1.2,
            ms=4,
            label=label,
        )
        if curve.reference is not None:
            axes.plot(curve.reference[target][COVERAGE], curve.value(curve.reference), "D", color=colours[target], ms=8)
    target = curve.dearest_target
    for point, x, y in zip(curve.points, curve.coverage(target), curve.values, strict=True):
        words = "as predicted" if not point.priority else f"+{point.priority:g}"
        axes.annotate(words, (x, y), (6, 4), textcoords="offset points", size=8, color=FAINT)
    axes.set_xlabel("D95 of the target [Gy]")
    axes.set_ylabel(f"{curve.structure}: {curve.metric} [Gy]")
    _legend(axes, curve)


def _draw_organs(axes: Axes, curve: TradeOff) -> None:
    organs = [name for name in curve.points[0].metrics if not is_target(name) and name != curve.structure]
    colours = structure_colours(organs)
    for organ in organs:
        means = [point.metrics[organ]["mean"] for point in curve.points]
        axes.plot(means, curve.values, "o-", color=colours[organ], lw=1.2, ms=3, label=organ)
        if curve.reference is not None:
            axes.plot(curve.reference[organ]["mean"], curve.value(curve.reference), "D", color=colours[organ], ms=6)
    axes.set_xlabel("Mean dose of the other organs [Gy]")
    _legend(axes, curve)


def _legend(axes: Axes, curve: TradeOff) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if curve.reference is not None:
        handles.append(Line2D([], [], color=FAINT, marker="D", ls=""))
        labels.append("the reference plan")
    axes.legend(handles, labels, fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(color="#dde1e7", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "DeepDosePredict"})
    return buffer.getvalue()
