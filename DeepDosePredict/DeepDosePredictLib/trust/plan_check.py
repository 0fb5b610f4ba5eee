"""Which of a plan's DVH metrics lie outside the intervals of the prediction, and on which side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..patient.rois import is_target
from .intervals import LEVEL


@dataclass(frozen=True)
class Checked:
    """A metric of a plan with its predicted value and interval, all in `unit`."""

    structure: str
    metric: str
    unit: str
    plan: float
    predicted: float
    low: float
    high: float

    @property
    def beyond(self) -> float:
        """How far the plan lies outside the interval: above it > 0, below it < 0."""
        return max(0.0, self.plan - self.high) + min(0.0, self.plan - self.low)

    def sentence(self) -> str:
        """For example "LeftParotid mean 31.0 Gy, predicted 22.0 (18.0 to 26.0): could be lower"."""
        return (
            f"{self.structure} {self.metric} {self.plan:.1f} {self.unit}, predicted {self.predicted:.1f}"
            f" ({self.low:.1f} to {self.high:.1f}): {self._judgement()}"
        )

    @property
    def is_worse(self) -> bool:
        """Whether the plan is worse than predicted: more in an organ or a hot spot, less in a target's cold end."""
        return (self.beyond < 0) == (is_target(self.structure) and self.metric != "D1%") and self.beyond != 0

    def _judgement(self) -> str:
        if is_target(self.structure):
            hot = self.metric == "D1%"
            if self.beyond > 0:
                return "hotter than plans usually are" if hot else "covered better than plans usually do"
            return "less hot than plans usually are" if hot else "covered less than plans usually do"
        return "could be lower" if self.beyond > 0 else "lower than plans usually are"


def outside(metrics: Sequence[Checked]) -> list[Checked]:
    """The metrics outside their intervals: those that are worse than predicted first, the furthest first."""
    found = [one for one in metrics if one.beyond]
    return sorted(found, key=lambda one: (not one.is_worse, -abs(one.beyond)))


def summary(metrics: Sequence[Checked]) -> str:
    """One sentence about a plan; "" where no metric has an interval."""
    if not metrics:
        return ""
    found = outside(metrics)
    usual = (1 - LEVEL) * len(metrics)
    worse = [one for one in found if one.is_worse]
    text = f"plan check: {len(found)} of {len(metrics)} metrics lie outside their {LEVEL:.0%} intervals"
    text += f" (about {usual:.0f} do in usual plans)"
    if worse:
        return f"{text}; {len(worse)} are worse than predicted, most of all {worse[0].structure} {worse[0].metric}"
    return f"{text}; none is worse than predicted"
