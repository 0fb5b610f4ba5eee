"""A DICOM-RT study to a Case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...errors import CaseError, DeepDoseError
from ...geometry.clinical_case import clinical_case
from ...geometry.contours import contours_to_labelmap
from ...geometry.shapes import LabelmapShape
from ...patient.case import Case
from ...patient.structure_names import EXTERNAL, Roles, is_help_structure, resolved_roles
from .ct import read_ct
from .files import reading, text
from .index import RtStudy
from .reference import DicomReference
from .rtdose import PlannedDose, read_rtdose
from .rtstruct import StructureSet, read_structures


def read_study(study: RtStudy, roles: Mapping | None = None, dose: Path | None = None) -> Case:
    """Read CT, structures and dose of a study onto the model grid; see `clinical_case`.

    Args:
        roles: {role: ROI name, number or a list of these}; None matches by names.
        dose: RTDOSE file instead of the folder's own.

    Raises:
        DeepDoseError: names the file and what is wrong with it; several doses that fit are listed.
    """
    if study.problem or study.structures is None:
        raise CaseError("; ".join((study.problem or "no structure set", *study.notes)))
    structures = read_structures(study.structures)
    resolved, notes = _roles(structures, roles)
    ct, first = read_ct(study.ct)
    with reading(study.ct[0]):
        frame, refer_to = text(first, "FrameOfReferenceUID"), DicomReference.of(first, structures.uid, resolved)
    parts = {
        role: [(structures.names[n], _shape(structures, n, frame)) for n in rois] for role, rois in resolved.items()
    }
    reference = _dose(study, dose, frame)
    case = clinical_case(ct, parts, str(study.structures), reference.volume if reference else None)
    return replace(case, name=study.name, notes=(*study.notes, *notes, *case.notes), dicom=refer_to)


def _roles(structures: StructureSet, given: Mapping | None) -> tuple[Roles, tuple[str, ...]]:
    """Roles by names or as given; by names, the interpreted types also tell the body contour and forgotten targets."""
    try:
        roles, notes = resolved_roles(structures.names, given, str(structures.path))
    except DeepDoseError as error:
        raise CaseError(f"{error}; on the command line, with --roles FILE") from error
    if given is not None:
        return roles, notes
    free = {n: kind for n, kind in structures.types.items() if not any(n in numbers for numbers in roles.values())}
    targets = [
        structures.names[n] for n, kind in free.items() if kind == "PTV" and not is_help_structure(structures.names[n])
    ]
    if targets:
        raise CaseError(
            f"{structures.path}: {', '.join(targets)} is of type PTV, but its name states no prescription;"
            " give the roles with --roles FILE"
        )
    bodies = tuple(n for n, kind in structures.types.items() if kind == "EXTERNAL")
    if EXTERNAL not in roles and len(bodies) == 1 and bodies[0] in free:
        roles = {**roles, EXTERNAL: bodies}
    return roles, notes


def _shape(structures: StructureSet, number: str, frame: str) -> LabelmapShape:
    where = f"{structures.path}, {structures.names[number]}"
    if structures.frames[number] and frame and structures.frames[number] != frame:
        raise CaseError(f"{where}: it was contoured in another frame of reference than the CT's; export it on this CT")
    contours = structures.contours(number)
    if not contours:
        return LabelmapShape.empty()
    return LabelmapShape.cropped(*contours_to_labelmap(contours, where))


def _dose(study: RtStudy, given: Path | None, frame: str) -> PlannedDose | None:
    if given is None and not study.doses:
        return None
    if given is None and len(study.doses) > 1:
        listed = ", ".join(str(path) for path in study.doses)
        raise CaseError(
            f"{study.structures}: several doses fit this structure set: {listed}; leave the plan's dose"
            " only, or name it with --reference"
        )
    dose = read_rtdose(given or study.doses[0])
    if dose.frame and frame and dose.frame != frame:
        raise CaseError(f"{dose.volume.name}: its frame of reference is not the CT's; give the dose on this CT")
    return dose
