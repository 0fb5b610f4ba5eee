"""One page about one predicted dose: planes, DVHs and metrics, beside the reference dose where there is one.

Everything is drawn on a Figure of its own (no pyplot, no shared state), laid out in pixels from the upper left corner.
Arrays are (K, J, I): K to Superior, J to Posterior, I to patient Left; doses are in Gy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from ..trust.intervals import Band
from .account import draw_account
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
    wrapped,
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
    """Write the page as a PNG and return its parts; arguments are those of `make_figure`.

    It has WIDTH x HEIGHT pixels, and below the account of all contours in as many rows as it takes.
    """
    figure, planes = _draw(case, predicted, reference=reference, model=model, warnings=warnings)
    canvas = _drawn(figure)
    pages = [_pixels(canvas, (0, 0, WIDTH, HEIGHT))]
    pages += [
        _pixels(_drawn(one), (0, 0, WIDTH, used)) for one, used in draw_account(case.assignment, _too_many(warnings))
    ]
    notes = {"Software": "DeepDosePredict", "Comment": DISCLAIMER}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        imsave(file, np.concatenate(pages), format="png", dpi=DPI, metadata=notes)
    return Pictures(_cut(canvas, planes, "jpeg", quality=88), _dvh_picture(case, predicted, reference))


def banded_dvh_picture(case: Case, predicted: np.ndarray, bands: Mapping[str, Band]) -> bytes:
    """PNG: the DVHs of a prediction, and of the case's reference dose, with the bands in which a plan's will lie."""
    return _dvh_picture(case, predicted, case.dose, bands)


def _dvh_picture(
    case: Case, predicted: np.ndarray, reference: np.ndarray | None, bands: Mapping[str, Band] | None = None
) -> bytes:
    """The DVHs once more, larger than they are beside the planes."""
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    structures = [replace(one, band=(bands or {}).get(one.name)) for one in case_structures(case)[0]]
    draw_dvh(figure, (16, 8, 1360, 720), case, _doses(predicted, reference), structures)
    return _cut(_drawn(figure), (0, 0, 1400, 740), "png", optimize=True)


def _cut(canvas: FigureCanvasAgg, box: tuple[float, float, float, float], kind: str, **settings: Any) -> bytes:
    """A box (left, top, width, height) of a page as a picture file."""
    buffer = BytesIO()
    imsave(buffer, _pixels(canvas, box), format=kind, pil_kwargs=settings)
    return buffer.getvalue()


def _drawn(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def _pixels(canvas: FigureCanvasAgg, box: tuple[float, float, float, float]) -> np.ndarray:
    """(rows, columns, 3) uint8 of a box of a page."""
    left, top, width, height = map(round, box)
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[top : top + height, left : left + width, :3])


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


def _warning_lines(warnings: Sequence[str]) -> list[str]:
    return [line for warning in warnings for line in wrapped(f"Warning: {warning}", WARNING_EM)]


def _too_many(warnings: Sequence[str]) -> list[str]:
    """The lines of warnings that do not all fit above the planes; [] where they do."""
    lines = _warning_lines(warnings)
    return lines if len(lines) > MAX_WARNING_LINES else []


def _draw_warnings(figure: Figure, warnings: Sequence[str], top: float) -> float:
    lines = _warning_lines(warnings)
    if not lines:
        return top
    if len(lines) > MAX_WARNING_LINES:
        lines[MAX_WARNING_LINES - 1 :] = [f"… and {len(lines) - MAX_WARNING_LINES + 1} more lines of warnings, below"]
    height = 22 * len(lines) + 10
    box = add_axes(figure, 36, top, WIDTH - 72, height, facecolor="#fff3cd", xticks=(), yticks=())
    box.spines[:].set_color("#e0b000")
    for number, line in enumerate(lines):
        add_text(figure, 48, top + 16 + 22 * number, line, 9.5, color="#5c4400")
    return top + height + 10
