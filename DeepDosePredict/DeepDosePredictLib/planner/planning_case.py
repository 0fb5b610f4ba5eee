"""A case as planners see it: targets by level, organs by kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..patient.case import Case
from ..patient.grid import Box
from ..patient.roi_mask import RoiMask
from ..patient.rois import OAR_KINDS, oar_kind, prescription

EVERYWHERE: Box = slice(None), slice(None), slice(None)
TISSUE_HU = -300


@dataclass(frozen=True)
class PlanningCase:
    """A case, or a box of its grid, as planners see it: targets by level, organs by kind.

    Attributes:
        ct: (K, J, I) HU, an LPS grid.
        level: (K, J, I) float32 prescription in units of the highest one, 0 outside the PTVs.
        organ: (K, J, I) kind of organ at risk, 1 + its place in `OAR_KINDS`, or 0.
        dose_mask: (K, J, I) bool, voxels where dose can be.
        spacing: (k, j, i) in mm.
    """

    ct: np.ndarray
    level: np.ndarray
    organ: np.ndarray
    dose_mask: np.ndarray
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, case: Case, box: Box = EVERYWHERE) -> PlanningCase:
        """Structures that are neither PTV nor organ of a known kind are left out."""
        ct, rois = case.ct[box], RoiMask(case.rois.bits[box], case.rois.names)
        prescribed = {name: dose for name in rois.present() if (dose := prescription(name))}
        level, organ = np.zeros(ct.shape, np.float32), np.zeros(ct.shape, np.uint8)
        for name, dose in prescribed.items():
            level = np.maximum(level, rois[name] * np.float32(dose / max(prescribed.values())))
        for n, kind in enumerate(OAR_KINDS, 1):
            for name in rois.present():
                if oar_kind(name) == kind:
                    organ[rois[name]] = n
        return cls(ct, level, organ, case.dose_mask[box], case.spacing)

    @property
    def region(self) -> np.ndarray:
        """Voxels that get dose: more than the dose mask, so that the plan hardly depends on where the mask ends."""
        return self.dose_mask | (self.ct > TISSUE_HU)

    @property
    def plannable(self) -> bool:
        """Whether any PTV lies in the dose mask."""
        return bool((self.dose_mask & (self.level > 0)).any())

    def to_fit(self) -> PlanningCase:
        """Targets only where dose can be, organs only where no target is."""
        level = self.level * self.dose_mask
        return replace(self, level=level, organ=self.organ * ~(level > 0))

    @property
    def target(self) -> np.ndarray:
        return self.level > 0

    @property
    def top(self) -> np.ndarray:
        """The target of the highest prescription."""
        return self.level == self.level.max()
