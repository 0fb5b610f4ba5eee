"""Distributions over a cohort: scores, metric differences, and the patients that fall out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from operator import attrgetter
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..patient.rois import prescription
from .page import ALARM, FAINT, INK, fonts, short_names, structure_colours
from .result import Result

MIN_PATIENTS = 5
"""With fewer, quartiles say nothing about who falls out."""
FENCE = 3.0
"""Interquartile ranges beyond the quartiles. With the usual 1.5 a normal distribution has one outlier among 140 values:
of a large cohort with many metrics nearly every patient would be one."""
MAX_NAMED = 6  # outliers named in a plot
MAX_METRICS = 60  # rows of the plot of metrics; the commonest structures stay


@dataclass(frozen=True)
class Outlier:
    """A patient's value in Gy outside `low` to `high`, see `Distribution.fences`."""

    patient: str
    what: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Distribution:
    """One quantity over the patients that have it, in Gy; `least` is what it cannot be below."""

    what: str
    patients: tuple[str, ...]
    values: np.ndarray
    structure: str = ""
    least: float = -np.inf

    def fences(self) -> tuple[float, float]:
        """FENCE interquartile ranges beyond the quartiles; infinite with too few patients."""
        if len(self.values) < MIN_PATIENTS:
            return -np.inf, np.inf
        q1, q3 = np.percentile(self.values, (25, 75))
        return max(self.least, float(q1 - FENCE * (q3 - q1))), float(q3 + FENCE * (q3 - q1))

    def outliers(self) -> list[Outlier]:
        """Furthest first."""
        low, high = self.fences()
        beyond = np.maximum(low - self.values, self.values - high)
        return [
            Outlier(self.patients[n], self.what, float(self.values[n]), low, high)
            for n in np.argsort(-beyond, kind="stable")
            if beyond[n] > 0
        ]


def scores(results: Sequence[Result]) -> list[Distribution]:
    """Dose errors and DVH errors of the patients with a reference dose; none if nobody has one."""
    errors = (("Dose error", "dose_error"), ("DVH error", "dvh_error"))
    distributions = [_over(results, what, attrgetter(key)) for what, key in errors]
    return [replace(distribution, least=0.0) for distribution in distributions if len(distribution.values)]


def metrics(results: Sequence[Result]) -> list[Distribution]:
    """Each metric of each structure in Gy: predicted - reference where there are references, else predicted.

    Targets first, the highest first; then the other structures as they first occur.
    """
    compared = any(m.reference is not None for result in results for m in result.metrics)
    found: dict[tuple[str, str], None] = {
        (m.structure, m.metric): None for result in results for m in result.metrics if m.unit == "Gy"
    }

    def value(result: Result, key: tuple[str, str]) -> float | None:
        one = next((m for m in result.metrics if (m.structure, m.metric) == key), None)
        if one is None:
            return None
        return one.difference if compared else one.predicted

    rows = [_over(results, " ".join(key), partial(value, key=key), key[0]) for key in found]
    return sorted((row for row in rows if len(row.values)), key=lambda row: -(prescription(row.structure) or 0))


def _over(
    results: Sequence[Result], what: str, value: Callable[[Result], float | None], structure: str = ""
) -> Distribution:
    pairs = [(result.patient, number) for result in results if (number := value(result)) is not None]
    return Distribution(
        what, tuple(patient for patient, _ in pairs), np.array([number for _, number in pairs]), structure
    )


def draw_scores(distributions: Sequence[Distribution]) -> bytes:
    """SVG: a histogram of each score, above it a box plot with a point for each patient."""
    figure = Figure((11, 4.2), facecolor="white", layout="constrained")
    grid = figure.subplots(2, len(distributions), sharex="col", height_ratios=(1.6, 1), squeeze=False)
    for distribution, (above, below) in zip(distributions, grid.T, strict=True):
        _draw_points(above, distribution)
        below.hist(
            distribution.values,
            bins=min(30, max(5, round(len(distribution.values) ** 0.5) * 2)),
            color="#7ea6cf",
            edgecolor="white",
        )
        below.set_xlabel(f"{distribution.what} [Gy]", size=10)
        below.set_ylabel("Patients", size=9)
        below.yaxis.get_major_locator().set_params(integer=True)
        _plain(below)
    return _svg(figure)


