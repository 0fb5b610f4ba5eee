"""Which files of a folder belong together: CT and doses of each structure set, by their references."""

from __future__ import annotations

import filecmp
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CaseError
from ...patient.case import folder_name
from .files import dicom_files, items, read_dataset, reading, text
from .rtdose import WHOLE_PLAN
from .sop_classes import CT_IMAGE, ENHANCED_CT_IMAGE, RT_DOSE, RT_PLAN, RT_STRUCTURES

if TYPE_CHECKING:
    from pydicom import Dataset

PREDICTION_MODEL_NAME = "DeepDosePredict dose prediction"
"""ManufacturerModelName of doses that this program predicted; they are no reference."""

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "FrameOfReferenceUID",
    "ImageType",
    "ManufacturerModelName",
    "StructureSetLabel",
    "DoseSummationType",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedStructureSetSequence",
    "ReferencedRTPlanSequence",
)
_MODALITIES = {CT_IMAGE: "CT", ENHANCED_CT_IMAGE: "CT", RT_STRUCTURES: "RTSTRUCT", RT_DOSE: "RTDOSE", RT_PLAN: "RTPLAN"}
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """What the index knows of a file.

    Attributes:
        frames: frame of reference UIDs, its own and those it refers to.
        series: UID of its series.
        references: SOP instance UIDs of structure sets and plans that it refers to.
        images: (UID of a series, SOP instance UIDs of images in it) that a structure set refers to.
    """

    path: Path
    modality: str
    uid: str
    patient: str
    series: str
    description: str
    frames: frozenset[str]
    references: frozenset[str]
    images: tuple[tuple[str, frozenset[str]], ...] = ()
    summation: str = ""


