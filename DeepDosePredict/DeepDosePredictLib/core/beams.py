"""A rough inverse plan of coplanar beams, as an input channel: where can beams from these angles bring dose?

A network would have to learn beam geometry and inverse planning from a few hundred patients; both are known. So every
beam's fluence is fitted by non-negative least squares: prescriptions in the PTVs, no dose elsewhere. The beam model is
simple on purpose (divergent rays, exponential attenuation with build-up, Gaussian penumbra): the network learns the
rest. Method and constants are ours; the latter were set on some twenty training patients of OpenKBP, where the rough
plan correlates 0.96 with the reference dose (Testing/benchmarks/beams.py).
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
ATTENUATION_PER_MM = 0.0045
SURFACE_DOSE, BUILD_UP_MM = 0.4, 4.0
"""Share of the dose at the surface, and how fast the rest builds up; of a 6 MV beam, roughly."""
PENUMBRA_MM = 6.0
BIXEL_MM = 5.0
DEPTH_STEP_MM = 8.0
OAR_WEIGHT, TISSUE_WEIGHT = 0.2, 0.015
"""Weights of a voxel's squared dose in the fit; a PTV voxel's squared deviation counts 1."""
TISSUE_SHARE = 12
"""One of so many tissue voxels takes part in the fit."""
ITERATIONS, ACCELERATION = 20, 1.6


@dataclass(frozen=True)
class _Beam:
    """One beam: lateral position in bixels and magnification (J, I), radiological depth (K, J, I) in mm."""

    position: Tensor
    magnification: Tensor
    depth: Tensor


@dataclass(frozen=True)
class _DoseMatrix:
    """Dose at N voxels per fluence: voxel n gets sum_m weight[m, n] fluence[index[m, n]]."""

    index: Tensor
    weight: Tensor
    bixels: int

    def dose(self, fluence: Tensor) -> Tensor:
        # index_select takes less than half the time of take.
        return fluence.flatten().index_select(0, self.index.flatten()).view_as(self.weight).mul_(self.weight).sum(0)

    def back(self, values: Tensor) -> Tensor:
        """The transpose: what N values at the voxels give at the bixels."""
        return torch.bincount(self.index.flatten(), (self.weight * values).flatten(), self.bixels)


def beam_dose(ct: np.ndarray, level: np.ndarray, oars: np.ndarray, where: np.ndarray, spacing: Sequence[float],
              gantry_angles: Sequence[float]) -> np.ndarray:
    """Dose of a rough plan, in units of the highest prescription.

    Args:
        ct: (K, J, I) HU, an LPS grid: I to patient Left, J to Posterior.
        level: (K, J, I) prescription in units of the highest one, 0 outside the PTVs.
        oars: (K, J, I) bool, voxels of organs at risk.
        where: (K, J, I) bool, voxels that are computed; all others get 0.
        spacing: (k, j, i) in mm.
        gantry_angles: IEC 61217 in degrees, patient head first supine: 0 from anterior, 90 from the patient's left.
            The isocentre is the PTVs' centroid.

    Returns:
        (K, J, I) float32; mean 1 in the voxels of the highest prescription. All 0 where no PTV lies inside `where`.
    """
    target = where & (level > 0)
    result = np.zeros(ct.shape, np.float32)
    if not target.any():
        return result
    centre = [float(index.mean()) for index in np.nonzero(target)]
    hu = torch.from_numpy(np.ascontiguousarray(ct)).float()
    half_width = 0.6 * np.hypot(ct.shape[1] * spacing[1], ct.shape[2] * spacing[2])
    shape = ct.shape[0], len(gantry_angles), 2 * math.ceil(half_width / BIXEL_MM) + 2
    beams = [_beam(hu, centre, spacing, float(np.deg2rad(angle)), shape[2]) for angle in gantry_angles]
    penumbra = _gaussian(shape[0], PENUMBRA_MM / spacing[0]), _gaussian(shape[2], PENUMBRA_MM / BIXEL_MM)

    def voxels(mask: np.ndarray, step: int = 1) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(index[::step]) for index in np.nonzero(mask))

    parts = voxels(target), voxels(oars & where & ~target), voxels(where & ~oars & ~target, TISSUE_SHARE)
    sizes = torch.tensor([len(part[0]) for part in parts])
    weight = torch.tensor([1, OAR_WEIGHT, TISSUE_WEIGHT * TISSUE_SHARE]).repeat_interleave(sizes)
    wanted = torch.cat((torch.from_numpy(level[target]).float(), torch.zeros(int(sizes[1:].sum()))))
    fitted = _dose_matrix(tuple(map(torch.cat, zip(*parts, strict=True))), beams, centre[0], shape)
    fluence = _fit(fitted, weight, wanted, penumbra, shape)
    dose = _dose_matrix(voxels(where), beams, centre[0], shape).dose(_blurred(fluence, penumbra))
    result[where] = dose.numpy()
    return result / result[target & (level == level[target].max())].mean()


def _beam(ct: Tensor, centre: Sequence[float], spacing: Sequence[float], angle: float, bixels: int) -> _Beam:
    y = (torch.arange(ct.shape[1])[:, None] - centre[1]) * spacing[1]
    x = (torch.arange(ct.shape[2]) - centre[2]) * spacing[2]
    along, lateral = y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle)
    magnification = SAD_MM / (SAD_MM + along)
    position = (lateral * magnification / BIXEL_MM + bixels / 2).clamp(0, bixels - 1.001)
    return _Beam(position, magnification, _depth(ct, centre, spacing, angle, along, lateral))


def _depth(ct: Tensor, centre: Sequence[float], spacing: Sequence[float], angle: float, along: Tensor,
           lateral: Tensor) -> Tensor:
    """Radiological depth (K, J, I) in mm along parallel rays, summed on a coarse grid turned into the beam's axes."""
    half = math.ceil(float(max(along.abs().max(), lateral.abs().max())) / DEPTH_STEP_MM) + 1
    t = torch.arange(-half, half + 1) * DEPTH_STEP_MM
    u = t[:, None]
    j = (u * np.sin(angle) + t * np.cos(angle)) / spacing[1] + centre[1]
    i = (u * np.cos(angle) - t * np.sin(angle)) / spacing[2] + centre[2]
    turned = _interpolate(((ct + 1000) / 1000).clamp(0, 2), j, i)
    depth = (turned.cumsum(2) - turned / 2) * DEPTH_STEP_MM
    return _interpolate(depth, lateral / DEPTH_STEP_MM + half, along / DEPTH_STEP_MM + half)


