"""The phantom's reference dose: a small fluence optimisation of nine parallel beams; plausible, not accurate.

Gantry angles and prescriptions are those of OpenKBP (Babier et al., Med. Phys. 48 (2021) 5549).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..patient.case import GRID
from ..patient.rois import target_prescription
from .grid import MIDDLE, SPACING, distance

GANTRY_DEG = tuple(range(0, 360, 40))
BEAMLET_MM = 5.0
FLUENCE_STEP_MM = 2.0
PENUMBRA_MM, SCATTER_MM, SCATTER = 3.5, 20.0, 0.1
ATTENUATION_PER_MM = 0.0045
ITERATIONS = 80

# Outside the PTVs, excess dose over a limit [Gy] costs its square times a weight (a PTV voxel weighs 1).
OAR_GOALS = {
    "SpinalCord": (36.0, 1.0),
    "Brainstem": (24.0, 0.3),
    "RightParotid": (20.0, 0.06),
    "LeftParotid": (16.0, 0.08),
    "Larynx": (34.0, 0.06),
    "Esophagus": (30.0, 0.06),
    "Mandible": (44.0, 0.05),
}
# In other tissue the limit falls with the distance from the PTVs down to a floor; behind the cord faster and lower.
EDGE_GY, TISSUE_WEIGHT = 56.0, 0.03
TISSUE_FALL_OFF_GY_MM, TISSUE_FLOOR_GY = 1.2, 36.0
NAPE_FALL_OFF_GY_MM, NAPE_FLOOR_GY = 2.0, 16.0


def planned_dose(
    ct: np.ndarray, mask: np.ndarray, oars: dict[str, np.ndarray], ptvs: dict[str, np.ndarray]
) -> np.ndarray:
    """Dose in Gy, (K, J, I) float32, of beamlet weights fitted to `_goals`; 0 outside the mask."""
    used = np.flatnonzero(mask.any((1, 2)))
    box = slice(used[0], used[-1] + 1)
    inside = mask[box]
    low, high, weight = (torch.from_numpy(goal[inside]) for goal in _goals(box, oars, ptvs))
    beams = _Beams(ct[box], inside)
    curvature = beams.back(weight * beams.dose(torch.ones(beams.shape))).clamp(min=1e-6)
    fluence = torch.zeros(beams.shape)
    ahead, momentum = fluence, 1.0
    for _ in range(ITERATIONS):  # Nesterov's method, each beamlet with a step that cannot overshoot
        dose = beams.dose(ahead)
        step = (ahead - beams.back(weight * (dose - dose.clamp(low, high))) / curvature).clamp(min=0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = (step + (momentum - 1) / following * (step - fluence)).clamp(min=0)
        fluence, momentum = step, following
    planned = np.zeros(GRID, np.float32)
    planned[mask] = beams.dose(fluence).numpy()
    return planned


def _goals(box: slice, oars: dict[str, np.ndarray], ptvs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Lowest and highest wanted dose in Gy and weight of each voxel of the slices `box`."""
    target = np.logical_or.reduce(list(ptvs.values()))
    gap = distance(target, 30.0)[box]
    low = np.zeros(gap.shape, np.float32)
    nape = np.maximum.accumulate((oars["SpinalCord"] | oars["Brainstem"])[box].any(2), axis=1)[..., None]
    high = np.where(
        nape,
        np.maximum(EDGE_GY - NAPE_FALL_OFF_GY_MM * gap, NAPE_FLOOR_GY),
        np.maximum(EDGE_GY - TISSUE_FALL_OFF_GY_MM * gap, TISSUE_FLOOR_GY),
    )
    weight = np.full(gap.shape, TISSUE_WEIGHT, np.float32)
    for name, (limit, importance) in OAR_GOALS.items():
        mask = oars[name][box]
        high[mask], weight[mask] = np.minimum(high[mask], limit), importance
    for name, mask in ptvs.items():
        level = target_prescription(name)
        low[mask[box]], high[mask[box]], weight[mask[box]] = 1.02 * level, 1.03 * level, 1.0
    return low, high.astype(np.float32), weight


class _Beams:
    """Linear map between beamlet weights (beam, slice, lateral position) and dose in the voxels of a mask.

    Parallel, coplanar beams: fluence blurred by penumbra and scatter, times the attenuation along the ray.
    """

    def __init__(self, ct: np.ndarray, mask: np.ndarray) -> None:
        k, j, i = np.nonzero(mask)
        n_slices = mask.shape[0]
        x, y = (i - MIDDLE) * SPACING[2], (j - MIDDLE) * SPACING[1]
        self._bins = int(GRID[2] * SPACING[2] / FLUENCE_STEP_MM)
        self._lateral = _spread(self._bins, FLUENCE_STEP_MM)
        self._axial = _spread(n_slices, SPACING[0])
        self.shape = (len(GANTRY_DEG), self._axial.shape[1], self._lateral.shape[1])
        density = _relative_density(ct)
        index, factor = [], []
        for beam, angle in enumerate(np.radians(GANTRY_DEG)):
            u = x * np.cos(angle) + y * np.sin(angle)
            u_bin = np.rint(u / FLUENCE_STEP_MM + (self._bins - 1) / 2).clip(0, self._bins - 1).astype(np.int64)
            index.append((beam * n_slices + k) * self._bins + u_bin)
            factor.append(_attenuation(density, float(angle))[k, j, i])
        self._index, self._factor = torch.from_numpy(np.stack(index)), torch.stack(factor)

    def dose(self, weights: Tensor) -> Tensor:
        """Dose in the voxels of the mask, in the order of numpy's boolean indexing."""
        fluence = self._axial @ weights @ self._lateral.T
        return (fluence.flatten()[self._index] * self._factor).sum(0)

    def back(self, values: Tensor) -> Tensor:
        """Transpose of `dose`."""
        size = self.shape[0] * self._axial.shape[0] * self._bins
        fluence = torch.bincount(self._index.flatten(), (self._factor * values).flatten(), minlength=size)
        return self._axial.T @ fluence.float().view(self.shape[0], -1, self._bins) @ self._lateral


def _spread(n_points: int, point_mm: float) -> Tensor:
    """Share of each beamlet's fluence at each point of a line, (points, beamlets); both are centred on each other."""
    n_beamlets = math.ceil(n_points * point_mm / BEAMLET_MM)
    points = (torch.arange(n_points) - (n_points - 1) / 2)[:, None] * point_mm
    edges = (torch.arange(n_beamlets + 1) - n_beamlets / 2) * BEAMLET_MM
    penumbra, scatter = (
        torch.erf((edges - points) / (2**0.5 * sigma)).diff(dim=1) / 2 for sigma in (PENUMBRA_MM, SCATTER_MM)
    )
    return (1 - SCATTER) * penumbra + SCATTER * scatter


def _relative_density(ct: np.ndarray) -> Tensor:
    """Density relative to water; bone attenuates 6 MV less than its HU suggest."""
    hu = torch.from_numpy(ct.astype(np.float32))
    return 1 + torch.where(hu > 0, hu / 2000, hu / 1000)


def _attenuation(density: Tensor, angle: float) -> Tensor:
    """Dose per fluence of a beam in each voxel: build-up under the skin, then loss with water-equivalent depth."""
    ray = _rotate(density, angle)
    depth = (ray.cumsum(1) - ray / 2) * SPACING[1]
    return _rotate((1 - 0.5 * torch.exp(-depth / 5)) * torch.exp(-ATTENUATION_PER_MM * depth), -angle)


def _rotate(volume: Tensor, angle: float) -> Tensor:
    """Axial slices as a beam sees them: rows along the ray away from the source, columns across."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    grid = affine_grid(torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]), [1, 1, *volume.shape[1:]], False)
    return grid_sample(volume[None], grid, align_corners=False)[0]
