"""Augmentations that leave a plan of nine equispaced coplanar beams a plan of such beams."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from data import AIR_HU, CACHED_ROIS, Sample
from DeepDosePredictLib.core.bitmask import decode
from DeepDosePredictLib.core.rois import DOSE_MASK

BEAM_STEP_DEGREES = 40
MULTIPLE = 16


class RandomTurn:
    """Turns a share of the patients to another of the nine positions, by seed, epoch and patient."""

    def __init__(self, seed: int, share: float):
        self.seed, self.share = seed, share

    def __call__(self, index: int, sample: Sample, epoch: int) -> Sample:
        draw = np.random.default_rng([self.seed, epoch, index, 3])
        return rotated(sample, int(draw.integers(1, 9))) if draw.random() < self.share else sample


def rotated(sample: Sample, steps: int) -> Sample:
    """The patient turned in the axial plane by `steps` times 40 degrees, on a canvas that just holds the dose mask.

    The nine beams (0, 40, ..., 320 degrees) fall on each other. CT, dose and rough plan are interpolated linearly,
    structures by the nearest voxel; voxels must be square in plane. Dose outside the turned mask, which interpolation
    leaves there, is set to zero.
    """
    if steps % 9 == 0:
        return sample
    angle = np.deg2rad(BEAM_STEP_DEGREES * steps)
    mask = decode(sample.bits, CACHED_ROIS.index(DOSE_MASK)).any(0)
    j, i = (c.double() for c in torch.nonzero(mask, as_tuple=True))
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = turn @ torch.stack((j, i))
    low, high = places.amin(1), places.amax(1)
    extent = [-(-int(n) // MULTIPLE) * MULTIPLE for n in torch.ceil(high - low) + 1]
    corner = (low + high) / 2 - (torch.tensor(extent) - 1) / 2
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in extent), indexing="ij")).double()
    source = torch.einsum("ab,bji->aji", turn.T, grid + corner[:, None, None])
    size = torch.tensor(mask.shape)
    # grid_sample takes (x, y) from -1 to 1 between the outermost centres.
    where = (2 * source / (size[:, None, None] - 1) - 1).flip(0).permute(1, 2, 0)[None].float()
    volumes = torch.stack((sample.ct.float() - AIR_HU, sample.dose, sample.beams.float())).flatten(0, 1)[None]
    turned = F.grid_sample(volumes, where, align_corners=True)[0].unflatten(0, (3, -1))
    nearest = source.round().long()
    inside = ((nearest >= 0) & (nearest < size[:, None, None])).all(0)
    flat = torch.where(inside, nearest[0] * size[1] + nearest[1], 0).flatten()
    bits = sample.bits.flatten(1).index_select(1, flat).unflatten(1, tuple(extent)) * inside
    ct = (turned[0].round() + AIR_HU).to(sample.ct.dtype)
    dose = turned[1] * decode(bits, CACHED_ROIS.index(DOSE_MASK))
    return Sample(sample.name, ct, bits, dose, _outside(sample, bits), sample.spacing, turned[2].half())


def _outside(sample: Sample, bits: Tensor) -> Tensor:
    """Voxels of each structure outside the crop, those that left it with the corners included."""
    return sample.outside + (_sizes(sample.bits) - _sizes(bits)).clamp(min=0)


def _sizes(bits: Tensor) -> Tensor:
    """Voxels of each structure."""
    n = len(CACHED_ROIS)
    counts = torch.from_numpy(np.bincount(bits.flatten().numpy(), minlength=2**n))
    members = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    return (counts[:, None] * members).sum(0)
