"""DVH curves and the table of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..dvh.metrics import METHOD, Metric, cumulative_dvh
from ..patient.case import Case
from ..patient.rois import is_target
from .page import (
    ALARM,
    DOSE_END,
    FAINT,
    INK,
    DrawnDose,
    DrawnStructure,
    add_axes,
    add_text,
    fill,
    is_large,
    large_difference,
    large_words,
    metrics_of,
    short_names,
)

ROW_PX = 27


def draw_dvh(
    figure: Figure,
    box: tuple[float, float, float, float],
    case: Case,
    doses: Sequence[DrawnDose],
    structures: Sequence[DrawnStructure],
) -> None:
    """Cumulative DVHs of all shown structures; the key of colours above them is that of the contours, too."""
    left, top, width, height = box
    n_columns = int(width // 165)
    key_height = 23 * -(-len(structures) // n_columns) + 38
    _draw_key(figure, (left, top, width), structures, n_columns)
    axes = add_axes(figure, left + 62, top + key_height, width - 62, height - key_height - 50)
    end = max(DOSE_END * case.prescription, *(float(dose.volume.max()) for dose in doses))
    dose_axis = np.linspace(0, end, 400)
    for structure in structures:
        if structure.band is not None:
            low, high = structure.band.volumes(dose_axis)
            axes.fill_between(dose_axis, low, high, color=structure.colour, alpha=0.13, lw=0)
    for dose in doses:
        for structure in structures:
            axes.plot(
                dose_axis,
                cumulative_dvh(dose.volume[structure.mask], dose_axis),
                color=structure.colour,
                ls=dose.style,
                lw=2 if is_target(structure.name) else 1.5,
                label=dose.title,
            )
    axes.set(xlim=(0, end), ylim=(0, 101))
    axes.set_xlabel("Dose [Gy]", size=10)
    axes.set_ylabel("Volume [%]", size=10)
    axes.tick_params(labelsize=9)
    axes.grid(color="#dde1e7", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        [Line2D([], [], color=INK, ls=dose.style) for dose in doses],
        [dose.title for dose in doses],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        fontsize=9.5,
        handlelength=3,
        frameon=False,
    )


def _draw_key(
    figure: Figure, box: tuple[float, float, float], structures: Sequence[DrawnStructure], n_columns: int
) -> None:
    left, top, width = box
    names = short_names([structure.name for structure in structures], 12)
    for number, (structure, name) in enumerate(zip(structures, names, strict=True)):
        x = left + number % n_columns * width / n_columns
        y = top + 11 + number // n_columns * 23
        fill(figure, (x, y - 6, 16, 12), structure.colour)
        add_text(figure, x + 24, y, name, 9.5)


def draw_table(
    figure: Figure,
    box: tuple[float, float, float, float],
    case: Case,
    doses: Sequence[DrawnDose],
    structures: Sequence[DrawnStructure],
    n_left_out: int,
) -> None:
    """OpenKBP metrics of all shown structures, one line each; large differences stand out."""
    left, top, width, height = box
    notes = [f"On {METHOD}"]
    notes += [f"{n_left_out} more structures are not shown"] * bool(n_left_out)
    columns = ["Predicted"]
    if len(doses) == 2:
        columns = ["Reference", "Predicted", "Difference"]
        notes.append(large_words(large_difference(case.prescription)))
    rights = [left + width - 8 - 104 * n for n in reversed(range(len(columns)))]
    places = (left + 16, rights[0] - 152, *rights)
    n_rows = sum(len(metrics_of(structure.name)) for structure in structures)
    step = min(ROW_PX, (height - 28 - 22 * len(notes)) / n_rows)
    _draw_cells(figure, places, top + 12, ["DVH metrics in Gy", "", *columns], 9.5, FAINT)
    y = top + 28
    names = short_names([structure.name for structure in structures], 15)
    for number, (structure, name) in enumerate(zip(structures, names, strict=True)):
        lines = _metric_values(case, doses, structure)
        fill(figure, (left, y, width, step * len(lines)), ("#f0f3f7", "white")[number % 2])
        fill(figure, (left, y, 6, step * len(lines)), structure.colour)
        for label, values in lines:
            cells = [name * (label == lines[0][0]), label, *(f"{value:.1f}" for value in values)]
            size = min(9.5, 0.42 * step)
            _draw_cells(figure, places, y + step / 2, cells, size, INK)
            if len(values) == 2:
                large = is_large(values[1] - values[0], large_difference(case.prescription))
                _draw_difference(figure, (places[-1], y + step / 2), values[1] - values[0], size, large)
            y += step
    for note in notes:
        y += 22
        add_text(figure, left, y - 8, note, 8.5, color=FAINT)


def _metric_values(case: Case, doses: Sequence[DrawnDose], structure: DrawnStructure) -> list[tuple[str, list[float]]]:
    """Label of each metric of a structure with its value in Gy in each dose."""
    return [
        (text, [Metric.parse(text).evaluate(dose.volume[structure.mask], case.voxel_volume_mm3) for dose in doses])
        for text in metrics_of(structure.name).values()
    ]


def _draw_difference(figure: Figure, place: tuple[float, float], difference: float, size: float, large: bool) -> None:
    add_text(
        figure,
        *place,
        f"{round(difference, 1) + 0.0:+.1f}",
        size,
        ha="right",
        color=ALARM if large else INK,
        weight="bold" if large else "normal",
    )


def _draw_cells(
    figure: Figure, places: Sequence[float], y: float, cells: Sequence[str], size: float, colour: str
) -> None:
    """One line of a table: two columns of words, then numbers."""
    for column, (x, cell) in enumerate(zip(places, cells, strict=False)):
        add_text(figure, x, y, cell, size, ha="left" if column < 2 else "right", color=colour)
