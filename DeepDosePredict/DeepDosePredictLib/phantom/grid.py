"""Grid of the phantom, and distances on it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..patient.case import GRID

SPACING = (2.5, 3.906, 3.906)
MIDDLE = (GRID[2] - 1) / 2  # of the square axial slices, in voxels


def distance(mask: np.ndarray, reach_mm: float) -> np.ndarray:
    """Distance in mm, float32, from each voxel to the nearest voxel of a mask, up to `reach_mm`."""
    nearest = distance_transform_edt(~mask, SPACING, return_distances=False, return_indices=True)
    squared = np.zeros(mask.shape, np.float32)
    places: tuple[np.ndarray, ...] = np.indices(mask.shape, sparse=True)
    for own, there, step in zip(places, nearest, SPACING, strict=True):
        squared += (((own - there) * step) ** 2).astype(np.float32)
    return np.sqrt(np.minimum(squared, np.float32(reach_mm**2)))
