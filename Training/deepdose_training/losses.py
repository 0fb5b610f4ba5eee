"""Losses for dose prediction, all in Gy: MSE, MAE, differentiable DVH, exact value-DVH and clinical DVH metrics (CDM).

Everything takes doses (B, K, J, I) in Gy. Doses outside the dose mask are zeroed before any term; structures reach
beyond the mask, and their voxels there count with dose 0, as in the OpenKBP metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from DeepDosePredictLib.dvh.goals import Goal, read_goals
from DeepDosePredictLib.dvh.metrics import Metric
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.patient.roi_mask import decode
from DeepDosePredictLib.resources import goals_path


@dataclass(frozen=True)
class Structures:
    """The structures of a batch, encoded, with what a loss must know about them.

    Attributes:
        bits: (B, K, J, I) bit-mask.
        names: names of the bits.
        dose_mask: (B, K, J, I) bool.
        outside: (B, len(names)) number of a structure's voxels that the crop left out; they have dose 0.
        voxel_volume_mm3: (B,).
    """

    bits: Tensor
    names: Sequence[str]
    dose_mask: Tensor
    outside: Tensor
    voxel_volume_mm3: Tensor

    def present(self, b: int) -> Iterator[tuple[int, Tensor]]:
        """(index, mask within the crop) of every structure of case b that has voxels inside the crop."""
        for r in range(len(self.names)):
            mask = decode(self.bits[b], r)
            if mask.any():
                yield r, mask

    def with_outside(self, doses: Tensor, b: int, r: int) -> Tensor:
        """Doses of a structure's voxels in the crop, completed by the zeros of those outside."""
        n = int(self.outside[b, r])
        return torch.cat((doses, doses.new_zeros(n))) if n else doses


def mse(predicted: Tensor, reference: Tensor, structures: Structures) -> Tensor:
    """Mean squared error over the dose mask of each case, averaged over cases (Soomro et al. 2021). Gy^2."""
    return _masked_mean((predicted - reference).square(), structures.dose_mask)


def mae(predicted: Tensor, reference: Tensor, structures: Structures) -> Tensor:
    """Mean absolute error over the dose mask of each case, averaged over cases (Soomro et al. 2021). Gy."""
    return _masked_mean((predicted - reference).abs(), structures.dose_mask)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return ((values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)).mean()


class DVHLoss(nn.Module):
    """Mean absolute difference of differentiable DVH curves, averaged over bins and structures present.

    The step of the DVH becomes a sigmoid (Nguyen et al., Med. Phys. 47 (2020) 837): at dose t the curve is the mean
    over a structure of sigmoid(steepness / bin (D - t)). Absolute deviation as in Soomro et al. 2021. Result is a
    fraction of the volume, without unit.

    Args:
        bin_gy: width of the dose bins.
        steepness: at 1 the curve blurs over about one bin to either side.
        maximum_gy: last bin.
    """

    bins: Tensor

    def __init__(self, bin_gy: float = 1.0, steepness: float = 1.0, maximum_gy: float = 80.0):
        super().__init__()
        self.slope = steepness / bin_gy
        self.register_buffer("bins", torch.arange(0, maximum_gy + bin_gy / 2, bin_gy), persistent=False)

    def curve(self, doses: Tensor) -> Tensor:
        """Differentiable cumulative DVH (fraction of the volume) at every bin, from the doses (N,) of a structure."""
        return torch.stack([torch.sigmoid((doses - t) * self.slope).mean() for t in self.bins])

    def forward(self, predicted: Tensor, reference: Tensor, structures: Structures) -> Tensor:
        def difference(p: Tensor, r: Tensor) -> Tensor:
            return (self.curve(p) - self.curve(r)).abs().mean()

        return _mean_over_structures(difference, predicted, reference, structures)


class ValueDVHLoss(nn.Module):
    """Exact area between the two DVH curves of a structure: mean |sorted predicted - sorted reference|, in Gy.

    Averaged over the structures present. No bins and no temperature; every voxel has a gradient.
    """

    def forward(self, predicted: Tensor, reference: Tensor, structures: Structures) -> Tensor:
        def difference(p: Tensor, r: Tensor) -> Tensor:
            return (p.sort().values - r.sort().values).abs().mean()

        return _mean_over_structures(difference, predicted, reference, structures)


