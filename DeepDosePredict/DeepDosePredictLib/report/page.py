"""What all parts of the report share: the page in pixels, colours, structures and doses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..dvh.metrics import OAR_METRICS, TARGET_METRICS
from ..patient.case import Case
from ..patient.rois import is_target, prescription

WIDTH, HEIGHT, DPI = 2080, 1430, 130  # a whole number of inches each way, so that the picture has exactly this size

# The PTVs are cold, since the colour wash is hot where they lie. All show on a white page and on a CT.
COLOURS = {
    "PTV70": "#e4007f",
    "PTV63": "#7b3ff2",
    "PTV56": "#1f6bff",
    "Brainstem": "#e08a00",
    "SpinalCord": "#2e8b00",
    "RightParotid": "#30b0f0",
    "LeftParotid": "#8c5a2b",
    "Esophagus": "#7d8597",
    "Larynx": "#00b39b",
    "Mandible": "#9c9a00",
}
OTHER_COLOURS = ("#5e2ca5", "#c2573a", "#3a5a98", "#556b2f", "#b5179e", "#008080", "#a87ca0", "#b8860b", "#4a4a4a")
INK, FAINT, ALARM = "#1c2330", "#667080", "#c1121f"

DOSE_END = 80 / 70  # end of the dose axes, of the highest prescription
MAX_ROWS = 32  # of the metrics table


@dataclass(frozen=True)
class DrawnStructure:
    """A contoured structure: its colour and its (K, J, I) bool mask."""

    name: str
    colour: str
    mask: np.ndarray


@dataclass(frozen=True)
class DrawnDose:
    """A (K, J, I) dose in Gy and the line style of its DVHs."""

    title: str
    volume: np.ndarray
    style: str


def shown_structures(present: Sequence[str]) -> tuple[list[str], int]:
    """Structures in the order of the page, PTVs first and the highest first, and how many more there are."""
    ordered = sorted(present, key=lambda name: -(prescription(name) or 0))
    n_rows = np.cumsum([len(metrics_of(name)) for name in ordered])
    n_shown = int(np.searchsorted(n_rows, MAX_ROWS, side="right"))
    return ordered[:n_shown], len(ordered) - n_shown


def structure_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each structure: the fixed one of an OpenKBP name, for others the next of OTHER_COLOURS."""
    others = cycle(OTHER_COLOURS)
    return {name: COLOURS.get(name) or next(others) for name in names}


def case_structures(case: Case) -> tuple[list[DrawnStructure], int]:
    names, n_left_out = shown_structures(case.rois.present())
    return [
        DrawnStructure(name, colour, case.rois[name]) for name, colour in structure_colours(names).items()
    ], n_left_out


def metrics_of(name: str) -> dict[str, str]:
    return TARGET_METRICS if is_target(name) else OAR_METRICS


def add_axes(figure: Figure, left: float, top: float, width: float, height: float, **keywords: Any) -> Axes:
    return figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT), **keywords)


def add_text(figure: Figure, x: float, y: float, text: str, size: float, **keywords: Any) -> None:
    """Text with the middle of its height at pixel y; '$' is a plain character."""
    usual: dict[str, Any] = {"va": "center", "color": INK, "parse_math": False}
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, size=size, **usual | keywords)


def fill(figure: Figure, box: tuple[float, float, float, float], colour: str) -> None:
    left, top, width, height = box
    figure.add_artist(
        Rectangle((left / WIDTH, 1 - (top + height) / HEIGHT), width / WIDTH, height / HEIGHT, color=colour, lw=0)
    )


def shorten(text: str, length: int) -> str:
    """At most `length` characters on one line; the middle goes first, since names tend to differ at their ends."""
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    return text[: length - length // 3 - 1] + "…" + text[-(length // 3) :]
