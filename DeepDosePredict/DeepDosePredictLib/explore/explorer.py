"""The dose that follows priorities: what planners might have done, had one structure mattered more or less to them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..dvh.metrics import openkbp_metrics
from ..errors import DeepDoseError
from ..model.predictor import Prediction, Predictor
from ..model.result_check import check_result
from ..patient.case import Case, dose_box
from ..patient.rois import is_target
from ..planner.delivery import Delivery, Emphasis
from ..planner.gantry_angles import same_angles

STEP_WEIGHT, STEP_AIM = 1.5, 0.9
"""What a step of priority does: the structure's voxels weigh so much more in the planners' fit, and in an organ their
aims fall to such a part. It takes about a tenth off the mean dose of an organ outside the targets; measured in
docs/7-explore.md."""
MAX_PRIORITY = 12.0
NOTE = "explored, not predicted: the plan's change for these priorities was added to the prediction"

StructureMetrics = Mapping[str, Mapping[str, float]]
"""{structure: {metric: Gy}}, OpenKBP's metrics."""


@dataclass(frozen=True)
class Explored:
    """A dose that follows priorities.

    Attributes:
        dose: (K, J, I) float32 Gy, >= 0, zero outside the case's dose mask.
        priorities: those that are not 0.
        gantry_angles: in degrees.
        metrics: of the dose.
        seconds: from priorities to dose and metrics.
        warnings: what to know before trusting the dose, in words.
    """

    dose: np.ndarray
    priorities: Mapping[str, float]
    gantry_angles: tuple[float, ...]
    metrics: StructureMetrics
    seconds: float
    warnings: tuple[str, ...]


