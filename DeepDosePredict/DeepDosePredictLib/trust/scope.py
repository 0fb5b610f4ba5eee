"""Whether a patient is of the kind that a model learnt from, by what cases are like in numbers (`features`).

The model's patients make a normal distribution of all features together. A patient is compared with it as a whole, and
structure by structure: with what the structure is in others, and with what the rest of this patient makes expect of it.
Each of these distances (Mahalanobis) counts in units of one that few of the model's patients exceed when they are left
out; the largest decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .features import Features, described, is_feature, smallest_spread

FEWEST_PATIENTS, FEWEST_WITH_FEATURE, FOLDS = 30, 20, 10
"""Patients for a scope at all, and with a feature for it to count; and parts that are left out in turn for limits."""
SHRINKAGE, WINSORISED = 0.2, 4.0
"""Part of the unit matrix in the correlations, and standard deviations at which outliers among the patients end."""
TAIL_PERCENT, TAIL_SPREADS = 99.5, 2.8
"""Where a normal distribution's tail is; features with longer ones get a wider spread."""
FEW_SHARE, LIKE_SHARE = 0.98, 0.975
"""Part of the model's own patients, left out in turn, within the unit of each distance, and of all of them together."""
MAX_FEATURES, MAX_REASONS = 400, 4
UNLIKE = "unlike"
"""What the verdict on a patient who is none of the model's kind begins with."""
WHOLE, GIVEN_REST = "all", " beside the rest"
"""Names of distances: WHOLE, STRUCTURE and STRUCTURE + GIVEN_REST."""


@dataclass(frozen=True)
class Verdict:
    """Whether a patient is of the kind that a model learnt from.

    Attributes:
        like: None where nothing is known of the model's patients.
        words: the verdict, with what is unlike, the most striking first.
        distance: from the model's patients; beyond 1 the patient is unlike them.
    """

    like: bool | None
    words: str
    distance: float = math.nan

    @classmethod
    def of(cls, model: str, n_patients: int | None, reasons: Sequence[str], distance: float = math.nan) -> Verdict:
        """In words; `reasons` are what is unlike, `n_patients` is None where nothing is known of the model's."""
        patients = f"the {n_patients} patients that model {model} learnt from"
        if reasons:
            known = patients if n_patients is not None else f"the patients that model {model} learnt from"
            return cls(False, f"{UNLIKE} {known}: {'; '.join(reasons)}", distance)
        if n_patients is None:
            return cls(
                None,
                f"nothing is known of the patients that model {model} learnt from: nobody can say whether this one is"
                " like them",
            )
        return cls(True, f"like {patients}", distance)


