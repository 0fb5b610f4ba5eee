"""Outlines of masks along the edges of their pixels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines around the pixels of a (J, I) mask, holes included: filled by the even-odd rule they give it back.

    Each is (N, 2) of (x, y) corners in pixels, where pixel (j, i) reaches from i - 0.5 to i + 0.5.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    following: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    rows, columns = np.diff(padded, axis=0), np.diff(padded, axis=1)
    for value, (before, after) in ((1, (0, 1)), (-1, (1, 0))):  # with the mask always on the same side
        for y, x in np.argwhere(rows == value).tolist():
            following[x - 1 + before, y].append((x - 1 + after, y))
        for y, x in np.argwhere(columns == value).tolist():
            following[x, y - before].append((x, y - after))
    lines = []
    while following:
        start = place = next(iter(following))
        line: list[tuple[int, int]] = []
        while not line or place != start:
            line.append(place)
            nexts = following[place]
            place = nexts.pop()
            if not nexts:
                del following[line[-1]]
        lines.append(_corners(np.array(line)) - 0.5)
    return lines


def _corners(line: np.ndarray) -> np.ndarray:
    """Without the points in the middle of straight parts."""
    steps = np.roll(line, -1, 0) - line
    return line[(steps != np.roll(steps, 1, 0)).any(1)]
