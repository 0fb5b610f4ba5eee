"""The table of input forms: each is recognised by its files alone, in every place where a patient may lie."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from DeepDosePredictLib.app.sources import COMPACT, DICOM, FORMS, OPENKBP, SLICER, CaseSource, InputForm, find_cases
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.case import folder_name

FOLDERS = {
    OPENKBP: ["ct.csv", "possible_dose_mask.csv", "voxel_dimensions.csv", "PTV70.csv"],
    SLICER: ["ct.nrrd", "segmentation.seg.nrrd", "dose.nrrd"],
    COMPACT: ["ct.nrrd", "rois.nrrd"],
}


def made(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for name in (*names, "notes.txt"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("form", FOLDERS, ids=lambda form: form.name)
def test_a_form_is_recognised_by_its_files(tmp_path, form: InputForm):
    folder = made(tmp_path / "p", FOLDERS[form])
    assert [other for other in FORMS if other.recognises(folder)] == [form]
    (source,) = find_cases([folder])
    assert (source.name, source.form) == ("p", form)
    assert source.files() == sorted(folder / name for name in FOLDERS[form])
    assert pickle.loads(pickle.dumps(source)) == source
    assert [one.form for one in find_cases([tmp_path])] == [form], "also in a folder of patients"


def test_dicom_files_are_those_of_the_study(small):
    (source,) = find_cases([small])
    assert source.form == DICOM
    others = {small / f"{name}.dcm" for name in ("structures", "dose", "plan")}
    assert {*source.files()} == {*small.glob("ct-*.dcm"), *others}
    assert pickle.loads(pickle.dumps(source)).form == DICOM


def test_a_folder_with_patients_of_other_forms_is_no_dicom_patient(tmp_path, small):
    (tmp_path / "stray.dcm").write_bytes((small / "ct-001.dcm").read_bytes())
    assert DICOM.recognises(tmp_path)
    made(tmp_path / "p", FOLDERS[OPENKBP])
    assert not DICOM.recognises(tmp_path)


def test_messages_name_every_form_and_those_that_take_roles(tmp_path):
    with pytest.raises(CaseError) as error:
        CaseSource("p", tmp_path, None).read()
    assert all(form.words in str(error.value) for form in FORMS)
    with pytest.raises(CaseError, match="roles go with") as error:
        CaseSource("p", made(tmp_path / "p", FOLDERS[COMPACT]), COMPACT).read({"PTV70": "x"})
    assert [form for form in FORMS if form.words in str(error.value)] == [SLICER, DICOM]


@pytest.mark.parametrize("form", [form for form in FORMS if form.dose_file], ids=lambda form: form.name)
def test_a_dose_goes_back_in_the_form_it_came_in(tmp_path, small, patients, form: InputForm):
    folder = {OPENKBP: patients / "pt_1", DICOM: small}[form]
    (source,) = find_cases([folder])
    case = source.read()
    dose = np.where(case.dose_mask, np.float32(12.5), 0)
    form.write_dose(tmp_path / form.dose_file, dose, case, "model 1", "made up")
    if form == DICOM:
        from DeepDosePredictLib.io.dicom.rtdose import read_rtdose

        back = read_rtdose(tmp_path / form.dose_file).volume
        assert back.grid.same_as(case.grid)
        np.testing.assert_allclose(back.array, dose, atol=1e-3)
    else:
        np.testing.assert_array_equal(source.read(dose=tmp_path / form.dose_file).dose, dose)


def test_an_unreadable_folder_is_one_patient_that_fails(tmp_path, monkeypatch):
    """Also links that lead nowhere; the others are found."""
    for name in ("a", "closed", "z"):
        made(tmp_path / name, FOLDERS[COMPACT])
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    closed = tmp_path / "closed"

    def closing(usual):
        def denied(path: Path):
            if closed in (path, path.parent):
                raise PermissionError(13, "Permission denied", str(path))
            return usual(path)

        return denied

    for name in ("exists", "iterdir"):
        monkeypatch.setattr(Path, name, closing(getattr(Path, name)))
    sources = find_cases([tmp_path])
    assert [(source.name, source.form) for source in sources] == [
        ("a", COMPACT),
        ("closed", None),
        ("gone", None),
        ("z", COMPACT),
    ]
    with pytest.raises(PermissionError):
        sources[1].read()
    with pytest.raises(FileNotFoundError):
        sources[2].read()


def test_results_among_the_patients_are_no_patients(tmp_path):
    """Neither the folder that this run will write, though it is still empty, nor those of earlier runs."""
    made(tmp_path / "a", FOLDERS[COMPACT])
    made(tmp_path / "bad", [])
    made(tmp_path / "earlier", ["summary.csv"])
    made(tmp_path / "one", ["dose.nrrd", "result.json"])
    (tmp_path / "out").mkdir()
    assert [source.name for source in find_cases([tmp_path], tmp_path / "out")] == ["a", "bad"]
    assert [source.name for source in find_cases([tmp_path], tmp_path / "out" / "below")] == ["a", "bad"]
    assert [source.name for source in find_cases([tmp_path])] == ["a", "bad", "out"]


def test_links_have_names_of_their_own(tmp_path, patients, monkeypatch):
    """Two links to one patient are two patients, and no true name gets out through an anonymised link."""
    for name in ("anon_1", "anon_2"):
        (tmp_path / name).symlink_to(patients / "pt_1", target_is_directory=True)
    sources = find_cases([tmp_path])
    assert [source.name for source in sources] == ["anon_1", "anon_2"] == [source.read().name for source in sources]
    monkeypatch.chdir(patients / "pt_2")
    assert folder_name(Path()) == folder_name(Path("../pt_2")) == folder_name(Path("../pt_1/../pt_2/")) == "pt_2"
    assert folder_name(tmp_path / "anon_1" / os.pardir / "anon_2") == "anon_2"