@dataclass
class Explorer:
    """Makes doses for priorities, in a fraction of a second each.

    A priority is a number of steps for a structure: 0 what the prediction has, above it an organ is spared and a target
    covered better, below it both matter less. The learned planners' plan is fitted anew, and what changes in it is
    added to the prediction: what the network knows beyond the plan stays.

    Args:
        predictor: that made the prediction.

    Raises:
        DeepDoseError: the model has no planner, or nothing can be planned for the case.
    """

    predictor: Predictor
    case: Case
    prediction: Prediction
    _others: dict[tuple[float, ...], Delivery] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._box = dose_box(self.case.dose_mask)
        self._inside = {roi: self.case.rois[roi][self._box] for roi in self.case.rois.present()}
        self._delivery = self._deliver(None)
        self._voxels = self._fit_voxels()

    def _deliver(self, gantry_angles: Sequence[float] | None) -> Delivery:
        delivery = self.predictor.delivery(self.case, self._box, gantry_angles)
        if delivery is None:
            raise DeepDoseError(
                f"{self.case.name}: nothing can be explored with model {self.predictor.model.label}, for it has no"
                " planner, or no PTV lies in the dose mask"
            )
        return delivery

    def _fit_voxels(self) -> dict[str, torch.Tensor]:
        """{structure: (N,) bool}: a target's voxels, or an organ's outside the targets, among those of the fit."""
        voxels = self._delivery.voxels
        at = tuple(index.numpy() for index in voxels.index)
        found = {}
        for roi, mask in self._inside.items():
            inside = torch.from_numpy(mask[at]) & (voxels.in_target if is_target(roi) else ~voxels.in_target)
            if inside.any():
                found[roi] = inside
        return found

    @property
    def structures(self) -> tuple[str, ...]:
        """Those that take a priority: not an organ that lies wholly in the targets or where no dose can be."""
        return tuple(self._voxels)

    @property
    def gantry_angles(self) -> tuple[float, ...]:
        """Of the prediction, in degrees."""
        return self.predictor.channels.gantry_angles

    @property
    def predicted_metrics(self) -> StructureMetrics:
        return self.metrics(self.prediction.dose)

    def metrics(self, dose: np.ndarray) -> StructureMetrics:
        """OpenKBP's metrics of a dose (K, J, I) in Gy."""
        return openkbp_metrics({roi: dose[self.case.rois[roi]] for roi in self._inside}, self.case.voxel_volume_mm3)

    def explore(self, priorities: Mapping[str, float], gantry_angles: Sequence[float] | None = None) -> Explored:
        """The dose for priorities; with all 0 and the prediction's beams it is the prediction.

        Args:
            priorities: {structure: from -12 to 12}; those that are not named are 0.
            gantry_angles: in degrees; None takes the prediction's.

        Raises:
            DeepDoseError: a structure takes no priority, or not this one.
        """
        start = time.perf_counter()
        given = self._checked(priorities)
        angles = self.gantry_angles if gantry_angles is None else tuple(float(angle) % 360 for angle in gantry_angles)
        other = not same_angles(angles, self.gantry_angles)
        if not given and not other:
            dose, warnings = self.prediction.dose, self.prediction.warnings
        else:
            dose = self._changed(self._delivery_of(angles) if other else self._delivery, given)
            odd = [doubt for doubt in check_result(self.case, dose) if doubt not in self.prediction.warnings]
            warnings = (*self.prediction.warnings, f"{NOTE} ({priority_words(given, angles if other else ())})", *odd)
        return Explored(dose, given, angles, self.metrics(dose), time.perf_counter() - start, warnings)

    def _checked(self, priorities: Mapping[str, float]) -> dict[str, float]:
        given = {}
        for structure, priority in priorities.items():
            if structure not in self._voxels:
                raise DeepDoseError(
                    f"{self.case.name}: {structure} takes no priority; these do: {', '.join(self.structures)}"
                )
            if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
                raise DeepDoseError(
                    f"{structure}: a priority is a number from -{MAX_PRIORITY:g} to {MAX_PRIORITY:g}, not {priority:g}"
                )
            if priority:
                given[structure] = float(priority)
        return given

    def _delivery_of(self, angles: tuple[float, ...]) -> Delivery:
        """With other beams; those of the last ones are kept."""
        if angles not in self._others:
            self._others = {angles: self._deliver(angles)}
        return self._others[angles]

    def _changed(self, delivery: Delivery, priorities: Mapping[str, float]) -> np.ndarray:
        """(K, J, I) prediction + plan for the priorities - plan."""
        change = (delivery.replanned(self.emphasis(priorities)) - self._delivery.plan_dose) * self.case.prescription
        dose = np.zeros(self.case.shape, np.float32)
        inside = self.prediction.dose[self._box] + change
        dose[self._box] = inside.clip(min=0) * self.case.dose_mask[self._box]
        return dose

    def emphasis(self, priorities: Mapping[str, float]) -> Emphasis:
        """What priorities are to the planners' fit."""
        weight = torch.ones(len(self._delivery.voxels.share))
        aim = torch.ones_like(weight)
        for structure, priority in priorities.items():
            weight[self._voxels[structure]] *= STEP_WEIGHT**priority
            if not is_target(structure):
                aim[self._voxels[structure]] *= STEP_AIM**priority
        return Emphasis(weight, aim)

    def weights(self, priorities: Mapping[str, float], masks: Mapping[str, np.ndarray]) -> dict[str, float]:
        """How much a voxel matters in the fit, on average over masks, in parts of one of the highest target.

        Args:
            masks: {name: (K, J, I) bool}, of what is no target without the targets' voxels; one that holds no voxel of
                the fit is left out.
        """
        voxels = self._delivery.voxels
        at, in_target = tuple(index.numpy() for index in voxels.index), voxels.in_target.numpy()
        weights = self._delivery.weights() * self.emphasis(priorities).weight.numpy()
        unit = weights[self._voxels[self.case.highest_target].numpy()].mean()
        held = {name: mask[self._box][at] & (in_target == is_target(name)) for name, mask in masks.items()}
        return {name: float(weights[inside].mean() / unit) for name, inside in held.items() if inside.any()}


def priority_words(priorities: Mapping[str, float], gantry_angles: Sequence[float] = ()) -> str:
    """Such as "LeftParotid +2, PTV70 -1"; with gantry angles where they are given."""
    words = [f"{structure} {priority:+.3g}" for structure, priority in priorities.items() if priority]
    if gantry_angles:
        words.append(f"beams from {', '.join(f'{angle:g}' for angle in sorted(gantry_angles))} degrees")
    return ", ".join(words) or "none"
