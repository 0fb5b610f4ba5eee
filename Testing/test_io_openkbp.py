"""OpenKBP folders: axes, round trips, and one clear error for each way to be malformed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io.openkbp import from_case_axes, is_openkbp, read_dose, read_openkbp, to_case_axes, write_dose
from synthetic import make_case, write_openkbp


@pytest.fixture
def patient(tmp_path, patients):
    return shutil.copytree(patients / "pt_1", tmp_path / "pt_1")


def test_round_trip(patients):
    case, original = read_openkbp(patients / "pt_2"), make_case("pt_2", seed=2)
    np.testing.assert_array_equal(case.ct, original.ct)
    np.testing.assert_array_equal(case.dose_mask, original.dose_mask)
    np.testing.assert_allclose(case.dose, original.dose, atol=1e-3)
    assert case.spacing == pytest.approx(original.spacing) and case.name == "pt_2"
    for roi in original.rois:
        np.testing.assert_array_equal(case.rois[roi], original.rois[roi])


def test_axes_undo_each_other():
    volume = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(to_case_axes(from_case_axes(volume)), volume)
    assert to_case_axes(np.zeros((2, 3, 4))).shape == (4, 2, 3)


def test_anatomy_of_a_real_patient(validation_patients):
    """Files run to Posterior, Left, Inferior; a Case to Superior, Posterior, Left."""
    case = read_openkbp(validation_patients / "pt_201")

    def centre(roi):
        return np.argwhere(case.rois[roi]).mean(0)

    k, j, i = range(3)
    assert centre("Brainstem")[k] > centre("Mandible")[k] > centre("Esophagus")[k]
    assert centre("SpinalCord")[j] > centre("Mandible")[j]
    assert centre("LeftParotid")[i] > centre("RightParotid")[i]
    assert case.spacing == pytest.approx((3.0, 5.422, 5.422))
    soft_tissue = case.ct[case.rois["Brainstem"] & (case.ct > -200)]
    assert -50 < np.median(soft_tissue) < 100
    np.testing.assert_array_equal(case.dose > 0, case.dose_mask & (case.dose > 0))


def test_dose_keeps_the_digits_of_the_file(tmp_path, patient):
    line = (patient / "dose.csv").read_text().splitlines()[1]
    index, value = line.split(",")
    dose = from_case_axes(read_dose(patient / "dose.csv")).ravel()
    assert dose.dtype == np.float64 and dose[int(index)] == float(value)


def test_written_dose_reads_back(tmp_path):
    dose = np.zeros((128, 128, 128))
    dose[3, 40, 100], dose[127, 0, 1] = 12.345678, 70.0
    write_dose(tmp_path / "dose.csv", dose)
    np.testing.assert_allclose(read_dose(tmp_path / "dose.csv"), dose, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["dose.csv"]


def test_missing_and_empty_structures_are_not_contoured(patient):
    (patient / "PTV63.csv").unlink()
    (patient / "Mandible.csv").write_text(",data\n")
    case = read_openkbp(patient)
    assert not case.rois["PTV63"].any() and not case.rois["Mandible"].any()


def append(text):
    return lambda path: path.write_text(path.read_text() + text)


def rewrite(text):
    return lambda path: path.write_text(text)


def replace(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new))


def without_header(path):
    path.write_text(path.read_text().partition("\n")[2])


MALFORMED = {
    "missing ct": ("ct.csv", lambda path: path.unlink(), r"ct\.csv is missing"),
    "missing dose mask": ("possible_dose_mask.csv", lambda path: path.unlink(), r"possible_dose_mask\.csv is missing"),
    "missing spacing": ("voxel_dimensions.csv", lambda path: path.unlink(), r"voxel_dimensions\.csv is missing"),
    "index out of range": ("dose.csv", append("2097152,1.0\n"), r"dose\.csv: a voxel index lies outside"),
    "negative index": ("PTV70.csv", append("-1,\n"), r"PTV70\.csv: a voxel index lies outside"),
    "fractional index": ("Larynx.csv", append("7.5,\n"), r"Larynx\.csv: a voxel index is not a whole number"),
    "NaN dose": ("dose.csv", append("0,nan\n"), r"dose\.csv: NaN or infinite"),
    "infinite CT": ("ct.csv", append("0,inf\n"), r"ct\.csv: NaN or infinite"),
    "NaN index": ("PTV56.csv", append("nan,\n"), r"PTV56\.csv: a voxel index is not a whole number"),
    "duplicate index": ("SpinalCord.csv", append("5,\n5,\n"), r"SpinalCord\.csv: a voxel index occurs twice"),
    "value missing": ("dose.csv", append("7,\n"), r"dose\.csv: not a readable OpenKBP table"),
    "column missing": ("ct.csv", append("7\n"), r"ct\.csv: not a readable OpenKBP table"),
    "text": ("ct.csv", append("a,b\n"), r"ct\.csv: not a readable OpenKBP table"),
    "bytes": ("dose.csv", lambda path: path.write_bytes(b",data\n\xff\xfe\x00"), r"dose\.csv: not a readable"),
    "empty dose": ("dose.csv", rewrite(",data\n"), r"dose\.csv: no values"),
    "a voxel without its index": ("PTV70.csv", append(",\n"), r"PTV70\.csv: not a readable .* rows of 1 numbers"),
    "empty structure file": ("PTV63.csv", rewrite(""), r"PTV63\.csv: not a readable .* begins with ''"),
    "no header in a structure": ("PTV70.csv", without_header, r"PTV70\.csv: not a readable .* begins with '\d+,'"),
    "no header in the CT": ("ct.csv", without_header, r"ct\.csv: not a readable .* begins with '\d+,\d+.0'"),
    "semicolons": ("PTV63.csv", replace(",", ";"), r"PTV63\.csv: not a readable .* begins with ';data'"),
    "tabs": ("dose.csv", replace(",", "\t"), r"dose\.csv: not a readable .* begins with '.tdata'"),
    "all in one line": ("PTV56.csv", replace("\n", " "), r"PTV56\.csv: not a readable .* begins with ',data "),
    "semicolons below the header": ("PTV56.csv", append("7;\n"), r"PTV56\.csv: not a readable"),
    "three columns": ("dose.csv", append("7,1.0,2.0\n"), r"dose\.csv: not a readable"),
    "decimal comma in a dose": ("dose.csv", append("7,1,5\n"), r"dose\.csv: not a readable"),
    "a structure with zeros": ("PTV70.csv", rewrite(",data\n5,1\n6,0\n"), r"PTV70\.csv: it has values other than 1"),
    "decimal comma in a spacing": (
        "voxel_dimensions.csv",
        rewrite("3,9\n3,9\n2,5\n"),
        r"rows of 2 numbers instead of 3 of 1",
    ),
    "negative dose": ("dose.csv", append("0,-0.5\n"), r"dose\.csv: the dose has negative values"),
    "dose in cGy": ("dose.csv", append("0,7000\n"), r"dose\.csv: the dose reaches 7000"),
    "HU instead of HU + 1000": ("ct.csv", append("0,-950\n"), r"ct\.csv: values run from -950"),
    "empty dose mask": ("possible_dose_mask.csv", rewrite(",data\n"), r"mask\.csv: the dose mask is empty"),
    "two spacings": ("voxel_dimensions.csv", rewrite("3.9\n3.9\n"), r"voxel_dimensions\.csv: the voxel spacing"),
    "four spacings": ("voxel_dimensions.csv", rewrite("3.9\n" * 4), r"voxel_dimensions\.csv: the voxel spacing"),
    "spacing zero": ("voxel_dimensions.csv", rewrite("3.9\n0\n2.5\n"), r"voxel_dimensions\.csv: the voxel spacing"),
    "spacing absurd": ("voxel_dimensions.csv", rewrite("3.9\n3.9\n2500\n"), r"dimensions\.csv: the voxel spacing"),
    "spacing NaN": ("voxel_dimensions.csv", rewrite("3.9\nnan\n2.5\n"), r"voxel_dimensions\.csv: the voxel spacing"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_input_is_named(patient, kind):
    name, damage, message = MALFORMED[kind]
    damage(patient / name)
    with pytest.raises(CaseError, match=message):
        read_openkbp(patient)


def test_structures_with_ones_are_read(patient):
    case = read_openkbp(patient)
    replace(",\n", ",1.0\n")(patient / "PTV70.csv")
    np.testing.assert_array_equal(read_openkbp(patient).rois["PTV70"], case.rois["PTV70"])


@pytest.mark.parametrize("name", ["PTV66.csv", "PTV_70.csv", "PTV60.CSV", "larynx.csv", "Boost 70.csv"])
def test_a_structure_in_a_file_of_another_name_is_not_passed_over(patient, name):
    shutil.copy(patient / "PTV70.csv", patient / name)
    with pytest.raises(CaseError, match=rf"{name}: this may be a structure"):
        read_openkbp(patient)


def test_files_that_are_not_read_are_named(patient):
    assert read_openkbp(patient).notes == ()
    for name in ("GTV.csv", "notes \x1b[31m.csv", "readme.txt"):
        (patient / name).touch()
    assert read_openkbp(patient).notes == ("not read, as OpenKBP knows no such file: GTV.csv, notes  [31m.csv",)


def test_empty_targets(patient):
    for level in (56, 63, 70):
        (patient / f"PTV{level}.csv").write_text(",data\n")
    with pytest.raises(CaseError, match="pt_1: no PTV has any voxel"):
        read_openkbp(patient)


def test_no_such_folder(tmp_path):
    with pytest.raises(CaseError, match="no such folder"):
        read_openkbp(tmp_path / "pt_9")


def test_metal_in_the_ct_is_accepted(patient):
    """A few real CTs exceed 12 bits where there is metal."""
    append("0,28036\n")(patient / "ct.csv")
    assert read_openkbp(patient).ct.max() == 27036


def test_write_helper_makes_what_the_reader_expects(tmp_path):
    assert read_openkbp(write_openkbp(tmp_path / "pt_3", make_case("pt_3"))).name == "pt_3"


@pytest.mark.slow
def test_the_gate_refuses_no_real_patient_and_finds_contours_beside_the_anatomy(validation_patients):
    """Only one has contours that lie beside its anatomy; metal and a cut body are the other words."""
    notes = {folder.name: read_openkbp(folder).notes for folder in validation_patients.iterdir()}
    usual = ("metal in the CT", "field of view cuts")
    odd = {name for name, words in notes.items() if not all(any(u in word for u in usual) for word in words)}
    assert len(notes) == 33 and odd == {"pt_221"}
    assert "of Brainstem has its HU" in notes["pt_221"][0] and "CT and contours belong together" in notes["pt_221"][0]
    assert sum(map(len, notes.values())) < 16


@pytest.mark.parametrize("name", ["ct", "possible_dose_mask", "voxel_dimensions", "PTV70", "dose"])
def test_a_patient_is_known_by_its_files(tmp_path, name):
    """By one that no other form has; structures and doses alone are none."""
    (tmp_path / f"{name}.csv").touch()
    assert is_openkbp(tmp_path) == (name not in ("PTV70", "dose"))
