"""Between which values a plan's DVH metrics will lie: intervals around predicted ones, by split conformal prediction.

On patients that a model has not learnt from, the plan's metrics are compared with the predicted ones. What nine in ten
of these differences stay within, counted so that a further patient is covered, too (Lei et al., J. Am. Stat. Assoc.
113 (2018) 1094), is the half-width. Differences count in units of the patient's difficulty, which needs no plan: how
far the predicted dose is there from one that beams can deliver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..dvh.metrics import Metric
from ..patient.rois import is_target, oar_kind

LEVEL = 0.9
FEWEST, FEWEST_OWN = 10, 15
"""Patients for an interval at all, and for one from a structure's own patients; below, others of its kind help."""
VOLUMES = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99)
"""Percent of a structure: those of the curve whose doses have intervals of their own; 0 is the maximum."""
MEAN, SMALL = "mean", "D0.1cc"
QUANTITIES = (MEAN, SMALL, *(f"D{volume}%" for volume in VOLUMES))
NEAR_PERCENT, LEAST_DISAGREEMENT_GY = 2.5, 0.3
"""How far in ranks around a quantity its disagreement is averaged, and what is added to it."""
TARGETS, ORGANS = "targets", "organs"
"""Kinds that hold all targets, and all organs."""
MAX_STRUCTURES = 64
_SMALL = Metric.parse(SMALL)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """A structure in a dose: values and difficulties (Q,) of QUANTITIES, Gy and units of it, and its volume."""

    values: np.ndarray
    difficulties: np.ndarray
    curve: np.ndarray
    volume_cm3: float

    @classmethod
    def of(cls, doses: np.ndarray, disagreement: np.ndarray, voxel_volume_mm3: float) -> Measured:
        """Measure a structure of at least one voxel.

        Args:
            doses: (N,) of its voxels, Gy.
            disagreement: (N,) Gy, how far each is from a dose that beams can deliver; zeros where nobody knows.
        """
        order = np.argsort(doses, kind="stable")
        doses, disagreement = doses[order].astype(np.float64), disagreement[order].astype(np.float64)
        n = len(doses)
        ranks = np.array([_SMALL.rank(n, voxel_volume_mm3), *((1 - volume / 100) * (n - 1) for volume in VOLUMES)])
        values = [doses.mean(), *np.interp(ranks, np.arange(n), doses)]
        reach = max(2.0, NEAR_PERCENT / 100 * n)
        first, last = (ranks - reach).clip(0).astype(int), (ranks + reach).clip(0, n - 1).astype(int) + 1
        sums = np.concatenate(([0.0], np.cumsum(disagreement)))
        local = [disagreement.mean(), *((sums[last] - sums[first]) / (last - first))]
        curve = np.interp((1 - np.arange(101) / 100) * (n - 1), np.arange(n), doses)
        difficulties = np.sqrt(LEAST_DISAGREEMENT_GY + np.array(local))
        return cls(np.array(values), difficulties, curve, n * voxel_volume_mm3 / 1000)


