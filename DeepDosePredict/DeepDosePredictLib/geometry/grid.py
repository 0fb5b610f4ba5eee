"""Voxel grids in the world, and sampling arrays on them; without VTK, which mrml/ brings in for speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid.

    Attributes:
        shape: (K, J, I).
        ijk_to_ras: 4x4 float64, from voxel (i, j, k, 1) to world RAS in mm.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        return tuple(float(x) for x in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)[::-1])

    @property
    def ras_to_ijk(self) -> np.ndarray:
        return np.linalg.inv(self.ijk_to_ras)

    @property
    def voxel_volume(self) -> float:
        """In mm3."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    def crop(self, box: Box) -> Grid:
        """The part of the grid that a box of (k, j, i) slices covers."""
        start = [s.start for s in box][::-1]
        return Grid(tuple(s.stop - s.start for s in box), self.ijk_to_ras @ _translation(start))

    def refined(self, factors: Sequence[int]) -> Grid:
        """Each voxel cut into `factors` (k, j, i) parts; the outer faces stay where they are."""
        return Grid(tuple(n * f for n, f in zip(self.shape, factors, strict=True)), self.ijk_to_ras @ _scaling(factors))

    def corners(self, margin: float = 0.5) -> np.ndarray:
        """(8, 3) world RAS of the corners, `margin` voxels beyond the outermost voxel centres."""
        ends = [(-margin, n - 1 + margin) for n in self.shape[::-1]]
        ijk = np.stack(np.meshgrid(*ends), -1).reshape(-1, 3)
        return transformed(self.ijk_to_ras, ijk)

    def box_around(self, points: np.ndarray, margin: int = 1) -> Box:
        """Slices (k, j, i) of the voxels around world points (N, 3), widened by `margin` and cut to the grid.

        Of zero size where the points lie outside the grid.
        """
        ijk = transformed(self.ras_to_ijk, points)
        low, high = np.floor(ijk.min(0)) - margin, np.ceil(ijk.max(0)) + margin + 1
        starts = [int(np.clip(x, 0, n)) for x, n in zip(low, self.shape[::-1], strict=True)]
        stops = [int(np.clip(x, 0, n)) for x, n in zip(high, self.shape[::-1], strict=True)]
        return tuple(slice(a, max(a, b)) for a, b in zip(starts[::-1], stops[::-1], strict=True))

    def same_as(self, other: Grid) -> bool:
        """Whether voxels coincide to a thousandth of a voxel."""
        if self.shape != other.shape:
            return False
        shift = transformed(self.ras_to_ijk, other.corners(0)) - transformed(self.ras_to_ijk, self.corners(0))
        return bool(np.abs(shift).max() < 1e-3)


def transformed(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 3) points mapped by a 4x4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def reslice(array: np.ndarray, source: Grid, grid: Grid, background: float, linear: bool) -> np.ndarray:
    """A (K, J, I) array on `source` at the voxel centres of `grid`, linearly (float32) or by the nearest voxel.

    Half a voxel beyond the outermost centres of `source` repeats them; further out is background, as in VTK.
    """
    matrix = without_noise(source.ras_to_ijk @ grid.ijk_to_ras)
    rows = [matrix[2 - axis, [2, 1, 0, 3]] for axis in range(3)]  # source k, j, i from grid k, j, i, 1
    ends = [(-0.5 - 1e-6, n - 0.5 + 1e-6) for n in array.shape]
    result = array.astype(np.float32) if linear else array.astype(np.uint8) if array.dtype == bool else array
    if all(np.count_nonzero(row[:3]) == 1 for row in rows):
        axes = [int(np.flatnonzero(row[:3])[0]) for row in rows]
        places = [row[axis] * np.arange(grid.shape[axis]) + row[3] for row, axis in zip(rows, axes, strict=True)]
        for n, place in enumerate(places):
            result = _along(result, n, place, linear)
        inside = [(place >= low) & (place <= high) for place, (low, high) in zip(places, ends, strict=True)]
        for n, valid in enumerate(inside):
            result[(slice(None),) * n + (~valid,)] = background
        result = result.transpose(np.argsort(axes))
    else:
        result = ndimage.affine_transform(
            result,
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


def _along(array: np.ndarray, axis: int, place: np.ndarray, linear: bool) -> np.ndarray:
    """A copy of an array at fractional indices along one axis; the outermost values go on beyond the ends."""
    place = np.clip(place, 0, array.shape[axis] - 1)
    if not linear:
        return np.take(array, np.floor(place + 0.5).astype(int), axis)
    first = place.astype(int)
    if np.array_equal(first, place):
        return np.take(array, first, axis)
    weight = (place - first).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    below = np.take(array, first, axis)
    above = np.take(array, np.minimum(first + 1, array.shape[axis] - 1), axis)
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
    array = array.astype(np.float32) if all(f == 1 for f in factors) else array
    for axis, factor in enumerate(factors):
        if factor > 1:
            array = _averaged_along(array, axis, factor)
    coarse = grid.ijk_to_ras @ _scaling([1 / f for f in factors])
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
    return tuple(max(1, int(r + 0.1)) for r in ratios[::-1])


def _scaling(factors: Sequence[float]) -> np.ndarray:
    """From voxels of a grid refined by `factors` (k, j, i) to voxels of the grid; outer faces coincide."""
    scale = 1 / np.asarray(factors, float)[::-1]
    return np.block([[np.diag(scale), (scale[:, None] - 1) / 2], [np.zeros((1, 3)), np.ones((1, 1))]])


def _translation(ijk: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix
