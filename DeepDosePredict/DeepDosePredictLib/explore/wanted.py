"""Priorities for mean doses that are wanted: "left parotid 20 Gy"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DeepDoseError
from ..patient.rois import is_target
from .explorer import MAX_PRIORITY, STEP_AIM, Explored, Explorer

ROUNDS, CLOSE_GY, FAR_GY = 8, 0.1, 0.5
"""How often the priorities are mended at most, the deviation that ends it, and the one that is said."""
GAINS = 0.02, 0.4
"""What a step can do to the logarithm of an organ's mean dose: the least and the most that is believed."""
LEAST_MOVE, LARGEST_MOVE = 0.05, 4.0
"""Steps at once: below, nothing more is found; beyond, a priority's effect is no longer what it was."""


@dataclass(frozen=True)
class Reached:
    """What came of wanted mean doses.

    Attributes:
        explored: the dose with the priorities that were found.
        wanted: {organ: Gy}.
        unmet: in words, what could not be had and why.
    """

    explored: Explored
    wanted: Mapping[str, float]
    unmet: tuple[str, ...]


def reach(explorer: Explorer, wanted: Mapping[str, float], priorities: Mapping[str, float] | None = None) -> Reached:
    """Find the priorities that give organs the mean doses wanted, all at once.

    Each priority is moved by what its last move did to its own organ's mean.

    Args:
        wanted: {organ: mean dose in Gy}.
        priorities: of other structures, which stay as they are.

    Raises:
        DeepDoseError: a structure is no organ with a priority, or the dose cannot be one.
    """
    fixed = dict(priorities or {})
    _check(wanted, fixed)
    found = dict.fromkeys(wanted, 0.0)
    gain = dict.fromkeys(wanted, -math.log(STEP_AIM))
    explored = explorer.explore({**fixed, **found})
    for _ in range(ROUNDS):
        means = _means(explored, wanted)
        if all(abs(means[organ] - gray) < CLOSE_GY for organ, gray in wanted.items()):
            break
        before = found
        found = {organ: _moved(found[organ], math.log(means[organ] / wanted[organ]) / gain[organ]) for organ in wanted}
        if all(abs(found[organ] - before[organ]) < LEAST_MOVE for organ in wanted):
            break
        explored = explorer.explore({**fixed, **found})
        for organ, now in _means(explored, wanted).items():
            if abs(move := found[organ] - before[organ]) > 2 * LEAST_MOVE:
                gain[organ] = min(max(math.log(means[organ] / now) / move, GAINS[0]), GAINS[1])
    return Reached(explored, dict(wanted), tuple(_unmet(explored, wanted, found)))


def _check(wanted: Mapping[str, float], fixed: Mapping[str, float]) -> None:
    for organ, gray in wanted.items():
        if is_target(organ):
            raise DeepDoseError(f"{organ}: mean doses are wanted of organs; give a target a priority instead")
        if organ in fixed:
            raise DeepDoseError(f"{organ}: give a priority or a wanted mean dose, not both")
        if not 0 < gray < math.inf:
            raise DeepDoseError(f"{organ}: a wanted mean dose is a number of Gy above 0, not {gray:g}")


def _means(explored: Explored, wanted: Mapping[str, float]) -> dict[str, float]:
    return {organ: max(explored.metrics[organ]["mean"], 1e-3) for organ in wanted}


def _moved(priority: float, move: float) -> float:
    move = min(max(move, -LARGEST_MOVE), LARGEST_MOVE)
    return min(max(priority + move, -MAX_PRIORITY), MAX_PRIORITY)


def _unmet(explored: Explored, wanted: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    said = []
    for organ, gray in wanted.items():
        mean = explored.metrics[organ]["mean"]
        if abs(mean - gray) > FAR_GY:
            limit = "at the end of its priorities" if abs(found[organ]) == MAX_PRIORITY else "as near as it came"
            said.append(f"{organ}: {gray:.1f} Gy wanted, {mean:.1f} Gy reached, {limit}")
    return said
