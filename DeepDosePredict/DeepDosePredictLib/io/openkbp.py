"""OpenKBP patient folders (CSV): reading a Case, reading and writing doses.

Axes of the files are [a0 to Posterior, a1 to Left, a2 to Inferior], voxels indexed by their C-order ravel; a Case has
(K to Superior, J to Posterior, I to Left). Format: Babier et al., Med. Phys. 48 (2021) 5549, and the data itself.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import CaseError, printable
from ..geometry.case_check import checked
from ..patient.case import GRID, Case, check_dose, check_spacing, folder_name
from ..patient.outcome import Outcome
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK, ROIS
from ..patient.structure_names import read_name
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
        notes=tuple(_left_out(folder)),
    )
    return checked(case)


def read_rois(folder: Path) -> RoiMask:
    """All OpenKBP structures of a patient; one without a file, or without voxels in it, was not contoured."""
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
    a0, a1, a2 = check_spacing(_table(_lines(path), 1, path).ravel(), str(path))
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


def _left_out(folder: Path) -> list[str]:
    """Tables that no patient has, in words; CaseError for one that may be a target."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.name not in FILES)
    known = {name.lower(): name for name in FILES}
    left_out = []
    for name in names:
        path, meant = folder / name, folder / known.get(name.lower(), "")
        if meant.is_file() and path.samefile(meant):  # where file names know no case
            continue
        if meant != folder or read_name(path.stem).outcome in (Outcome.TARGET, Outcome.POSSIBLE_TARGET):
            raise CaseError(
                f"{path}: this may be a structure, but an OpenKBP patient's are {', '.join(ROIS)}, each in a file of"
                " exactly this name with .csv; rename it, or move it elsewhere"
            )
        left_out.append(printable(name))
    return [f"not read, as OpenKBP knows no such file: {', '.join(left_out)}"] if left_out else []


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise CaseError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise CaseError(f"{path}: too large for an OpenKBP table")
    try:
        return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CaseError(f"{path}: not a readable OpenKBP table ({error})") from error


def _table(lines: list[str], columns: int, path: Path) -> np.ndarray:
    """(rows, columns) float64; CaseError if any row has more or fewer numbers."""
    if not lines:
        return np.empty((0, columns))
    try:
        table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise CaseError(f"{path}: not a readable OpenKBP table ({error})") from error
    if table.shape != (len(lines), columns):
        raise CaseError(
            f"{path}: not a readable OpenKBP table ({len(table)} rows of {table.shape[1]} numbers instead of"
            f" {len(lines)} of {columns})"
        )
    return table


def _rows(path: Path) -> list[str]:
    """Lines below the header; CaseError without one: the first voxel would be taken for it."""
    lines = _lines(path)
    header = [word.strip() for word in lines[0].split(",")] if lines else []
    if len(header) != 2 or any(re.match(r"[-+.]?\d", word) for word in header):
        raise CaseError(
            f"{path}: not a readable OpenKBP table (it begins with {''.join(lines[:1])[:40]!r}, not with a header of"
            " two columns: ,data)"
        )
    return lines[1:]


def _indices(index: np.ndarray, path: Path) -> np.ndarray:
    if not (np.isfinite(index).all() and (index == np.rint(index)).all()):
        raise CaseError(f"{path}: a voxel index is not a whole number")
    if index.size and (index.min() < 0 or index.max() >= N_VOXELS):
        raise CaseError(f"{path}: a voxel index lies outside 0 to {N_VOXELS - 1}, those of a 128x128x128 grid")
    if np.unique(index).size != index.size:
        raise CaseError(f"{path}: a voxel index occurs twice")
    return index.astype(np.int64)


def _read_mask(path: Path) -> np.ndarray:
    """(K, J, I) bool of a list of voxels, without values or with 1."""
    rows = _rows(path)
    if all(row.endswith(",") for row in rows):
        table = _table([row[:-1] for row in rows], 1, path)
    else:
        table = _table(rows, 2, path)
        if (table[:, 1] != 1).any():
            raise CaseError(f"{path}: it has values other than 1; a structure is a list of voxels without values")
    flat = np.zeros(N_VOXELS, bool)
    flat[_indices(table[:, 0], path)] = True
    return np.ascontiguousarray(to_case_axes(flat.reshape(GRID)))


def _read_values(path: Path) -> np.ndarray:
    table = _table(_rows(path), 2, path)
    if not table.size:
        raise CaseError(f"{path}: no values in the file")
    if not np.isfinite(table[:, 1]).all():
        raise CaseError(f"{path}: NaN or infinite values")
    flat = np.zeros(N_VOXELS)
    flat[_indices(table[:, 0], path)] = table[:, 1]
    return flat.reshape(GRID)
