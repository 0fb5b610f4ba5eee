"""A folder with ct.nrrd, segmentation.seg.nrrd and dose.nrrd, as Slicer saves them, to a Case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import CaseError, DeepDoseError
from ..geometry.clinical_case import check_grid, clinical_case
from ..geometry.dose_level import dose_level
from ..geometry.trained_grid import OPENKBP_GRID, TrainedGrid
from ..geometry.volume import Volume
from ..patient.case import Case, folder_name
from ..patient.roles import REFERENCE_DOSE, assign, dose_answer
from ..patient.structure_names import Evidence
from .nrrd_case import CT, DOSE, SEGMENTATION
from .nrrd_file import NrrdFile, open_nrrd
from .nrrd_place import place_of
from .segmentation_file import open_segmentation

MAX_BYTES = 2**30
"""Of a CT or a dose; 1024 x 1024 x 500 voxels of 16 bits."""


def read_slicer_case(
    folder: str | Path, roles: Mapping | None = None, dose: Path | None = None, trained: TrainedGrid = OPENKBP_GRID
) -> Case:
    """Read a folder onto the model grid, named by it; what needs no voxels is checked before any are read.

    Args:
        roles: {role: segment name, ID or a list of these}; None matches by names.
        dose: reference dose (.nrrd, in Gy) instead of the folder's own.
        trained: see `clinical_case`.

    Raises:
        DeepDoseError: names the file and what is wrong.
    """
    folder = Path(folder)
    ct, segmentation = _open(folder / CT), open_segmentation(folder / SEGMENTATION)
    check_grid(place_of(ct)[0], str(ct.path))
    dose_path = dose or folder / DOSE
    answer = None if dose else dose_answer(roles)
    if answer is not None and not answer.for_cohort and answer.text.casefold() != DOSE:
        raise CaseError(
            f"{folder}: {REFERENCE_DOSE} {answer.text!r}: there is only {DOSE}; give another with --reference"
        )
    reference = _Lazy(_open(dose_path)) if dose or dose_path.exists() else None

    def level(segment: str) -> float | None:
        return None if reference is None else dose_level(segmentation.shape(segment), reference.volume())

    try:
        assignment = assign(segmentation.names, roles, str(segmentation.path), Evidence(dose_level=level))
        parts = {
            role: [(segmentation.names[one], segmentation.shape(one)) for one in segments]
            for role, segments in assignment.roles.items()
        }
        volume = None if reference is None else reference.volume()
        case = clinical_case(_volume(ct), parts, str(segmentation.path), volume, assignment, trained)
    except DeepDoseError as error:
        raise CaseError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    return replace(case, name=folder_name(folder), notes=(*assignment.warnings(), *case.notes))


class _Lazy:
    """A volume that is read when it is first asked for."""

    def __init__(self, file: NrrdFile):
        self._file = file
        self._read: Volume | None = None

    def volume(self) -> Volume:
        if self._read is None:
            self._read = _volume(self._file)
        return self._read


def _open(path: Path) -> NrrdFile:
    file = open_nrrd(path, max_voxels=MAX_BYTES)
    if int(np.prod(file.shape, dtype=np.int64)) * file.dtype.itemsize > MAX_BYTES:
        raise CaseError(f"{path}: it has more than {MAX_BYTES / 2**30:g} GiB; crop it, or save it as 16-bit integers")
    place_of(file)
    return file


def _volume(file: NrrdFile) -> Volume:
    return Volume(str(file.path), file.read(), place_of(file)[0])
