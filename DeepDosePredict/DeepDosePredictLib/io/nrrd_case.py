"""The compact NRRD form of a case: ct.nrrd (int16 HU), rois.nrrd (bit-mask with names) and dose.nrrd (float32 Gy).

Opens in Slicer as it is. The dose mask travels as one more bit of rois.nrrd. NRRD files are written in LPS with the
axes (I, J, K); reading returns (K, J, I).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from ..errors import CaseError, printable
from ..geometry.case_check import checked
from ..patient.case import Case, check_dose, folder_name
from ..patient.grid import Grid
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK
from .atomic import atomic_path
from .nrrd_file import read_nrrd

CT, ROI_MASK, SEGMENTATION, DOSE = "ct.nrrd", "rois.nrrd", "segmentation.seg.nrrd", "dose.nrrd"
COMPACT_FILES, SLICER_FILES = (CT, ROI_MASK, DOSE), (CT, SEGMENTATION, DOSE)
"""What a patient's folder holds in the compact form, and as Slicer saves it."""
ROI_NAMES_KEY = "DeepDosePredict_ROINames"


@dataclass(frozen=True)
class NrrdVolume:
    """A volume read from NRRD: (K, J, I) array, its LPS-aligned grid and the whole header."""

    array: np.ndarray
    grid: Grid
    header: dict[str, Any]


def is_compact_case(folder: Path) -> bool:
    return (folder / CT).exists() and (folder / ROI_MASK).exists()


def is_slicer_case(folder: Path) -> bool:
    """Whether a folder holds a CT and a segmentation as Slicer saves them."""
    return (folder / SEGMENTATION).exists()


def read_nrrd_case(folder: str | Path, own_dose: bool = True) -> Case:
    """Read ct.nrrd, rois.nrrd and, where it is there, dose.nrrd of a folder; CaseError names the file and its fault.

    Args:
        own_dose: whether the folder's dose.nrrd becomes the reference.
    """
    folder = Path(folder)
    ct = read_volume(folder / CT)
    rois = read_volume(folder / ROI_MASK)
    _require_same_grid(rois.grid, ct.grid, folder / ROI_MASK)
    dose_path = folder / DOSE
    masks, names = _decode_rois(rois, folder / ROI_MASK)
    case = Case(
        name=folder_name(folder),
        ct=_as_hu(ct.array, folder / CT),
        rois=RoiMask.encode({name: masks[name] for name in names if name != DOSE_MASK}),
        dose_mask=masks[DOSE_MASK],
        spacing=ct.grid.spacing,
        dose=read_dose_on_grid(dose_path, ct.grid) if own_dose and dose_path.exists() else None,
        origin=ct.grid.origin,
    )
    return checked(case)


def read_dose_on_grid(path: str | Path, grid: Grid) -> np.ndarray:
    """(K, J, I) float32 dose in Gy; CaseError if it is not a dose or does not lie on the grid."""
    path = Path(path)
    dose = read_volume(path)
    _require_same_grid(dose.grid, grid, path)
    return check_dose(dose.array.astype(np.float32), str(path))


def write_nrrd_case(folder: str | Path, case: Case) -> None:
    """Write a case in the compact form."""
    folder = Path(folder)
    rois = RoiMask.encode({**{name: case.rois[name] for name in case.rois}, DOSE_MASK: case.dose_mask})
    write_volume(folder / CT, case.ct, case.grid)
    write_volume(folder / ROI_MASK, rois.bits, case.grid, {ROI_NAMES_KEY: json.dumps(rois.names)})
    if case.dose is not None:
        write_dose(folder / DOSE, case.dose, case.grid)


def write_dose(path: str | Path, dose: np.ndarray, grid: Grid, **notes: str) -> None:
    """Write a (K, J, I) dose in Gy on a grid; `notes` become header entries (provenance)."""
    write_volume(path, np.asarray(dose, np.float32), grid, {"DeepDosePredict_Unit": "Gy", **notes})


def write_volume(path: str | Path, array: np.ndarray, grid: Grid, entries: dict[str, str] | None = None) -> None:
    """Write a (K, J, I) array on an LPS-aligned grid, gzip-compressed, in place of what was there only when done."""
    k, j, i = grid.spacing
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([i, j, k]),
        "space origin": np.asarray(grid.origin),
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
        # The writer takes ASCII on one line only, and names have accents.
        **{key: _ascii(value) for key, value in (entries or {}).items()},
    }
    with atomic_path(path) as temporary:
        nrrd.write(str(temporary), np.ascontiguousarray(array), header, index_order="C", compression_level=4)


