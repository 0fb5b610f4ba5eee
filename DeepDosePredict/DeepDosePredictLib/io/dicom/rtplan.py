"""What RTPLAN files prescribe to which ROI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import CaseError
from ...patient.stated_levels import LEVELS_GY
from ...patient.vocabulary import plain_key
from .files import items, read_dataset, reading, text


def read_prescriptions(paths: Iterable[Path], names: Mapping[str, str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """({ROI number: prescription in Gy} by the plans' dose references to targets, what was not used, in words).

    A dose reference names its ROI by number, or has the ROI's name as its description (PS3.3 C.8.8.16). Plans that
    prescribe different doses to one ROI are phases of a treatment, or rivals: none of them is used for it.

    Args:
        names: {ROI number: name} of the structure set that the plans refer to.
    """
    found: dict[str, set[float]] = {}
    notes = []
    for path in paths:
        try:
            for number, level in _references(path, names):
                found.setdefault(number, set()).add(level)
        except CaseError as error:
            notes.append(f"its prescriptions were not read: {error}")
    several = [names[number] for number, levels in found.items() if len(levels) > 1]
    if several:
        notes.append(f"the RTPLANs prescribe different doses to {', '.join(several)}; none was taken from them")
    return {number: next(iter(levels)) for number, levels in found.items() if len(levels) == 1}, tuple(notes)


def _references(path: Path, names: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    dataset = read_dataset(path)
    by_name = {plain_key(name): number for number, name in names.items()}
    found = []
    with reading(path):
        for one in items(dataset, "DoseReferenceSequence"):
            number = text(one, "ReferencedROINumber")
            if number not in names:
                number = by_name.get(plain_key(text(one, "DoseReferenceDescription")), "")
            level = float(text(one, "TargetPrescriptionDose") or 0)
            if number and text(one, "DoseReferenceType") == "TARGET" and LEVELS_GY[0] <= level <= LEVELS_GY[1]:
                found.append((number, round(level, 2)))
    return found
