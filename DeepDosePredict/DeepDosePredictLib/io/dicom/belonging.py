"""Whether CT, structures and dose of a study are of one patient, one place and the head and neck."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CaseError
from ...patient.body_sites import is_elsewhere
from .ct import CtSeries
from .files import read_dataset, reading, text
from .rtstruct import StructureSet

if TYPE_CHECKING:
    from pydicom import Dataset

APART = 0.6
"""How far a contour may lie from the slice it names, in distances of slices: programs that draw between slices name the
nearest. Measured 0 to 0.01 in two clinical studies."""


def check_patients(ct: Dataset, structures: StructureSet) -> None:
    """CaseError if CT and structure set are of two patients."""
    check_same_patient(text(ct, "PatientID"), "its CT", text(structures.dataset, "PatientID"), str(structures.path))


def check_same_patient(expected: str, whose: str, patient: str, where: str) -> None:
    """CaseError if both patients are known and differ; blanks and case are no difference."""
    if expected and patient and expected.casefold() != patient.casefold():
        raise CaseError(
            f"{where}: it is of patient {patient!r}, {whose} of patient {expected!r}; take files of one patient, or"
            " export all of them under one patient ID"
        )


def check_places(contours: Sequence[np.ndarray], images: Sequence[str], ct: CtSeries, where: str) -> None:
    """CaseError if contours lie elsewhere than the slices that they name, as where slices were exchanged or shifted.

    A structure whose contours all name one slice tells nothing.

    Args:
        contours: points (N, 3) of each, RAS in mm.
        images: SOP instance UID of the slice that each names, "" for none.
    """
    if len(contours) > 1 and len(set(images)) == 1:
        return
    normal = ct.grid.ijk_to_ras[:3, 2]
    step = float(np.linalg.norm(normal))
    normal = normal / step
    apart = [
        abs(float((points.mean(0) - ct.places[uid]) @ normal))
        for points, uid in zip(contours, images, strict=True)
        if uid in ct.places
    ]
    wrong = [one for one in apart if one > APART * step]
    if wrong:
        raise CaseError(
            f"{where}: {len(wrong)} of {len(apart)} contours lie up to {max(wrong):.1f} mm from the CT slices that they"
            f" name (slices every {step:g} mm): slices were exchanged or the CT shifted; export CT and structures"
            " together again"
        )


def body_part_doubts(ct: Dataset) -> list[str]:
    """What the CT says it shows, where that is no head and neck."""
    part = text(ct, "BodyPartExamined")
    if not is_elsewhere(part):
        return []
    return [f"the CT's BodyPartExamined is {part}: the models know head and neck only"]


def described(dose: Path) -> str:
    """A dose file with what it says of itself: "dose.dcm (MULTI_PLAN, Plan sum)"."""
    dataset = read_dataset(
        dose, ("SOPClassUID", "SOPInstanceUID", "DoseSummationType", "SeriesDescription", "DoseComment")
    )
    with reading(dose):
        words = [text(dataset, keyword) for keyword in ("DoseSummationType", "SeriesDescription", "DoseComment")]
    return f"{dose} ({', '.join(filter(None, words))})"
