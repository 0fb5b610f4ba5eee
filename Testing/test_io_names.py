"""Names from anywhere: accents, other scripts, markup, control characters, formulas; what a run leaves behind."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.app.sources import DICOM, OPENKBP
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io import atomic
from DeepDosePredictLib.io.atomic import staged_files, write_table
from DeepDosePredictLib.io.nrrd_case import (
    ROI_NAMES_KEY,
    read_nrrd_case,
    read_volume,
    write_dose,
    write_nrrd_case,
    write_volume,
)
from DeepDosePredictLib.model import installed
from dicom_patient import edit
from synthetic import make_model

pytestmark = pytest.mark.slow

LONG = "x" * 200
NAMES = (
    "Müller",
    "漢字",
    LONG,
    "<script>alert(1)</script>",
    "a\nb",
    "a\rb",
    "\x1b[2Jx",
    "=1+1",
    "$\\frac$",
    "\u202ex",
    "\udcfcx",
    "a\\b",
)


def deepdose(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def odd_model(tmp_path_factory, tiny_model) -> Path:
    """A model of a name with letters beyond ASCII."""
    path = tmp_path_factory.mktemp("models") / "müller.safetensors"
    content = tiny_model.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    contract = json.loads(header["__metadata__"]["contract"])
    header["__metadata__"]["contract"] = json.dumps(contract | {"name": "Müller <b>漢"})
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    return path


def check_output(out: Path) -> None:
    """Every file can be read back, and none holds what a browser, a terminal or a spreadsheet would obey."""
    assert read_volume(out / "dose.nrrd").array.any()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<b>漢" not in page
    for table in out.glob("*.csv"):
        text = table.read_text(encoding="utf-8")
        assert "\x1b" not in text and "\r\r" not in text
        assert not any(cell.startswith(("=", "@")) for row in csv.reader(text.splitlines()) for cell in row)
    assert json.loads((out / "result.json").read_bytes())["patient"].isprintable()


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name], ids=ascii)
def test_patients_folders_of_any_name(tmp_path, case, odd_model, capsys, name):
    folder = tmp_path / name
    write_nrrd_case(folder, replace(case, dose=None))
    assert deepdose("predict", folder, "-o", tmp_path / "out", "--model", odd_model) == 0
    check_output(tmp_path / "out")
    said = capsys.readouterr().out
    assert "Müller <b>漢 1 from" in said and "\x1b" not in said and "\r" not in said


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_structures_of_any_name(patient, tmp_path, tiny_model, capsys, name):
    """Of a contour; DICOM holds 64 characters of it, and no backslash."""

    def named(dataset):
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.StructureSetROISequence[3].ROIName = name.replace("\udcfc", "").replace("\\", "")[:64]

    edit(patient / "structures.dcm", named)
    assert deepdose("predict", patient, "-o", tmp_path / "out", "--model", tiny_model) == 0
    check_output(tmp_path / "out")
    assert not {"\x1b", "\r", "\u202e"} & {*capsys.readouterr().out}


def test_a_name_of_the_patient_beyond_ascii_comes_back_in_dicom(patient, tmp_path, tiny_model):
    import pydicom

    for path in patient.glob("*.dcm"):
        edit(path, lambda dataset: setattr(dataset, "SpecificCharacterSet", "ISO_IR 100"))
        edit(path, lambda dataset: setattr(dataset, "PatientName", "Müller^Jürgen"))
    assert deepdose("predict", patient, "-o", tmp_path / "out", "--model", tiny_model) == 0
    assert pydicom.dcmread(tmp_path / "out" / "dose.dcm").PatientName == "Müller^Jürgen"


def test_notes_of_any_text_can_be_read_back(tmp_path, case):
    for n, name in enumerate(NAMES):
        write_dose(tmp_path / f"{n}.nrrd", case.dose, case.grid, Patient=name)
        np.testing.assert_array_equal(read_volume(tmp_path / f"{n}.nrrd").array, case.dose)


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "@sum", "+1+1", "-2+3", "\t=x", "-"])
def test_cells_that_a_spreadsheet_would_run(tmp_path, cell):
    write_table(tmp_path / "t.csv", ("a", "b"), [(cell, "-1.25")])
    ((text, number),) = [*csv.reader((tmp_path / "t.csv").read_text().splitlines())][1:]
    assert text == f"'{cell.strip()}" and number == "-1.25"


def test_names_nested_without_end(tmp_path, case):
    write_nrrd_case(tmp_path / "x", case)
    bits = read_volume(tmp_path / "x" / "rois.nrrd").array
    write_volume(tmp_path / "x" / "rois.nrrd", bits, case.grid, {ROI_NAMES_KEY: "[" * 100_000})
    with pytest.raises(CaseError, match=r"rois\.nrrd: the header entry"):
        read_nrrd_case(tmp_path / "x")


# What a run leaves


def test_a_result_leaves_no_file_of_an_earlier_one(tmp_path, small, patients, tiny_model):
    """Another patient's dose.dcm stood beside the new dose."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "dose.csv").write_text("mine")
    assert deepdose("predict", small, "-o", out, "--model", tiny_model) == 0
    assert (out / DICOM.dose_file).exists() and (out / "dose.csv").read_text() == "mine", "no result's file is touched"
    assert deepdose("predict", patients / "pt_1", "-o", out, "--model", tiny_model) == 0
    assert not (out / DICOM.dose_file).exists() and (out / OPENKBP.dose_file).read_text() != "mine"


