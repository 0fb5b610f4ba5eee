"""Finding and reading cases of any kind that the program knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..core.case import Case
from ..core.errors import CaseError
from .nrrd_case import is_compact_case, read_nrrd_case
from .openkbp import is_openkbp, read_openkbp


def is_case(folder: Path) -> bool:
    return is_openkbp(folder) or is_compact_case(folder)


def read_case(folder: str | Path) -> Case:
    """Read a patient folder of either kind; CaseError if it is none."""
    folder = Path(folder)
    if is_openkbp(folder):
        return read_openkbp(folder)
    if is_compact_case(folder):
        return read_nrrd_case(folder)
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    raise CaseError(f"{folder}: no patient here; expected an OpenKBP folder (ct.csv, possible_dose_mask.csv, ...)"
                    " or ct.nrrd with rois.nrrd")


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
