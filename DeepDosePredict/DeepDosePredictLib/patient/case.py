"""The one value that travels through the system: a patient's CT, structures and dose on the model grid."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CaseError, printable
from .assignment import Assignment
from .grid import Box, Grid
from .roi_mask import RoiMask
from .rois import prescription


def folder_name(folder: Path) -> str:
    """What a patient's folder is called here: links to anonymised patients keep the true names to themselves."""
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 (resolve follows links)


GRID = (128, 128, 128)
SPACING_LIMITS_MM = (0.2, 20.0)
DOSE_LIMIT_GY = 200.0


@dataclass(frozen=True)
class Case:
    """A patient on an LPS-aligned grid; I grows to patient Left, J to Posterior, K to Superior.

    Raises CaseError, with the case's name, when the parts do not belong together or hold impossible values.

    Attributes:
        name: patient name, for messages and reports; kept `printable`.
        ct: (K, J, I) int16, HU.
        rois: structures as one bit-mask volume on the same grid; at least one PTV has voxels.
        dose_mask: (K, J, I) bool, voxels that can receive dose.
        spacing: (k, j, i) voxel spacing in mm.
        dose: (K, J, I) float32 reference dose in Gy, >= 0, or None where there is none.
        origin: (x, y, z) of the centre of voxel (0, 0, 0) in mm, LPS.
        notes: what the user should know about how the case was made, in words; predictions repeat it.
        assignment: which contour is used as what, and what was left out and why; by default the ROIs as they are named.
        dicom: what a dose written as DICOM must refer to; passed on as it is, None where the case is not from DICOM.
    """

    name: str
    ct: np.ndarray
    rois: RoiMask
    dose_mask: np.ndarray
    spacing: tuple[float, float, float]
    dose: np.ndarray | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    notes: tuple[str, ...] = ()
    assignment: Assignment = field(default_factory=Assignment)
    dicom: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "spacing", check_spacing(self.spacing, self.name))
        object.__setattr__(self, "origin", tuple(float(x) for x in self.origin))
        if not self.assignment.uses:
            object.__setattr__(self, "assignment", Assignment.of_rois(self.rois.present()))
        shape = self.ct.shape
        for what, array in (("structures", self.rois.bits), ("dose mask", self.dose_mask), ("dose", self.dose)):
            if array is not None and array.shape != shape:
                raise CaseError(
                    f"{self.name}: the {what} have shape {array.shape}, the CT has {shape}; all must lie on one grid"
                )
        if self.ct.ndim != 3 or self.ct.dtype != np.int16:
            raise CaseError(f"{self.name}: the CT must be a 3D int16 volume in HU, not {self.ct.dtype} {shape}")
        if self.dose_mask.dtype != bool or not self.dose_mask.any():
            raise CaseError(f"{self.name}: the dose mask must be boolean and have at least one voxel")
        if not self.targets():
            raise CaseError(f"{self.name}: no PTV has any voxel; contour at least one PTV")
        if self.dose is not None:
            object.__setattr__(self, "dose", check_dose(self.dose, self.name).astype(np.float32, copy=False))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.ct.shape

    @property
    def voxel_volume_mm3(self) -> float:
        return float(np.prod(self.spacing))

    @property
    def grid(self) -> Grid:
        return Grid.lps_aligned(self.shape, self.spacing, self.origin)

    @cached_property
    def prescriptions(self) -> dict[str, float]:
        """{PTV: prescription in Gy} of the PTVs with at least one voxel."""
        return {name: level for name in self.rois.present() if (level := prescription(name)) is not None}

    def targets(self) -> tuple[str, ...]:
        """PTVs with at least one voxel."""
        return tuple(self.prescriptions)

    @property
    def highest_target(self) -> str:
        """The PTV with the highest prescription."""
        return max(self.prescriptions, key=self.prescriptions.__getitem__)

    @property
    def prescription(self) -> float:
        """The highest prescription in Gy, for which the patient is planned."""
        return self.prescriptions[self.highest_target]


def check_spacing(spacing: object, name: str) -> tuple[float, float, float]:
    """Three plausible spacings in mm, or CaseError."""
    low, high = SPACING_LIMITS_MM
    values = np.asarray(spacing, dtype=float)
    if values.shape != (3,) or not np.all((values >= low) & (values <= high)):
        raise CaseError(
            f"{name}: the voxel spacing is {values.tolist()} mm; it must be three numbers from {low:g} to {high:g}"
        )
    return tuple(values.tolist())


def check_dose(dose: np.ndarray, name: str) -> np.ndarray:
    """The dose itself if it is finite, >= 0 and plausible as Gy; CaseError that says which of these it is not."""
    if not np.isfinite(dose).all():
        raise CaseError(f"{name}: the dose has NaN or infinite values; export it again")
    if dose.min() < 0:
        raise CaseError(f"{name}: the dose has negative values (down to {dose.min():g} Gy); export it again")
    if dose.max() > DOSE_LIMIT_GY:
        raise CaseError(f"{name}: the dose reaches {dose.max():g}, too high for Gy; is it in cGy?")
    return dose


def dose_box(mask: np.ndarray, multiple: int = 16) -> Box:
    """Bounding box of a mask, widened to extents in multiples of `multiple` and kept inside the grid.

    Nothing outside the dose mask receives dose, so the network need not see it: on OpenKBP the box is 28 % of the
    grid on average. Every axis of the grid must be a multiple of `multiple`; the mask must not be empty.
    """
    box = []
    for axis, size in enumerate(mask.shape):
        if size % multiple:
            raise CaseError(f"the grid {mask.shape} is not a multiple of {multiple} along every axis")
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        extent = -(-(used[-1] + 1 - used[0]) // multiple) * multiple
        start = min(max(0, (used[0] + used[-1] + 1 - extent) // 2), size - extent)
        box.append(slice(int(start), int(start + extent)))
    return tuple(box)