@dataclass(frozen=True)
class Scope:
    """The kind of patients that a model learnt from.

    Attributes:
        n_patients: how many they are.
        names: of the F features.
        middle, spread: (F,) median, and standard deviation or more.
        low, high: (F,) 1st and 99th percentile, for words.
        correlations: (F, F) symmetric with a unit diagonal, as its rows below the diagonal, one after the other.
        units: {name of a distance: its unit}.
    """

    n_patients: int
    names: tuple[str, ...]
    middle: tuple[float, ...]
    spread: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    correlations: tuple[float, ...]
    units: dict[str, float]

    def __post_init__(self) -> None:
        n = len(self.names)
        for name in ("names", "middle", "spread", "low", "high", "correlations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not all(isinstance(name, str) and is_feature(name) for name in self.names) or not 0 < n <= MAX_FEATURES:
            raise ValueError(f"a scope has 1 to {MAX_FEATURES} features of known names")
        if len({*self.names}) != n or any(len(x) != n for x in (self.middle, self.spread, self.low, self.high)):
            raise ValueError("a scope's numbers must be one for each feature")
        positive = (self.n_patients, *self.spread, *self.units.values())
        numbers = (*self.middle, *self.low, *self.high, *self.correlations, *positive)
        if len(self.correlations) != n * (n - 1) // 2 or not all(map(_is_number, numbers)) or min(positive) <= 0:
            raise ValueError(
                "a scope's numbers must be finite, those of spreads above 0, and correlations for all pairs"
            )
        if {WHOLE, *(_structure(name) for name in self.names)} - self.units.keys():
            raise ValueError("a scope needs a unit for each of its distances")
        if np.linalg.eigvalsh(self._matrix).min() <= 0:
            raise ValueError("a scope's correlations are impossible together")

    @cached_property
    def _matrix(self) -> np.ndarray:
        n = len(self.names)
        matrix = np.zeros((n, n))
        matrix[np.tril_indices(n, -1)] = self.correlations
        return matrix + matrix.T + np.eye(n)

    @classmethod
    def of(cls, patients: Sequence[Features]) -> Scope:
        """The scope of a model's patients; ValueError for too few of them."""
        if len(patients) < FEWEST_PATIENTS:
            raise ValueError(f"a scope needs at least {FEWEST_PATIENTS} patients, not {len(patients)}")
        every = dict.fromkeys(name for features in patients for name in features)
        names = [name for name in every if sum(name in features for features in patients) >= FEWEST_WITH_FEATURE]
        table = np.array([[features.get(name, np.nan) for name in names] for features in patients])
        left_out: dict[str, list[float]] = {}
        largest = []
        folds = np.arange(len(table)) % FOLDS
        for fold in range(FOLDS):
            part = cls._fitted(names, table[folds != fold], {})
            for row in table[folds == fold]:
                largest.append(part._distances(row))
                for name, distance in largest[-1].items():
                    left_out.setdefault(name, []).append(distance)
        units = {name: _high_quantile(distances, FEW_SHARE) for name, distances in left_out.items()}
        last = _high_quantile([max(d / units[name] for name, d in one.items()) for one in largest], LIKE_SHARE)
        return cls._fitted(names, table, {name: float(f"{unit * last:.4g}") for name, unit in units.items()})

    @classmethod
    def _fitted(cls, names: Sequence[str], table: np.ndarray, units: dict[str, float]) -> Scope:
        """Args: table: (patients, F), NaN where a feature is missing; units: {} for a scope that only measures."""
        middle = np.nanmedian(table, 0)
        away = np.abs(table - middle)
        least = [smallest_spread(name) for name in names]
        tail = np.nanpercentile(away, TAIL_PERCENT, axis=0) / TAIL_SPREADS
        spread = np.max([1.4826 * np.nanmedian(away, 0), tail, least], 0)
        scaled = np.clip((table - middle) / spread, -WINSORISED, WINSORISED)
        known = np.isfinite(scaled).astype(float)
        filled = np.nan_to_num(scaled)
        squares = (filled**2).T @ known
        matrix = filled.T @ filled / np.sqrt(np.maximum(squares * squares.T, 1e-9))
        values, vectors = np.linalg.eigh(matrix)  # pairs of different patients may not fit together
        matrix = (vectors * values.clip(1e-3)) @ vectors.T
        matrix *= (1 - SHRINKAGE) / np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
        lower = matrix[np.tril_indices(len(names), -1)].round(2)
        low, high = np.nanpercentile(table, (1, 99), axis=0)
        middle, spread, low, high = (tuple(float(f"{x:.5g}") for x in row) for row in (middle, spread, low, high))
        units = units or dict.fromkeys((WHOLE, *map(_structure, names)), 1.0)
        return cls(len(table), tuple(names), middle, spread, low, high, tuple(lower.tolist()), units)

    def _scaled(self, row: np.ndarray) -> np.ndarray:
        return (row - np.array(self.middle)) / np.array(self.spread)

    def _distances(self, row: np.ndarray) -> dict[str, float]:
        """{name of a distance: how far a row (F,) of features is, NaN where one is missing}."""
        known = np.flatnonzero(np.isfinite(row))
        scaled = self._scaled(row)[known]
        matrix = self._matrix[np.ix_(known, known)]
        inverse = np.linalg.inv(matrix)
        pulled = inverse @ scaled
        found = {WHOLE: np.sqrt(scaled @ pulled / max(1, scaled.size))}
        structures = np.array([_structure(self.names[n]) for n in known])
        for structure in dict.fromkeys(structures.tolist()):
            own = np.flatnonzero(structures == structure)
            block = np.ix_(own, own)
            found[structure] = np.sqrt(scaled[own] @ np.linalg.solve(matrix[block], scaled[own]) / own.size)
            rest = np.sqrt(pulled[own] @ np.linalg.solve(inverse[block], pulled[own]) / own.size)
            found[structure + GIVEN_REST] = rest
        return {name: float(distance) for name, distance in found.items()}

    def unlike(self, features: Features) -> tuple[float, list[str]]:
        """How far a patient is from the model's (beyond 1 it is unlike them), and what is unlike, in words."""
        row = np.array([features.get(name, np.nan) for name in self.names])
        if not np.isfinite(row).any():
            return math.inf, ["nothing of the targets lies in the dose mask"]
        distances = self._distances(row)
        relative = {name: distances[name] / unit for name, unit in self.units.items() if name in distances}
        largest = max(relative.values())
        if largest <= 1:
            return largest, []
        ordered = sorted(relative, key=relative.__getitem__, reverse=True)
        structures = dict.fromkeys(
            name.removesuffix(GIVEN_REST) for name in ordered if relative[name] > 1 and name != WHOLE
        )
        return largest, [self._strangest(row, structure) for structure in [*structures][:MAX_REASONS] or [WHOLE]]

    def _strangest(self, row: np.ndarray, structure: str) -> str:
        """The feature of a structure that is furthest from its middle, in words."""
        away = np.abs(self._scaled(row))
        own = [n for n, name in enumerate(self.names) if structure in (WHOLE, _structure(name)) and np.isfinite(row[n])]
        n = max(own, key=away.__getitem__)
        return described(self.names[n], row[n], (self.low[n], self.high[n]))


def _structure(feature: str) -> str:
    return feature.rpartition(" ")[0]


def _high_quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share, method="higher"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