def _draw_points(axes: Axes, distribution: Distribution) -> None:
    """Box plot with points; those beyond the fences red and, up to MAX_NAMED, named."""
    values = distribution.values
    _box(axes, [values], ["#e6eef7"], 0.5)
    inside = (values >= distribution.fences()[0]) & (values <= distribution.fences()[1])
    spread = 0.16 * np.sin(2.4 * np.arange(len(values)))  # so that near points can be told apart
    axes.scatter(values, 1 + spread, s=9, color=np.where(inside, "#2c5f93", ALARM), alpha=0.75, zorder=3, lw=0)
    outliers = distribution.outliers()[:MAX_NAMED]
    names = short_names([outlier.patient for outlier in outliers], 24)
    # Each has a line of its own; the further out, the higher, so that no leader crosses another name.
    for height, (outlier, name) in enumerate(reversed([*zip(outliers, names, strict=True)])):
        y, high = 1 + spread[distribution.patients.index(outlier.patient)], outlier.value > outlier.high
        axes.annotate(
            name,
            (outlier.value, y),
            (outlier.value, 1.4 + 0.26 * height),
            size=7.5,
            color=ALARM,
            ha="right" if high else "left",
            family=fonts(),
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": ALARM, "lw": 0.5, "relpos": (float(high), 0)},
        )
    axes.set(ylim=(0.6, 1.4 + 0.26 * len(outliers)), yticks=())
    axes.set_title(
        f"{distribution.what}: median {np.median(values):.2f} Gy, mean {values.mean():.2f} ± {values.std():.2f} Gy",
        size=10,
        loc="left",
        color=INK,
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)


def draw_metrics(distributions: Sequence[Distribution], axis_title: str) -> bytes:
    """SVG: a box plot for each metric in the colour of its structure; the furthest outliers are named."""
    shown = _commonest(distributions)
    figure = Figure((11, 1.0 + 0.27 * len(shown)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    colours = structure_colours(dict.fromkeys(d.structure for d in shown))
    labels = short_names([d.what for d in shown], 34)
    patients = list(dict.fromkeys(o.patient for d in shown for o in d.outliers()))
    short = dict(zip(patients, short_names(patients, 16), strict=True))
    _box(axes, [d.values for d in shown], [colours[d.structure] for d in shown], 0.62)
    for row, distribution in enumerate(shown, 1):
        outliers = distribution.outliers()
        axes.scatter([o.value for o in outliers], [row] * len(outliers), s=10, color=ALARM, zorder=3, lw=0)
        for side in (-1, 1):
            extreme = max(
                (o for o in outliers if (o.value > o.high) == (side > 0)), key=lambda o: side * o.value, default=None
            )
            if extreme:
                axes.annotate(
                    short[extreme.patient],
                    (extreme.value, row),
                    (5 * side, 0),
                    size=7,
                    textcoords="offset points",
                    va="center",
                    ha="left" if side > 0 else "right",
                    color=ALARM,
                    family=fonts(),
                    parse_math=False,
                )
    axes.set_yticks(
        range(1, len(shown) + 1),
        [f"{label}  (n = {len(d.values)})" for label, d in zip(labels, shown, strict=True)],
        size=8,
        family=fonts(),
        parse_math=False,
    )
    axes.set_ylim(len(shown) + 0.6, 0.4)
    axes.margins(x=0.14)
    if any((d.values < 0).any() for d in shown):
        axes.axvline(0, color=INK, lw=0.8, zorder=1)
    axes.set_xlabel(axis_title, size=10)
    _plain(axes, "x")
    return _svg(figure)


def _commonest(distributions: Sequence[Distribution]) -> list[Distribution]:
    """At most MAX_METRICS, those of the most patients, in their order."""
    ranks = sorted(range(len(distributions)), key=lambda n: -len(distributions[n].values))
    return [distributions[n] for n in sorted(ranks[:MAX_METRICS])]


def _box(axes: Axes, values: Sequence[np.ndarray], colours: Sequence[str], width: float) -> None:
    """Horizontal box plots at 1, 2, ...; points beyond the whiskers are drawn by the callers."""
    boxes = axes.boxplot(
        values,
        orientation="horizontal",
        widths=width,
        whis=FENCE,
        showfliers=False,
        patch_artist=True,
        medianprops={"color": INK, "lw": 1.4},
        whiskerprops={"color": FAINT},
        capprops={"color": FAINT},
        manage_ticks=False,
    )
    for patch, colour in zip(boxes["boxes"], colours, strict=True):
        patch.set(facecolor=colour, alpha=0.6, edgecolor=FAINT)


def _plain(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    axes.grid(axis=grid, color="#dde1e7", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)


def _svg(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
