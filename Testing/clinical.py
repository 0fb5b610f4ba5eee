"""The phantom as a clinic would have it: a large, finer, oblique CT with its segments and plan dose."""

from __future__ import annotations

import numpy as np

from DeepDosePredictLib.patient.case import Case
from mrml_scene import Scene, lps_grid

from DeepDosePredictLib.mrml.geometry import Grid, reslice  # isort: skip (needs slicer-core, for which mrml_scene looks)

SHAPE, SPACING = (160, 512, 512), (2.0, 0.977, 0.977)


def rotation(degrees: float, axis: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    """4x4 rotation about an axis through the origin."""
    unit = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def clinical_grid(
    case: Case, degrees: float = 5.0, shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING
) -> Grid:
    """A CT grid, rotated about the middle of the case's grid."""
    source = lps_grid(case.spacing, case.origin)
    middle = source[:3, :3] @ (np.array(case.shape[::-1]) - 1) / 2 + source[:3, 3]
    matrix = rotation(degrees) @ lps_grid(spacing)
    matrix[:3, 3] = middle - matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return Grid(shape, matrix)


def clinical_nodes(scene: Scene, case: Case, grid: Grid) -> tuple:
    """(CT node, segmentation node, dose node); CT and segments on `grid`, dose on the case's own grid.

    Segments are smoothed: a voxel belongs to one where the case's mask, linearly interpolated, exceeds one half.
    """
    source = case.grid
    ct = np.rint(reslice(case.ct, source, grid, -1000, linear=True)).astype(np.int16)
    masks = {}
    for roi in case.rois.present():
        masks[roi] = reslice(case.rois[roi].astype(np.float32), source, grid, 0, linear=True) >= 0.5
    ct_node = scene.volume(ct, grid.ijk_to_ras, "CT")
    dose_node = None if case.dose is None else scene.volume(case.dose, source.ijk_to_ras, "Plan dose")
    return ct_node, scene.segmentation(masks, grid.ijk_to_ras), dose_node
