"""Augmentations that leave a plan of nine equispaced coplanar beams (nearly) a plan of such beams."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from DeepDosePredictLib.model.network import STRIDE
from DeepDosePredictLib.patient.roi_mask import decode
from DeepDosePredictLib.patient.rois import DOSE_MASK

from .configuration import TrainingConfig
from .dataset import AIR_HU, CACHED_ROIS, Sample

BEAM_STEP_DEGREES = 40
LARGEST_LOGARITHM = 0.3


@dataclass(frozen=True)
class Stretch:
    """How a patient is turned and magnified.

    By multiples of 40 degrees the nine beams (0, 40, ..., 320) fall on each other. A magnified patient is the same one
    on a finer grid: the spacing changes with it.

    Attributes:
        degrees: turn in the axial plane.
        along, across: magnification along the patient's axis and in the axial plane.
    """

    degrees: float = 0.0
    along: float = 1.0
    across: float = 1.0

    @classmethod
    def drawn(cls, config: TrainingConfig, epoch: int, index: int) -> Stretch:
        """As seed, epoch and patient decide, by `rotate` and `affine` of the configuration."""
        draw, affine = np.random.default_rng([config.seed, epoch, index, 3]), config.affine
        degrees = BEAM_STEP_DEGREES * float(draw.integers(1, 9)) if draw.random() < config.rotate else 0.0
        logarithms = np.zeros(2)
        if draw.random() < affine.share:
            degrees += draw.normal(0, affine.degrees)
            logarithms = draw.normal(0, (affine.along, affine.across)).clip(-LARGEST_LOGARITHM, LARGEST_LOGARITHM)
        return cls(degrees, *np.exp(logarithms).tolist())

    @property
    def changes(self) -> bool:
        return self != Stretch()

    @property
    def volume(self) -> float:
        """Magnification of a structure's number of voxels."""
        return self.along * self.across**2

    def spacing(self, spacing: Tensor) -> Tensor:
        """Of the stretched patient's voxels, from that of the patient's (k, j, i)."""
        return spacing / torch.tensor([self.along, self.across, self.across], dtype=spacing.dtype)

    def source(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Where the voxels of the stretched volume come from: k (K',), and j and i (2, J', I'), in voxels.

        The new volume, in multiples of 16, holds the stretched mask (k, j, i). Voxels must be square in plane.
        """
        angle = math.radians(self.degrees)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        places = turn @ torch.nonzero(mask.any(0)).float().T * self.across
        low, high = places.amin(1), places.amax(1)
        extent = [_multiple(math.ceil(n - 1e-3) + 1) for n in (high - low).tolist()]
        corner = (low + high) / 2 - (torch.tensor(extent) - 1) / 2
        grid = torch.stack(torch.meshgrid(*map(torch.arange, extent), indexing="ij")).float() + corner[:, None, None]
        slices = _multiple(round(mask.shape[0] * self.along))
        k = (torch.arange(slices) - (slices - 1) / 2) / self.along + (mask.shape[0] - 1) / 2
        return k, torch.einsum("ab,bji->aji", turn.T, grid) / self.across


def _multiple(n: int) -> int:
    return -(-n // STRIDE) * STRIDE


def interpolated(volumes: Tensor, k: Tensor, plane: Tensor) -> Tensor:
    """Volumes (C, K, J, I) at the places of `Stretch.source`, linearly; 0 around them."""
    size = torch.tensor(volumes.shape[1:])
    k = (2 * k + 1) / size[0] - 1
    j, i = (2 * plane + 1) / size[1:, None, None] - 1
    where = torch.stack(torch.broadcast_tensors(i, j, k[:, None, None]), -1)
    return F.grid_sample(volumes[None], where[None], align_corners=False)[0]


def random_stretch(config: TrainingConfig) -> Callable[[int, Sample, int], Sample]:
    """Stretches patients as a configuration says, by seed, epoch and patient."""
    return lambda index, sample, epoch: stretched(sample, Stretch.drawn(config, epoch, index))


def stretched(sample: Sample, stretch: Stretch) -> Sample:
    """The stretched patient on a grid that just holds the dose mask.

    CT, dose and plan are interpolated linearly, structures by the nearest voxel. Dose outside the new mask, which
    interpolation leaves there, is set to zero.
    """
    if not stretch.changes:
        return sample
    k, plane = stretch.source(decode(sample.bits, CACHED_ROIS.index(DOSE_MASK)))
    volumes = torch.stack((sample.ct.float() - AIR_HU, sample.dose, sample.plan_dose.float()))
    ct, dose, plan_dose = interpolated(volumes, k, plane)
    bits = _nearest(sample.bits, k, plane)
    dose = dose * decode(bits, CACHED_ROIS.index(DOSE_MASK))
    left = (_sizes(sample.bits) * stretch.volume - _sizes(bits)).clamp(min=0)  # with the corners of the grid
    outside = (sample.outside * stretch.volume + left).round().long()
    return Sample(
        sample.name,
        (ct.round() + AIR_HU).to(sample.ct.dtype),
        bits,
        dose,
        outside,
        stretch.spacing(sample.spacing),
        plan_dose.half(),
    )


def _nearest(bits: Tensor, k: Tensor, plane: Tensor) -> Tensor:
    slices, rows, columns = bits.shape
    k, (j, i) = k.round().long(), plane.round().long()
    inside = (j >= 0) & (j < rows) & (i >= 0) & (i < columns)
    flat = torch.where(inside, j * columns + i, 0).flatten()
    found = bits.flatten(1).index_select(0, k.clamp(0, slices - 1)).index_select(1, flat)
    return found.unflatten(1, tuple(inside.shape)) * (inside & ((k >= 0) & (k < slices))[:, None, None])


def _sizes(bits: Tensor) -> Tensor:
    """Voxels of each structure."""
    n = len(CACHED_ROIS)
    counts = torch.from_numpy(np.bincount(bits.flatten().numpy(), minlength=2**n))
    members = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    return (counts[:, None] * members).sum(0)
