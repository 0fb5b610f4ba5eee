"""What a dose must repeat of the patient's DICOM files to belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...patient.assignment import Roles
from .files import text

if TYPE_CHECKING:
    from pydicom import Dataset

SHARED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True)
class DicomReference:
    """Patient, study and frame of reference of a CT, and its structure set.

    Attributes:
        shared: {keyword: value} of what all files of a study have in common, as (keyword, value) pairs.
        structures: SOP instance UID of the structure set.
        rois: {role: numbers of its ROIs}, as pairs.
    """

    shared: tuple[tuple[str, str], ...]
    structures: str
    rois: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, ct: Dataset, structures: str, roles: Roles) -> DicomReference:
        return cls(tuple((keyword, text(ct, keyword)) for keyword in SHARED), structures, tuple(roles.items()))
