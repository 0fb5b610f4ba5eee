"""Dose of coplanar beams: where can beams from these angles bring dose, and how much?

A beam model that is simple on purpose: divergent rays, exponential attenuation with build-up, two Gaussians of
penumbra and scatter. `fluence` fits the beams' fluences to a wanted dose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

SAD_MM = 1000.0
BIXEL_MM = 5.0
DEPTH_STEP_MM = 8.0

VoxelIndex = tuple[Tensor, Tensor, Tensor]
"""(N,) each: k, j, i."""


@dataclass(frozen=True)
class Physics:
    """Properties of the beams, as numbers or as scalar tensors with gradients.

    Attributes:
        attenuation: per mm of water.
        build_up, build_up_mm: share of the dose that is missing at the surface, and how fast it builds up.
        penumbra_k_mm, penumbra_mm: sigma of the fluence's blur along the patient's axis and across the beam.
        scatter, scatter_mm: share and sigma of a wider blur.
    """

    attenuation: float | Tensor = 0.0045
    build_up: float | Tensor = 0.6
    build_up_mm: float | Tensor = 4.0
    penumbra_k_mm: float | Tensor = 6.0
    penumbra_mm: float | Tensor = 6.0
    scatter: float | Tensor = 0.0
    scatter_mm: float | Tensor = 20.0


class Beams:
    """Coplanar beams through a patient.

    Args:
        ct: (K, J, I) HU, an LPS grid: I to patient Left, J to Posterior.
        centre: (k, j, i) of the isocentre in voxels.
        spacing: (k, j, i) in mm.
        gantry_angles: IEC 61217 in degrees, patient head first supine: 0 from anterior, 90 from the patient's left.

    Attributes:
        shape: (slices, beams, bixels) of a fluence at the isocentre.
        depth: (beams, K, J, I) radiological depth in mm.
    """

    def __init__(
        self, ct: np.ndarray, centre: Sequence[float], spacing: Sequence[float], gantry_angles: Sequence[float]
    ):
        self.centre, self.spacing, self.gantry_angles = tuple(centre), _triple(spacing), tuple(gantry_angles)
        half_width = 0.6 * math.hypot(ct.shape[1] * spacing[1], ct.shape[2] * spacing[2])
        self.shape = ct.shape[0], len(gantry_angles), 2 * math.ceil(half_width / BIXEL_MM) + 2
        density = ((torch.from_numpy(np.ascontiguousarray(ct)).float() + 1000) / 1000).clamp(0, 2)
        y = (torch.arange(ct.shape[1])[:, None] - centre[1]) * spacing[1]
        x = (torch.arange(ct.shape[2]) - centre[2]) * spacing[2]
        positions, magnifications, depths = [], [], []
        for angle in np.deg2rad(np.asarray(gantry_angles, float)):
            along, lateral = y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle)
            magnification = SAD_MM / (SAD_MM + along)
            position = lateral * magnification / BIXEL_MM + self.shape[2] / 2
            positions.append(position.clamp(0, self.shape[2] - 1.001).float())
            magnifications.append(magnification.float())
            depths.append(self._depth(density, float(angle), along, lateral))
        self.position, self.magnification, self.depth = map(torch.stack, (positions, magnifications, depths))

    def _depth(self, density: Tensor, angle: float, along: Tensor, lateral: Tensor) -> Tensor:
        """Depth along parallel rays, summed on a coarse grid turned into the beam's axes."""
        half = math.ceil(float(max(along.abs().max(), lateral.abs().max())) / DEPTH_STEP_MM) + 1
        t = torch.arange(-half, half + 1) * DEPTH_STEP_MM
        u = t[:, None]
        j = (u * np.sin(angle) + t * np.cos(angle)) / self.spacing[1] + self.centre[1]
        i = (u * np.cos(angle) - t * np.sin(angle)) / self.spacing[2] + self.centre[2]
        turned = _interpolate(density, j, i)
        depth = (turned.cumsum(2) - turned / 2) * DEPTH_STEP_MM
        return _interpolate(depth, lateral / DEPTH_STEP_MM + half, along / DEPTH_STEP_MM + half)

    def rays(self, voxels: VoxelIndex) -> Rays:
        """How N voxels, given by their k, j and i, see the beams."""
        k, j, i = voxels
        slices, beams, bixels = self.shape
        pixel = j * self.position.shape[2] + i
        voxel = k * self.position[0].numel() + pixel
        index = torch.empty((beams, 2, len(k)), dtype=torch.int32)
        share, depth = torch.empty((beams, 2, len(k))), torch.empty((beams, len(k)))
        for b in range(beams):
            # index_select takes less than half the time of take and of indexing.
            magnification = self.magnification[b].flatten().index_select(0, pixel)
            position = self.position[b].flatten().index_select(0, pixel)
            torch.index_select(self.depth[b].flatten(), 0, voxel, out=depth[b])
            z = ((k - self.centre[0]) * magnification + self.centre[0]).round().clamp(0, slices - 1)
            u = position.floor()
            index[b, 0] = (z * beams + b) * bixels + u
            torch.add(index[b, 0], 1, out=index[b, 1])
            square = magnification.square()
            torch.mul(square, position - u, out=share[b, 1])
            torch.sub(square, share[b, 1], out=share[b, 0])
        return Rays(index.flatten(0, 1), share, depth, self.shape, self.spacing)


