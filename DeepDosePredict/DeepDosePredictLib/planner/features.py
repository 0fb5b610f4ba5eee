"""What planner and network are told of every voxel of a patient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..patient.rois import OAR_KINDS
from .beams import Beams
from .planning_case import PlanningCase

LOW_LEVEL, MIDDLE_LEVEL = 0.85, 0.95
"""Up to where prescriptions, in units of the highest one, count as such."""


def patient_features(case: PlanningCase, beams: Beams, open_dose: np.ndarray) -> dict[str, Tensor]:
    """{name: (K, J, I) float32, expanded where it is the same along an axis} of `FEATURES` and `PLACES`.

    Args:
        open_dose: (K, J, I) float32 dose of open fields, in units of the mean in the highest target.
    """
    k, j, i = (torch.arange(n).view([-1 if axis == a else 1 for a in range(3)]) for axis, n in enumerate(case.ct.shape))
    spacing, centre = case.spacing, beams.centre
    to_target, to_top = (distance_mm(torch.from_numpy(mask), spacing) for mask in (case.target, case.top))
    slices = np.nonzero(case.target.any((1, 2)))[0]
    cord = torch.from_numpy(_cord(case.organ, centre[1] + 30 / spacing[1]))[:, None, None]
    level = torch.from_numpy(case.level)
    low, high = (level > 0) & (level <= LOW_LEVEL), level > MIDDLE_LEVEL
    middle = (level > LOW_LEVEL) & ~high
    values: dict[str, Tensor | float | bool] = {
        "far from the targets": torch.log1p(to_target) / 3,
        "far from the highest target": torch.log1p(to_top) / 3,
        "near the targets": torch.exp(-to_target / 15),
        "near the highest target": torch.exp(-to_top / 15),
        **{kind: torch.from_numpy(case.organ == n) for n, kind in enumerate(OAR_KINDS, 1)},
        "low level": low,
        "middle level": middle,
        "high level": high,
        "behind the cord": torch.tanh((j - cord) * spacing[1] / 30),
        "behind the isocentre": (j - centre[1]) * spacing[1] / 100,
        "beside the isocentre": ((i - centre[2]) * spacing[2] / 100).abs(),
        "beyond the targets' slices": torch.maximum(slices[0] - k, k - slices[-1]).clamp(min=0) * spacing[0] / 50,
        "dose of open fields": torch.from_numpy(open_dose),
        "least depth": beams.depth.amin(0) / 100,
        "mean depth": beams.depth.mean(0) / 200,
        "dose mask": torch.from_numpy(case.dose_mask),
        "slice spacing": spacing[0] / 4,
        "pixel spacing": spacing[1] / 4,
        "volume of the targets": math.log(np.count_nonzero(case.target) * math.prod(spacing) / 4e5),
        "any middle level": bool(middle.any()),
        "any low level": bool(low.any()),
        "CT": torch.from_numpy(case.ct.clip(-1000, 1000)) / 1000,
        "left of the isocentre": (i - centre[2]) * spacing[2] / 100,
        "above the isocentre": (k - centre[0]) * spacing[0] / 100,
    }
    return {name: torch.as_tensor(value).float().expand(case.ct.shape) for name, value in values.items()}


def _cord(organ: np.ndarray, otherwise: float) -> np.ndarray:
    """(K,) the most posterior j of spinal cord and brainstem in every slice, interpolated where there is none."""
    cord = ((organ == 1) | (organ == 2)).any(2)
    slices = np.nonzero(cord.any(1))[0]
    if not len(slices):
        return np.full(len(organ), otherwise)
    last = cord.shape[1] - 1 - cord[slices, ::-1].argmax(1)
    return np.interp(np.arange(len(organ)), slices, last)


def distance_mm(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """(K, J, I) distance to the voxels of a mask, 0 inside; to a voxel exact. Computed on pairs of voxels in plane."""
    share = F.avg_pool3d(mask[None].float(), (1, 2, 2))[0]
    cells = share >= min(0.5, float(share.max()))
    square = (_slices_to(cells) * spacing[0]).square()
    for axis, step in ((1, 2 * spacing[1]), (2, 2 * spacing[2])):
        line = square.movedim(axis, 0)
        squares = ((torch.arange(len(line))[:, None] - torch.arange(len(line))) * step).square().float()
        nearest = torch.full_like(line, math.inf)
        for other, offset in zip(line, squares.view(len(line), len(line), 1, 1), strict=True):
            torch.minimum(nearest, other + offset, out=nearest)
        square = nearest.movedim(0, axis)
    distance = F.interpolate(square.sqrt()[None, None], size=mask.shape, mode="trilinear", align_corners=False)[0, 0]
    return distance * ~mask


def _slices_to(mask: Tensor) -> Tensor:
    """(K, J, I) how many slices away the nearest voxel of a mask is in the same column, infinite where none is."""
    k = torch.arange(float(len(mask)))[:, None, None]
    below = k - torch.where(mask, k, -math.inf).cummax(0).values
    above = torch.where(mask, k, math.inf).flip(0).cummin(0).values.flip(0) - k
    return torch.minimum(below, above)
