"""A DICOM-RT study to a Case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CaseError, DeepDoseError
from ...geometry.clinical_case import check_grid, clinical_case
from ...geometry.contours import contours_to_labelmap
from ...geometry.dose_level import dose_level
from ...geometry.shapes import LabelmapShape
from ...geometry.trained_grid import OPENKBP_GRID, TrainedGrid
from ...geometry.volume import Volume
from ...patient.assignment import Assignment
from ...patient.case import Case
from ...patient.roles import assign, dose_answer
from ...patient.structure_names import Evidence
from .belonging import body_part_doubts, check_patients, check_places, check_same_patient, chosen_dose
from .ct import CtSeries, open_ct
from .files import reading, text
from .index import RtStudy
from .reference import DicomReference
from .rtdose import read_rtdose
from .rtplan import read_prescriptions
from .rtstruct import StructureSet, read_structures

if TYPE_CHECKING:
    from pydicom import Dataset


def read_study(
    study: RtStudy, roles: Mapping | None = None, dose: Path | None = None, trained: TrainedGrid = OPENKBP_GRID
) -> Case:
    """Read CT, structures and dose of a study onto the model grid; see `clinical_case`.

    Args:
        roles: {role: ROI name, number or a list of these}, and "reference_dose" for one of several doses, see
            `chosen_dose`; None matches by names.
        dose: RTDOSE file instead of the folder's own.
        trained: see `clinical_case`.

    Raises:
        DeepDoseError: names the file and what is wrong with it; several doses that fit are listed.
    """
    if study.problem or study.structures is None:
        raise CaseError("; ".join((study.problem or "no structure set", *study.notes)))
    structures = read_structures(study.structures)
    plans = read_prescriptions(study.plans, structures.names)
    ct = open_ct(study.ct)
    check_grid(ct.grid, ct.where)
    with reading(study.ct[0]):
        check_patients(ct.elements, structures)
        doubts = (*ct.doubts, *body_part_doubts(text(ct.elements, "BodyPartExamined")))

    where = str(study.structures)

    @cache
    def planned() -> tuple[Volume | None, list[str]]:
        path, notes = (dose, []) if dose else chosen_dose(study.doses, dose_answer(roles), where)
        return None if path is None else _dose(path, ct.elements), notes

    def level(number: str) -> float | None:
        reference, _ = planned()
        return None if reference is None else dose_level(_shape(structures, number, ct), reference)

    # Before pixels are read: what names and roles leave open stops the run at once.
    assignment = _assignment(structures, roles, Evidence(structures.types, plans.rois, level, plans.sites))
    reference, dose_notes = planned()
    parts = {
        role: [(structures.names[n], _shape(structures, n, ct)) for n in rois]
        for role, rois in assignment.roles.items()
    }
    drawn = [doubt for rois in assignment.roles.values() for number in rois for doubt in structures.doubts(number)]
    case = clinical_case(ct.volume, parts, where, reference, assignment, trained)
    with reading(study.ct[0]):
        refer_to = DicomReference.of(ct.elements, structures.uid, assignment.roles)
    unmet = plans.without_target(case.prescriptions.values())
    notes = (*study.notes, *plans.notes, *unmet, *assignment.warnings(), *dose_notes, *doubts, *drawn, *case.notes)
    return replace(case, name=study.name, notes=notes, dicom=refer_to)


def _assignment(structures: StructureSet, given: Mapping | None, evidence: Evidence) -> Assignment:
    try:
        return assign(structures.names, given, str(structures.path), evidence)
    except DeepDoseError as error:
        raise CaseError(f"{error}; on the command line, with --roles FILE") from error


def _shape(structures: StructureSet, number: str, ct: CtSeries) -> LabelmapShape:
    frame = text(ct.elements, "FrameOfReferenceUID")
    where = f"{structures.path}, {structures.names[number]}"
    if structures.frames[number] and frame and structures.frames[number] != frame:
        raise CaseError(f"{where}: it was contoured in another frame of reference than the CT's; export it on this CT")
    contours = structures.contours(number)
    if not contours:
        return LabelmapShape.empty()
    check_places(contours, structures.images(number), ct, where)
    return LabelmapShape.cropped(*contours_to_labelmap(contours, where))


def _dose(path: Path, ct: Dataset) -> Volume:
    dose = read_rtdose(path)
    check_same_patient(text(ct, "PatientID"), "the CT", dose.patient, dose.volume.name)
    frame = text(ct, "FrameOfReferenceUID")
    if dose.frame and frame and dose.frame != frame:
        raise CaseError(f"{dose.volume.name}: its frame of reference is not the CT's; give the dose on this CT")
    return dose.volume
