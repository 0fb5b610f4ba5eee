"""Gantry angles as a user writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import DeepDoseError

MAX_BEAMS = 72


def parse_gantry_angles(text: str) -> tuple[float, ...] | None:
    """Angles in degrees (IEC 61217) from text such as "0, 40, 80"; None for empty text; else DeepDoseError."""
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    try:
        angles = tuple(dict.fromkeys(float(part) % 360 for part in parts))
    except ValueError as error:
        raise DeepDoseError(f"Gantry angles: {error}; write degrees with commas, such as 0, 40, 80") from error
    if not all(0 <= angle < 360 for angle in angles) or len(angles) > MAX_BEAMS:
        raise DeepDoseError(f"Gantry angles: give up to {MAX_BEAMS} angles in degrees, not {text.strip()[:60]!r}")
    return angles or None


def same_angles(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two sets of beams are the same, whatever their order."""
    return {round(angle % 360, 2) for angle in a} == {round(angle % 360, 2) for angle in b}
