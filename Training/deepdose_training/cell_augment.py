"""Augmentation of patients on cells: turned, magnified, flipped, cut to slabs, with derived dose masks.

Everything follows from a generator, so a resumed run goes on as if it had never stopped. All volumes move together,
plan, open fields and places in the patient too, so what the beams can do stays true; a magnified patient is the same
one on a finer grid, so the spacing changes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from DeepDosePredictLib.model.channels import SPACING_UNIT_MM
from DeepDosePredictLib.model.contract import ChannelSpec

from .cells import CellPatient
from .configuration import AugmentConfig, TrainingConfig
from .dataset import near_targets

LARGEST_LOGARITHM = 0.3
MARGIN = 1
"""Cells kept around the mask in plane."""


@dataclass(frozen=True)
class Example:
    """What one step learns from.

    Attributes:
        x: (C, k, j, i) inputs.
        dose, weight: (k, j, i); the sum of weight times error estimates the patient's mean error.
    """

    x: Tensor
    dose: Tensor
    weight: Tensor


@dataclass(frozen=True)
class CellSource:
    """A patient where examples are drawn from: volumes on the device that computes, what decides on extents beside it.

    Attributes:
        volumes: (C + 2, k, j, i) float16: channels, dose and body.
        occupied: (k, j, i) bool, on the CPU: cells that hold any of the dose mask.
        cells: sum of the mask's shares.
        spacing: (k, j, i) of the voxels in mm.
    """

    volumes: Tensor
    occupied: Tensor
    cells: float
    spacing: tuple[float, ...]

    @classmethod
    def of(cls, patient: CellPatient, spec: ChannelSpec, device: torch.device) -> CellSource:
        mask = patient.channels[spec.names.index("dose_mask")].float()
        volumes = torch.cat((patient.channels, patient.dose, patient.body)).to(device)
        return cls(volumes, mask > 0, float(mask.sum()), tuple(patient.sample.spacing.tolist()))


class ExampleMaker:
    """Draws examples as a configuration says.

    Args:
        cell: voxels of a cell along every axis.
    """

    def __init__(self, config: TrainingConfig, spec: ChannelSpec, cell: int):
        assert config.augment
        self.config, self.spec, self.cell = config, spec, cell
        self.augment: AugmentConfig = config.augment
        self.mirrored = spec.mirrored()
        self.targets = [n for n, name in enumerate(spec.names) if name.startswith("ptv/")]

    def draw(self, source: CellSource, draw: np.random.Generator) -> Example:
        """The patient as `draw` changes them."""
        degrees, (along, across) = self._warp(draw)
        left_right, head_foot = draw.random(2) < (self.config.mirror, self.config.mirror_axial)
        slices = int(draw.choice(self.augment.slabs))
        everything = max(2, round(len(source.occupied) * along))
        slab, share = drawn_slab(everything, slices or everything, draw)
        place = (slab - (everything - 1) / 2) / along + (len(source.occupied) - 1) / 2
        place = place.clamp(0, len(source.occupied) - 1)
        volumes = _slab(source.volumes, place)
        volumes = in_plane(volumes, source.occupied[place.round().long()].any(0), degrees, across)
        volumes = volumes.flip([axis for axis, flip in ((-1, left_right), (-3, head_foot)) if flip])
        x, dose, body = volumes[:-2], volumes[-2], volumes[-1]
        if left_right:
            x = x[self.mirrored]
        k, _, i = source.spacing
        self._set_spacing(x, k / along, i / across)
        if "density" in self.spec.names:
            density = x[self.spec.names.index("density")]
            density += draw.normal(0, self.augment.density) * (density > 0.5)
        mask = self.spec.names.index("dose_mask")
        if draw.random() < self.config.derived_mask:
            x[mask] = self._derived_mask(draw, x, x[mask], body, self.cell * k / along)
        share = share.flip(0) if head_foot else share
        return Example(x, dose, x[mask] / (share[:, None, None].to(x.device) * along * across**2 * source.cells))

    def _warp(self, draw: np.random.Generator) -> tuple[float, tuple[float, float]]:
        """(degrees, (magnification along the axis, in plane))."""
        if draw.random() >= self.augment.warp:
            return 0.0, (1.0, 1.0)
        logarithms = draw.normal(0, (self.augment.along, self.augment.across))
        along, across = np.exp(logarithms.clip(-LARGEST_LOGARITHM, LARGEST_LOGARITHM)).tolist()
        return float(draw.normal(0, self.augment.turn_degrees)), (along, across)

    def _set_spacing(self, x: Tensor, k: float, i: float) -> None:
        for name, spacing in (("spacing/k", k), ("spacing/i", i)):
            if name in self.spec.names:
                x[self.spec.names.index(name)] = spacing / SPACING_UNIT_MM

    def _derived_mask(
        self, draw: np.random.Generator, x: Tensor, given: Tensor, body: Tensor, spacing_k: float
    ) -> Tensor:
        """As `dataset.derived_masks`: given mask or body, near the targets."""
        targets = (x[self.targets] > 0).any(0)
        if not targets.any():
            return given
        near = near_targets(targets, draw, spacing_k)
        if draw.random() < 0.5:
            given = body * (given.sum((1, 2), keepdim=True) > 0)
        return given * near[:, None, None]


def drawn_slab(everything: int, count: int, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Neighbouring slices, of `everything` at most `count`, and the share of draws that each of them is in.

    Up to half of a slab may lie beyond the ends, which would hardly ever be seen otherwise. With one over its share as
    a slice's weight, the weights of a patient add up to the same in the mean of many draws.
    """
    count = min(count, everything)
    beyond = count // 2 if count < everything else 0
    starts = np.arange(-beyond, everything - count + beyond + 1)
    start = int(draw.choice(starts))
    slices = np.arange(max(start, 0), min(start + count, everything))
    holding = (starts <= slices[:, None]) & (slices[:, None] < starts + count)
    return torch.from_numpy(slices), torch.from_numpy(holding.mean(1)).float()


