"""A learned inverse planner: a dose that the beams can deliver, as an input channel of the dose network.

A network would have to learn beam geometry and inverse planning from a few hundred patients; both are known. What is
not known is what planners trade for what. So a small network looks at the patient and says, for every voxel, which
dose to aim at and how much it matters; then the beams' fluences are fitted to that (`fluence`). Weights, aims and beam
model are trained through the fit, with the reference doses of the training patients (Training/train.py planner).
Untrained, it aims at the prescriptions in the targets and at little elsewhere. Method and features are ours.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..device import autocast_dtype
from .beams import DoseMatrix, Physics
from .bixel_factors import BixelFactors, Views
from .feature_names import FEATURES
from .fluence import Objective, fit_fluence, refit_fluence
from .problem import Problem

CHANNELS, CONTEXT, HIDDEN = 32, 16, 48
DROPOUT = 0.1
LOWEST_WEIGHT, HIGHEST_WEIGHT = -9.0, 4.0
POSITIVE = {"attenuation": 0.0045, "build_up_mm": 4.0, "penumbra_k_mm": 6.0, "penumbra_mm": 6.0, "scatter_mm": 20.0}
SHARES = {"build_up": 0.6, "scatter": 0.03}
"""Properties of the beams, see `Physics`, as training begins; from 0 to 1."""


@dataclass(frozen=True)
class Fit:
    """Fluence that is fitted to aims.

    Attributes:
        matrix: dose of the fit's voxels.
        objective: what was fitted to.
        fluence: (slices, beams, bixels); dose: (N,) what it gives.
        views: what the beams see of patient and fit; None where no network looks at them.
    """

    matrix: DoseMatrix
    objective: Objective
    fluence: Tensor
    dose: Tensor
    views: Views | None


class BeamModel(nn.Module):
    """The beams' learned properties: positive ones as logarithms, shares as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.logarithms = nn.ParameterDict({name: torch.tensor(value).log() for name, value in POSITIVE.items()})
        self.logits = nn.ParameterDict({name: torch.tensor(value).logit() for name, value in SHARES.items()})

    def forward(self) -> Physics:
        positive = {name: value.exp() for name, value in self.logarithms.items()}
        shares = {name: value.sigmoid() for name, value in self.logits.items()}
        return Physics(**positive, **shares)


