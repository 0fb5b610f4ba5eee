"""A CT series to a volume in HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CaseError
from ...geometry.volume import Volume
from ...patient.grid import LPS_TO_RAS, Grid
from .files import MAX_VOXELS, numbers, pixels, read_dataset, reading, sizes, text
from .reference import SHARED

if TYPE_CHECKING:
    from pydicom import Dataset

SAME_PLACE_MM = 0.01
STEP_TOLERANCE = 0.02  # of the distance of slices; scanners round positions to 0.01 mm
OUT_OF_ORDER = 0.1
INT16 = np.iinfo(np.int16)
HIGHEST_SLOPE = 16.0  # a CT's slope is 1, or a power of two where its values have fewer bits
PADDING_HU, NOT_SCANNED_HU = (-900.0, 3072.0), -1024
"""What padding may not be, a value that tissue or bone has; and what is put in its place."""


HEADER = (
    *SHARED,
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "BodyPartExamined",
    "InstanceNumber",
    "SharedFunctionalGroupsSequence",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleType",
    "RescaleSlope",
    "RescaleIntercept",
)
"""What is read of every slice before any pixels."""


@dataclass(frozen=True)
class Slice:
    """What the header of a CT image says: place in LPS and (row, column) spacing in mm, (rows, columns)."""

    path: Path
    uid: str
    shape: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    frame: str
    number: str


@dataclass(frozen=True)
class CtSeries:
    """A CT whose headers were read and fit together; its pixels are read once, when the volume is first asked for.

    Attributes:
        slices: along their normal.
        grid: K along the slices' normal.
        elements: of the first file, those of `HEADER`.
        where: for messages.
    """

    slices: tuple[Slice, ...]
    grid: Grid
    elements: Dataset
    where: str

    @property
    def places(self) -> dict[str, np.ndarray]:
        """{SOP instance UID: (3,) RAS in mm of the first voxel} of all slices."""
        return {one.uid: one.position * (-1, -1, 1) for one in self.slices}

    @property
    def doubts(self) -> list[str]:
        """A word where a few of the slices break the order of their instance numbers, as exchanged ones do."""
        return _order_doubts(self.slices)

    @cached_property
    def volume(self) -> Volume:
        """(K, J, I) int16 HU; CaseError names a file whose pixels are damaged or no HU."""
        array = np.empty(self.grid.shape, np.int16)
        for n, one in enumerate(self.slices):
            dataset = read_dataset(one.path)
            with reading(one.path):
                array[n] = _hounsfield(dataset, one.path)
        return Volume(self.where, array, self.grid)


def open_ct(paths: Sequence[Path]) -> CtSeries:
    """The headers of a series' slices.

    CaseError names the file or series where slices are missing, doubled, tilted against their stack, unevenly spaced
    or of different size, place or kind.
    """
    slices: list[Slice] = []
    for path in paths:
        dataset = read_dataset(path, HEADER)
        with reading(path):
            slices.append(_slice(dataset, path))
            if len(slices) == 1:
                first, series = dataset, text(dataset, "SeriesInstanceUID")
    if len(slices) < 2:
        raise CaseError(f"{paths[0]}: the CT series has only this slice; export all of them")
    if sum(rows * columns for rows, columns in (one.shape for one in slices)) > MAX_VOXELS:
        raise CaseError(f"{paths[0].parent}: the CT has more than {MAX_VOXELS} voxels; export the planning CT only")
    where = f"CT series {series} in {paths[0].parent}"
    grid = _stacked(slices, where)
    return CtSeries(tuple(slices), grid, first, where)


def _slice(dataset: Dataset, path: Path) -> Slice:
    if "SharedFunctionalGroupsSequence" in dataset:
        raise CaseError(f"{path}: enhanced multi-frame CT is not read; export the CT with one file a slice")
    if text(dataset, "RescaleType") not in ("", "HU", "US"):
        raise CaseError(f"{path}: its values are {text(dataset, 'RescaleType')}, not HU; export the original CT")
    slope = _rescale(dataset, path)[0]
    rows, columns, frames = sizes(dataset, path)
    if frames != 1:
        raise CaseError(f"{path}: it has several frames; export the CT with one file a slice")
    spacing = numbers(dataset, "PixelSpacing", 2, path)
    orientation = numbers(dataset, "ImageOrientationPatient", 6, path)
    check_orientation(orientation, path)
    if not (0 < slope <= HIGHEST_SLOPE and 0 < spacing.min() <= spacing.max() <= 20):
        raise CaseError(f"{path}: RescaleSlope {slope:g} or PixelSpacing {spacing.tolist()} cannot be")
    return Slice(
        path,
        text(dataset, "SOPInstanceUID"),
        (rows, columns),
        numbers(dataset, "ImagePositionPatient", 3, path),
        orientation,
        spacing,
        text(dataset, "FrameOfReferenceUID"),
        text(dataset, "InstanceNumber"),
    )


def _rescale(dataset: Dataset, path: Path) -> tuple[float, float]:
    slope, intercept = (numbers(dataset, f"Rescale{what}", 1, path)[0] for what in ("Slope", "Intercept"))
    return slope, intercept


def _hounsfield(dataset: Dataset, path: Path) -> np.ndarray:
    """(rows, columns) int16 HU."""
    slope, intercept = _rescale(dataset, path)
    stored = pixels(dataset, path)
    hu = stored if (slope, intercept) == (1, 0) else np.rint(stored * slope + intercept)
    hu = np.clip(hu, INT16.min, INT16.max).astype(np.int16)
    if (padding := _padding(dataset, stored)) is not None:
        hu[padding & ((hu < PADDING_HU[0]) | (hu > PADDING_HU[1]))] = NOT_SCANNED_HU
    return hu


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where stored values are PixelPaddingValue, or lie between it and PixelPaddingRangeLimit; None without any.

    Signs are left aside: programs write -2000 as 63536 and read it back as that.
    """
    limits = [dataset.get(f"PixelPadding{what}") for what in ("Value", "RangeLimit")]
    if limits[0] is None:
        return None
    low, high = sorted(int(limit) for limit in (limits[0], limits[0] if limits[1] is None else limits[1]))
    mask = (stored >= low) & (stored <= high)
    return mask | (stored.astype(np.int64) % 2**16 == int(limits[0]) % 2**16)


