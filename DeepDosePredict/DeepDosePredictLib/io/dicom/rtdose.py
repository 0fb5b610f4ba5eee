"""An RTDOSE file to a volume in Gy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CaseError
from ...geometry.volume import Volume
from ...patient.grid import LPS_TO_RAS, Grid
from .ct import check_orientation
from .files import numbers, pixels, read_dataset, reading, sizes, text

if TYPE_CHECKING:
    from pydicom import Dataset

WHOLE_PLAN = ("PLAN", "MULTI_PLAN")


@dataclass(frozen=True)
class PlannedDose:
    """A dose with its frame of reference UID and patient ID ("" where the file has none)."""

    volume: Volume
    frame: str
    patient: str


def read_rtdose(path: Path) -> PlannedDose:
    """(K, J, I) float32 Gy and its place; CaseError if it is not the physical or effective dose of a whole plan in Gy.

    Frame offsets (PS3.3 C.8.8.3.2) may be relative to the first frame or patient coordinates, rising or falling.
    """
    dataset = read_dataset(path)
    with reading(path):
        _check_kind(dataset, path)
        scaling = numbers(dataset, "DoseGridScaling", 1, path)[0]
        if scaling <= 0:
            raise CaseError(f"{path}: DoseGridScaling is {scaling:g}; it must be above 0")
        rows, columns, frames = sizes(dataset, path)
        if frames < 2:
            raise CaseError(f"{path}: the dose has a single plane; export a dose volume")
        grid, rising = _grid(dataset, (frames, rows, columns), path)
        stored = pixels(dataset, path)
        dose = np.multiply(stored, scaling, dtype=np.float64).astype(np.float32)
        volume = Volume(str(path), dose if rising else dose[::-1], grid)
        return PlannedDose(volume, text(dataset, "FrameOfReferenceUID"), text(dataset, "PatientID"))


def _check_kind(dataset: Dataset, path: Path) -> None:
    if text(dataset, "Modality") != "RTDOSE":
        raise CaseError(f"{path}: this is {text(dataset, 'Modality') or 'no image'}, not RTDOSE; give the plan's dose")
    units, kind = text(dataset, "DoseUnits"), text(dataset, "DoseType")
    if units != "GY":
        raise CaseError(f"{path}: its unit is {units or 'not stated'}; export the dose in GY")
    if kind not in ("PHYSICAL", "EFFECTIVE", ""):
        raise CaseError(f"{path}: DoseType is {kind}; export the physical dose")
    if (summation := text(dataset, "DoseSummationType")) not in WHOLE_PLAN:
        raise CaseError(
            f"{path}: this is the dose of a {summation.lower() or 'part that it does not state'}, not of"
            " the plan; export the sum over the plan (DoseSummationType PLAN)"
        )


def _grid(dataset: Dataset, shape: tuple[int, int, int], path: Path) -> tuple[Grid, bool]:
    """The grid, K along the planes' normal, and whether the frames come in that order."""
    spacing, position = numbers(dataset, "PixelSpacing", 2, path), numbers(dataset, "ImagePositionPatient", 3, path)
    orientation = numbers(dataset, "ImageOrientationPatient", 6, path)
    check_orientation(orientation, path)
    if not 0 < spacing.min() <= spacing.max() <= 50:
        raise CaseError(f"{path}: PixelSpacing {spacing.tolist()} cannot be")
    offsets = numbers(dataset, "GridFrameOffsetVector", shape[0], path)
    row, column = orientation.reshape(2, 3)
    normal = np.cross(row, column)
    if abs(offsets[0]) > 1e-3:  # patient coordinates, which the standard allows for axial planes only
        if abs(offsets[0] - position[2]) > 1e-2 or abs(abs(normal[2]) - 1) > 1e-3:
            raise CaseError(
                f"{path}: GridFrameOffsetVector begins with {offsets[0]:g}, neither 0 nor the z of"
                f" ImagePositionPatient, {position[2]:g}; export the dose again"
            )
        offsets = (offsets - offsets[0]) * np.sign(normal[2])
    steps = np.diff(offsets)
    step = float(np.median(steps))
    if step == 0 or np.abs(steps - step).max() > max(0.02 * abs(step), 0.01):
        raise CaseError(
            f"{path}: its planes are {np.abs(steps).min():g} to {np.abs(steps).max():g} mm apart; export"
            " the dose with one distance of planes"
        )
    step = float((offsets[-1] - offsets[0]) / (len(offsets) - 1))
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.stack((row * spacing[1], column * spacing[0], normal * abs(step)), 1)
    ijk_to_lps[:3, 3] = position + normal * min(offsets[0], offsets[-1])
    return Grid(shape, LPS_TO_RAS @ ijk_to_lps), step > 0