@dataclass(frozen=True)
class RtStudy:
    """One structure set with what belongs to it.

    Attributes:
        name: from the patient ID, safe as the name of a folder.
        folder: that was searched.
        structures: the RTSTRUCT; None where the patient has none.
        ct: slices of the CT.
        doses: every RTDOSE that can be this structure set's plan dose.
        problem: why it cannot be read, in words.
        notes: what the user should know.
        plans: every RTPLAN that refers to the structure set.
    """

    name: str
    folder: Path
    structures: Path | None = None
    ct: tuple[Path, ...] = ()
    doses: tuple[Path, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    plans: tuple[Path, ...] = ()

    def files(self) -> list[Path]:
        return [*filter(None, (self.structures,)), *self.ct, *self.doses, *self.plans]


def has_dicom(folder: Path) -> bool:
    return any(True for _ in dicom_files(folder))


def find_studies(folder: Path) -> list[RtStudy]:
    """One study for each structure set below a folder, and one with a problem for each patient without any.

    What does not fit together never stops the search: it becomes the problem of its study.
    """
    entries, notes = _entries(folder)
    structures = [entry for entry in entries if entry.modality == "RTSTRUCT"]
    found = [(entry.patient, _study(entry, entries, folder, notes)) for entry in structures]
    used = {path for _, study in found for path in study.ct}
    without = {e.patient for e in entries if e.modality == "CT" and e.path not in used}
    without -= {e.patient for e in structures}
    for patient in sorted(without - {""} if structures else without):  # a damaged slice may have lost its patient
        words = f"{folder}: no RTSTRUCT for patient {patient or 'without ID'}; it is needed for the targets and organs"
        found.append((patient, RtStudy("", folder, problem=words, notes=notes)))
    if not found:
        kinds = ", ".join(sorted({e.modality for e in entries})) or "nothing readable"
        found = [("", RtStudy("", folder, problem=f"{folder}: no RTSTRUCT and no CT here, only {kinds}", notes=notes))]
    return _named(found, folder)


def _entries(folder: Path) -> tuple[list[Entry], tuple[str, ...]]:
    entries: list[Entry] = []
    notes: list[str] = []

    def left_out(error: OSError) -> None:
        notes.append(f"left out: {error.filename} cannot be opened ({error.strerror})")

    for path in dicom_files(folder, left_out):
        try:
            entry = _entry(path)
        except CaseError as error:
            notes.append(f"left out: {error}")
        else:
            if entry.modality in ("CT", "RTSTRUCT", "RTDOSE", "RTPLAN"):
                entries.append(entry)
    more = [f"left out: {len(notes) - 5} more files or folders that cannot be read"] if notes[5:] else []
    entries, copies = _without_copies(entries)
    return entries, (*notes[:5], *more, *copies)


def _without_copies(entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """Every object once, and a note: who exports a patient twice or copies a folder has the same files again."""
    once, copies = [], []
    known: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        same = known[entry.modality, entry.uid]
        if any(filecmp.cmp(entry.path, other.path, shallow=False) for other in same):
            copies.append(entry.path.name)
        else:
            same.append(entry)
            once.append(entry)
    return once, [f"left out: {len(copies)} copies of other files, e.g. {copies[0]}"] if copies else []


def _entry(path: Path) -> Entry:
    dataset = read_dataset(path, _TAGS)
    with reading(path):
        modality = _modality(dataset, path)
        if modality == "CT" and "LOCALIZER" in (dataset.get("ImageType") or ()):
            modality = "localizer"
        if modality == "RTDOSE" and text(dataset, "ManufacturerModelName") == PREDICTION_MODEL_NAME:
            modality = "prediction"
        frames = [dataset, *items(dataset, "ReferencedFrameOfReferenceSequence")]
        series = items(
            dataset, "ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", "RTReferencedSeriesSequence"
        )
        return Entry(
            path,
            modality,
            text(dataset, "SOPInstanceUID"),
            text(dataset, "PatientID"),
            text(dataset, "SeriesInstanceUID"),
            text(dataset, "SeriesDescription") or text(dataset, "StructureSetLabel"),
            frozenset(filter(None, (text(frame, "FrameOfReferenceUID") for frame in frames))),
            _referenced(dataset, "ReferencedStructureSetSequence") | _referenced(dataset, "ReferencedRTPlanSequence"),
            tuple((text(one, "SeriesInstanceUID"), _referenced(one, "ContourImageSequence")) for one in series),
            text(dataset, "DoseSummationType"),
        )


def _referenced(dataset: Dataset, keyword: str) -> frozenset[str]:
    return frozenset(filter(None, (text(one, "ReferencedSOPInstanceUID") for one in items(dataset, keyword))))


def _modality(dataset: Dataset, path: Path) -> str:
    """By the SOP class: screenshots of a CT are of modality CT, too. CaseError where the two contradict each other."""
    modality, by_class = text(dataset, "Modality"), _MODALITIES.get(text(dataset, "SOPClassUID"), "")
    if modality != by_class and (by_class or modality in ("RTSTRUCT", "RTDOSE", "RTPLAN")):
        raise CaseError(f"{path}: its modality {modality!r} contradicts its SOP class; export it again")
    return by_class


def _study(structures: Entry, entries: Sequence[Entry], folder: Path, notes: tuple[str, ...]) -> RtStudy:
    try:
        ct, note = _ct_of(structures, entries)
    except CaseError as error:
        return RtStudy("", folder, structures.path, problem=str(error), notes=notes)
    doses = _doses_of(structures, entries)
    if not doses and (
        others := [e.path.name for e in entries if e.modality == "RTDOSE" and e.patient in ("", structures.patient)]
    ):
        note.append(
            f"{', '.join(others)} does not belong to {structures.path.name} by its references; there is no"
            " reference dose"
        )
    note += _plans_without_dose(structures, entries, doses)
    return RtStudy(
        "",
        folder,
        structures.path,
        tuple(e.path for e in ct),
        tuple(e.path for e in doses),
        notes=(*notes, *note),
        plans=tuple(e.path for e in entries if e.modality == "RTPLAN" and structures.uid in e.references),
    )


def _ct_of(structures: Entry, entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The CT series that a structure set was drawn on; CaseError if it is missing, incomplete or one of several."""
    series: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.modality == "CT":
            series[entry.series].append(entry)
    referenced = dict(structures.images)
    images = frozenset().union(*referenced.values())
    fitting = {uid: files for uid, files in series.items() if uid in referenced or any(e.uid in images for e in files)}
    note = []
    if not fitting:
        fitting = {
            uid: files
            for uid, files in series.items()
            if files[0].patient == structures.patient and files[0].frames & structures.frames
        }
        if referenced:
            note = [f"{structures.path.name} refers to another CT series; the one in its frame of reference was taken"]
    if len(fitting) != 1:
        listed = (
            "; ".join(
                f"{uid} {files[0].description!r}, {len(files)} slices" for uid, files in (fitting or series).items()
            )
            or "none"
        )
        raise CaseError(
            f"{structures.path}: "
            + (
                f"several CT series fit this structure set: {listed}; leave only one in the folder"
                if fitting
                else f"its CT series is not here (it refers to {', '.join(referenced) or 'none'};"
                f" CT series found: {listed}); export the CT with the structure set"
            )
        )
    ct = next(iter(fitting.values()))
    if structures.frames and not all(e.frames <= structures.frames for e in ct):
        raise CaseError(
            f"{structures.path}: CT series {ct[0].series} has another frame of reference; export CT and"
            " structure set together"
        )
    slices = referenced.get(ct[0].series, frozenset())
    if missing := slices - {e.uid for e in ct}:
        raise CaseError(
            f"{structures.path}: {len(missing)} of {len(slices)} CT slices that it refers to are missing or"
            f" unreadable in series {ct[0].series}; export the CT again"
        )
    return ct, note


def _doses_of(structures: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """Doses that refer to a structure set, directly or through their plan; else those that share its frame alone.

    Where there are whole plans' doses, those of single beams or fractions are left out. A whole plan's dose that shares
    the frame and refers to no other structure set may be the plan sum beside the dose of a phase, so it counts, too.
    """
    doses = [e for e in entries if e.modality == "RTDOSE"]
    others = {e.uid for e in entries if e.modality == "RTSTRUCT"} - {structures.uid}
    plans = {e.uid: e.references for e in entries if e.modality == "RTPLAN"}
    sets = {e: e.references.union(*(plans.get(uid, ()) for uid in e.references)) for e in doses}
    referring = [e for e in doses if structures.uid in sets[e]]
    sharing = [
        e for e in doses if e.patient == structures.patient and e.frames & structures.frames and not sets[e] & others
    ]
    whole = [e for e in doses if e in (*referring, *sharing) and e.summation in WHOLE_PLAN]
    return whole or referring or sharing


def _plans_without_dose(structures: Entry, entries: Sequence[Entry], doses: Sequence[Entry]) -> list[str]:
    """A word where the only dose is that of one of several plans: perhaps of one phase of the treatment."""
    plans = [e for e in entries if e.modality == "RTPLAN" and structures.uid in e.references]
    if len(doses) != 1 or doses[0].summation != "PLAN":
        return []
    if not (others := [e.path.name for e in plans if e.uid not in doses[0].references]):
        return []
    return [
        f"{doses[0].path.name} is the dose of one plan; there are others for this structure set ({', '.join(others)}):"
        " check that it is the dose of the whole treatment"
    ]


def _named(found: Iterable[tuple[str, RtStudy]], folder: Path) -> list[RtStudy]:
    """Studies with distinct names, also where file names know no case."""
    used: set[str] = set()
    named = []
    for patient, study in found:
        base = safe_name(patient) or safe_name(folder_name(folder)) or "patient"
        names = chain((base,), (f"{base}_{n}" for n in count(2)))
        name = next(name for name in names if name.lower() not in used)
        used.add(name.lower())
        named.append(replace(study, name=name))
    return named


def safe_name(patient: str) -> str:
    """A patient ID as a file name without separators, dots in front, or names that a system reserves; "" for none."""
    plain = unicodedata.normalize("NFKD", patient).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._- ")[:60].rstrip(".")
    return f"_{name}" if _RESERVED.fullmatch(name) else name
