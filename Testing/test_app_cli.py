"""The deepdose command as a user types it: one patient, batches with bad ones, evaluation, models, phantom."""

from __future__ import annotations

import csv
import json
import re
import shutil

import nrrd
import numpy as np
import pytest

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.io.nrrd_case import read_volume, write_dose, write_nrrd_case
from DeepDosePredictLib.io.openkbp import read_dose, read_openkbp
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from synthetic import make_case, write_openkbp

OUTPUTS = ["dose.nrrd", "dvh.csv", "metrics.csv", "report.html", "report.png", "result.json"]


def deepdose(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_predict_one_openkbp_patient(tmp_path, patients, tiny_model, capsys):
    out = tmp_path / "out"
    assert deepdose("predict", patients / "pt_1", "-o", out, "--model", tiny_model, "--device", "cpu") == 0
    assert files(out) == sorted([*OUTPUTS, "dose.csv"])
    assert "pt_1: predicted in" in capsys.readouterr().out
    case = read_openkbp(patients / "pt_1")
    expected = Predictor(load_model(tiny_model), "cpu").predict(case).dose
    volume = read_volume(out / "dose.nrrd")
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.grid.spacing == pytest.approx(case.spacing)
    np.testing.assert_allclose(read_dose(out / "dose.csv"), expected, atol=1e-3)
    header = nrrd.read_header(str(out / "dose.nrrd"))
    assert header["DeepDosePredict_Model"] == "tiny 1" and "not for clinical use" in header["DeepDosePredict_Use"]
    assert len(header["DeepDosePredict_ModelSHA256"]) == 64


@pytest.mark.slow
def test_tables_agree_with_the_dose(tmp_path, patients, tiny_model):
    deepdose("predict", patients / "pt_1", "-o", tmp_path, "--model", tiny_model)
    case, dose = read_openkbp(patients / "pt_1"), read_volume(tmp_path / "dose.nrrd").array
    metrics = {(row["structure"], row["metric"]): row for row in rows(tmp_path / "metrics.csv")}
    assert len(metrics) == 5 * 2 + 3 * 3  # larynx and esophagus are not contoured
    cord = metrics["SpinalCord", "mean"]
    assert float(cord["predicted"]) == pytest.approx(dose[case.rois["SpinalCord"]].mean(), abs=1e-3)
    assert float(cord["reference"]) == pytest.approx(case.dose[case.rois["SpinalCord"]].mean(), abs=1e-3)
    assert float(cord["difference"]) == pytest.approx(float(cord["predicted"]) - float(cord["reference"]), abs=1e-3)
    assert all("not for clinical use" in row["model"] for row in metrics.values())
    ptv = [row for row in rows(tmp_path / "dvh.csv") if row["structure"] == "PTV70"]
    at_15 = next(row for row in ptv if row["dose_gy"] == "15.0")
    assert float(at_15["predicted_percent"]) == pytest.approx(100 * (dose[case.rois["PTV70"]] >= 15).mean(), abs=1e-3)
    assert float(ptv[0]["reference_percent"]) == 100 and float(ptv[-1]["reference_percent"]) == 0


@pytest.mark.slow
def test_patient_without_reference(tmp_path, patients, tiny_model):
    folder = shutil.copytree(patients / "pt_1", tmp_path / "pt_1")
    (folder / "dose.csv").unlink()
    assert deepdose("predict", folder, "-o", tmp_path / "out", "--model", tiny_model) == 0
    assert {row["reference"] for row in rows(tmp_path / "out" / "metrics.csv")} == {""}


@pytest.mark.slow
def test_reference_from_elsewhere(tmp_path, patients, tiny_model):
    case = read_openkbp(patients / "pt_1")
    write_dose(tmp_path / "other.nrrd", case.dose / 2, case.grid)
    out = tmp_path / "out"
    deepdose("predict", patients / "pt_1", "-o", out, "--model", tiny_model, "--reference", tmp_path / "other.nrrd")
    mean = next(row for row in rows(out / "metrics.csv") if (row["structure"], row["metric"]) == ("Mandible", "mean"))
    assert float(mean["reference"]) == pytest.approx(case.dose[case.rois["Mandible"]].mean() / 2, abs=1e-3)
    assert deepdose("predict", patients / "pt_1", "-o", out, "--reference", tmp_path / "none.nrrd") == 1


@pytest.mark.slow
def test_compact_case(tmp_path, case, tiny_model):
    write_nrrd_case(tmp_path / "case", case)
    assert deepdose("predict", tmp_path / "case", "-o", tmp_path / "out", "--model", tiny_model) == 0
    assert files(tmp_path / "out") == OUTPUTS


@pytest.mark.slow
def test_batch_with_one_corrupt_patient_among_four(tmp_path, patients, tiny_model, capsys):
    """Three predictions, one named error, a summary, exit status 1, and no partial files."""
    cohort = tmp_path / "cohort"
    for n in range(4):
        shutil.copytree(patients / "pt_1", cohort / f"pt_{n}")
    with (cohort / "pt_2" / "PTV56.csv").open("a") as file:
        file.write("99999999,\n")
    out = tmp_path / "out"
    assert deepdose("predict", cohort, "-o", out, "--model", tiny_model) == 1
    assert files(out) == ["pt_0", "pt_1", "pt_3", "report.html", "summary.csv"]
    assert all(files(folder) == sorted([*OUTPUTS, "dose.csv"]) for folder in out.glob("pt_*"))
    summary = {row["patient"]: row for row in rows(out / "summary.csv")}
    assert [p for p, row in summary.items() if row["status"] == "failed"] == ["pt_2"]
    assert "PTV56.csv: a voxel index lies outside" in summary["pt_2"]["error"]
    assert float(summary["pt_3"]["dose_error_gy"]) > 0
    captured = capsys.readouterr()
    assert "pt_2: " in captured.err and "3 of 4 patients predicted, 1 failed" in captured.out


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, patients, tiny_model):
    """The folder that a prediction of all made-up patients left."""
    out = tmp_path_factory.mktemp("predicted") / "out"
    assert deepdose("predict", patients, "-o", out, "--model", tiny_model) == 0
    return out