def _ascii(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode()


def read_volume(path: str | Path) -> NrrdVolume:
    """Read an axis-aligned 3D NRRD; CaseError if it is missing, damaged, too large, oblique or without geometry."""
    path = Path(path)
    array, header = read_nrrd(path)
    return NrrdVolume(*_lps_aligned(header, array, path), header)


def _lps_aligned(header: dict[str, Any], array: np.ndarray, path: Path) -> tuple[np.ndarray, Grid]:
    """The array on LPS-aligned axes and its grid; flips what points the other way."""
    space = header.get("space", "left-posterior-superior")
    signs = {"left-posterior-superior": (1, 1), "LPS": (1, 1), "right-anterior-superior": (-1, -1), "RAS": (-1, -1)}
    directions = np.asarray(header.get("space directions"), float)
    if space not in signs or directions.shape != (3, 3):
        raise CaseError(f"{path}: no usable geometry (space {space!r}); save it with space directions in LPS or RAS")
    to_lps = np.array([*signs[space], 1.0])
    directions, origin = directions * to_lps, np.asarray(header.get("space origin", np.zeros(3)), float) * to_lps
    if not (np.isfinite(directions).all() and np.isfinite(origin).all()):
        raise CaseError(f"{path}: the geometry has values that are not finite")
    steps = np.diag(directions).copy()
    if np.abs(directions - np.diag(steps)).max() > 1e-4 * max(np.abs(directions).max(), 1e-6):
        raise CaseError(f"{path}: the volume is oblique or its axes are permuted; resample it to an axis-aligned grid")
    for axis in np.flatnonzero(steps < 0).tolist():
        array = np.flip(array, 2 - axis)
        origin[axis] += steps[axis] * (array.shape[2 - axis] - 1)
    k, j, i = array.shape
    return np.ascontiguousarray(array), Grid.lps_aligned((k, j, i), np.abs(steps[::-1]).tolist(), origin)


def _require_same_grid(grid: Grid, ct: Grid, path: Path) -> None:
    if grid.shape != ct.shape:
        raise CaseError(f"{path}: shape {grid.shape} differs from the CT's {ct.shape}; resample it to the CT's grid")
    same_spacing = np.allclose(grid.spacing, ct.spacing, atol=1e-3)
    if not (same_spacing and np.allclose(grid.origin, ct.origin, atol=0.01 * min(ct.spacing))):
        raise CaseError(
            f"{path}: spacing {grid.spacing} or origin {grid.origin} differs from the CT's"
            f" {ct.spacing}, {ct.origin}; resample it to the CT's grid"
        )


def _as_hu(array: np.ndarray, path: Path) -> np.ndarray:
    """int16 HU; CaseError for values that are not finite or cannot be HU."""
    if not np.isfinite(array).all():
        raise CaseError(f"{path}: the CT has NaN or infinite values")
    limits = np.iinfo(np.int16)
    if array.min() < limits.min or array.max() > limits.max:
        raise CaseError(f"{path}: values from {array.min():g} to {array.max():g} cannot be HU")
    return np.rint(array).astype(np.int16)


def _decode_rois(volume: NrrdVolume, path: Path) -> tuple[RoiMask, list[str]]:
    try:
        names = json.loads(volume.header[ROI_NAMES_KEY])
        if not (isinstance(names, list) and all(isinstance(name, str) and name for name in names)):
            raise ValueError("not a list of names")
        names = [printable(name) for name in names]
    except (KeyError, ValueError, RecursionError) as error:
        raise CaseError(
            f"{path}: the header entry {ROI_NAMES_KEY} with the names of the bits is missing or damaged ({error})"
        ) from error
    if volume.array.dtype.kind not in "ui" or (volume.array.dtype.kind == "i" and volume.array.min() < 0):
        raise CaseError(f"{path}: a bit-mask must hold unsigned integers, not {volume.array.dtype}")
    bits = volume.array.astype(volume.array.dtype.str.replace("i", "u"))
    try:
        masks = RoiMask(bits, tuple(names))
    except CaseError as error:
        raise CaseError(f"{path}: {error}") from error
    if int(bits.max()) >> len(names):
        raise CaseError(f"{path}: bits are set beyond the {len(names)} named structures")
    if DOSE_MASK not in masks:
        raise CaseError(f"{path}: no structure is named {DOSE_MASK}; the dose mask is needed")
    return masks, names
