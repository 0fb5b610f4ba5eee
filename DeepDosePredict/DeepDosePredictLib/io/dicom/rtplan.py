"""What RTPLAN files prescribe, to which ROI or to none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import CaseError
from ...patient.name_tokens import Number, tokens_of
from ...patient.stated_levels import LEVELS_GY
from ...patient.vocabulary import Word, WordKind, plain_key
from .files import items, read_dataset, reading, text

_NO_PLACE = ("SITE", "VOLUME", "")
_HIGHEST_COUNT = 10


@dataclass(frozen=True)
class Prescriptions:
    """What plans prescribe to targets.

    Attributes:
        rois: {ROI number: prescription in Gy}.
        sites: prescriptions in Gy to what no contour is named for, the highest first.
        notes: what was not used, in words.
    """

    rois: Mapping[str, float]
    sites: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def without_target(self, levels: Iterable[float]) -> list[str]:
        """A word for each prescription to no contour of which no target is used; `levels` are the targets' in Gy."""
        known = list(levels)
        return [
            f"the RTPLAN prescribes {site:g} Gy, but no target of {site:g} Gy is used: check that none was left out"
            for site in self.sites
            if not any(abs(site - level) <= 0.01 * site for level in known)
        ]


def read_prescriptions(paths: Iterable[Path], names: Mapping[str, str]) -> Prescriptions:
    """What the plans' dose references prescribe to targets.

    A dose reference names its ROI by number, or describes it (PS3.3 C.8.8.16): by the ROI's name, or by the words of it
    that tell it from all others. Plans that prescribe different doses to one ROI are phases of a treatment, or rivals:
    none of them is used for it. Prescriptions without a contour are used where a single plan has them.

    Args:
        names: {ROI number: name} of the structure set that the plans refer to.
    """
    found: dict[str, set[float]] = {}
    sites: list[set[float]] = []
    notes = []
    for path in paths:
        try:
            references = _references(path, names)
        except CaseError as error:
            notes.append(f"its prescriptions were not read: {error}")
            continue
        for number, level in references:
            if number:
                found.setdefault(number, set()).add(level)
        sites += [{level for number, level in references if not number}]
    several = [names[number] for number, levels in found.items() if len(levels) > 1]
    if several:
        notes.append(f"the RTPLANs prescribe different doses to {', '.join(several)}; none was taken from them")
    stated = [levels for levels in sites if levels]
    if any(levels != stated[0] for levels in stated):
        notes.append("several RTPLANs prescribe doses to no contour; none was taken from them")
        stated = []
    rois = {number: next(iter(levels)) for number, levels in found.items() if len(levels) == 1}
    return Prescriptions(rois, tuple(sorted(stated[0] if stated else (), reverse=True)), tuple(notes))


def _references(path: Path, names: Mapping[str, str]) -> list[tuple[str, float]]:
    """(ROI number, "" for none; prescription in Gy) of each dose reference to a target."""
    dataset = read_dataset(path)
    found = []
    with reading(path):
        for one in items(dataset, "DoseReferenceSequence"):
            level = float(text(one, "TargetPrescriptionDose") or 0)
            if text(one, "DoseReferenceType") != "TARGET" or not LEVELS_GY[0] <= level <= LEVELS_GY[1]:
                continue
            number = text(one, "ReferencedROINumber")
            number = number if number in names else _described(text(one, "DoseReferenceDescription"), names)
            if number or text(one, "DoseReferenceStructureType") in _NO_PLACE:
                found.append((number, round(level, 2)))
    return found


def _described(description: str, names: Mapping[str, str]) -> str:
    """Number of the only ROI that has this name, or the same words and ordinals besides its level; "" for none."""
    for key in (plain_key, _words):
        wanted = key(description)
        same = [number for number, name in names.items() if wanted and key(name) == wanted]
        if len(same) == 1:
            return same[0]
    return ""


def _words(name: str) -> frozenset[str]:
    tokens = tokens_of(name)
    words = {t.text for t in tokens if isinstance(t, Word) and t.kind not in (WordKind.UNIT, WordKind.FILLER)}
    counts = {t.text for t in tokens if isinstance(t, Number) and not t.unit and t.value < _HIGHEST_COUNT}
    return frozenset(words | counts)
