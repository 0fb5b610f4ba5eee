"""Names and contours of an RTSTRUCT file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CaseError, printable
from .files import items, read_dataset, reading, text

if TYPE_CHECKING:
    from pydicom import Dataset

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_WITHOUT_CONTOURS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StructureSetROISequence",
    "RTROIObservationsSequence",
)
_CONTOUR_DATA = 0x30060050
MAX_POINTS = 20_000_000


@dataclass(frozen=True)
class StructureSet:
    """An RTSTRUCT.

    Attributes:
        uid: SOP instance UID.
        names: {ROI number as text: name}, in the order of the file.
        frames: {ROI number: UID of the frame of reference of its contours}.
        types: {ROI number: interpreted type, such as EXTERNAL or PTV}, of those that have one.
        dataset: the file's elements.
    """

    path: Path
    uid: str
    names: dict[str, str]
    frames: dict[str, str]
    types: dict[str, str]
    dataset: Dataset

    def contours(self, number: str) -> list[np.ndarray]:
        """Points (N, 3), RAS in mm, of each closed contour of a ROI; points and open lines are no part of it."""
        with reading(self.path):
            return [
                _points(contour, f"{self.path}, {self.names[number]}")
                for roi in items(self.dataset, "ROIContourSequence")
                if text(roi, "ReferencedROINumber") == number
                for contour in items(roi, "ContourSequence")
                if text(contour, "ContourGeometricType") in CLOSED
            ]

    def doubts(self, number: str) -> list[str]:
        """A word where contours of a ROI enclose nothing: points, open lines, closed ones of one or two points."""
        with reading(self.path):
            found = [
                text(contour, "ContourGeometricType") in CLOSED and int(contour.get("NumberOfContourPoints") or 3) > 2
                for roi in items(self.dataset, "ROIContourSequence")
                if text(roi, "ReferencedROINumber") == number
                for contour in items(roi, "ContourSequence")
            ]
        if all(found):
            return []
        return [
            f"{self.names[number]}: {found.count(False)} of {len(found)} contours are points or lines and were left out"
        ]

    def images(self, number: str) -> list[str]:
        """SOP instance UID of the CT slice that each of `contours` refers to; "" where it is none or several."""
        with reading(self.path):
            found = []
            for roi in items(self.dataset, "ROIContourSequence"):
                if text(roi, "ReferencedROINumber") != number:
                    continue
                for contour in items(roi, "ContourSequence"):
                    if text(contour, "ContourGeometricType") in CLOSED:
                        uids = [
                            text(image, "ReferencedSOPInstanceUID") for image in items(contour, "ContourImageSequence")
                        ]
                        found.append(uids[0] if len(uids) == 1 else "")
            return found


def read_structures(path: Path, contours: bool = True) -> StructureSet:
    """CaseError if the file is no RTSTRUCT or two ROIs share a number.

    Args:
        contours: False reads the names and types only, in no time.
    """
    dataset = read_dataset(path, None if contours else _WITHOUT_CONTOURS)
    with reading(path):
        if text(dataset, "Modality") != "RTSTRUCT":
            raise CaseError(f"{path}: this is {text(dataset, 'Modality') or 'nothing'}, not RTSTRUCT")
        names, frames = {}, {}
        for roi in items(dataset, "StructureSetROISequence"):
            number = text(roi, "ROINumber")
            if not number or number in names:
                raise CaseError(
                    f"{path}: ROI number {number or 'missing'} of {text(roi, 'ROIName')!r} does not tell"
                    " its contours; export the structure set again"
                )
            names[number] = printable(text(roi, "ROIName")) or f"ROI {number}"
            frames[number] = text(roi, "ReferencedFrameOfReferenceUID")
        types = {
            number: text(one, "RTROIInterpretedType")
            for one in items(dataset, "RTROIObservationsSequence")
            if (number := text(one, "ReferencedROINumber")) in names
        }
        for roi in items(dataset, "ROIContourSequence"):
            number = text(roi, "ReferencedROINumber")
            if number not in names and any(True for _ in items(roi, "ContourSequence")):
                raise CaseError(
                    f"{path}: it has contours of ROI {number or 'without number'}, but no name for them; they may be a"
                    " target's: export the structure set again"
                )
        return StructureSet(path, text(dataset, "SOPInstanceUID"), names, frames, types, dataset)


def _points(contour: Dataset, where: str) -> np.ndarray:
    if _CONTOUR_DATA not in contour:
        raise CaseError(f"{where}: a contour has no points; export the structure set again")
    # Unconverted: pydicom would make an object of each of some million numbers.
    raw = contour.get_item(_CONTOUR_DATA).value
    if isinstance(raw, bytes):
        raw = [part for part in raw.replace(b"\0", b" ").strip().split(b"\\") if part]
    if raw is None or len(raw) > MAX_POINTS:
        raise CaseError(f"{where}: a contour has no points or too many; export the structure set again")
    values = np.array(raw).astype(float)
    declared = contour.get("NumberOfContourPoints")
    if values.size % 3 or not np.isfinite(values).all() or (declared is not None and int(declared) * 3 != values.size):
        raise CaseError(
            f"{where}: a contour has {values.size} coordinates for {declared} points; export the structure set again"
        )
    return values.reshape(-1, 3) * (-1, -1, 1)
