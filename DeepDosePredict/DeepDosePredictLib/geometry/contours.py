"""Planar contours, as an RTSTRUCT holds them, to a labelmap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..errors import DeepDoseError
from ..patient.grid import Grid

LONE_CONTOUR_MM = 3.0  # thickness of a structure that is drawn on one plane only
PIXELS, STEP_LIMITS_MM = 256, (0.25, 1.0)
SAME_PLANE_MM = 0.05
FILLED_GAP_MM = 15.0  # what is further apart are separate parts, not planes left out
MAX_PLANES, MAX_EXTENT_MM = 4096, 4000.0
SAME_CONTOUR_MM = 0.1  # how far copies of a contour are apart at most: coordinates are rounded


def contours_to_labelmap(contours: Sequence[np.ndarray], name: str) -> tuple[np.ndarray, Grid]:
    """Fill closed contours that lie on parallel planes of any orientation.

    Each contour fills a slab as thick as the planes are apart; overlapping contours of a plane cut each other out
    (holes and keyholes), but copies of a contour count once; planes left out between two of the same part repeat the
    nearest one.

    Args:
        contours: points (N, 3) in mm of each contour, in RAS; the last may repeat the first.
        name: of the structure, for messages.

    Returns:
        (K, J, I) bool and its grid, in the same coordinates as the contours.
    """
    loops = [loop for loop in map(_opened, contours) if len(loop) >= 3]
    if not loops:
        raise DeepDoseError(f"{name}: its planar contours have no line of three points or more; contour it again")
    points = np.concatenate(loops)
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() > MAX_EXTENT_MM:
        raise DeepDoseError(f"{name}: its contours have points that are no place in a patient; export it again")
    frame = _frame(loops)
    loops = [loop @ frame.T for loop in loops]
    if max(np.ptp(loop[:, 2]) for loop in loops) > 10 * SAME_PLANE_MM:
        raise DeepDoseError(
            f"{name}: its contours do not lie on parallel planes; contour it again, or convert it to a"
            " closed surface in Slicer's Segmentations module"
        )
    slices, first, step = _planes(np.array([loop[:, 2].mean() for loop in loops]), name)
    points = np.concatenate(loops)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pixel = float(np.clip((high - low).max() / PIXELS, *STEP_LIMITS_MM))
    size = np.ceil((high - low) / pixel).astype(int) + 3
    mask = np.zeros((slices.max() + 1, size[1], size[0]), bool)
    in_plane: dict[int, list[np.ndarray]] = {}
    for loop, n in zip(loops, slices, strict=True):
        in_plane.setdefault(n, []).append((loop[:, :2] - low) / pixel + 1)
    for n, one in in_plane.items():
        mask[n] = filled(_without_copies(one, mask.shape[1:], SAME_CONTOUR_MM / pixel), mask.shape[1:])
    if not mask.any():
        raise DeepDoseError(f"{name}: its contours enclose nothing; contour it again, or leave it out")
    _fill_gaps(mask, np.unique(slices), FILLED_GAP_MM / step)
    to_contours = np.eye(4)
    to_contours[:3, :3] = frame.T * [pixel, pixel, step]
    to_contours[:3, 3] = frame.T @ [*(low - pixel), first]
    return mask, Grid(mask.shape, to_contours)


def _opened(loop: np.ndarray) -> np.ndarray:
    return loop[:-1] if len(loop) > 1 and np.allclose(loop[0], loop[-1]) else loop


def _planes(heights: np.ndarray, name: str) -> tuple[np.ndarray, float, float]:
    """Index of each contour's plane, height of plane 0, and distance of neighbouring planes in mm."""
    drawn, place = np.unique(np.round(heights / SAME_PLANE_MM), return_inverse=True)
    if len(drawn) == 1:
        return np.zeros(len(heights), int), float(heights.mean()), LONE_CONTOUR_MM
    planes = np.bincount(place, heights) / np.bincount(place)
    gaps = np.diff(planes)
    counts = np.maximum(np.rint(gaps / np.median(gaps)), 1).astype(int)
    # From all gaps: the median alone may be off by a rounding, which over many planes adds up to a plane.
    step = float(gaps.sum() / counts.sum())
    indices = np.concatenate(([0], np.cumsum(counts)))
    if indices[-1] >= MAX_PLANES:
        raise DeepDoseError(
            f"{name}: its contours are {step:g} mm apart but reach over {np.ptp(heights):g} mm; remove"
            " the contour that lies far from the others"
        )
    return indices[place], float(planes[0]), step


