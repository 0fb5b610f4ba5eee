"""What beams can deliver: the planners' plan, the nearest dose to a predicted one, and mixtures with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..device import in_threads, one_thread
from .beams import DoseMatrix
from .fluence import Objective, fit_fluence
from .planner import Planner
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


class Delivery:
    """What the beams can deliver to a plannable case.

    Args:
        partners: whether the planner's partners plan, too; each adds a fit of its own.

    Attributes:
        plan_dose: (K, J, I) float32, see the function of this name.
        features: {name: (K, J, I) float32}, see `patient_features`.
    """

    @one_thread()
    @torch.inference_mode()
    def __init__(self, planner: Planner, case: PlanningCase, gantry_angles: Sequence[float], *, partners: bool = True):
        self.case, self._planner = case, planner
        self._problem, self._everywhere, self.features = make_problem(case, gantry_angles)
        plans = in_threads(self._plan, [planner, *(planner.partners if partners else ())])
        self._matrix, self._all, self._fluence, _ = plans[0]
        self.plan_dose: np.ndarray = np.mean([dose for *_, dose in plans], 0)

    def _plan(self, planner: Planner) -> tuple[DoseMatrix, DoseMatrix, Tensor, np.ndarray]:
        """One planner's: dose of the fit's voxels and of all, fluence, and the plan's dose (K, J, I)."""
        fit = planner.fit(self._problem)
        fluence, _ = planner.delivered(self._problem, fit, planner.bixel_factors)
        everywhere = DoseMatrix(self._everywhere, planner.beam_model(), self._problem.views.window)
        return fit.matrix, everywhere, fluence, self._dose(everywhere, fluence)

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
        objective = Objective(weight, torch.from_numpy(dose)[voxels.index], self._planner.smoothness())
        return self._dose(self._all, fit_fluence(self._matrix, objective, self._fluence))

    def blended(self, dose: np.ndarray, deliverable_share: float, plan_dose_share: float = 0.0) -> np.ndarray:
        """A predicted dose (K, J, I), mixed with deliverable doses outside PTVs and organs at risk.

        Networks err where beams cannot go, so there the mean of the doses errs less than any. In the structures, whose
        DVHs the networks were trained for, the simple beam model costs more than it gives.

        Args:
            deliverable_share, plan_dose_share: of the deliverable dose nearest to the predicted one, and of the plan.
        """
        mixed = (1 - deliverable_share - plan_dose_share) * dose + plan_dose_share * self.plan_dose
        if deliverable_share:
            mixed += deliverable_share * self.nearest(dose)
        tissue = self.case.dose_mask & (self.case.level == 0) & (self.case.organ == 0)
        return np.where(tissue, mixed, dose).astype(np.float32)