def _interpolate(volume: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Every slice of a volume (K, R, C) at the in-plane places (R', C'), linearly; 0 outside."""
    rows, columns = volume.shape[1:]
    where = torch.stack((2 * column / (columns - 1) - 1, 2 * row / (rows - 1) - 1), -1)
    return F.grid_sample(volume[None], where[None].float(), align_corners=True)[0]


def _dose_matrix(voxels: tuple[Tensor, ...], beams: Sequence[_Beam], centre: float,
                 shape: tuple[int, int, int]) -> _DoseMatrix:
    """For fluences (slices, beams, bixels) at the isocentre, without penumbra."""
    k, j, i = voxels
    index = torch.empty((2 * len(beams), len(k)), dtype=torch.int64)
    weight = torch.empty((2 * len(beams), len(k)))
    from_centre = k - centre
    pixel = j * beams[0].position.shape[1] + i
    voxel = k * beams[0].position.numel() + pixel
    for b, beam in enumerate(beams):
        magnification, position = (v.flatten().index_select(0, pixel) for v in (beam.magnification, beam.position))
        depth = beam.depth.flatten().index_select(0, voxel)
        z = (from_centre * magnification + centre).round().clamp(0, shape[0] - 1)
        u = position.floor()
        dose = magnification**2 * torch.exp(-ATTENUATION_PER_MM * depth)
        dose = dose * (1 - (1 - SURFACE_DOSE) * torch.exp(-depth / BUILD_UP_MM))
        index[2 * b] = (z * shape[1] + b) * shape[2] + u
        torch.add(index[2 * b], 1, out=index[2 * b + 1])
        torch.mul(dose, position - u, out=weight[2 * b + 1])
        torch.sub(dose, weight[2 * b + 1], out=weight[2 * b])
    return _DoseMatrix(index, weight, shape[0] * shape[1] * shape[2])


def _fit(matrix: _DoseMatrix, weight: Tensor, wanted: Tensor, penumbra: tuple[Tensor, Tensor],
         shape: tuple[int, int, int]) -> Tensor:
    """Fluence >= 0 (slices, beams, bixels) that minimises the weighted squared deviations from the wanted dose.

    Multiplicative updates (image space reconstruction algorithm, Daube-Witherspoon and Muehllehner 1986), raised to a
    power above 1 for speed.
    """
    def back(values: Tensor) -> Tensor:
        return _blurred(matrix.back(values).view(shape), penumbra)

    pull = back(weight * wanted)
    fluence = (matrix.back(wanted).view(shape) > 0).float()
    fluence *= wanted.sum() / matrix.dose(_blurred(fluence, penumbra))[wanted > 0].sum()
    for _ in range(ITERATIONS):
        push = back(weight * matrix.dose(_blurred(fluence, penumbra)))
        fluence = fluence * (pull / push.clamp(min=1e-6)) ** ACCELERATION
    return fluence


def _gaussian(n: int, sigma: float) -> Tensor:
    """(n, n) matrix that convolves with a Gaussian of `sigma` samples."""
    distance = torch.arange(n)[:, None] - torch.arange(n)
    return torch.exp(-0.5 * (distance / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def _blurred(fluence: Tensor, penumbra: tuple[Tensor, Tensor]) -> Tensor:
    slices, beams, bixels = fluence.shape
    return (penumbra[0] @ fluence.reshape(slices, -1)).view(-1, bixels).mm(penumbra[1]).view(slices, beams, bixels)
