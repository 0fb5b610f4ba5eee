"""Finding and reading cases of any kind that the program knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.case import Case
from ..core.errors import CaseError
from .nrrd_case import is_compact_case, read_nrrd_case
from .openkbp import is_openkbp, read_openkbp

CT, SEGMENTATION, DOSE = "ct.nrrd", "segmentation.seg.nrrd", "dose.nrrd"


def is_scene_case(folder: Path) -> bool:
    """Whether a folder holds a CT and a segmentation as Slicer saves them."""
    return (folder / SEGMENTATION).exists()


def is_case(folder: Path) -> bool:
    return is_openkbp(folder) or is_compact_case(folder) or is_scene_case(folder)


def read_case(folder: str | Path, roles: Mapping | None = None, dose: Path | None = None) -> Case:
    """Read a patient folder of any kind; CaseError if it is none.

    Args:
        roles: {role: segment name or list of names} where names do not settle which segment is which; only for a CT
            with a segmentation, which is read with slicer-core.
        dose: reference dose instead of the folder's own, resampled; also only for these.
    """
    folder = Path(folder)
    if is_scene_case(folder):
        try:
            from ..mrml.files import readCaseFolder
        except ModuleNotFoundError as error:
            raise CaseError(f"{folder}: reading a segmentation needs {error.name}; pip install slicer-core") from error
        return readCaseFolder(folder, roles, dose)
    if roles is not None or dose is not None:
        raise CaseError(f"{folder}: roles and another reference dose go with {CT} and {SEGMENTATION} only")
    if is_openkbp(folder):
        return read_openkbp(folder)
    if is_compact_case(folder):
        return read_nrrd_case(folder)
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    raise CaseError(f"{folder}: no patient here; expected an OpenKBP folder (ct.csv, possible_dose_mask.csv, ...)"
                    f" or {CT} with {SEGMENTATION} or rois.nrrd")


def find_cases(inputs: Sequence[str | Path]) -> list[Path]:
    """Patient folders named by the inputs, each a patient or a folder of patients; CaseError if there is none.

    In a folder of patients every subfolder counts, so that a damaged patient is reported and not overlooked; hidden
    folders do not.
    """
    folders: list[Path] = []
    for path in map(Path, inputs):
        if not path.is_dir():
            raise CaseError(f"{path}: no such folder")
        children = sorted((p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_natural)
        if is_case(path) or not children:
            folders.append(path)
        elif any(is_case(child) for child in children):
            folders.extend(children)
        else:
            raise CaseError(f"{path}: neither a patient nor a folder of patients")
    return folders


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which pt_2 comes before pt_10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]
