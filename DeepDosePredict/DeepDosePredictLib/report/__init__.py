"""One page about one predicted dose: planes, DVHs and metrics, beside the reference dose where there is one.

Everything is drawn on a Figure of its own (no pyplot, no shared state), laid out in pixels from the upper left corner.
Arrays are (K, J, I): K to Superior, J to Posterior, I to patient Left; doses are in Gy.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ..dvh.metrics import score_patient
from ..errors import CaseError
from ..io.atomic import atomic_path
from ..patient.case import Case
from .dvh import ROW_PX, draw_dvh, draw_table
from .page import (
    ALARM,
    DPI,
    FAINT,
    HEIGHT,
    WIDTH,
    DrawnDose,
    add_axes,
    add_text,
    case_structures,
    metrics_of,
    shorten,
    width,
)
from .planes import difference_row, dose_row, draw_planes

DISCLAIMER = "RESEARCH USE ONLY - not for clinical use"
MAX_WARNING_LINES, WARNING_EM = 5, 114
"""Lines of warnings at the top, and how wide they are."""


@dataclass(frozen=True)
class Pictures:
    """Parts of the page as files of their own, for pages that hold them: planes (JPEG) and DVHs (PNG)."""

    planes: bytes
    dvh: bytes


def write_report(
    path: str | Path,
    case: Case,
    predicted: np.ndarray,
    *,
    reference: np.ndarray | None,
    model: str,
    warnings: Sequence[str] = (),
) -> Pictures:
    """Write the page as a PNG of WIDTH x HEIGHT pixels and return its parts; arguments are those of `make_figure`."""
    figure, planes = _draw(case, predicted, reference=reference, model=model, warnings=warnings)
    canvas = FigureCanvasAgg(figure)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file, metadata={"Software": "DeepDosePredict", "Comment": DISCLAIMER})
    return Pictures(_cut(canvas, planes, "jpeg", quality=88), _dvh_picture(case, predicted, reference))


def _dvh_picture(case: Case, predicted: np.ndarray, reference: np.ndarray | None) -> bytes:
    """The DVHs once more, larger than they are beside the planes."""
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    draw_dvh(figure, (16, 8, 1360, 720), case, _doses(predicted, reference), case_structures(case)[0])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return _cut(canvas, (0, 0, 1400, 740), "png", optimize=True)


def _cut(canvas: FigureCanvasAgg, box: tuple[float, float, float, float], kind: str, **settings: Any) -> bytes:
    """A box (left, top, width, height) of a drawn page as a picture file."""
    left, top, width, height = map(round, box)
    pixels = np.asarray(canvas.buffer_rgba())[top : top + height, left : left + width, :3]
    buffer = BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format=kind, pil_kwargs=settings)
    return buffer.getvalue()


def _doses(predicted: np.ndarray, reference: np.ndarray | None) -> list[DrawnDose]:
    """In the order in which they are drawn and listed."""
    given = [] if reference is None else [DrawnDose("Reference", reference, "-")]
    return [*given, DrawnDose("Prediction", predicted, "--")]


def make_figure(
    case: Case, predicted: np.ndarray, *, reference: np.ndarray | None, model: str, warnings: Sequence[str] = ()
) -> Figure:
    """Draw the page.

    Args:
        case: CT, structures, dose mask and spacing; a reference dose in it is not looked at.
        predicted: (K, J, I) dose in Gy on the grid of the case.
        reference: (K, J, I) dose in Gy to compare with, or None: the page then shows the prediction alone, larger.
        model: name of the model.
        warnings: what the reader must know about this case; shown in the header, word for word.
    """
    return _draw(case, predicted, reference=reference, model=model, warnings=warnings)[0]


def _draw(
    case: Case, predicted: np.ndarray, *, reference: np.ndarray | None, model: str, warnings: Sequence[str]
) -> tuple[Figure, tuple[float, float, float, float]]:
    """The page, and the box of the planes on it."""
    for what, dose in (("predicted", predicted), ("reference", reference)):
        if dose is not None and dose.shape != case.shape:
            raise CaseError(f"{case.name}: the {what} dose has shape {dose.shape}, the CT has {case.shape}")
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    top = _draw_header(figure, case, predicted, reference, model, warnings)
    structures, n_left_out = case_structures(case)
    bottom = HEIGHT - 30
    doses = _doses(predicted, reference)
    if reference is None:
        middle = top + 630
        planes = (36, top, 2008, middle - 24 - top)
        draw_planes(figure, case, [dose_row(case, doses[0])], structures, planes)
        draw_dvh(figure, (36, middle, 1470, bottom - middle), case, doses, structures)
        draw_table(figure, (1590, middle, 454, bottom - middle), case, doses, structures, n_left_out)
        return figure, planes
    rows = [dose_row(case, doses[1]), dose_row(case, doses[0]), difference_row(case, predicted, reference)]
    n_rows = sum(len(metrics_of(structure.name)) for structure in structures)
    middle = bottom - min(ROW_PX * n_rows + 80, 0.53 * (bottom - top))  # a short table leaves room to the DVHs
    planes = (36, top, 1424, bottom - top)
    draw_planes(figure, case, rows, structures, planes)
    draw_dvh(figure, (1480, top, 564, middle - top - 20), case, doses, structures)
    draw_table(figure, (1480, middle, 564, bottom - middle), case, doses, structures, n_left_out)
    return figure, planes


def _draw_header(
    figure: Figure, case: Case, predicted: np.ndarray, reference: np.ndarray | None, model: str, warnings: Sequence[str]
) -> float:
    """Title, scores and warnings; returns the pixel where the rest of the page begins."""
    add_text(figure, 36, 44, shorten(case.name, 38), 18, weight="bold")
    add_text(figure, 36, 82, f"Predicted dose · model {shorten(model, 44)}", 10.5, color=FAINT)
    add_text(
        figure,
        WIDTH - 46,
        44,
        DISCLAIMER,
        11,
        weight="bold",
        color="white",
        ha="right",
        bbox={"facecolor": ALARM, "edgecolor": "none", "boxstyle": "round,pad=0.45"},
    )
    if reference is not None:
        score = score_patient(case.name, reference, predicted, case.rois, case.dose_mask, case.voxel_volume_mm3)
        for x, value, what in ((1110, score.dose_error, "Dose error"), (1310, score.dvh_error, "Mean DVH error")):
            add_text(figure, x, 44, f"{value:.2f} Gy", 16, weight="bold")
            add_text(figure, x, 80, what, 10, color=FAINT)
    return _draw_warnings(figure, warnings, 108)


def _wrapped(text: str) -> list[str]:
    """Lines as wide as the page."""
    for length in range(195, 60, -5):
        lines = textwrap.wrap(text, length, subsequent_indent="    ")
        if all(width(line) <= WARNING_EM for line in lines):
            break
    return lines


def _draw_warnings(figure: Figure, warnings: Sequence[str], top: float) -> float:
    lines = [line for warning in warnings for line in _wrapped(f"Warning: {warning}")]
    if not lines:
        return top
    if len(lines) > MAX_WARNING_LINES:
        lines[MAX_WARNING_LINES - 1 :] = [f"… and {len(lines) - MAX_WARNING_LINES + 1} more lines of warnings"]
    height = 22 * len(lines) + 10
    box = add_axes(figure, 36, top, WIDTH - 72, height, facecolor="#fff3cd", xticks=(), yticks=())
    box.spines[:].set_color("#e0b000")
    for number, line in enumerate(lines):
        add_text(figure, 48, top + 16 + 22 * number, line, 9.5, color="#5c4400")
    return top + height + 10
