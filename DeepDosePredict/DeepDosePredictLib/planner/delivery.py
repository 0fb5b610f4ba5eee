"""What beams can deliver: the planners' plan, the nearest dose to a predicted one, and mixtures with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..device import in_threads, one_thread
from .beams import DoseMatrix
from .fluence import FitVoxels, Objective, fit_fluence
from .planner import Fit, Planner
from .planning_case import PlanningCase
from .problem import make_problem


def plan_dose(planner: Planner, case: PlanningCase, gantry_angles: Sequence[float]) -> np.ndarray:
    """Dose of the plan of a planner and its partners.

    Args:
        gantry_angles: IEC 61217 in degrees, patient head first supine: 0 from anterior, 90 from the patient's left.

    Returns:
        (K, J, I) float32 in units of the highest prescription, which is the mean in its PTV; 0 outside the case's
        region. All 0 where no PTV lies in the dose mask.
    """
    if not case.plannable:
        return np.zeros(case.ct.shape, np.float32)
    return Delivery(planner, case, gantry_angles).plan_dose


@dataclass(frozen=True)
class Emphasis:
    """How much more, and what else, a fit is to look for.

    Attributes:
        weight, aim: (N,) of the fit's voxels, factors of the planner's own weights and aims.
    """

    weight: Tensor
    aim: Tensor

    def of(self, objective: Objective) -> Objective:
        return replace(objective, weight=objective.weight * self.weight, aim=objective.aim * self.aim)


@dataclass(frozen=True)
class _Plan:
    """One planner's plan.

    Attributes:
        fit: to the planner's aims.
        factors: of the fluence's bixels, (slices, beams, bixels) or None.
        everywhere: dose of all voxels of the case's region.
        fluence: (slices, beams, bixels); dose: (K, J, I) what it gives.
    """

    planner: Planner
    fit: Fit
    factors: Tensor | None
    everywhere: DoseMatrix
    fluence: Tensor
    dose: np.ndarray


class Delivery:
    """What the beams can deliver to a plannable case.

    Args:
        partners: whether the planner's partners plan, too; each adds a fit of its own.
        features: names of the `patient_features` to keep; all of them take hundreds of megabytes.

    Attributes:
        plan_dose: (K, J, I) float32, see the function of this name.
        features: {name: (K, J, I) float32}.
    """

    @one_thread()
    @torch.inference_mode()
    def __init__(
        self,
        planner: Planner,
        case: PlanningCase,
        gantry_angles: Sequence[float],
        *,
        partners: bool = True,
        features: Sequence[str] = (),
    ):
        self.case = case
        self._problem, self._everywhere, told = make_problem(case, gantry_angles)
        self.features = {name: told[name] for name in features}
        self._plans = in_threads(self._plan, [planner, *(planner.partners if partners else ())])
        self.plan_dose: np.ndarray = np.mean([plan.dose for plan in self._plans], 0)

    @property
    def voxels(self) -> FitVoxels:
        """The voxels that the fits look at."""
        return self._problem.voxels

    def _plan(self, planner: Planner) -> _Plan:
        fit = planner.fit(self._problem)
        factors = planner.factors(fit, planner.bixel_factors)
        everywhere = DoseMatrix(self._everywhere, planner.beam_model(), self._problem.views.window)
        fluence, _ = planner.spread(self._problem, fit, factors)
        return _Plan(planner, fit, factors, everywhere, fluence, self._dose(everywhere, fluence))

    @one_thread()
    @torch.inference_mode()
    def replanned(self, emphasis: Emphasis) -> np.ndarray:
        """`plan_dose` (K, J, I) of plans that are fitted to weights and aims multiplied by an emphasis.

        Each fit starts where the planner's own did and has its factors of the bixels, so that an emphasis of 1 gives
        `plan_dose` to the bit, and the order in which emphases are tried does not matter.
        """
        return np.mean(in_threads(lambda plan: self._replanned(plan, emphasis), self._plans), 0)

    def _replanned(self, plan: _Plan, emphasis: Emphasis) -> np.ndarray:
        matrix, objective = plan.fit.matrix, emphasis.of(plan.fit.objective)
        fluence = fit_fluence(matrix, objective, self._problem.fluence)
        fit = replace(plan.fit, objective=objective, fluence=fluence, dose=matrix.dose(fluence))
        return self._dose(plan.everywhere, plan.planner.spread(self._problem, fit, plan.factors)[0])

    def weights(self) -> np.ndarray:
        """(N,) how much a voxel of each fit voxel's kind matters to the planners, in their mean."""
        weights = [plan.fit.objective.weight / self.voxels.share for plan in self._plans]
        return torch.stack(weights).mean(0).numpy()

    def _dose(self, matrix: DoseMatrix, fluence: Tensor) -> np.ndarray:
        result = np.zeros(self.case.ct.shape, np.float32)
        result[self.case.region] = matrix.dose(fluence).numpy()
        return result

    @one_thread()
    @torch.inference_mode()
    def nearest(self, dose: np.ndarray) -> np.ndarray:
        """A deliverable dose (K, J, I) near any dose (K, J, I), both in units of the highest prescription.

        From the planner's plan on, a few steps towards the least squares in the dose mask: what little the fit is
        allowed to change keeps it near both.
        """
        voxels = self._problem.voxels
        weight = voxels.share * torch.from_numpy(self.case.dose_mask)[voxels.index]
        first = self._plans[0]
        objective = Objective(weight, torch.from_numpy(dose)[voxels.index], first.planner.smoothness())
        return self._dose(first.everywhere, fit_fluence(first.fit.matrix, objective, first.fluence))

    def blended(
        self,
        dose: np.ndarray,
        deliverable_share: float,
        plan_dose_share: float = 0.0,
        nearest: np.ndarray | None = None,
    ) -> np.ndarray:
        """A predicted dose (K, J, I), mixed with deliverable doses outside PTVs and organs at risk.

        Networks err where beams cannot go, so there the mean of the doses errs less than any. In the structures, whose
        DVHs the networks were trained for, the simple beam model costs more than it gives.

        Args:
            deliverable_share, plan_dose_share: of the deliverable dose nearest to the predicted one, and of the plan.
            nearest: that deliverable dose; None: found here.
        """
        mixed = (1 - deliverable_share - plan_dose_share) * dose + plan_dose_share * self.plan_dose
        if deliverable_share:
            mixed += deliverable_share * (self.nearest(dose) if nearest is None else nearest)
        tissue = self.case.dose_mask & (self.case.level == 0) & (self.case.organ == 0)
        return np.where(tissue, mixed, dose).astype(np.float32)
