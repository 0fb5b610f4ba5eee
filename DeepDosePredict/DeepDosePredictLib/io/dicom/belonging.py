"""Whether CT, structures and dose of a study are of one patient, one place and the head and neck."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CaseError
from ...patient.body_sites import is_elsewhere
from ...patient.roles import REFERENCE_DOSE, DoseAnswer
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


def body_part_doubts(part: str) -> list[str]:
    """What a CT says it shows, its BodyPartExamined, where that is no head and neck."""
    if not is_elsewhere(part):
        return []
    return [f"the CT's BodyPartExamined is {part}: the models know head and neck only"]


def described(dose: Path) -> str:
    """A dose file with what it says of itself: "dose.dcm (MULTI_PLAN, Plan sum)"."""
    return f"{dose} ({', '.join(_descriptions(dose))})"


def _descriptions(dose: Path) -> list[str]:
    keywords = ("DoseSummationType", "SeriesDescription", "DoseComment")
    dataset = read_dataset(dose, ("SOPClassUID", "SOPInstanceUID", *keywords))
    with reading(dose):
        return [words for keyword in keywords if (words := text(dataset, keyword))]


def chosen_dose(doses: Sequence[Path], answer: DoseAnswer | None, where: str) -> tuple[Path | None, list[str]]:
    """The reference dose among those of a structure set, None for none, and what is doubtful about it, in words.

    An answer is a file's name or description (see `described`), or a pattern of these with * and ?, without case.

    CaseError lists them where there are several and no answer tells which one, or the answer fits none or several.
    """
    if not doses or (answer is None and len(doses) == 1):
        return next(iter(doses), None), []
    listed = ", ".join(map(described, doses))
    if answer is None:
        raise CaseError(
            f"{where}: several doses fit this structure set: {listed}; name that of the whole treatment (of phases,"
            f" their sum) with --reference, for instance --reference {doses[-1]}, or, also for a cohort, with --roles:"
            f' {{"{REFERENCE_DOSE}": "{doses[-1].name}"}}; or leave only it here'
        )
    pattern = answer.text.casefold()
    meant = [d for d in doses if any(fnmatch.fnmatchcase(t.casefold(), pattern) for t in (d.name, *_descriptions(d)))]
    if len(meant) == 1:
        return meant[0], []
    if not meant and len(doses) == 1 and answer.for_cohort:
        return doses[0], [f"the reference is the only dose here, {listed}; {REFERENCE_DOSE} says {answer.text!r}"]
    fits = "several doses" if meant else "none of the doses"
    raise CaseError(f"{where}: {REFERENCE_DOSE} {answer.text!r} fits {fits} of this structure set: {listed}")
