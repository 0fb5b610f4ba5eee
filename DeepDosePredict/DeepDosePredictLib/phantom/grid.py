"""Grid of the phantom, and distances on it."""

from __future__ import annotations

import numpy as np

from ..patient.case import GRID

SPACING = (2.5, 3.906, 3.906)
MIDDLE = (GRID[2] - 1) / 2  # of the square axial slices, in voxels


def distance(mask: np.ndarray, reach_mm: float) -> np.ndarray:
    """Distance in mm from each voxel to the nearest voxel of a mask, up to `reach_mm`; axis by axis, exact."""
    squared = np.where(mask, 0, reach_mm**2).astype(np.float32)
    for axis, step in enumerate(SPACING):
        before = np.moveaxis(squared.copy(), axis, 0)
        after = np.moveaxis(squared, axis, 0)
        for n in range(1, int(reach_mm / step) + 1):
            np.minimum(after[n:], before[:-n] + (n * step) ** 2, out=after[n:])
            np.minimum(after[:-n], before[n:] + (n * step) ** 2, out=after[:-n])
    return np.sqrt(squared)
