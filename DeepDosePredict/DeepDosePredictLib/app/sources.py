"""Finding and reading patients in every form that the program knows; the forms stand in one table, FORMS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CaseError
from ..geometry.case_check import with_reference
from ..geometry.trained_grid import OPENKBP_GRID, TrainedGrid
from ..io.dicom.index import RtStudy, find_studies, has_dicom
from ..io.dicom.study import read_study
from ..io.dicom.write_dose import write_predicted_dose
from ..io.nrrd_case import (
    COMPACT_FILES,
    SLICER_FILES,
    is_compact_case,
    is_slicer_case,
    read_dose_on_grid,
    read_nrrd_case,
)
from ..io.openkbp import FILES as OPENKBP_FILES
from ..io.openkbp import is_openkbp, read_openkbp
from ..io.openkbp import read_dose as read_openkbp_dose
from ..io.openkbp import write_dose as write_openkbp_dose
from ..io.slicer_case import read_slicer_case
from ..patient.case import Case, folder_name
from ..patient.roles import answers_for
from ..report.result import RESULT, SUMMARY

GivenRoles = Mapping[str, Any]
"""Roles as a user states them, for one patient or a cohort; see `patient.roles.check_answers` and `answers_for`."""


@dataclass(frozen=True)
class CaseSource:
    """Where one patient's data lies; can be sent to another process.

    Attributes:
        name: of the patient, safe as the name of a folder.
        folder: with the patient's files; several DICOM studies may share one.
        form: of the data; None where a folder holds no patient.
        study: which files of the folder, for DICOM.
    """

    name: str
    folder: Path
    form: InputForm | None
    study: RtStudy | None = None

    def read(
        self, roles: GivenRoles | None = None, dose: Path | None = None, trained: TrainedGrid = OPENKBP_GRID
    ) -> Case:
        """Read the patient; CaseError names the file and what is wrong.

        Args:
            roles: where names do not settle which structure is which; only for forms with free names.
            dose: reference dose instead of the folder's own. For forms with free names it is resampled, for the others
                it must lie on the case's grid (.nrrd, or .csv in OpenKBP form).
            trained: see `clinical_case`; for forms that are resampled to a model's grid.
        """
        if self.form is None:
            next(self.folder.iterdir(), None)  # OSError: it may hold a patient, but cannot be read
            raise CaseError(f"{self.folder}: no patient here; expected {_either(FORMS)}")
        roles = answers_for(self.name, roles)
        if roles is not None and not self.form.free_names:
            raise CaseError(f"{self.folder}: roles go with {_either([form for form in FORMS if form.free_names])} only")
        return self.form.read(self, Reading(roles, dose, trained))

    def files(self) -> list[Path]:
        """All files that decide what is read, sorted."""
        if self.study is not None:
            return sorted(self.study.files())
        names = self.form.files if self.form else ()
        return sorted(path for name in names if (path := self.folder / name).exists())


@dataclass(frozen=True)
class Reading:
    """How a patient is to be read; see `CaseSource.read`."""

    roles: GivenRoles | None
    dose: Path | None
    trained: TrainedGrid


@dataclass(frozen=True)
class InputForm:
    """A form in which a patient's data lies in a folder.

    Attributes:
        name: one word.
        words: what such a folder holds, for messages.
        recognises: whether a folder has this form, by what its files are called or by DICOM's magic bytes.
        read: see `CaseSource.read`.
        files: names that its files can have; none for DICOM, where references tell what belongs together.
        free_names: whether structures are named freely, and prescriptions are what the clinic chose: roles can be given
            for them, and other prescriptions than the model's are served with a warning.
        dose_file: in which a predicted dose goes back in the same form; "" where dose.nrrd is that already.
        write_dose: writes `dose_file`: path, (K, J, I) dose in Gy, case, model, comments on how it was made, and what
            the dose is called if it is no prediction.
    """

    name: str
    words: str
    recognises: Callable[[Path], bool]
    read: Callable[[CaseSource, Reading], Case]
    files: tuple[str, ...] = ()
    free_names: bool = False
    dose_file: str = ""
    write_dose: Callable[..., None] | None = None


def _read_openkbp(source: CaseSource, how: Reading) -> Case:
    return _with_dose(read_openkbp(source.folder, own_dose=how.dose is None), how.dose)


def _write_openkbp(path: Path, dose: np.ndarray, *_: object) -> None:
    write_openkbp_dose(path, dose)


def _read_compact(source: CaseSource, how: Reading) -> Case:
    return _with_dose(read_nrrd_case(source.folder, own_dose=how.dose is None), how.dose)


def _with_dose(case: Case, path: Path | None) -> Case:
    if path is None:
        return case
    dose = read_openkbp_dose(path) if path.suffix == ".csv" else read_dose_on_grid(path, case.grid)
    return with_reference(case, dose)


def _read_slicer(source: CaseSource, how: Reading) -> Case:
    return read_slicer_case(source.folder, how.roles, how.dose, how.trained)


def _is_dicom(folder: Path) -> bool:
    """A folder whose subfolders are patients of other forms is no DICOM folder."""
    children = [path for path in folder.iterdir() if path.is_dir()]
    others = [form for form in FORMS if form != DICOM]
    return not any(_form(child, others) for child in children) and has_dicom(folder)


def _read_dicom(source: CaseSource, how: Reading) -> Case:
    if source.study is None:
        raise CaseError(f"{source.folder}: no DICOM study was found here")
    return read_study(source.study, how.roles, how.dose, how.trained)


OPENKBP = InputForm(
    "openkbp",
    "an OpenKBP folder (ct.csv, possible_dose_mask.csv, ...)",
    is_openkbp,
    _read_openkbp,
    OPENKBP_FILES,
    dose_file="dose.csv",
    write_dose=_write_openkbp,
)
SLICER = InputForm(
    "slicer", " with ".join(SLICER_FILES[:2]), is_slicer_case, _read_slicer, SLICER_FILES, free_names=True
)
COMPACT = InputForm("compact", " with ".join(COMPACT_FILES[:2]), is_compact_case, _read_compact, COMPACT_FILES)
DICOM = InputForm(
    "dicom",
    "DICOM files",
    _is_dicom,
    _read_dicom,
    free_names=True,
    dose_file="dose.dcm",
    write_dose=write_predicted_dose,
)
FORMS = (OPENKBP, SLICER, COMPACT, DICOM)
"""In the order in which they are tried on a folder."""


def _either(forms: Sequence[InputForm]) -> str:
    *first, last = (form.words for form in forms)
    return f"{', '.join(first)} or {last}"


def is_case(folder: Path) -> bool:
    return _form(folder) is not None


def read_case(
    folder: str | Path,
    roles: GivenRoles | None = None,
    dose: Path | None = None,
    trained: TrainedGrid = OPENKBP_GRID,
) -> Case:
    """Read a patient folder of any form; CaseError if it is none, or several in DICOM. See `CaseSource.read`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    sources = _sources(folder)
    if len(sources) > 1:
        raise CaseError(
            f"{folder}: several structure sets here ({', '.join(s.name for s in sources)}); read them"
            " through find_cases"
        )
    return sources[0].read(roles, dose, trained)