def test_files_of_the_old_result_go_with_it(tmp_path):
    for names, left in ((("a", "b", "last"), {"a", "b", "last"}), (("b", "last"), {"b", "last"})):
        with staged_files(tmp_path / "x", "last", own=("a", "b")) as stage:
            for name in names:
                (stage / name).touch()
        assert {path.name for path in (tmp_path / "x").iterdir()} == left


@pytest.mark.parametrize("kind", [[], ["--dicom"]])
def test_a_phantom_is_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys, kind):
    """The disk is full at the third file; a message names the user's file and no line of the program."""
    files, real = [], atomic._temporary

    def full(path):
        files.append(path)
        if len(files) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(atomic, "_temporary", full)
    assert deepdose("phantom", tmp_path / "phantom", *kind) == 1
    assert "No space left" in (said := capsys.readouterr().err) and "phantom" in said and "\n" not in said.strip()
    assert not (tmp_path / "phantom").exists()


def test_a_full_disk_under_a_dicom_file_is_named(tmp_path, small, monkeypatch, capsys, tiny_model):
    """pydicom's own error has a traceback in its words and no file."""
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *more, **options):
        file = real(path, mode, *more, **options)
        return Full(file) if "w" in mode and path.suffix == ".dcm" else file

    monkeypatch.setattr(Path, "open", opened)
    assert deepdose("predict", small, "-o", tmp_path / "out", "--model", tiny_model) == 1
    assert capsys.readouterr().err == f"deepdose: {tmp_path / 'out' / 'dose.dcm'}: No space left on device\n"
    assert not (tmp_path / "out").exists()


def test_which_model_predicts_is_said(tmp_path, patients, tiny_model, monkeypatch, capsys):
    """A file in the user's folder with the default's name replaced it unseen."""
    monkeypatch.setattr(installed, "USER_MODELS", tmp_path)
    mine = tmp_path / f"{installed.DEFAULT_MODEL}.safetensors"
    shutil.copy(tiny_model, mine)
    assert deepdose("predict", patients / "pt_1", "-o", tmp_path / "out") == 0
    assert f"model tiny 1 from {mine}, in place of the one of this name that ships\n" in capsys.readouterr().out
    mine.unlink()
    other = make_model(tmp_path / "other.safetensors")
    assert deepdose("predict", patients / "pt_1", "-o", tmp_path / "out", "--model", other) == 0
    assert f"model tiny 1 from {other}\n" in capsys.readouterr().out