def check_orientation(orientation: np.ndarray, path: Path) -> None:
    """CaseError if (6,) direction cosines are no two perpendicular unit vectors."""
    axes = orientation.reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise CaseError(
            f"{path}: ImageOrientationPatient {orientation.tolist()} is no pair of perpendicular unit"
            " vectors; export it again"
        )


def _stacked(slices: list[Slice], where: str) -> Grid:
    """The grid of slices, which are put in order."""
    first = slices[0]
    for one in slices:
        if one.shape != first.shape or not np.allclose(one.spacing, first.spacing, atol=1e-4):
            raise CaseError(
                f"{where}: {one.path.name} has {one.shape} pixels of {one.spacing.tolist()} mm,"
                f" {first.path.name} {first.shape} of {first.spacing.tolist()}; leave one image size"
            )
        if not np.allclose(one.orientation, first.orientation, atol=1e-3) or one.frame != first.frame:
            raise CaseError(
                f"{where}: {one.path.name} and {first.path.name} lie in different planes or frames of"
                " reference; export the planning CT only"
            )
    row, column = first.orientation.reshape(2, 3)
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(one.position @ normal))
    step = _step(slices, normal, where)
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.stack((row * first.spacing[1], column * first.spacing[0], normal * step), 1)
    ijk_to_lps[:3, 3] = slices[0].position
    return Grid((len(slices), *first.shape), LPS_TO_RAS @ ijk_to_lps)


def _order_doubts(slices: Sequence[Slice]) -> list[str]:
    if not all(one.number.isdecimal() for one in slices) or len({one.number for one in slices}) < len(slices):
        return []
    rising = np.diff([int(one.number) for one in slices]) > 0
    usual = 2 * np.count_nonzero(rising) > len(rising)
    wrong = np.flatnonzero(rising != usual)
    if not 0 < len(wrong) <= OUT_OF_ORDER * len(slices):
        return []  # numbers that are no order at all tell nothing
    n = int(wrong[0])
    return [
        f"CT slices {slices[n].path.name} and {slices[n + 1].path.name} lie against the order of their instance numbers"
        f" ({slices[n].number}, {slices[n + 1].number}): check that no slices were exchanged"
    ]


def _step(slices: Sequence[Slice], normal: np.ndarray, where: str) -> float:
    """Distance of sorted slices in mm."""
    positions = np.stack([one.position for one in slices])
    heights = positions @ normal
    gaps = np.diff(heights)
    usual = float(np.median(gaps))

    def pair(n: int) -> str:
        return f"{slices[n].path.name} and {slices[n + 1].path.name}"

    if gaps.min() < SAME_PLACE_MM:
        raise CaseError(f"{where}: doubled slices, {pair(int(gaps.argmin()))} lie in the same place; leave one of them")
    aside = positions - positions[0] - np.outer(heights - heights[0], normal)
    if (shift := np.linalg.norm(aside, axis=1).max()) > 0.5 * slices[0].spacing.min():
        tilt = np.degrees(np.arctan2(shift, np.ptp(heights)))
        raise CaseError(
            f"{where}: the slices are shifted against each other by up to {shift:.1f} mm, as with a gantry"
            f" tilt of {tilt:.1f} degrees; resample the CT to straight slices"
        )
    wrong = np.abs(gaps - usual) > max(STEP_TOLERANCE * usual, 2 * SAME_PLACE_MM)
    if wrong.any():
        n = int(np.abs(gaps - usual).argmax())
        missing = gaps[n] / usual
        words = "slices are missing" if round(missing) > 1 and abs(missing - round(missing)) < 0.1 else "mixed spacing"
        raise CaseError(
            f"{where}: {words}, {pair(n)} are {gaps[n]:.2f} mm apart, most others {usual:.2f} mm; export"
            " the whole planning CT, with one slice spacing"
        )
    return float((heights[-1] - heights[0]) / (len(slices) - 1))
