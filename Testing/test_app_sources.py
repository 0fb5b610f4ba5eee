"""The table of input forms: each is recognised by its files alone, in every place where a patient may lie."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from DeepDosePredictLib.app.sources import COMPACT, DICOM, FORMS, OPENKBP, SLICER, CaseSource, InputForm, find_cases
from DeepDosePredictLib.errors import CaseError

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
