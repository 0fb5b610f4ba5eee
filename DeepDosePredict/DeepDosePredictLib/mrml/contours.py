"""Planar contours, as an RTSTRUCT holds them, to a labelmap."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import DeepDoseError
from .geometry import Grid

LONE_CONTOUR_MM = 3.0  # thickness of a structure that is drawn on one plane only
PIXELS, STEP_LIMITS_MM = 256, (0.25, 1.0)
SAME_PLANE_MM = 0.05
MAX_PLANES = 4096


def contoursToLabelmap(contours: vtk.vtkPolyData, name: str) -> tuple[np.ndarray, Grid]:
    """Fill closed contours that lie on parallel planes of any orientation.

    Each contour fills a slab as thick as the planes are apart; overlapping contours of a plane cut each other out
    (holes and keyholes); planes left out between two others repeat the nearest one.

    Args:
        contours: lines or polygons, in the segmentation's coordinates.
        name: of node and segment, for messages.

    Returns:
        (K, J, I) bool and its grid, in the same coordinates as the contours.
    """
    loops = _loops(contours)
    if not loops:
        raise DeepDoseError(f"{name}: its planar contours have no line of three points or more; contour it again")
    frame = _frame(loops)
    loops = [loop @ frame.T for loop in loops]
    heights = np.array([loop[:, 2].mean() for loop in loops])
    if max(np.ptp(loop[:, 2]) for loop in loops) > 10 * SAME_PLANE_MM:
        raise DeepDoseError(f"{name}: its contours do not lie on parallel planes; convert it to a closed surface in the"
                            " Segmentations module")
    planes = np.unique(np.round(heights / SAME_PLANE_MM)) * SAME_PLANE_MM
    step = float(np.median(np.diff(planes))) if len(planes) > 1 else LONE_CONTOUR_MM
    slices = np.rint((heights - heights.min()) / step).astype(int)
    if slices.max() >= MAX_PLANES:
        raise DeepDoseError(f"{name}: its contours are {step:g} mm apart but reach over {np.ptp(heights):g} mm; remove"
                            " the contour that lies far from the others")
    points = np.concatenate(loops)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pixel = float(np.clip((high - low).max() / PIXELS, *STEP_LIMITS_MM))
    size = np.ceil((high - low) / pixel).astype(int) + 3
    mask = np.zeros((slices.max() + 1, size[1], size[0]), bool)
    for n in np.unique(slices):
        inPlane = [(loop[:, :2] - low) / pixel + 1 for loop, s in zip(loops, slices, strict=True) if s == n]
        mask[n] = _filled(inPlane, mask.shape[1:])
    _fillGaps(mask, np.unique(slices))
    toContours = np.eye(4)
    toContours[:3, :3] = frame.T * [pixel, pixel, step]
    toContours[:3, 3] = frame.T @ [*(low - pixel), heights.min()]
    return mask, Grid(mask.shape, toContours)


def _loops(contours: vtk.vtkPolyData) -> list[np.ndarray]:
    """Points (N, 3) of each closed contour."""
    points = vtk_to_numpy(contours.GetPoints().GetData()).astype(float)
    ids, loops = vtk.vtkIdList(), []
    for n in range(contours.GetNumberOfCells()):
        contours.GetCellPoints(n, ids)
        loop = points[[ids.GetId(p) for p in range(ids.GetNumberOfIds())]]
        if len(loop) > 1 and np.allclose(loop[0], loop[-1]):
            loop = loop[:-1]
        if len(loop) >= 3:
            loops.append(loop)
    return loops


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


def _filled(loops: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
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


def _fillGaps(mask: np.ndarray, drawn: np.ndarray) -> None:
    for n in set(range(len(mask))) - set(drawn.tolist()):
        mask[n] = mask[drawn[np.abs(drawn - n).argmin()]]
