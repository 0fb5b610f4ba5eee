"""Templates of clinical goals (JSON): which DVH metrics matter, for the CDM loss and for pass or fail."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DeepDoseError
from .metrics import Metric

MAX_BYTES = 2**20
_LIMIT = re.compile(r"(<=|>=)\s*(\d+(?:\.\d+)?)\s*(Gy|%)")


@dataclass(frozen=True)
class Goal:
    """One clinical goal: a structure, a metric and, where there is one, the limit it should keep.

    Attributes:
        structure: ROI name.
        metric: DVH metric.
        sense: ">=" or "<=", or None for a metric without a limit.
        limit: in the metric's unit, or None.
        weight: its share in the CDM loss.
    """

    structure: str
    metric: Metric
    sense: str | None = None
    limit: float | None = None
    weight: float = 1.0

    def met(self, value: float) -> bool | None:
        """Whether a value of the metric keeps the limit; None without a limit."""
        if self.limit is None:
            return None
        return value >= self.limit if self.sense == ">=" else value <= self.limit


def read_goals(path: str | Path) -> list[Goal]:
    """Read a template: {"name": ..., "goals": [{"structure", "metric", "goal": ">= 66.5 Gy", "weight"}, ...]}.

    "goal" and "weight" may be left out. DeepDoseError names the file and the entry that is wrong.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        entries = json.loads(path.read_text(encoding="utf-8"))["goals"]
        if not isinstance(entries, list):
            raise ValueError("goals must be a list")
        return [_read_goal(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DeepDoseError(f"{path}: not a template of clinical goals ({error})") from error


def _read_goal(entry: dict) -> Goal:
    unknown = set(entry) - {"structure", "metric", "goal", "weight"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r} in {entry}")
    metric, weight = Metric.parse(entry["metric"]), float(entry.get("weight", 1.0))
    if not (isinstance(entry["structure"], str) and 0 < weight < float("inf")):
        raise ValueError(f"a goal needs the name of a structure and a weight above 0: {entry}")
    if "goal" not in entry:
        return Goal(entry["structure"], metric, weight=weight)
    match = _LIMIT.fullmatch(entry["goal"].strip())
    if not match or match[3] != metric.unit:
        raise ValueError(f"goal {entry['goal']!r} is not '>= NUMBER {metric.unit}' or '<= NUMBER {metric.unit}'")
    return Goal(entry["structure"], metric, match[1], float(match[2]), weight)