class _ContextBlock(nn.Module):
    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)
        self.dropout = nn.Dropout3d(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dropout(F.silu(self.first_norm(self.first(x))))
        return x + self.second_norm(self.second(inner))


class Planner(nn.Module):
    """Aims and weights for every voxel of a `Problem`, factors for every bixel, and the beam model.

    Args:
        bixel_factors: how many networks, trained independently, give factors; their mean counts.
        partners: for every further planner, trained independently, how many such networks it has; the mean of all
            planners' plans counts.
    """

    def __init__(self, bixel_factors: int = 0, partners: Sequence[int] = ()):
        super().__init__()
        self.stem = nn.Conv3d(len(FEATURES), CHANNELS, 3, padding=1)
        self.blocks = nn.Sequential(*(_ContextBlock(CHANNELS, dilation) for dilation in (1, 2, 4, 1)))
        self.context = nn.Conv3d(CHANNELS, CONTEXT, 1)
        self.judge = nn.Sequential(
            nn.Linear(len(FEATURES) + CONTEXT, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, 2),
        )
        for parameter in self.judge[-1].parameters():
            nn.init.zeros_(parameter)
        # To begin with; in the targets the weight is 1 and the aim the prescription.
        self.tissue_log_weight = nn.Parameter(torch.tensor(math.log(0.015)))
        self.tissue_logit_aim = nn.Parameter(torch.tensor(-3.0))
        self.organ_log_weight = nn.Parameter(torch.tensor(math.log(0.2)))
        self.organ_logit_aim = nn.Parameter(torch.tensor(-3.0))
        self.log_smoothness = nn.Parameter(torch.tensor(-7.0))
        self.beam_model = BeamModel()
        self.bixel_factors = nn.ModuleList(BixelFactors() for _ in range(bixel_factors))
        self.partners = nn.ModuleList(Planner(n) for n in partners)

    def smoothness(self) -> Tensor:
        """See `Objective`."""
        return 100 * self.log_smoothness.exp()

    def objective(self, problem: Problem, flipped: Collection[int] = ()) -> Objective:
        """What the fit is to look for; on the axes `flipped` (-1: I, -3: K) the context is seen mirrored."""
        device = self.stem.weight.device
        dtype = autocast_dtype(device)
        coarse, place = problem.coarse[None], problem.place
        if flipped:
            coarse = coarse.flip(tuple(flipped))
            place = place * torch.tensor([-1.0 if axis in flipped else 1.0 for axis in (-1, -2, -3)])
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            context = self.context(self.blocks(self.stem(coarse.contiguous(memory_format=torch.channels_last_3d))))
        context = F.grid_sample(context.float(), place[None, None, None], padding_mode="border", align_corners=False)
        weight_change, aim_change = self.judge(torch.cat((problem.features, context[0, :, 0, 0].T), 1)).unbind(1)
        voxels = problem.voxels
        log_weight = torch.where(voxels.in_organ, self.organ_log_weight, self.tissue_log_weight)
        log_weight = torch.where(voxels.in_target, 0, log_weight) + 2 * weight_change
        weight = log_weight.clamp(LOWEST_WEIGHT, HIGHEST_WEIGHT).exp() * voxels.share
        logit_aim = torch.where(voxels.in_organ, self.organ_logit_aim, self.tissue_logit_aim) + 2 * aim_change
        in_target = voxels.level * (1 + 0.2 * torch.tanh(aim_change))
        aim = torch.where(voxels.in_target, in_target, torch.sigmoid(logit_aim))
        return Objective(weight, aim, self.smoothness())

    def forward(self, problem: Problem, flipped: Collection[int] = ()) -> tuple[Tensor, Tensor]:
        """(fluence, dose of the fit's voxels in units of the mean dose in the highest target), without partners."""
        return self.delivered(problem, self.fit(problem, flipped), self.bixel_factors, flipped)

    def fit(self, problem: Problem, flipped: Collection[int] = (), *, views: bool | None = None) -> Fit:
        """The fit to the aims; `views`: whether the beams look at it, by default where there are factors."""
        matrix = DoseMatrix(problem.voxels.rays, self.beam_model(), problem.views.window)
        objective = self.objective(problem, flipped)
        fluence = fit_fluence(matrix, objective, problem.fluence)
        dose = matrix.dose(fluence)
        seen = None
        if self.bixel_factors if views is None else views:
            with torch.no_grad():
                unit = dose[problem.voxels.top].mean()
                seen = problem.views.with_fit(problem.voxels, matrix, objective, dose / unit)
        return Fit(matrix, objective, fluence, dose, seen)

    def delivered(
        self, problem: Problem, fit: Fit, bixel_factors: Iterable[nn.Module], flipped: Collection[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, for a fit: with the factors of its bixels, after which the fit is mended."""
        return self.spread(problem, fit, self.factors(fit, bixel_factors, flipped))

    def factors(self, fit: Fit, bixel_factors: Iterable[nn.Module], flipped: Collection[int] = ()) -> Tensor | None:
        """(slices, beams, bixels) of a fit; None without networks.

        Every second network of factors sees the patient mirrored: what several learned by chance cancels, that of the
        sides, too.
        """
        logarithms = [
            network(fit.views, fit.fluence, set(flipped) ^ ({-1} if n % 2 else set()))
            for n, network in enumerate(bixel_factors)
        ]
        return torch.stack(logarithms).mean(0).exp() if logarithms else None

    def spread(self, problem: Problem, fit: Fit, factors: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `forward`, for a fit and the factors of its bixels."""
        fluence, dose, top = fit.fluence, fit.dose, problem.voxels.top
        if factors is not None:
            changed = fluence * factors
            changed = changed * (dose[top].mean() / fit.matrix.dose(changed)[top].mean())
            fluence = refit_fluence(fit.matrix, fit.objective, changed)
            dose = fit.matrix.dose(fluence)
        unit = dose[top].mean()
        return fluence / unit, dose / unit


def untrained_planner() -> Planner:
    """Prescriptions in the targets, little elsewhere; the same weights on every call."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Planner().eval().requires_grad_(False)