@pytest.mark.slow
def test_batch_in_natural_order_or_that_of_the_inputs(tmp_path, patients, tiny_model, predicted):
    assert [row["patient"] for row in rows(predicted / "summary.csv")] == ["pt_1", "pt_2", "pt_10"]
    out = shutil.copytree(predicted, tmp_path / "out")
    assert deepdose("predict", patients / "pt_10", patients / "pt_2", "-o", out, "--model", tiny_model) == 0
    assert [row["patient"] for row in rows(out / "summary.csv")] == ["pt_10", "pt_2"]


def test_a_failure_while_writing_leaves_nothing(tmp_path, patients, tiny_model, monkeypatch):
    out = tmp_path / "out"

    def full(*_, **__):
        raise OSError(28, "No space left on device", "report.png")

    monkeypatch.setattr("DeepDosePredictLib.app.prediction.write_report", full)
    assert deepdose("predict", patients / "pt_1", "-o", out, "--model", tiny_model) == 1
    assert not out.exists()


@pytest.mark.slow
def test_other_files_in_the_output_folder_stay(tmp_path, patients, tiny_model):
    (tmp_path / "notes.txt").write_text("mine")
    deepdose("predict", patients / "pt_1", "-o", tmp_path, "--model", tiny_model)
    assert (tmp_path / "notes.txt").read_text() == "mine" and "dose.nrrd" in files(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{patients}/none", "-o", "{out}"], "no such folder"),
        (["predict", "{empty}", "-o", "{out}"], "no patient here"),
        (["predict", "{patients}/pt_1", "-o", "{out}", "--model", "nonsense"], "no such model"),
        (["predict", "{patients}/pt_1", "-o", "{patients}/pt_1"], "patient's own folder"),
        (["predict", "{patients}", "-o", "{patients}"], "patient's own folder"),
        (["predict", "{patients}", "-o", "{out}", "--reference", "x.nrrd"], "one patient"),
        (["predict", "{patients}/pt_1", "{patients}/pt_1", "-o", "{out}"], "same name"),
        (["evaluate", "{patients}/pt_1"], "folder of OpenKBP patient folders"),
        (["evaluate", "{patients}", "--predictions", "{empty}"], "no such file"),
        (["evaluate", "{patients}", "--predictions", "{empty}/none"], "no such folder"),
    ],
)
def test_wrong_use_is_explained(tmp_path, patients, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"patients": patients, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    before = files(patients / "pt_1")
    assert deepdose(*(argument.format(**places) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert files(patients / "pt_1") == before and not (tmp_path / "out").exists()


def test_evaluate_given_predictions(tmp_path, patients, capsys):
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for n in (1, 2, 10):
        shutil.copy(patients / f"pt_{n}" / "dose.csv", predictions / f"pt_{n}.csv")
    target = tmp_path / "scores.json"
    assert deepdose("evaluate", patients, "--predictions", predictions, "--json", target) == 0
    content = json.loads(target.read_text())
    assert content["dose_score"] == content["dvh_score"] == 0 and content["n_patients"] == 3
    metrics = content["patients"]["pt_10"]["metrics"]
    assert set(metrics["PTV70"]) == {"D_99", "D_95", "D_1"} and set(metrics["SpinalCord"]) == {"D_0.1_cc", "mean"}
    assert "Larynx" not in metrics
    assert "dose score 0.0000" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_a_model_equals_evaluating_its_predictions(tmp_path, patients, tiny_model, predicted):
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for n in (1, 2, 10):
        shutil.copy(predicted / f"pt_{n}" / "dose.csv", predictions / f"pt_{n}.csv")
    deepdose("evaluate", patients, "--model", tiny_model, "--json", tmp_path / "a.json")
    deepdose("evaluate", patients, "--predictions", predictions, "--json", tmp_path / "b.json")
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert a["model"] == "tiny 1, single pass"
    assert a["dose_score"] == pytest.approx(b["dose_score"], abs=1e-4)
    assert a["dvh_score"] == pytest.approx(b["dvh_score"], abs=1e-3)


def test_evaluate_tells_before_the_run_that_it_cannot_write(tmp_path, patients, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr("DeepDosePredictLib.app.commands.evaluate_patients", lambda *_: pytest.fail("it ran"))
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file/scores.json", "folder"):
        assert deepdose("evaluate", patients, "--model", tiny_model, "--json", tmp_path / name) == 1
        assert str(tmp_path / name.partition("/")[0]) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.mkstemp", denied)
    assert deepdose("evaluate", patients, "--model", tiny_model, "--json", tmp_path / "scores.json") == 1
    assert f"{tmp_path / 'scores.json'}: Permission denied" in capsys.readouterr().err


def denied(*_, **__):
    raise PermissionError(13, "Permission denied", "some/.hidden")


def test_an_output_folder_that_takes_nothing_is_named(tmp_path, patients, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr("filelock.FileLock.acquire", denied)
    assert deepdose("predict", patients / "pt_1", "-o", tmp_path / "out", "--model", tiny_model) == 1
    assert f"{tmp_path / 'out'}: Permission denied" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_with_derived_masks(patients, tiny_model, capsys):
    assert deepdose("evaluate", patients, "--model", tiny_model, "--derived-mask") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "common mask" in line)
    given, derived, difference = (float(text) for text in re.findall(r"[+-]?\d+\.\d+", line))
    assert given > 0 and derived - given == pytest.approx(difference, abs=2e-4)
    assert deepdose("evaluate", patients, "--predictions", patients, "--derived-mask") == 1


def test_evaluation_never_drops_a_patient_silently(tmp_path, patients, tiny_model, capsys):
    cohort = shutil.copytree(patients, tmp_path / "cohort")
    (cohort / "pt_2" / "dose.csv").unlink()
    assert deepdose("evaluate", cohort, "--model", tiny_model, "--json", tmp_path / "x.json") == 1
    assert "pt_2" in capsys.readouterr().err and not (tmp_path / "x.json").exists()


def test_models_lists_what_ships(capsys):
    assert deepdose("models") == 0
    out = capsys.readouterr().out
    assert "deepdosenet-openkbp" in out and "ptv/PTV70" in out and "not for clinical use" in out.lower()


@pytest.mark.slow
def test_phantom_is_a_case_that_predict_takes(tmp_path, tiny_model):
    assert deepdose("phantom", tmp_path / "phantom") == 0
    assert deepdose("predict", tmp_path / "phantom", "-o", tmp_path / "out", "--model", tiny_model) == 0
    assert files(tmp_path / "out") == OUTPUTS


@pytest.mark.slow
def test_shipped_model_on_the_phantom(tmp_path):
    """The main job with the shipped weights: targets are covered and the cord is spared on a case never seen."""
    deepdose("phantom", tmp_path / "phantom")
    assert deepdose("predict", tmp_path / "phantom", "-o", tmp_path / "out") == 0
    metrics = {(row["structure"], row["metric"]): float(row["predicted"]) for row in rows(tmp_path / "out/metrics.csv")}
    assert metrics["PTV70", "D95%"] > 62 and metrics["PTV56", "D95%"] > 44
    assert metrics["SpinalCord", "D0.1cc"] < 50
    assert metrics["PTV70", "D1%"] < 80


@pytest.mark.slow
def test_shipped_model_on_real_patients(tmp_path, validation_patients):
    """Four validation patients, so that a wrong channel or axis in the shipped model cannot pass unseen."""
    for name in ("pt_201", "pt_202", "pt_203", "pt_204"):
        (tmp_path / "some" / name).parent.mkdir(exist_ok=True)
        shutil.copytree(validation_patients / name, tmp_path / "some" / name)
    assert deepdose("evaluate", tmp_path / "some", "--json", tmp_path / "scores.json") == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["dose_score"] < 4.5 and content["dvh_score"] < 4.0


def test_written_patients_match_their_case(tmp_path):
    """Guards the helper that the batch tests stand on."""
    case = make_case("pt_7", seed=7)
    np.testing.assert_array_equal(read_openkbp(write_openkbp(tmp_path / "pt_7", case)).rois.bits, case.rois.bits)


def test_gantry_angles(tmp_path, patients, tiny_model, capsys):
    """A model that takes no angles, and text that is none, are refused before anything is written."""
    for angles, words in (("0,120", "takes no gantry angles"), ("zero", "Gantry angles")):
        arguments = ["predict", str(patients), "-o", str(tmp_path / "out"), "--model", str(tiny_model)]
        assert cli.main([*arguments, "--gantry-angles", angles]) == 1
        assert words in capsys.readouterr().err and not (tmp_path / "out").exists()