class CDMLoss(nn.Module):
    """Clinical DVH metric loss: mean |metric of the prediction - metric of the reference| over the template's goals.

    The idea is of Gao, Staring and Dankers (2026), of whom only the abstract is at hand; the formulas are ours.
    D-metrics are exact interpolated quantiles of the doses (`Metric.rank`). V-metrics, percent of a structure at or
    above a dose, have no gradient; their surrogate is the mean of sigmoid((D - threshold) / temperature).

    Args:
        goals: a template's name in Resources/ClinicalGoals or its path, or the goals themselves.
        temperature_gy: of the V-metric surrogate; about 90 % of the step lies within three temperatures.
        gy_per_percent: what one percentage point of a V-metric counts.
    """

    def __init__(
        self, goals: str | Sequence[Goal] = "openkbp", temperature_gy: float = 1.0, gy_per_percent: float = 0.1
    ):
        super().__init__()
        self.goals = read_goals(goals_path(goals)) if isinstance(goals, str) else list(goals)
        self.temperature_gy, self.gy_per_percent = temperature_gy, gy_per_percent

    def metric(self, metric: Metric, doses: Tensor, voxel_volume_mm3: float) -> Tensor:
        """Differentiable metric of a structure with doses (N,), in the metric's unit (Gy, or percent for V)."""
        if metric.kind == "mean":
            return doses.mean()
        if metric.kind == "V":
            return 100 * torch.sigmoid((doses - metric.value) / self.temperature_gy).mean()
        rank = metric.rank(doses.numel(), voxel_volume_mm3)
        below = int(rank)
        values = doses.sort().values
        return torch.lerp(values[below], values[min(below + 1, doses.numel() - 1)], rank - below)

    def forward(self, predicted: Tensor, reference: Tensor, structures: Structures) -> Tensor:
        total, weights = predicted.new_zeros(()), 0.0
        for b in range(len(predicted)):
            volume = float(structures.voxel_volume_mm3[b])
            for r, mask in structures.present(b):
                goals = [goal for goal in self.goals if goal.structure == structures.names[r]]
                if not goals:
                    continue
                p, d = (structures.with_outside(dose[b][mask], b, r) for dose in (predicted, reference))
                for goal in goals:
                    difference = (self.metric(goal.metric, p, volume) - self.metric(goal.metric, d, volume)).abs()
                    scale = self.gy_per_percent if goal.metric.kind == "V" else 1.0
                    total, weights = total + goal.weight * scale * difference, weights + goal.weight
        return total / max(weights, 1e-12)


def _mean_over_structures(
    difference: Callable[[Tensor, Tensor], Tensor], predicted: Tensor, reference: Tensor, structures: Structures
) -> Tensor:
    """Mean of difference(predicted doses, reference doses) over the structures of each case, then over the cases."""
    cases = []
    for b in range(len(predicted)):
        terms = [
            difference(
                structures.with_outside(predicted[b][mask], b, r), structures.with_outside(reference[b][mask], b, r)
            )
            for r, mask in structures.present(b)
        ]
        cases.append(torch.stack(terms).mean() if terms else predicted.new_zeros(()))
    return torch.stack(cases).mean()


TERMS = {"mse": lambda: mse, "mae": lambda: mae, "dvh": DVHLoss, "value_dvh": ValueDVHLoss, "cdm": CDMLoss}


class DoseLoss(nn.Module):
    """Weighted sum of loss terms.

    Args:
        terms: {"mae": 1.0, "cdm": {"weight": 0.1, "goals": "head-and-neck"}, ...}; names of `TERMS`, each with its
            weight or with its weight and the arguments of its class.
    """

    def __init__(self, terms: Mapping[str, float | Mapping]):
        super().__init__()
        unknown = set(terms) - set(TERMS)
        if unknown or not terms:
            raise DeepDoseError(f"unknown loss terms {sorted(unknown)}; known are {', '.join(TERMS)}")
        settings = {name: dict(term) if isinstance(term, Mapping) else {"weight": term} for name, term in terms.items()}
        self.weights = {name: float(setting.pop("weight", 1.0)) for name, setting in settings.items()}
        self.functions = {name: TERMS[name](**setting) for name, setting in settings.items()}
        self.modules_of_terms = nn.ModuleList(f for f in self.functions.values() if isinstance(f, nn.Module))

    def forward(self, predicted: Tensor, reference: Tensor, structures: Structures) -> tuple[Tensor, dict[str, Tensor]]:
        """(total, {term: its unweighted value}) of doses (B, K, J, I) in Gy."""
        predicted = predicted.float() * structures.dose_mask
        reference = reference.float() * structures.dose_mask
        parts = {name: f(predicted, reference, structures) for name, f in self.functions.items()}
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}
