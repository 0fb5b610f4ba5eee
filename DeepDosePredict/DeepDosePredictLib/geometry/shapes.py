"""Structures of any representation on any grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ..patient.grid import Box, Grid
from .volume import Reslice, averaged, reslice

SAMPLES = (3, 3, 3)
"""Samples (k, j, i) per voxel for coverage; an odd number, so that no voxel is covered by exactly half."""


class Shape(ABC):
    """Where a structure is."""

    @abstractmethod
    def corners(self) -> np.ndarray:
        """(N, 3) world points around the structure; none for an empty one."""

    @abstractmethod
    def centres_inside(self, grid: Grid) -> np.ndarray:
        """(K, J, I) bool, the voxels of a grid whose centres lie inside."""

    def inside(self, grid: Grid) -> tuple[Box, np.ndarray]:
        """Box of the grid (of zero size for an empty structure) and bool array of the voxel centres inside."""
        corners = self.corners()
        box = grid.box_around(corners) if len(corners) else (slice(0, 0),) * 3
        if any(s.stop <= s.start for s in box):
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), bool)
        return box, self.centres_inside(grid.crop(box))

    def coverage(self, grid: Grid) -> tuple[Box, np.ndarray]:
        """Box of the grid and float32 array of the part of each voxel that the structure covers, by finer samples."""
        corners = self.corners()
        box = grid.box_around(corners) if len(corners) else (slice(0, 0),) * 3
        if any(s.stop <= s.start for s in box):
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float32)
        part = grid.crop(box)
        fine = part.refined(SAMPLES)
        return box, averaged(self.centres_inside(fine), fine, SAMPLES)[0].astype(np.float32)


@dataclass(frozen=True)
class LabelmapShape(Shape):
    """A structure as a bool array (K, J, I), cropped to its voxels, on its own grid."""

    mask: np.ndarray
    grid: Grid
    reslice: Reslice = reslice

    @classmethod
    def cropped(cls, mask: np.ndarray, grid: Grid, reslice: Reslice = reslice) -> LabelmapShape:
        """Cut a mask to its voxels; quick on large volumes because each axis looks only at what the last one left."""
        for axis in range(3) if mask.size else ():
            used = np.flatnonzero(np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1).any(1))
            start, stop = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
            box = tuple(slice(start, stop) if a == axis else slice(0, n) for a, n in enumerate(mask.shape))
            mask, grid = mask[box], grid.crop(box)
        return cls(mask, grid, reslice)

    @classmethod
    def empty(cls) -> LabelmapShape:
        return cls(np.zeros((0, 0, 0), bool), Grid((0, 0, 0), np.eye(4)))

    def corners(self) -> np.ndarray:
        return self.grid.corners() if self.mask.size else np.zeros((0, 3))

    def centres_inside(self, grid: Grid) -> np.ndarray:
        return self.reslice(self.mask, self.grid, grid, 0, False).astype(bool)