def _frame(loops: list[np.ndarray]) -> np.ndarray:
    """Rows u, v, n of a right-handed frame whose n is the planes' normal, from the contour of the largest area."""
    areas = [np.cross(loop - loop[0], np.roll(loop, -1, 0) - loop[0]).sum(0) for loop in loops]
    normal = max(areas, key=np.linalg.norm)
    length = np.linalg.norm(normal)
    normal = normal / length if length > 0 else np.array([0.0, 0, 1])
    axis = int(np.abs(normal).argmax())
    normal = normal * np.sign(normal[axis])
    normal = np.where(np.abs(normal) < 1e-6, 0, normal)
    u = np.cross(np.roll(np.eye(3)[axis], -1), normal)
    u /= np.linalg.norm(u)
    return np.stack((u, np.cross(normal, u), normal))


def _without_copies(loops: list[np.ndarray], shape: tuple[int, int], apart: float) -> list[np.ndarray]:
    """The contours (x, y) in pixels of a plane, each once: a structure that was exported twice would cut itself out.

    Args:
        apart: how far copies are apart at most, in pixels.
    """
    kept: list[np.ndarray] = []
    for loop in loops:
        if not any(_is_copy(loop, other, shape, apart) for other in kept):
            kept.append(loop)
    return kept


def _is_copy(loop: np.ndarray, other: np.ndarray, shape: tuple[int, int], apart: float) -> bool:
    ends, area, length = _size(loop)
    other_ends, other_area, _ = _size(other)
    if np.abs(ends - other_ends).max() > apart or abs(area - other_area) > apart * length:
        return False
    return bool(np.count_nonzero(filled([loop], shape) ^ filled([other], shape)) <= length)


def _size(loop: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Lowest and highest (x, y), area and length of a closed line."""
    following = np.roll(loop, -1, 0)
    x, y = loop[:, 0] - loop[0, 0], loop[:, 1] - loop[0, 1]
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return np.stack((loop.min(0), loop.max(0))), area, float(np.linalg.norm(following - loop, axis=1).sum())


def filled(loops: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels (J, I) whose centres lie in an odd number of contours given by (x, y) in pixels: crossings from the left.

    Each edge toggles every pixel to the right of it in the rows it crosses.
    """
    toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
    for loop in loops:
        a, b = loop, np.roll(loop, -1, 0)
        first, last = np.ceil(np.minimum(a[:, 1], b[:, 1])), np.ceil(np.maximum(a[:, 1], b[:, 1]))
        counts = (last - first).astype(int)
        edge = np.repeat(np.arange(len(a)), counts)
        rows = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) + first[edge].astype(int)
        t = (rows - a[edge, 1]) / (b[edge, 1] - a[edge, 1])
        x = a[edge, 0] + t * (b[edge, 0] - a[edge, 0])
        columns = np.clip(np.ceil(x), 0, shape[1]).astype(int)
        inside = (rows >= 0) & (rows < shape[0])
        np.add.at(toggles, (rows[inside], columns[inside]), 1)
    return (np.cumsum(toggles, 1)[:, :-1] % 2).astype(bool)


def _fill_gaps(mask: np.ndarray, drawn: np.ndarray, longest: float) -> None:
    """Repeat the nearest drawn plane in those left out between two that are up to `longest` planes apart.

    Only where the two overlap by half of the smaller: otherwise they are ends of separate parts.
    """
    for before, after in pairwise(drawn.tolist()):
        if 1 < after - before <= longest and 2 * (mask[before] & mask[after]).sum() >= min(
            mask[before].sum(), mask[after].sum()
        ):
            middle = (before + after) // 2 + 1
            mask[before + 1 : middle], mask[middle:after] = mask[before], mask[after]
