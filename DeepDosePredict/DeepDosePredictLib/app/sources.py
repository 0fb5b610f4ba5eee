"""Finding and reading cases of any kind that the program knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CaseError
from ..io.dicom.index import RtStudy, find_studies, has_dicom
from ..io.nrrd_case import is_compact_case, read_dose_on_grid, read_nrrd_case
from ..io.openkbp import is_openkbp, read_openkbp
from ..io.openkbp import read_dose as read_openkbp_dose
from ..patient.case import Case

CT, SEGMENTATION, DOSE = "ct.nrrd", "segmentation.seg.nrrd", "dose.nrrd"


@dataclass(frozen=True)
class CaseSource:
    """Where one patient's data lies; can be sent to another process.

    Attributes:
        name: of the patient, safe as the name of a folder.
        folder: with the patient's files; several DICOM studies may share one.
        kind: "openkbp", "compact", "scene", "dicom", or "" where a folder is none of these.
        study: which files of the folder, for "dicom".
    """

    name: str
    folder: Path
    kind: str
    study: RtStudy | None = None

    def read(self, roles: Mapping | None = None, dose: Path | None = None) -> Case:
        """Read the patient; CaseError names the file and what is wrong.

        Args:
            roles: {role: structure name or list of names} where names do not settle which structure is which; only
                for "scene" and "dicom", whose structures are named freely.
            dose: reference dose instead of the folder's own. Of "scene" and "dicom" it is resampled, for the others
                it must lie on the case's grid (.nrrd, or .csv in OpenKBP form).
        """
        if self.kind == "scene":
            return _read_scene(self.folder, roles, dose)
        if self.study is not None:
            from ..io.dicom.study import read_study

            return read_study(self.study, roles, dose)
        if roles is not None:
            raise CaseError(f"{self.folder}: roles go with DICOM, or with {CT} and {SEGMENTATION}, only")
        if not self.kind:
            raise CaseError(
                f"{self.folder}: no patient here; expected an OpenKBP folder (ct.csv,"
                f" possible_dose_mask.csv, ...), {CT} with {SEGMENTATION} or rois.nrrd, or DICOM files"
            )
        case = read_openkbp(self.folder) if self.kind == "openkbp" else read_nrrd_case(self.folder)
        if dose is None:
            return case
        return replace(
            case, dose=read_openkbp_dose(dose) if dose.suffix == ".csv" else read_dose_on_grid(dose, case.grid)
        )


def is_scene_case(folder: Path) -> bool:
    """Whether a folder holds a CT and a segmentation as Slicer saves them."""
    return (folder / SEGMENTATION).exists()


def is_case(folder: Path) -> bool:
    return bool(_kind(folder))


def read_case(folder: str | Path, roles: Mapping | None = None, dose: Path | None = None) -> Case:
    """Read a patient folder of any kind; CaseError if it is none, or several in DICOM. See `CaseSource.read`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CaseError(f"{folder}: no such folder")
    sources = _sources(folder)
    if len(sources) > 1:
        raise CaseError(
            f"{folder}: several structure sets here ({', '.join(s.name for s in sources)}); read them"
            " through find_cases"
        )
    return sources[0].read(roles, dose)


def find_cases(inputs: Sequence[str | Path]) -> list[CaseSource]:
    """Patients named by the inputs, each a patient or a folder of patients; CaseError if there is none.

    In a folder of patients every subfolder counts, so that a damaged patient is reported and not overlooked; hidden
    folders do not. A folder with DICOM files, at whatever depth, gives one patient for each structure set in it.
    """
    sources: list[CaseSource] = []
    for path in map(Path, inputs):
        if not path.is_dir():
            raise CaseError(f"{path}: no such folder")
        children = sorted((p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_natural)
        if _kind(path) or not children:
            sources += _sources(path)
        elif any(map(_kind, children)):
            sources += [source for child in children for source in _sources(child)]
        else:
            raise CaseError(f"{path}: neither a patient nor a folder of patients")
    return sources


def _kind(folder: Path) -> str:
    """See CaseSource; a folder whose subfolders are patients of other kinds is no DICOM folder."""
    for kind, holds in (("openkbp", is_openkbp), ("scene", is_scene_case), ("compact", is_compact_case)):
        if holds(folder):
            return kind
    children = [p for p in folder.iterdir() if p.is_dir()]
    other = any(is_openkbp(p) or is_scene_case(p) or is_compact_case(p) for p in children)
    return "dicom" if not other and has_dicom(folder) else ""


def _sources(folder: Path) -> list[CaseSource]:
    kind = _kind(folder)
    if kind == "dicom":
        return [CaseSource(study.name, folder, kind, study) for study in find_studies(folder)]
    return [CaseSource(folder.resolve().name, folder, kind)]


def _read_scene(folder: Path, roles: Mapping | None, dose: Path | None) -> Case:
    try:
        from ..mrml.files import readCaseFolder
    except ModuleNotFoundError as error:
        raise CaseError(f"{folder}: reading a segmentation needs {error.name}; pip install slicer-core") from error
    return readCaseFolder(folder, roles, dose)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which pt_2 comes before pt_10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]