def find_cases(inputs: Sequence[str | Path], output: Path | None = None) -> list[CaseSource]:
    """Patients named by the inputs, each a patient or a folder of patients; CaseError if there is none.

    In a folder of patients every subfolder counts, so that a damaged patient is reported and not overlooked; hidden
    folders do not, nor does what this program wrote. A folder with DICOM files, at whatever depth, gives one patient
    for each structure set in it.

    Args:
        output: where the results will go, which may lie among the patients.
    """
    sources: list[CaseSource] = []
    for path in map(Path, inputs):
        if not path.is_dir():
            raise CaseError(f"{path}: no such folder")
        children = sorted((child for child in path.iterdir() if _is_folder(child)), key=_natural)
        if is_case(path) or not children:
            sources += _sources(path)
            continue
        found = [source for child in children for source in _sources(child) if not _is_output(source, output)]
        if not any(source.form for source in found):
            raise CaseError(f"{path}: neither a patient nor a folder of patients")
        sources += found
    return sources


def _is_folder(path: Path) -> bool:
    """Also a link to one that is gone: it shall be missed."""
    return not path.name.startswith(".") and (path.is_dir() or (path.is_symlink() and not path.exists()))


def _is_output(source: CaseSource, output: Path | None) -> bool:
    """Whether a folder without a patient holds results, or is to hold them."""
    if source.form is not None:
        return False
    folder = source.folder.resolve()
    if output is not None and folder in (output.resolve(), *output.resolve().parents):
        return True
    try:
        return any((folder / name).exists() for name in (RESULT, SUMMARY))
    except OSError:
        return False


def _form(folder: Path, forms: Sequence[InputForm] = FORMS) -> InputForm | None:
    """None for a folder without a patient, or one that cannot be read, of which `CaseSource.read` tells."""
    try:
        return next((form for form in forms if form.recognises(folder)), None)
    except OSError:
        return None


def _sources(folder: Path) -> list[CaseSource]:
    form = _form(folder)
    if form == DICOM:
        return [CaseSource(study.name, folder, form, study) for study in find_studies(folder)]
    return [CaseSource(folder_name(folder), folder, form)]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which pt_2 comes before pt_10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]
