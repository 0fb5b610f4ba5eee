"""Gantry angles as a user writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import DeepDoseError

MAX_BEAMS = 72


def parse_gantry_angles(text: str) -> tuple[float, ...] | None:
    """Angles in degrees (IEC 61217) from text such as "0, 40, 80"; None for empty text; else DeepDoseError."""
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    angles = tuple(dict.fromkeys(map(_angle, parts)))
    if not all(0 <= angle < 360 for angle in angles) or len(angles) > MAX_BEAMS:
        raise DeepDoseError(f"Gantry angles: give up to {MAX_BEAMS} angles in degrees, not {text.strip()[:60]!r}")
    return angles or None


def _angle(text: str) -> float:
    try:
        return float(text) % 360
    except ValueError:
        raise DeepDoseError(f"Gantry angles: {text!r} is no number; write degrees with commas, such as 0, 40") from None


def same_angles(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two sets of beams are the same, whatever their order."""
    return {round(angle % 360, 2) for angle in a} == {round(angle % 360, 2) for angle in b}
