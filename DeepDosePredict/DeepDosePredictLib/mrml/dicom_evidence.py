"""What the DICOM files of a segmentation tell beside its names: RT ROI interpreted types, and what plans prescribe.

SlicerRT keeps of a structure set the names and, as a segment's tag, the ROI number; the rest is read from the file in
Slicer's DICOM database. A scene without that file, or Slicer's without DICOM, tells nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import slicer
import vtk

from ..errors import CaseError
from ..io.dicom.belonging import body_part_doubts
from ..io.dicom.files import items, read_dataset, reading, text
from ..io.dicom.rtplan import Prescriptions, read_prescriptions
from ..io.dicom.rtstruct import StructureSet, read_structures
from .subject_hierarchy import hierarchyOf

ROI_NUMBER_TAG = "DicomRtImport.RoiNumber"
_INSTANCES = "DICOM.instanceUIDs"
"""Attribute of volumes that Slicer loaded from DICOM."""
_MODALITY, _BODY_PART = "0008,0060", "0018,0015"


@dataclass(frozen=True)
class DicomEvidence:
    """What is known of segments from DICOM.

    Attributes:
        types: {segment ID: RT ROI interpreted type}.
        planned: {segment ID: prescription in Gy}.
        plans: as they were read, with prescriptions to no contour.
        notes: what could not be read, in words.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    planned: Mapping[str, float] = field(default_factory=dict)
    plans: Prescriptions = field(default_factory=lambda: Prescriptions({}))
    notes: tuple[str, ...] = ()


def dicomEvidence(segmentationNode) -> DicomEvidence:
    """What the structure set of a segmentation and the plans for it tell; nothing where they are not at hand."""
    path = _structureSetFile(segmentationNode)
    if path is None:
        return DicomEvidence()
    try:
        structures, plans = _read(path, path.stat().st_mtime_ns, _planFiles(path))
    except CaseError as error:
        return DicomEvidence(notes=(f"RT ROI types and prescriptions were not read: {error}",))
    numbers = _roiNumbers(segmentationNode, structures)
    return DicomEvidence(
        {segment: structures.types[number] for segment, number in numbers.items() if number in structures.types},
        {segment: plans.rois[number] for segment, number in numbers.items() if number in plans.rois},
        plans,
        plans.notes,
    )


def bodyPartDoubts(ctNode) -> list[str]:
    """See `belonging.body_part_doubts`; nothing where the CT's files are not in Slicer's DICOM database."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (ctNode.GetAttribute(_INSTANCES) or "").split()
    file = database.fileForInstance(uids[0]) if database is not None and uids else ""
    return body_part_doubts(database.fileValue(file, _BODY_PART)) if file else []


@lru_cache(maxsize=8)
def _read(path: Path, _modified: int, candidates: tuple[Path, ...]) -> tuple[StructureSet, Prescriptions]:
    structures = read_structures(path, contours=False)
    plans = [plan for plan in candidates if _refersTo(plan, structures.uid)]
    return structures, read_prescriptions(plans, structures.names)


def _refersTo(plan: Path, structures: str) -> bool:
    with reading(plan):
        sets = items(read_dataset(plan), "ReferencedStructureSetSequence")
        return structures in [text(one, "ReferencedSOPInstanceUID") for one in sets]


def _structureSetFile(segmentationNode) -> Path | None:
    """The RTSTRUCT in Slicer's DICOM database that a segmentation was loaded from."""
    database = getattr(slicer, "dicomDatabase", None)
    item = hierarchyOf(segmentationNode).GetItemByDataNode(segmentationNode)
    if database is None or not item:
        return None
    names = slicer.vtkMRMLSubjectHierarchyConstants
    instance, series = (
        hierarchyOf(segmentationNode).GetItemUID(item, name())
        for name in (names.GetDICOMInstanceUIDName, names.GetDICOMUIDName)
    )
    files = [database.fileForInstance(instance)] if instance else []
    files += database.filesForSeries(series) if series else []
    found = (Path(file) for file in files if file and database.fileValue(file, _MODALITY) == "RTSTRUCT")
    return next((path for path in found if path.exists()), None)


def _planFiles(structureSet: Path) -> tuple[Path, ...]:
    """The RTPLANs in the study of a structure set."""
    database = slicer.dicomDatabase
    with reading(structureSet):
        study = text(
            read_dataset(structureSet, ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")), "StudyInstanceUID"
        )
    files = [file for series in database.seriesForStudy(study) for file in database.filesForSeries(series)[:1]]
    plans = [Path(file) for file in files if database.fileValue(file, _MODALITY) == "RTPLAN"]
    return tuple(path for path in plans if path.exists())


def _roiNumbers(segmentationNode, structures: StructureSet) -> dict[str, str]:
    """{segment ID: ROI number}, by the segments' tags, else by names that only one ROI has."""
    segmentation = segmentationNode.GetSegmentation()
    names = list(structures.names.values())
    byName = {name: number for number, name in structures.names.items() if names.count(name) == 1}
    numbers = {}
    for n in range(segmentation.GetNumberOfSegments()):
        segment, tag = segmentation.GetNthSegment(n), vtk.reference("")
        tagged = str(tag) if segment.GetTag(ROI_NUMBER_TAG, tag) else ""
        number = tagged if tagged in structures.names else byName.get(segment.GetName(), "")
        if number:
            numbers[segmentation.GetNthSegmentID(n)] = number
    return numbers
