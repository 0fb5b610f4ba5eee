"""What a planner is asked: a patient, the voxels that the fit looks at, and what it is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .beams import Beams, DoseMatrix, Physics, Rays, VoxelIndex
from .bixel_factors import Views, make_views
from .feature_names import FEATURES
from .features import patient_features
from .fluence import FitVoxels, open_fields
from .planning_case import PlanningCase

POOL = (2, 4, 4)
"""Voxels (k, j, i) of a cell that the context network sees as one."""
MANY_TARGET_VOXELS = 15000
ORGAN_STEP, TISSUE_STEP = 2, 12
"""One of so many voxels takes part in the fit."""


@dataclass(frozen=True)
class Problem:
    """What a planner knows of a patient.

    Attributes:
        voxels: that take part in the fit.
        features: (N, len(FEATURES)) of them.
        coarse: (len(FEATURES), K', J', I') the same of all voxels, averaged over cells.
        place: (N, 3) x, y, z of the fit's voxels from -1 to 1 between the grid's outer faces.
        fluence: first guess.
        views: what the beams see.
    """

    voxels: FitVoxels
    features: Tensor
    coarse: Tensor
    place: Tensor
    fluence: Tensor
    views: Views


def make_problem(case: PlanningCase, gantry_angles: Sequence[float]) -> tuple[Problem, Rays, dict[str, Tensor]]:
    """The fit for a plannable case, how all voxels of the case's region see the beams, and `patient_features`.

    The isocentre is the PTVs' centroid; `gantry_angles` as for `Beams`.
    """
    case = case.to_fit()
    centre = [float(index.mean()) for index in np.nonzero(case.target)]
    beams = Beams(case.ct, centre, case.spacing, gantry_angles)
    voxels = _fit_voxels(case, beams)
    matrix = DoseMatrix(voxels.rays, Physics())
    fluence = open_fields(matrix, voxels.level)
    views = make_views(voxels, matrix, fluence, beams)
    everywhere = beams.rays(voxels_of(case.region))
    open_dose = np.zeros(case.ct.shape, np.float32)
    open_dose[case.region] = DoseMatrix(everywhere, Physics(), views.window).dose(fluence)
    open_dose /= open_dose[case.top].mean()
    told = patient_features(case, beams, open_dose)
    volumes = [told[name] for name in FEATURES]
    features = torch.stack([volume[voxels.index] for volume in volumes], 1)
    coarse = torch.cat([F.avg_pool3d(volume[None], POOL) for volume in volumes])
    place = (2 * torch.stack(voxels.index, 1) + 1) / torch.tensor(case.ct.shape) - 1
    return Problem(voxels, features, coarse, place.flip(1), fluence, views), everywhere, told


def _fit_voxels(case: PlanningCase, beams: Beams) -> FitVoxels:
    """Some of the voxels in targets, organs and other tissue."""
    in_organ = case.organ > 0
    target_step = 1 if np.count_nonzero(case.target) < MANY_TARGET_VOXELS else 2
    steps = (target_step, ORGAN_STEP, TISSUE_STEP)
    masks = (case.target, case.region & in_organ, case.region & ~in_organ & ~case.target)
    parts = [voxels_of(mask, step) for mask, step in zip(masks, steps, strict=True)]
    k, j, i = (torch.cat(axis) for axis in zip(*parts, strict=True))
    share = torch.tensor(steps).repeat_interleave(torch.tensor([len(part[0]) for part in parts]))
    at = k.numpy(), j.numpy(), i.numpy()
    level, top, organ = (torch.from_numpy(volume[at]) for volume in (case.level, case.top, case.organ))
    return FitVoxels((k, j, i), beams.rays((k, j, i)), share.float(), level, top, organ.long())


def voxels_of(mask: np.ndarray, step: int = 1) -> VoxelIndex:
    """Every `step`-th voxel of a mask (K, J, I)."""
    k, j, i = (torch.from_numpy(index[::step]) for index in np.nonzero(mask))
    return k, j, i
