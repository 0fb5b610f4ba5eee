"""The compact NRRD form of a case: ct.nrrd (int16 HU), rois.nrrd (bit-mask with names) and dose.nrrd (float32 Gy).

Opens in Slicer as it is. The dose mask travels as one more bit of rois.nrrd. NRRD files are written in LPS with the
axes (I, J, K); reading returns (K, J, I).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nrrd
import numpy as np

from ..errors import CaseError
from ..patient.case import Case, check_dose
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK
from .atomic import atomic_path
from .nrrd_file import read_nrrd

ROI_NAMES_KEY = "DeepDosePredict_ROINames"


@dataclass(frozen=True)
class Volume:
    """A volume read from NRRD: (K, J, I) array, (k, j, i) spacing in mm, (x, y, z) LPS origin, the whole header."""

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    header: dict


def is_compact_case(folder: Path) -> bool:
    return (folder / "ct.nrrd").exists() and (folder / "rois.nrrd").exists()


def read_nrrd_case(folder: str | Path) -> Case:
    """Read ct.nrrd, rois.nrrd and, where it is there, dose.nrrd of a folder; CaseError names the file and its fault."""
    folder = Path(folder)
    ct = read_volume(folder / "ct.nrrd")
    rois = read_volume(folder / "rois.nrrd")
    _require_same_grid(rois, ct, folder / "rois.nrrd")
    dose_path = folder / "dose.nrrd"
    masks, names = _decode_rois(rois, folder / "rois.nrrd")
    return Case(
        name=folder.resolve().name,
        ct=_as_hu(ct.array, folder / "ct.nrrd"),
        rois=RoiMask.encode({name: masks[name] for name in names if name != DOSE_MASK}),
        dose_mask=masks[DOSE_MASK],
        spacing=ct.spacing,
        dose=read_dose_on_grid(dose_path, ct) if dose_path.exists() else None,
        origin=ct.origin,
    )


def read_dose_on_grid(path: str | Path, grid: Volume | Case) -> np.ndarray:
    """(K, J, I) float32 dose in Gy; CaseError if it is not a dose or does not lie on the grid of a volume or case."""
    path = Path(path)
    dose = read_volume(path)
    _require_same_grid(dose, grid, path)
    return check_dose(dose.array.astype(np.float32), str(path))


def write_nrrd_case(folder: str | Path, case: Case) -> None:
    """Write a case in the compact form."""
    folder = Path(folder)
    rois = RoiMask.encode({**{name: case.rois[name] for name in case.rois}, DOSE_MASK: case.dose_mask})
    write_volume(folder / "ct.nrrd", case.ct, case)
    write_volume(folder / "rois.nrrd", rois.bits, case, {ROI_NAMES_KEY: json.dumps(rois.names)})
    if case.dose is not None:
        write_dose(folder / "dose.nrrd", case.dose, case)


def write_dose(path: str | Path, dose: np.ndarray, case: Case, **notes: str) -> None:
    """Write a (K, J, I) dose in Gy on the grid of a case; `notes` become header entries (provenance)."""
    write_volume(path, np.asarray(dose, np.float32), case, {"DeepDosePredict_Unit": "Gy", **notes})


def write_volume(path: str | Path, array: np.ndarray, case: Case, entries: dict[str, str] | None = None) -> None:
    """Write a (K, J, I) array on the grid of a case, gzip-compressed, in place of what was there only when done."""
    k, j, i = case.spacing
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([i, j, k]),
        "space origin": np.asarray(case.origin),
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
        **(entries or {}),
    }
    with atomic_path(path) as temporary:
        nrrd.write(str(temporary), np.ascontiguousarray(array), header, index_order="C", compression_level=4)


def read_volume(path: str | Path) -> Volume:
    """Read an axis-aligned 3D NRRD; CaseError if it is missing, damaged, too large, oblique or without geometry."""
    path = Path(path)
    array, header = read_nrrd(path)
    spacing, origin, array = _geometry(header, array, path)
    return Volume(array, spacing, origin, header)


def _geometry(header: dict, array: np.ndarray, path: Path) -> tuple[tuple, tuple, np.ndarray]:
    """(k, j, i) spacing, LPS origin and the array on LPS-aligned axes; flips what points the other way."""
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
    for axis in np.flatnonzero(steps < 0):
        array = np.flip(array, 2 - axis)
        origin[axis] += steps[axis] * (array.shape[2 - axis] - 1)
    return tuple(np.abs(steps[::-1]).tolist()), tuple(origin.tolist()), np.ascontiguousarray(array)


def _require_same_grid(volume: Volume, grid: Volume | Case, path: Path) -> None:
    shape = grid.array.shape if isinstance(grid, Volume) else grid.shape
    if volume.array.shape != shape:
        raise CaseError(
            f"{path}: shape {volume.array.shape} differs from the CT's {shape}; resample it to the CT's grid"
        )
    same_spacing = np.allclose(volume.spacing, grid.spacing, atol=1e-3)
    if not (same_spacing and np.allclose(volume.origin, grid.origin, atol=0.01 * min(grid.spacing))):
        raise CaseError(
            f"{path}: spacing {volume.spacing} or origin {volume.origin} differs from the CT's"
            f" {grid.spacing}, {grid.origin}; resample it to the CT's grid"
        )


def _as_hu(array: np.ndarray, path: Path) -> np.ndarray:
    """int16 HU; CaseError for values that are not finite or cannot be HU."""
    if not np.isfinite(array).all():
        raise CaseError(f"{path}: the CT has NaN or infinite values")
    limits = np.iinfo(np.int16)
    if array.min() < limits.min or array.max() > limits.max:
        raise CaseError(f"{path}: values from {array.min():g} to {array.max():g} cannot be HU")
    return np.rint(array).astype(np.int16)


def _decode_rois(volume: Volume, path: Path) -> tuple[RoiMask, list[str]]:
    try:
        names = json.loads(volume.header[ROI_NAMES_KEY])
        if not (isinstance(names, list) and all(isinstance(name, str) and name for name in names)):
            raise ValueError("not a list of names")
    except (KeyError, ValueError) as error:
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