def _slab(volumes: Tensor, place: Tensor) -> Tensor:
    """Volumes (C, K, J, I) at the slices `place` (K',), linearly between slices."""
    below = place.floor().long().clamp(max=volumes.shape[1] - 2)
    share = (place - below)[None, :, None, None].to(volumes.device)
    lower, upper = (volumes.index_select(1, slices.to(volumes.device)).float() for slices in (below, below + 1))
    return torch.lerp(lower, upper, share)


def in_plane(volumes: Tensor, occupied: Tensor, degrees: float, across: float) -> Tensor:
    """Volumes (C, K, J, I) turned and magnified in plane, on a grid that just holds the mask with a margin.

    A turned patient's places in the patient stay those of the voxels, so they tell the turn.

    Args:
        occupied: (J, I) bool, on the CPU: where the mask is.
    """
    places = torch.nonzero(occupied).numpy()
    if not len(places):  # slices above or below the mask
        return volumes[..., :8, :8].clone()
    if degrees == 0 and across == 1:
        low, high = np.maximum(places.min(0) - MARGIN, 0), places.max(0) + 1 + MARGIN
        return volumes[..., low[0] : high[0], low[1] : high[1]].clone()
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * across
    turned = places @ turn.T
    low, high = turned.min(0), turned.max(0)
    extent = np.ceil(high - low - 1e-3).astype(int) + 1 + 2 * MARGIN
    corner = (low + high) / 2 - (extent - 1) / 2
    theta = _grid_matrix(np.linalg.inv(turn), corner, extent, np.array(volumes.shape[2:]))
    size = [1, 1, *extent.tolist()]
    where = F.affine_grid(theta[None].to(volumes.device), size, align_corners=False)
    return F.grid_sample(volumes.flatten(0, 1)[None], where, align_corners=False)[0].unflatten(0, volumes.shape[:2])


def _grid_matrix(back: np.ndarray, corner: np.ndarray, extent: np.ndarray, size: np.ndarray) -> Tensor:
    """(2, 3) for `affine_grid`: from places in the new plane to places in the old one, both from -1 to 1, (i, j).

    Args:
        back: (2, 2) from (j, i) in the new plane, counted from `corner` on, to (j, i) in the old one.
        extent, size: rows and columns of the new plane and of the old one.
    """
    # Row or column n of N lies at (2 n + 1) / N - 1.
    linear = back * extent / 2 * 2 / size[:, None]
    offset = (back @ ((extent - 1) / 2 + corner) * 2 + 1) / size - 1
    return torch.from_numpy(np.column_stack((linear[::-1, ::-1], offset[::-1]))).float()
