"""What sparing one structure costs: its dose against the targets' coverage and the other organs, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..dvh.metrics import OAR_METRICS
from ..errors import DeepDoseError
from ..patient.rois import is_target
from .explorer import Explorer, StructureMetrics

STEPS = (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 9.0, 12.0)
LITTLE_GAIN = 0.01
"""In parts of the dose as predicted: a step that takes less off it is the last one."""
CHEAP_GY, DEAR_GY = 0.5, 2.0
"""Of a target's D95: up to where a price is called low, and from where it is called high."""
SAME_COVERAGE_GY = 0.5
"""D95s that are closer count as the same when a plan is compared with the curve."""
COVERAGE = "D_95"
METRIC_NAMES = {text: name for name, text in OAR_METRICS.items()}
"""{"D0.1cc" or "mean": OpenKBP's name}"""


@dataclass(frozen=True)
class TradeOffPoint:
    """One dose of a curve: the structure's priority and the metrics of all structures."""

    priority: float
    metrics: StructureMetrics


@dataclass(frozen=True)
class TradeOff:
    """How far the dose of an organ goes down, and at what price.

    Attributes:
        structure, metric: of the curve, "mean" or "D0.1cc".
        points: from as predicted to as far as it goes.
        reference: metrics of the reference dose, None where there is none.
    """

    structure: str
    metric: str
    points: Sequence[TradeOffPoint]
    reference: StructureMetrics | None = None

    def value(self, metrics: StructureMetrics) -> float:
        """The curve's metric in Gy."""
        return metrics[self.structure][METRIC_NAMES[self.metric]]

    @property
    def values(self) -> np.ndarray:
        """(points,) of the curve's metric, Gy."""
        return np.array([self.value(point.metrics) for point in self.points])

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(name for name in self.points[0].metrics if is_target(name))

    def coverage(self, target: str) -> np.ndarray:
        """(points,) D95 of a target, Gy."""
        return np.array([point.metrics[target][COVERAGE] for point in self.points])

    @property
    def dearest_target(self) -> str:
        """The one whose D95 falls most."""
        return max(self.targets, key=lambda target: self._lost(target).max())

    def _lost(self, target: str) -> np.ndarray:
        d95 = self.coverage(target)
        return d95[0] - d95

    def price(self) -> np.ndarray:
        """(points,) Gy of D95 that the target loses which loses most there, against the prediction; never below 0."""
        return np.max([self._lost(target) for target in self.targets], 0).clip(min=0)

    def sentence(self) -> str:
        """Such as "LeftParotid: mean 27.1 to 19.0 Gy costs 0.4 Gy of PTV70's D95; below 15.0 Gy more than 2 Gy"."""
        values, price = self.values, self.price()
        if values.min() > values[0] - LITTLE_GAIN * values[0]:
            return f"{self.structure}: {self.metric} {values[0]:.1f} Gy hardly goes down, whatever its priority"
        cheap = max(1, int(np.flatnonzero(price <= CHEAP_GY)[-1]))
        text = f"{self.structure}: {self.metric} {values[0]:.1f} to {values[cheap]:.1f} Gy {self._paid(cheap)}"
        last = len(values) - 1
        if price[last] > DEAR_GY and price[cheap] <= DEAR_GY:
            return f"{text}; below {self._where(DEAR_GY):.1f} Gy more than {DEAR_GY:g} Gy"
        return text if cheap == last else f"{text}; {values[last]:.1f} Gy, as far as it goes, {self._paid(last)}"

    def _paid(self, point: int) -> str:
        price = self.price()[point]
        if price < 0.05:
            return "costs no coverage"
        target = max(self.targets, key=lambda target: self._lost(target)[point])
        return f"costs {price:.1f} Gy of {target}'s D95"

    def _where(self, price: float) -> float:
        """The curve's value where a price is first passed, between two points linearly."""
        prices, values = self.price(), self.values
        after = int(np.flatnonzero(prices > price)[0])
        part = (price - prices[after - 1]) / (prices[after] - prices[after - 1])
        return float(values[after - 1] + part * (values[after] - values[after - 1]))

    def could_be_better(self) -> float | None:
        """Gy by which the reference plan lies above the curve where coverage is cheap and as good as the plan's.

        Below 0 where the plan is better than the curve; None without a reference, or where the predicted doses cover a
        target worse than it.
        """
        if self.reference is None:
            return None
        covered = [self.coverage(one) >= self.reference[one][COVERAGE] - SAME_COVERAGE_GY for one in self.targets]
        allowed = np.all([self.price() <= CHEAP_GY, *covered], 0)
        return self.value(self.reference) - float(self.values[allowed].min()) if allowed.any() else None

    def judgement(self) -> str:
        """The reference plan beside the curve, in words; "" without a reference."""
        if self.reference is None:
            return ""
        plan = f"the reference plan's {self.metric} of {self.value(self.reference):.1f} Gy"
        gap = self.could_be_better()
        if gap is None:
            return f"{plan} cannot be judged: it covers the targets better than the predicted doses do"
        words = f"the curve, with the targets covered as well and at most {CHEAP_GY:g} Gy of D95 below the prediction"
        return f"{plan} lies {abs(gap):.1f} Gy {'above' if gap > 0 else 'below'} {words}"


def trade_off(
    explorer: Explorer, structure: str, metric: str = "mean", priorities: Mapping[str, float] | None = None
) -> TradeOff:
    """The curve of an organ, its priority going up in steps until little is gained.

    Args:
        metric: "mean" or "D0.1cc".
        priorities: of the other structures.

    Raises:
        DeepDoseError: the structure takes no priority or is a target, or there is no such metric.
    """
    if is_target(structure) or metric not in METRIC_NAMES:
        raise DeepDoseError(f"curve of {structure} {metric}: curves are of organs' {' or '.join(METRIC_NAMES)}")
    others = {name: step for name, step in (priorities or {}).items() if name != structure}
    points: list[TradeOffPoint] = []
    for step in STEPS:
        points.append(TradeOffPoint(step, explorer.explore({**others, structure: step}).metrics))
        values = [point.metrics[structure][METRIC_NAMES[metric]] for point in points[-2:]]
        if (
            len(points) > 4
            and values[0] - values[-1] < LITTLE_GAIN * points[0].metrics[structure][METRIC_NAMES[metric]]
        ):
            break
    case = explorer.case
    return TradeOff(structure, metric, points, None if case.dose is None else explorer.metrics(case.dose))
