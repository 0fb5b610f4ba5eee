"""Voxel grids in the world: from voxels (k, j, i) to places in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[slice, ...]
"""Slices (k, j, i)."""
LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid.

    Attributes:
        shape: (K, J, I).
        ijk_to_ras: 4x4 float64, from voxel (i, j, k, 1) to world RAS in mm.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @classmethod
    def lps_aligned(
        cls, shape: tuple[int, int, int], spacing: Sequence[float], origin: Sequence[float] | np.ndarray
    ) -> Grid:
        """I, J, K to Left, Posterior, Superior; (k, j, i) spacing in mm, origin as in `origin`."""
        place = np.diag([*spacing[::-1], 1.0])
        place[:3, 3] = origin
        return cls(shape, LPS_TO_RAS @ place)

    @property
    def origin(self) -> tuple[float, float, float]:
        """(x, y, z) of the centre of voxel (0, 0, 0) in mm, LPS."""
        x, y, z = (LPS_TO_RAS @ self.ijk_to_ras)[:3, 3].tolist()
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0).tolist()
        return k, j, i

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
        k, j, i = (s.stop - s.start for s in box)
        return Grid((k, j, i), self.ijk_to_ras @ _translation(start))

    def refined(self, factors: Sequence[int]) -> Grid:
        """Each voxel cut into `factors` (k, j, i) parts; the outer faces stay where they are."""
        k, j, i = (n * f for n, f in zip(self.shape, factors, strict=True))
        return Grid((k, j, i), self.ijk_to_ras @ refinement(factors))

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


def refinement(factors: Sequence[float]) -> np.ndarray:
    """From voxels of a grid refined by `factors` (k, j, i) to voxels of the grid; outer faces coincide."""
    scale = 1 / np.asarray(factors, float)[::-1]
    return np.block([[np.diag(scale), (scale[:, None] - 1) / 2], [np.zeros((1, 3)), np.ones((1, 1))]])


def _translation(ijk: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix
