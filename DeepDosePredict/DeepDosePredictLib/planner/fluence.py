"""The inverse problem: which fluence >= 0 of the beams comes nearest to a wanted dose?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .beams import DoseMatrix, Rays, VoxelIndex

ITERATIONS, ACCELERATION, LAST_ITERATIONS = 20, 1.6, 6
FLOOR = 1e-3
"""Added to both sides of the last updates, so that bixels which hardly reach the wanted voxels stay as they are."""


@dataclass(frozen=True)
class FitVoxels:
    """The N voxels that take part in a fit.

    Attributes:
        index: their k, j and i.
        rays: how they see the beams.
        share: (N,) how many voxels each stands for.
        level: (N,) prescription in units of the highest one, 0 outside the targets.
        top: (N,) bool, in the target of the highest prescription.
        organ: (N,) kind of organ at risk, 1 + its place in `OAR_KINDS`, or 0; none in the targets.
    """

    index: VoxelIndex
    rays: Rays
    share: Tensor
    level: Tensor
    top: Tensor
    organ: Tensor

    @property
    def in_target(self) -> Tensor:
        return self.level > 0

    @property
    def in_organ(self) -> Tensor:
        return self.organ > 0


@dataclass(frozen=True)
class Objective:
    """What a fit is to minimise: the weighted squared deviations of the dose from its aim, and large fluences.

    Attributes:
        weight, aim: (N,) of the fit's voxels.
        smoothness: resistance to large fluences.
    """

    weight: Tensor
    aim: Tensor
    smoothness: float | Tensor = 0.0


def open_fields(matrix: DoseMatrix, level: Tensor) -> Tensor:
    """Fluence 1 wherever a bixel reaches a voxel with a level (N), scaled to the mean level there."""
    fluence = (matrix.reaching(level) > 0).float()
    return fluence * (level.sum() / matrix.dose(fluence)[level > 0].sum())


def fit_fluence(matrix: DoseMatrix, objective: Objective, fluence: Tensor) -> Tensor:
    """The fluence (slices, beams, bixels) of an objective, from a first guess.

    Multiplicative updates (image space reconstruction algorithm, Daube-Witherspoon and Muehllehner 1986), at first
    raised to a power above 1 for speed. Gradients, where asked for, see the last updates only.
    """
    with torch.no_grad():
        pull = matrix.back(objective.weight * objective.aim)
        for _ in range(ITERATIONS):
            push = _push(matrix, objective, fluence)
            fluence = fluence * (pull / push.clamp(min=1e-6)) ** ACCELERATION
    return refit_fluence(matrix, objective, fluence, LAST_ITERATIONS)


def refit_fluence(matrix: DoseMatrix, objective: Objective, fluence: Tensor, iterations: int = 2) -> Tensor:
    """The last updates of `fit_fluence` only, for a fluence that is to stay near what it is."""
    pull = matrix.back(objective.weight * objective.aim)
    for _ in range(iterations):
        push = _push(matrix, objective, fluence)
        fluence = fluence * (pull + FLOOR) / (push + FLOOR)
    return fluence


def _push(matrix: DoseMatrix, objective: Objective, fluence: Tensor) -> Tensor:
    return matrix.back(objective.weight * matrix.dose(fluence)) + objective.smoothness * fluence