@dataclass(frozen=True)
class Band:
    """The intervals of a structure of a patient.

    Attributes:
        measured: the structure in the predicted dose.
        shift, half_width: (Q,) of QUANTITIES, Gy; an interval is value + shift - half_width to value + shift +
            half_width.
    """

    measured: Measured
    shift: np.ndarray
    half_width: np.ndarray

    def interval(self, metric: Metric, value: float) -> Interval:
        """Of a metric with its predicted value, in the metric's unit; values by any way of counting voxels fit."""
        if metric.kind == "V":
            low, high = self.volumes(np.array([metric.value]))
            own = _volume_with(self.measured.curve, np.array([metric.value]))
            return max(0.0, value + float((low - own)[0])), min(100.0, value + float((high - own)[0]))
        if metric.kind == "mean":
            shift, half_width = self.shift[0], self.half_width[0]
        elif metric == _SMALL:
            shift, half_width = self.shift[1], self.half_width[1]
        else:
            part = 100 * metric.value / self.measured.volume_cm3
            volume = {"max": 0.0, "D%": metric.value, "Dcc": min(100.0, part)}[metric.kind]
            shift, half_width = (float(np.interp(volume, VOLUMES, row[2:])) for row in (self.shift, self.half_width))
        return max(0.0, value + shift - half_width), max(0.0, value + shift + half_width)

    @cached_property
    def curves(self) -> tuple[np.ndarray, np.ndarray]:
        """(101,) lowest and highest dose in Gy that 0, 1, ... 100 percent of the structure receive at least."""
        shift, half_width = (np.interp(np.arange(101), VOLUMES, row[2:]) for row in (self.shift, self.half_width))
        low, high = self.measured.curve + shift - half_width, self.measured.curve + shift + half_width
        return np.minimum.accumulate(low.clip(0)), np.maximum.accumulate(high.clip(0)[::-1])[::-1]

    def volumes(self, doses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest percent of the structure that receive at least each of some doses in Gy."""
        low, high = self.curves
        return _volume_with(low, doses), _volume_with(high, doses)


def _volume_with(curve: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Percent whose dose, by a falling curve (101,), reaches each of some doses."""
    steps = np.arange(101.0)
    found = np.interp(-doses, -curve, steps)
    return np.where(doses <= curve[-1], 100.0, np.where(doses > curve[0], 0.0, found))


@dataclass(frozen=True)
class StructureCalibration:
    """How the plans of a structure differ from predictions.

    Attributes:
        n_patients: that this was measured on.
        shift: (Q,) median of plan - prediction, Gy.
        width: (Q,) half-width in units of difficulty.
        pooled: "" for the structure's own patients, else the kind of structures that were taken together.
    """

    n_patients: int
    shift: tuple[float, ...]
    width: tuple[float, ...]
    pooled: str = ""

    def __post_init__(self) -> None:
        for name in ("shift", "width"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        numbers = (self.n_patients, *self.shift, *self.width)
        if (
            len(self.shift) != len(QUANTITIES)
            or len(self.width) != len(QUANTITIES)
            or not all(map(_is_number, numbers))
        ):
            raise ValueError(f"intervals need {len(QUANTITIES)} finite shifts and widths a structure")
        if min(self.width) < 0 or not isinstance(self.n_patients, int) or not isinstance(self.pooled, str):
            raise ValueError("widths of intervals must not be below 0, patients be whole numbers")


@dataclass(frozen=True)
class Intervals:
    """What a model's file knows of its errors.

    Attributes:
        n_patients: that the model was compared with; it had not learnt from them.
        structures: {structure: how its plans differ}.
    """

    n_patients: int
    structures: dict[str, StructureCalibration]

    def __post_init__(self) -> None:
        if not isinstance(self.n_patients, int) or not 0 < len(self.structures) <= MAX_STRUCTURES:
            raise ValueError(f"intervals need a number of patients and 1 to {MAX_STRUCTURES} structures")

    @classmethod
    def from_json(cls, content: Mapping) -> Intervals:
        """ValueError, TypeError or KeyError for what `dataclasses.asdict` of one did not give."""
        structures = {name: StructureCalibration(**one) for name, one in content["structures"].items()}
        return cls(**{**content, "structures": structures})

    @classmethod
    def of(cls, pairs: Mapping[str, Sequence[tuple[np.ndarray, Measured]]], n_patients: int) -> Intervals:
        """Calibrate on patients that the model has not learnt from; ValueError where there are too few of them.

        Args:
            pairs: {structure: for each patient that has it the plan's values (Q,) and the predicted structure}.
        """
        found = {}
        for structure in pairs:
            kinds = [("", {structure}), *_kinds(structure, pairs)]
            together = [(kind, [pair for name in kin for pair in pairs[name]]) for kind, kin in kinds]
            kind, patients = next((one for one in together if len(one[1]) >= FEWEST_OWN), together[-1])
            if len(patients) >= FEWEST:
                found[structure] = _calibrated(patients, kind)
        if not found:
            raise ValueError(f"intervals need at least {FEWEST} patients, not {n_patients}")
        return cls(n_patients, found)

    def band(self, structure: str, measured: Measured) -> Band | None:
        """The intervals of a patient's structure; None for one that nothing is known of."""
        calibration = self.structures.get(structure)
        if calibration is None:
            return None
        return Band(measured, np.array(calibration.shift), np.array(calibration.width) * measured.difficulties)

    def words(self) -> str:
        """How the intervals came about."""
        pooled = {name: one.pooled for name, one in self.structures.items() if one.pooled}
        by_kind = "".join(f"; {name} by {kind} taken together" for name, kind in pooled.items())
        return f"{LEVEL:.0%} intervals from {self.n_patients} patients that the model did not learn from{by_kind}"


def _kinds(structure: str, pairs: Mapping[str, object]) -> list[tuple[str, set[str]]]:
    """Wider and wider kinds of a structure, with the structures that are of it."""
    if is_target(structure):
        return [(TARGETS, {name for name in pairs if is_target(name)})]
    kind, organs = oar_kind(structure), {name for name in pairs if not is_target(name)}
    return [(f"{kind}s", {name for name in organs if oar_kind(name) == kind}), (ORGANS, organs)]


def _calibrated(pairs: Sequence[tuple[np.ndarray, Measured]], pooled: str) -> StructureCalibration:
    differences = np.array([values - measured.values for values, measured in pairs])
    shift = np.median(differences, 0)
    scores = np.sort(np.abs(differences - shift) / np.array([measured.difficulties for _, measured in pairs]), 0)
    width = scores[conformal_rank(len(pairs)) - 1]
    rounded = [tuple(float(f"{x:.4g}") for x in row) for row in (shift, width)]
    return StructureCalibration(len(pairs), rounded[0], rounded[1], pooled)


def conformal_rank(n: int, level: float = LEVEL) -> int:
    """Which of n ascending scores a further one stays within with a probability of at least `level` (at most n)."""
    return min(n, math.ceil((n + 1) * level - 1e-9))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
