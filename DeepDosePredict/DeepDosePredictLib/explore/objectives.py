"""Objectives for a planning system: what a planner types in so that it makes a dose like this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..dvh.metrics import Metric
from ..patient.case import Case
from ..patient.rois import is_target

if TYPE_CHECKING:
    from .explorer import Explored, Explorer

MEAN, AT_MOST, AT_LEAST = "mean at most", "at most", "at least"
"""The mean of a structure; the dose that a volume may or must have."""
DVH_POINTS = (75.0, 50.0, 25.0)
"""Percent of an organ's volume at which its DVH is told."""
HOTTEST_CC = 0.1
LEAST_GY = 1.0
"""A point of an organ's DVH below this is none: a part lies where the dose mask has ended."""
TARGET_POINTS = ((AT_LEAST, 99.0), (AT_LEAST, 95.0), (AT_MOST, 1.0))
"""Minimum, coverage and maximum: percent of a target's volume."""
RINGS_MM = (3.0, 6.0)
"""Rings around a target reach from the one before, or the target, to here."""
ALMOST_ALL, ALMOST_NONE = 99.0, 1.0
"""Percent of a volume: from here on an objective is one on the least or the highest dose."""
HIGHEST_WEIGHT = 100.0
"""What the highest target's objectives weigh together."""


@dataclass(frozen=True)
class DoseObjective:
    """One line of a planning system's table.

    Attributes:
        structure: ROI, or a ring as "PTV70 ring 3 mm".
        sense: `MEAN`, or whether the volume gets `AT_MOST` or `AT_LEAST` the dose.
        dose: in Gy.
        volume_percent, volume_cc: None for a mean.
        weight: from the planners' fit; for objectives that are averages over their structure. `HIGHEST_WEIGHT` is what
            the highest target's weigh together.
    """

    structure: str
    sense: str
    dose: float
    volume_percent: float | None
    volume_cc: float | None
    weight: float

    def __str__(self) -> str:
        if self.volume_percent is None:
            return f"{self.structure}: {self.sense} {self.dose:.1f} Gy"
        return f"{self.structure}: {self.sense} {self.dose:.1f} Gy in {self.volume_percent:.3g} %"


def pyradplan_terms(objective: DoseObjective) -> tuple[str, dict[str, float | str]]:
    """Name and parameters of pyRadPlan's objective function, which SlicerRT's external beam planning has, too."""
    dose, volume = round(objective.dose, 3), objective.volume_percent
    if volume is None:
        return "Mean Dose", {"d_ref": dose, "f_diff": "quadratic"}
    if objective.sense == AT_LEAST:
        return (
            ("Squared Underdosing", {"d_min": dose})
            if volume >= ALMOST_ALL
            else ("Min DVH", {"d": dose, "v_min": volume})
        )
    return (
        ("Squared Overdosing", {"d_max": dose}) if volume <= ALMOST_NONE else ("Max DVH", {"d": dose, "v_max": volume})
    )


def rings(case: Case, target: str) -> dict[str, np.ndarray]:
    """{name: (K, J, I) bool} of the rings around a target: inside the dose mask, outside all targets.

    Distances are from the target's voxels, less half a pixel. On coarse grids a ring may have no voxel.
    """
    surface = distance_transform_edt(~case.rois[target], case.spacing) - case.spacing[2] / 2
    free = case.dose_mask & ~np.any([case.rois[one] for one in case.targets()], 0)
    edges = (-np.inf, *RINGS_MM)
    return {
        f"{target} ring {outer:g} mm": free & (surface > inner) & (surface <= outer)
        for inner, outer in zip(edges, RINGS_MM, strict=False)
    }


def objective_structures(explorer: Explorer) -> dict[str, np.ndarray]:
    """{name: (K, J, I) bool} of all that gets objectives: the structures that take priorities, and the rings."""
    case = explorer.case
    masks = {roi: case.rois[roi] for roi in explorer.structures}
    for target in case.targets():
        masks |= {name: ring for name, ring in rings(case, target).items() if ring.any()}
    return masks


def dose_objectives(explorer: Explorer, explored: Explored) -> list[DoseObjective]:
    """Objectives that an explored dose, or with no priorities the predicted one, meets exactly.

    Of organs the mean, D0.1cc and three points of the DVH; of targets minimum, coverage and maximum; of rings around
    targets the mean and D0.1cc.
    """
    case, masks = explorer.case, objective_structures(explorer)
    weights = explorer.weights(explored.priorities, masks)
    n_highest = np.count_nonzero(masks[case.highest_target])
    objectives = []
    for name, mask in masks.items():
        lines = [*_lines(name, explored.dose[mask], case.voxel_volume_mm3)]
        weight = HIGHEST_WEIGHT * weights.get(name, 0.0) * np.count_nonzero(mask) / n_highest / len(lines)
        objectives += [DoseObjective(name, *line, weight=float(f"{weight:.3g}")) for line in lines]
    return objectives


def _lines(name: str, doses: np.ndarray, voxel_mm3: float) -> Iterator[tuple[str, float, float | None, float | None]]:
    """(sense, Gy, percent, cc) of a structure with voxels."""
    volume_cc = doses.size * voxel_mm3 / 1000

    def at(percent: float) -> float:
        return Metric("D%", percent).evaluate(doses, voxel_mm3)

    if is_target(name):
        for sense, percent in TARGET_POINTS:
            yield sense, at(percent), percent, volume_cc * percent / 100
        return
    yield MEAN, float(np.mean(doses, dtype=np.float64)), None, None
    cc = min(HOTTEST_CC, volume_cc)
    yield AT_MOST, Metric("Dcc", HOTTEST_CC).evaluate(doses, voxel_mm3), 100 * cc / volume_cc, cc
    if " ring " not in name:
        for percent in DVH_POINTS:
            if (dose := at(percent)) >= LEAST_GY:
                yield AT_MOST, dose, percent, volume_cc * percent / 100
