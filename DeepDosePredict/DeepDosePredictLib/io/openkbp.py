"""OpenKBP patient folders (CSV): reading a Case, reading and writing doses.

Axes of the files are [a0 to Posterior, a1 to Left, a2 to Inferior], voxels indexed by their C-order ravel; a Case has
(K to Superior, J to Posterior, I to Left). Format: Babier et al., Med. Phys. 48 (2021) 5549, and the data itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import CaseError
from ..geometry.case_check import checked
from ..patient.case import GRID, Case, check_dose, check_spacing, folder_name
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK, ROIS
from .atomic import atomic_write

FILES = tuple(f"{name}.csv" for name in ("ct", DOSE_MASK, "voxel_dimensions", "dose", *ROIS))
N_VOXELS = int(np.prod(GRID))
MAX_BYTES = 2**27  # twice what a value for every voxel takes
CT_OFFSET = 1000  # CT files hold HU + 1000
CT_MAXIMUM = 2**15 - 1  # 12 bits as published, but metal goes to 28000 in a few patients


def to_case_axes(volume: np.ndarray) -> np.ndarray:
    """[a0 P, a1 L, a2 I] to (K S, J P, I L)."""
    return volume.transpose(2, 0, 1)[::-1]


def from_case_axes(volume: np.ndarray) -> np.ndarray:
    """(K S, J P, I L) to [a0 P, a1 L, a2 I]."""
    return volume[::-1].transpose(1, 2, 0)


def is_openkbp(folder: Path) -> bool:
    return any((folder / f"{name}.csv").exists() for name in ("ct", DOSE_MASK, "voxel_dimensions"))


def read_openkbp(folder: str | Path, own_dose: bool = True) -> Case:
    """Read a patient folder into a Case; raises CaseError naming the file and what is wrong with it.

    Args:
        own_dose: whether the folder's dose.csv, where there is one, becomes the reference.
    """
    folder = Path(folder)
    _require_folder(folder)
    ct = _read_values(folder / "ct.csv")
    if ct.min() < 0 or ct.max() > CT_MAXIMUM:
        raise CaseError(
            f"{folder / 'ct.csv'}: values run from {ct.min():g} to {ct.max():g};"
            f" OpenKBP CTs hold HU + 1000, from 0 to {CT_MAXIMUM}"
        )
    dose_path = folder / "dose.csv"
    case = Case(
        name=folder_name(folder),
        ct=np.ascontiguousarray(to_case_axes(np.rint(ct) - CT_OFFSET), np.int16),
        rois=read_rois(folder),
        dose_mask=read_dose_mask(folder),
        spacing=read_spacing(folder),
        dose=read_dose(dose_path).astype(np.float32) if own_dose and dose_path.exists() else None,
    )
    return checked(case)


def read_rois(folder: Path) -> RoiMask:
    """All OpenKBP structures of a patient; a file that is missing or empty is a structure that was not contoured."""
    masks = {}
    for roi in ROIS:
        path = folder / f"{roi}.csv"
        masks[roi] = _read_mask(path) if path.exists() else np.zeros(GRID, bool)
    return RoiMask.encode(masks)


def read_dose_mask(folder: Path) -> np.ndarray:
    """(K, J, I) bool; CaseError if it is empty."""
    path = folder / f"{DOSE_MASK}.csv"
    mask = _read_mask(path)
    if not mask.any():
        raise CaseError(f"{path}: the dose mask is empty; no voxel could receive dose")
    return mask


def read_spacing(folder: Path) -> tuple[float, float, float]:
    """(k, j, i) spacing in mm."""
    path = folder / "voxel_dimensions.csv"
    a0, a1, a2 = check_spacing(_load(path, skiprows=0, columns=1).ravel(), str(path))
    return a2, a0, a1


def read_dose(path: str | Path) -> np.ndarray:
    """(K, J, I) float64 dose in Gy: the digits of the file, for scores that are compared to 1e-6."""
    path = Path(path)
    return to_case_axes(check_dose(_read_values(path), str(path)))


def write_dose(path: str | Path, dose: np.ndarray) -> None:
    """Write a (K, J, I) dose in Gy as a sparse OpenKBP file, as the challenge takes it."""
    flat = np.ascontiguousarray(from_case_axes(np.asarray(dose, np.float64))).ravel()
    index = np.flatnonzero(flat)
    with atomic_write(path) as file:
        file.write(b",data\n")
        np.savetxt(file, np.column_stack((index, flat[index])), fmt=("%d", "%.6g"), delimiter=",")


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    for name in ("ct", DOSE_MASK, "voxel_dimensions"):
        if not (folder / f"{name}.csv").is_file():
            raise CaseError(
                f"{folder}: {name}.csv is missing; an OpenKBP patient needs ct.csv, {DOSE_MASK}.csv and"
                " voxel_dimensions.csv"
            )


def _load(path: Path, *, skiprows: int, columns: int) -> np.ndarray:
    if not path.is_file():
        raise CaseError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise CaseError(f"{path}: too large for an OpenKBP table")
    try:
        with path.open(encoding="ascii") as file:
            lines = file.readlines()[skiprows:]
        if not lines:
            return np.empty((0, columns))
        return np.loadtxt(lines, delimiter=",", usecols=range(columns), ndmin=2, comments=None)
    except (ValueError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: not a readable OpenKBP table ({error})") from error


def _read_index(path: Path, columns: int) -> np.ndarray:
    table = _load(path, skiprows=1, columns=columns)
    index = table[:, 0]
    if not (np.isfinite(index).all() and (index == np.rint(index)).all()):
        raise CaseError(f"{path}: a voxel index is not a whole number")
    if index.size and (index.min() < 0 or index.max() >= N_VOXELS):
        raise CaseError(f"{path}: a voxel index lies outside 0 to {N_VOXELS - 1}, those of a 128x128x128 grid")
    if np.unique(index).size != index.size:
        raise CaseError(f"{path}: a voxel index occurs twice")
    return table


def _read_mask(path: Path) -> np.ndarray:
    flat = np.zeros(N_VOXELS, bool)
    flat[_read_index(path, 1)[:, 0].astype(np.int64)] = True
    return np.ascontiguousarray(to_case_axes(flat.reshape(GRID)))


def _read_values(path: Path) -> np.ndarray:
    table = _read_index(path, 2)
    if not table.size:
        raise CaseError(f"{path}: no values in the file")
    if not np.isfinite(table[:, 1]).all():
        raise CaseError(f"{path}: NaN or infinite values")
    flat = np.zeros(N_VOXELS)
    flat[table[:, 0].astype(np.int64)] = table[:, 1]
    return flat.reshape(GRID)