@dataclass(frozen=True)
class Rays:
    """Of N voxels: the two bixels of every beam that they lie behind.

    Attributes:
        index: (2 beams, N) int32 places in a flat fluence.
        share: (beams, 2, N) linear interpolation between the two, times the square of the magnification.
        depth: (beams, N) radiological depth in mm.
    """

    index: Tensor
    share: Tensor
    depth: Tensor
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


Window = tuple[slice, slice]
"""Slices of a fluence (slices, beams, bixels) along its first and last axes."""
EVERYWHERE: Window = slice(None), slice(None)


def window_of(fluence: Tensor) -> Window:
    """Where a fluence (slices, beams, bixels) is not 0, along its first and last axes."""
    used = (fluence != 0).any(1)
    k, u = (torch.nonzero(used.any(axis)).flatten().tolist() for axis in (1, 0))
    return slice(k[0], k[-1] + 1), slice(u[0], u[-1] + 1)


class DoseMatrix:
    """Dose at N voxels per fluence (slices, beams, bixels), under a beam model.

    Args:
        window: outside it every fluence is 0. Small ones save time.
    """

    def __init__(self, rays: Rays, physics: Physics, window: Window = EVERYWHERE):
        self.index, self.shape, self.window, p = rays.index, rays.shape, window, physics
        attenuated = torch.exp(-p.attenuation * rays.depth) * (1 - p.build_up * torch.exp(-rays.depth / p.build_up_mm))
        self.weight = (rays.share * attenuated[:, None]).flatten(0, 1)
        self.blurs = [self._blur(1 - p.scatter, p.penumbra_k_mm / rays.spacing[0], p.penumbra_mm / BIXEL_MM)]
        if isinstance(p.scatter, Tensor) or p.scatter:
            self.blurs.append(self._blur(p.scatter, p.scatter_mm / rays.spacing[0], p.scatter_mm / BIXEL_MM))

    def _blur(
        self, share: float | Tensor, sigma_k: float | Tensor, sigma: float | Tensor
    ) -> tuple[float | Tensor, Tensor, Tensor]:
        """(share, matrix along the slices from the window's, matrix along the bixels from the window's)."""
        along, across = _gaussian(self.shape[0], sigma_k), _gaussian(self.shape[2], sigma)
        return share, along[:, self.window[0]], across[self.window[1]]

    def dose(self, fluence: Tensor) -> Tensor:
        """(N,) of a fluence."""
        inside = fluence[self.window[0], :, self.window[1]].flatten(1)
        blurred = [share * (along @ inside).view(-1, len(across)).mm(across) for share, along, across in self.blurs]
        seen = sum(blurred[1:], blurred[0]).flatten().index_select(0, self.index.flatten()).view_as(self.weight)
        return (seen * self.weight).sum(0)

    def back(self, values: Tensor) -> Tensor:
        """The transpose: what N values at the voxels give at the window's bixels, in (slices, beams, bixels)."""
        slices, beams, bixels = self.shape
        reaching = self.reaching(values).view(-1, bixels)
        blurred = [share * (along.T @ reaching.mm(across.T).view(slices, -1)) for share, along, across in self.blurs]
        inside = sum(blurred[1:], blurred[0])
        first_k, end_k, _ = self.window[0].indices(slices)
        first_u, end_u, _ = self.window[1].indices(bixels)
        padding = (first_u, bixels - end_u, 0, 0, first_k, slices - end_k)
        return F.pad(inside.view(end_k - first_k, beams, -1), padding)

    def reaching(self, values: Tensor) -> Tensor:
        """`back` without the blur; also of values (2 beams, N) that differ between the bixels."""
        products, index = (self.weight * values).flatten(), self.index.flatten()
        if products.requires_grad:
            return products.new_zeros(math.prod(self.shape)).index_add(0, index, products).view(self.shape)
        return torch.bincount(index, products, math.prod(self.shape)).view(self.shape)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    k, j, i = map(float, values)
    return k, j, i


def _interpolate(volume: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Every slice of a volume (K, R, C) at the in-plane places (R', C'), linearly; 0 outside."""
    rows, columns = volume.shape[1:]
    where = torch.stack((2 * column / (columns - 1) - 1, 2 * row / (rows - 1) - 1), -1)
    return F.grid_sample(volume[None], where[None].float(), align_corners=True)[0]


def _gaussian(n: int, sigma: float | Tensor) -> Tensor:
    """(n, n) matrix that convolves with a Gaussian of `sigma` samples."""
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return (torch.exp(-0.5 * (distance / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))).float()
