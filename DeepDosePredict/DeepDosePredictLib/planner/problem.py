"""What a planner is asked: a patient, the voxels that the fit looks at, and what it is told of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..patient.case import Case
from ..patient.grid import Box
from ..patient.roi_mask import RoiMask
from ..patient.rois import OAR_KINDS, oar_kind, prescription
from .beams import Beams, DoseMatrix, Physics, Rays, VoxelIndex
from .bixel_factors import Views, make_views
from .fluence import FitVoxels, open_fields

FEATURES = (
    "far from the targets",
    "far from the highest target",
    "near the targets",
    "near the highest target",
    *OAR_KINDS,
    "low level",
    "middle level",
    "high level",
    "behind the cord",
    "behind the isocentre",
    "beside the isocentre",
    "beyond the targets' slices",
    "dose of open fields",
    "least depth",
    "mean depth",
    "dose mask",
    "slice spacing",
    "pixel spacing",
    "volume of the targets",
    "any middle level",
    "any low level",
    "CT",
)
"""What the planner is told of a voxel; all the same for a patient and the mirrored one."""
LOW_LEVEL, MIDDLE_LEVEL = 0.85, 0.95
"""Up to where prescriptions, in units of the highest one, count as such."""
EVERYWHERE: Box = slice(None), slice(None), slice(None)
TISSUE_HU = -300
POOL = (2, 4, 4)
"""Voxels (k, j, i) of a cell that the context network sees as one."""
MANY_TARGET_VOXELS = 15000
ORGAN_STEP, TISSUE_STEP = 2, 12
"""One of so many voxels takes part in the fit."""


@dataclass(frozen=True)
class PlanningCase:
    """A case, or a box of its grid, as planners see it: targets by level, organs by kind.

    Attributes:
        ct: (K, J, I) HU, an LPS grid.
        level: (K, J, I) float32 prescription in units of the highest one, 0 outside the PTVs.
        organ: (K, J, I) kind of organ at risk, 1 + its place in `OAR_KINDS`, or 0.
        dose_mask: (K, J, I) bool, voxels where dose can be.
        spacing: (k, j, i) in mm.
    """

    ct: np.ndarray
    level: np.ndarray
    organ: np.ndarray
    dose_mask: np.ndarray
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, case: Case, box: Box = EVERYWHERE) -> PlanningCase:
        """Structures that are neither PTV nor organ of a known kind are left out."""
        ct, rois = case.ct[box], RoiMask(case.rois.bits[box], case.rois.names)
        prescribed = {name: dose for name in rois.present() if (dose := prescription(name))}
        level, organ = np.zeros(ct.shape, np.float32), np.zeros(ct.shape, np.uint8)
        for name, dose in prescribed.items():
            level = np.maximum(level, rois[name] * np.float32(dose / max(prescribed.values())))
        for n, kind in enumerate(OAR_KINDS, 1):
            for name in rois.present():
                if oar_kind(name) == kind:
                    organ[rois[name]] = n
        return cls(ct, level, organ, case.dose_mask[box], case.spacing)

    @property
    def region(self) -> np.ndarray:
        """Voxels that get dose: more than the dose mask, so that the plan hardly depends on where the mask ends."""
        return self.dose_mask | (self.ct > TISSUE_HU)

    @property
    def plannable(self) -> bool:
        """Whether any PTV lies in the dose mask."""
        return bool((self.dose_mask & (self.level > 0)).any())

    def to_fit(self) -> PlanningCase:
        """Targets only where dose can be, organs only where no target is."""
        level = self.level * self.dose_mask
        return replace(self, level=level, organ=self.organ * ~(level > 0))

    @property
    def target(self) -> np.ndarray:
        return self.level > 0

    @property
    def top(self) -> np.ndarray:
        """The target of the highest prescription."""
        return self.level == self.level.max()


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


def make_problem(case: PlanningCase, gantry_angles: Sequence[float]) -> tuple[Problem, Rays]:
    """The fit for a plannable case, and how all voxels of the case's region see the beams.

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
    values = _features(case, beams, open_dose)
    volumes = [torch.as_tensor(values[name]).float().expand(case.ct.shape) for name in FEATURES]
    features = torch.stack([volume[voxels.index] for volume in volumes], 1)
    coarse = torch.cat([F.avg_pool3d(volume[None], POOL) for volume in volumes])
    place = (2 * torch.stack(voxels.index, 1) + 1) / torch.tensor(case.ct.shape) - 1
    return Problem(voxels, features, coarse, place.flip(1), fluence, views), everywhere


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


def _features(case: PlanningCase, beams: Beams, open_dose: np.ndarray) -> dict[str, Tensor | float | bool]:
    """{name: volume (K, J, I) or what broadcasts to it} of `FEATURES`."""
    k, j, i = (torch.arange(n).view([-1 if axis == a else 1 for a in range(3)]) for axis, n in enumerate(case.ct.shape))
    spacing, centre = case.spacing, beams.centre
    to_target, to_top = (distance_mm(torch.from_numpy(mask), spacing) for mask in (case.target, case.top))
    slices = np.nonzero(case.target.any((1, 2)))[0]
    cord = torch.from_numpy(_cord(case.organ, centre[1] + 30 / spacing[1]))[:, None, None]
    level = torch.from_numpy(case.level)
    low, high = (level > 0) & (level <= LOW_LEVEL), level > MIDDLE_LEVEL
    middle = (level > LOW_LEVEL) & ~high
    return {
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
    }


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


def voxels_of(mask: np.ndarray, step: int = 1) -> VoxelIndex:
    """Every `step`-th voxel of a mask (K, J, I)."""
    k, j, i = (torch.from_numpy(index[::step]) for index in np.nonzero(mask))
    return k, j, i
