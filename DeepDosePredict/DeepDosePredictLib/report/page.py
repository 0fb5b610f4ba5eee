"""What all parts of the report share: the page in pixels, colours, structures and doses."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from math import floor
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font
from matplotlib.patches import Rectangle

from ..dvh.metrics import OAR_METRICS, TARGET_METRICS
from ..patient.case import Case
from ..patient.rois import is_target, prescription
from ..trust.intervals import Band

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

FONT = "DejaVu Sans"
OTHER_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Yu Gothic",
    "PingFang SC",
    "Heiti TC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)
"""Of Linux, Windows and macOS, for names that matplotlib's own font cannot write; those that are installed."""

LARGE_GY, LARGE_SHARE = 3.0, 0.05
"""A difference beyond the smaller of the two stands out; the share is of the highest prescription."""

WIDEST_EM = 0.68
"""Width of a character, on average, in names that fill their place."""

DOSE_END = 80 / 70  # end of the dose axes, of the highest prescription
MAX_ROWS = 32  # of the metrics table


@dataclass(frozen=True)
class DrawnStructure:
    """A contoured structure: its colour, its (K, J, I) bool mask, and the band of its DVH where there is one."""

    name: str
    colour: str
    mask: np.ndarray
    band: Band | None = None


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
    usual: dict[str, Any] = {"va": "center", "color": INK, "parse_math": False, "family": fonts()}
    figure.text(x / WIDTH, 1 - y / HEIGHT, drawable(text), size=size, **usual | keywords)


@cache
def fonts() -> list[str]:
    """Font families to write names with, in the order in which a character is looked for."""
    installed = {font.name for font in fontManager.ttflist}
    return [FONT, *(name for name in OTHER_FONTS if name in installed)]


@cache
def _can_write(character: str) -> bool:
    return any(get_font(fontManager.findfont(name)).get_char_index(ord(character)) for name in fonts())


def drawable(text: str) -> str:
    """The text with a question mark for each character that no font here can write; it would be an empty box."""
    return "".join(one if one.isspace() or _can_write(one) else "?" for one in text)


def fill(figure: Figure, box: tuple[float, float, float, float], colour: str) -> None:
    left, top, width, height = box
    figure.add_artist(
        Rectangle((left / WIDTH, 1 - (top + height) / HEIGHT), width / WIDTH, height / HEIGHT, color=colour, lw=0)
    )


@cache
def _advance(character: str) -> float:
    """Width of a character in ems."""
    for name in fonts():
        font = get_font(fontManager.findfont(name))
        if font.get_char_index(ord(character)):
            font.set_size(12, 72)
            return font.load_char(ord(character)).linearHoriAdvance / 65536 / 12
    return 1.0


def width(text: str) -> float:
    """Of a text on one line, in ems: Chinese characters are as wide as two others."""
    return sum(map(_advance, text))


def wrapped(text: str, widest_em: float) -> list[str]:
    """Lines no wider than that, the second and further ones indented."""
    for length in range(round(1.75 * widest_em), 10, -5):
        lines = textwrap.wrap(text, length, subsequent_indent="    ")
        if all(width(line) <= widest_em for line in lines):
            break
    return lines


def shorten(text: str, length: int) -> str:
    """At most `length` characters on one line, and no wider than usual ones; the middle goes first, since names tend to
    differ at their ends."""
    text = " ".join(text.split())
    for n in range(length, 2, -1):
        short = text if len(text) <= n else text[: n - n // 3 - 1] + "…" + text[-(n // 3) :]
        if width(short) <= WIDEST_EM * length:
            return short
    return "…"


def short_names(names: Sequence[str], length: int) -> list[str]:
    """Each name as `shorten` has it, or, where that makes different names equal, with what tells them apart."""
    plain = [" ".join(drawable(name).split()) for name in names]
    labels = [shorten(name, length) for name in plain]
    for label in {label for label in labels if labels.count(label) > 1}:
        alike = [n for n, one in enumerate(labels) if one == label]
        same = [len({*letters}) == 1 for letters in zip(*(plain[n] for n in alike), strict=False)]
        start, head = same.index(False) if False in same else len(same), length // 3
        for n in alike:
            if start > head:
                first = next(plain[n][:end] for end in range(head, -1, -1) if width(plain[n][:end]) <= WIDEST_EM * head)
                labels[n] = f"{first}…{shorten(plain[n][start:], length - head - 1)}"
    for n, label in enumerate(labels):
        if label in labels[:n]:  # such names as differ in what cannot be written
            number = f" ({n + 1})"
            labels[n] = shorten(label, length - len(number)) + number
    return labels


def large_difference(prescription: float) -> float:
    """Beyond which difference in Gy metrics stand out, with one decimal, by the highest prescription."""
    return floor(10 * min(LARGE_GY, LARGE_SHARE * prescription) + 1e-6) / 10


def is_large(difference: float, limit: float) -> bool:
    """As the reader sees it, with one decimal, on both sides of zero."""
    return round(abs(difference), 1) > limit + 1e-9


def large_words(limit: float) -> str:
    return f"Red: prediction and reference differ by more than {limit:g} Gy"
