"""Volumes in the world and sampling them on grids; without VTK, which mrml/ brings in for speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..patient.grid import Grid, refinement

_SLICES = 4
"""That are resampled at a time."""


def reslice(array: np.ndarray, source: Grid, grid: Grid, background: float, linear: bool) -> np.ndarray:
    """A (K, J, I) array on `source` at the voxel centres of `grid`, linearly (float32) or by the nearest voxel.

    Half a voxel beyond the outermost centres of `source` repeats them; further out is background, as in VTK.
    """
    matrix = without_noise(source.ras_to_ijk @ grid.ijk_to_ras)
    rows = [matrix[2 - axis, [2, 1, 0, 3]] for axis in range(3)]  # source k, j, i from grid k, j, i, 1
    ends = [(-0.5 - 1e-6, n - 0.5 + 1e-6) for n in array.shape]
    if all(np.count_nonzero(row[:3]) == 1 for row in rows):
        axes = [int(np.flatnonzero(row[:3])[0]) for row in rows]
        places = [row[axis] * np.arange(grid.shape[axis]) + row[3] for row, axis in zip(rows, axes, strict=True)]
        result = _at_places(array, places, linear)
        inside = [(place >= low) & (place <= high) for place, (low, high) in zip(places, ends, strict=True)]
        for n, valid in enumerate(inside):
            result[(slice(None),) * n + (~valid,)] = background
        result = result.transpose(np.argsort(axes))
    else:
        result = ndimage.affine_transform(
            array.astype(np.float32) if linear else array.astype(np.uint8) if array.dtype == bool else array,
            np.array([row[:3] for row in rows]),
            [row[3] for row in rows],
            grid.shape,
            order=int(linear),
            mode="nearest",
        )
        k, j, i = (np.arange(n) for n in grid.shape)
        for row, (low, high) in zip(rows, ends, strict=True):
            place = (row[0] * k[:, None, None] + row[3]) + row[1] * j[:, None] + row[2] * i
            result[(place < low) | (place > high)] = background
    return np.ascontiguousarray(result)


Reslice = Callable[[np.ndarray, Grid, Grid, float, bool], np.ndarray]


def _at_places(array: np.ndarray, places: Sequence[np.ndarray], linear: bool) -> np.ndarray:
    """A copy of an array at fractional indices along its axes, a few slices at a time: a large CT fits no second time.

    float32 if linear; else of the array's type, uint8 for bool.
    """
    dtype = np.dtype(np.float32) if linear else np.dtype(np.uint8) if array.dtype == bool else array.dtype
    result = np.empty([len(place) for place in places], dtype)
    for start in range(0, len(places[0]), _SLICES):
        part = array
        for n, place in enumerate((places[0][start : start + _SLICES], *places[1:])):
            part = _along(part, n, place, linear)
        result[start : start + _SLICES] = part
    return result


def _along(array: np.ndarray, axis: int, place: np.ndarray, linear: bool) -> np.ndarray:
    """A copy of an array at fractional indices along one axis; the outermost values go on beyond the ends."""
    place = np.clip(place, 0, array.shape[axis] - 1)
    if not linear:
        return np.take(array, np.floor(place + 0.5).astype(int), axis)
    first = place.astype(int)
    if np.array_equal(first, place):
        return np.take(array, first, axis)
    weight = (place - first).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    below = np.take(array, first, axis).astype(np.float32, copy=False)
    above = np.take(array, np.minimum(first + 1, array.shape[axis] - 1), axis).astype(np.float32, copy=False)
    return below + weight * (above - below)


@dataclass(frozen=True)
class Volume:
    """A scan or a dose where it lies in the world.

    Attributes:
        name: for messages.
        array: (K, J, I), any numeric type.
        grid: where its voxels lie.
        reslice: how it is interpolated.
    """

    name: str
    array: np.ndarray
    grid: Grid
    reslice: Reslice = reslice

    def sampled(self, grid: Grid, background: float = 0.0, smooth: bool = False) -> np.ndarray:
        """(K, J, I) float32 on a grid, linearly interpolated; `background` outside the volume.

        With `smooth`, voxels smaller than the grid's are averaged first, so that detail finer than the grid does not
        alias.
        """
        factors = downsampling(self.grid, grid) if smooth else (1, 1, 1)
        box = self.grid.box_around(grid.corners(), margin=1 + max(factors) if smooth else 1)
        if any(s.stop <= s.start for s in box):
            return np.full(grid.shape, background, np.float32)
        array, source = self.array[box], self.grid.crop(box)
        if smooth:
            array, source = averaged(array, source, factors)
        return self.reslice(array, source, grid, background, True)


def averaged(array: np.ndarray, grid: Grid, factors: Sequence[int]) -> tuple[np.ndarray, Grid]:
    """Means over blocks of `factors` (k, j, i) voxels, as float32, and their grid; the last blocks repeat the edge."""
    depth, *in_plane = (-(-n // factor) for n, factor in zip(array.shape, factors, strict=True))
    result = np.empty((depth, *in_plane), np.float32)
    for k in range(depth):
        part = array[k * factors[0] : (k + 1) * factors[0]]
        for axis, factor in enumerate(factors):
            if factor > 1:
                part = _averaged_along(part, axis, factor)
        result[k] = part[0]
    array = result
    coarse = grid.ijk_to_ras @ refinement([1 / f for f in factors])
    return array, Grid(array.shape, coarse)


def _averaged_along(array: np.ndarray, axis: int, factor: int) -> np.ndarray:
    excess = -array.shape[axis] % factor
    if excess:
        array = np.pad(array, [(0, excess if a == axis else 0) for a in range(3)], mode="edge")
    # Strided sums: numpy's mean over a short inner axis takes ten times as long.
    parts = [array[(slice(None),) * axis + (slice(n, None, factor),)] for n in range(factor)]
    total = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    return total / np.float32(factor)


def without_noise(matrix: np.ndarray) -> np.ndarray:
    """Rounding errors of 1e-12 voxels would send whole faces of a grid that coincides with another out of it."""
    return np.where(np.abs(matrix - np.rint(matrix)) < 1e-6, np.rint(matrix), matrix)


def downsampling(source: Grid, grid: Grid) -> tuple[int, int, int]:
    """How many source voxels (k, j, i) fit along the grid's most parallel axis."""
    directions = source.ijk_to_ras[:3, :3] / np.linalg.norm(source.ijk_to_ras[:3, :3], axis=0)
    targets = grid.ijk_to_ras[:3, :3]
    units = targets / np.linalg.norm(targets, axis=0)
    steps = np.linalg.norm(targets, axis=0)[np.abs(directions.T @ units).argmax(1)]
    ratios = steps / np.linalg.norm(source.ijk_to_ras[:3, :3], axis=0)
    i, j, k = (max(1, int(r + 0.1)) for r in ratios)
    return k, j, i
