"""`deepdose explore` as a user types it: outputs, objectives, wishes that cannot be, and folders that are kept."""

from __future__ import annotations

import ast
import json

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.app.wishes import parse_curves, parse_priorities, parse_wanted
from DeepDosePredictLib.dvh.metrics import Metric
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.nrrd_case import read_volume
from DeepDosePredictLib.io.openkbp import read_dose, read_openkbp
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.report.result import read_result
from DeepDosePredictLib.resources import RESOURCES
from synthetic import make_model
from test_app_cli import deepdose, files, rows

OUTPUTS = [
    "dose.csv",
    "dose.nrrd",
    "dvh.csv",
    "dvh.png",
    "metrics.csv",
    "objectives.csv",
    "objectives.json",
    "result.json",
]


@pytest.fixture(scope="module")
def planning_model(tmp_path_factory):
    spec = ChannelSpec(names=(*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=tuple(range(0, 360, 40)))
    return make_model(tmp_path_factory.mktemp("model") / "planning.safetensors", spec=spec)


@pytest.fixture(scope="module")
def explored(patients, planning_model, tmp_path_factory):
    """Folder of a patient explored with a priority, a wanted mean, a curve and pyRadPlan's files."""
    out = tmp_path_factory.mktemp("explored") / "pt_1"
    arguments = ("--spare", "LeftParotid=2", "--want", "Mandible mean 1", "--curve", "LeftParotid", "--pyradplan")
    assert deepdose("explore", patients / "pt_1", "-o", out, "--model", planning_model, *arguments) == 0
    return out


def test_what_is_written(explored, patients, planning_model):
    planning = ["plan_with_pyradplan.py", "planning-ct.nrrd", "planning-rois.nrrd"]
    assert files(explored) == sorted([*OUTPUTS, "curves.csv", "curves.png", *planning])
    case, dose = read_openkbp(patients / "pt_1"), read_volume(explored / "dose.nrrd")
    np.testing.assert_allclose(read_dose(explored / "dose.csv"), dose.array, atol=1e-3)
    assert dose.header["DeepDosePredict_Priorities"].startswith("LeftParotid +2, Mandible +")
    assert "explored, not predicted" in dose.header["DeepDosePredict_Warnings"]
    predicted = Predictor(load_model(planning_model), "cpu").predict(case).dose
    for row in rows(explored / "metrics.csv"):
        metric, mask = Metric.parse(row["metric"]), case.rois[row["structure"]]
        for column, volume in (("reference", case.dose), ("predicted", predicted), ("explored", dose.array)):
            assert float(row[column]) == pytest.approx(metric.evaluate(volume[mask], case.voxel_volume_mm3), abs=1e-3)
        assert float(row["change"]) == pytest.approx(float(row["explored"]) - float(row["predicted"]), abs=2e-4)
        assert "explored (LeftParotid +2" in row["model"] and "not for clinical use" in row["model"]
    dvh = next(row for row in rows(explored / "dvh.csv") if (row["structure"], row["dose_gy"]) == ("PTV70", "10.0"))
    assert float(dvh["explored_percent"]) == pytest.approx(
        100 * (dose.array[case.rois["PTV70"]] >= 10).mean(), abs=1e-3
    )


def test_result_holds_the_priorities(explored):
    result = read_result(explored)
    assert result.explored is not None and result.key == ""
    assert result.explored.priorities["LeftParotid"] == 2 and result.explored.wanted == {"Mandible": 1}
    assert result.explored.gantry_angles == list(range(0, 360, 40))
    assert any(sentence.startswith("LeftParotid: mean") for sentence in result.explored.sentences)
    assert all(metric.explored is not None and metric.reference is not None for metric in result.metrics)


def test_curves_as_a_table(explored):
    table = rows(explored / "curves.csv")
    priorities = list(dict.fromkeys(row["priority"] for row in table))
    assert priorities[:4] == ["0", "1", "2", "3"] and priorities[-1] == "reference"
    assert {row["structure"] for row in table} == {
        "Brainstem",
        "SpinalCord",
        "RightParotid",
        "LeftParotid",
        "Mandible",
        "PTV56",
        "PTV63",
        "PTV70",
    }


def test_objectives_as_files(explored, patients):
    """The masks for pyRadPlan are of all that has objectives; what they ask is tested in test_explore.py."""
    content, table = json.loads((explored / "objectives.json").read_text()), rows(explored / "objectives.csv")
    assert content["priorities"]["LeftParotid"] == 2 and "not for clinical use" in content["model"]
    assert [(line["structure"], line["sense"]) for line in content["objectives"]] == [
        (row["structure"], row["sense"]) for row in table
    ]
    assert {row["volume_percent"] for row in table if row["sense"] == "mean at most"} == {""}
    rois, case = read_volume(explored / "planning-rois.nrrd"), read_openkbp(patients / "pt_1")
    names = json.loads(rois.header["DeepDosePredict_ROINames"])
    assert {row["structure"] for row in table} <= {*names} and "PTV56 ring 3 mm" in names
    for name in case.rois.present():
        mask = (rois.array >> rois.array.dtype.type(names.index(name))) & 1 != 0
        np.testing.assert_array_equal(mask, case.rois[name])


def test_pyradplans_script_is_the_one_that_ships(explored):
    text = (explored / "plan_with_pyradplan.py").read_text(encoding="utf-8")
    assert text == (RESOURCES / "plan_with_pyradplan.py.txt").read_text(encoding="utf-8")
    ast.parse(text)


def test_folders_are_not_mixed(patients, planning_model, tmp_path, capsys):
    """With nothing asked the dose is the prediction; a later one leaves nothing of it, and stays where it is."""
    out, arguments = tmp_path / "out", (patients / "pt_1", "-o", tmp_path / "out", "--model", planning_model)
    assert deepdose("explore", *arguments) == 0 and files(out) == OUTPUTS
    explored = read_volume(out / "dose.nrrd").array
    assert deepdose("predict", *arguments) == 0
    before = read_volume(out / "dose.nrrd").array
    assert explored.tobytes() == before.tobytes()
    assert not {"objectives.json", "objectives.csv", "dvh.png"} & {*files(out)} and read_result(out).explored is None
    assert deepdose("explore", *arguments, "--spare", "Mandible=1") == 1
    assert "a predicted dose lies here" in capsys.readouterr().err
    assert read_volume(out / "dose.nrrd").array.tobytes() == before.tobytes()


def test_a_dicom_dose_says_that_it_was_explored(small, planning_model, tmp_path):
    arguments = ("-o", tmp_path / "out", "--model", planning_model, "--spare", "PTV70=2")
    assert deepdose("explore", small, *arguments) == 0
    written = pydicom.dcmread(tmp_path / "out" / "dose.dcm")
    assert written.SeriesDescription == "EXPLORED dose, research use only"
    assert written.DoseComment.startswith("EXPLORED dose") and "PTV70 +2" in written.ImageComments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spare", "LeftParotid"], "LeftParotid=2"),
        (["--spare", "Mandible=1", "--spare", "Mandible=2"], "given twice"),
        (["--want", "Mandible D5% 20"], 'such as "RightParotid mean 20"'),
        (["--curve", "Mandible V20Gy"], "mean or D0.1cc"),
    ],
)
def test_wishes_that_cannot_be(patients, planning_model, tmp_path, capsys, arguments, message):
    assert deepdose("explore", patients / "pt_1", "-o", tmp_path / "out", "--model", planning_model, *arguments) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_cohort_is_refused(patients, planning_model, tmp_path, capsys):
    assert deepdose("explore", patients, "-o", tmp_path / "out", "--model", planning_model) == 1
    assert "one patient is explored at a time, and here are 3" in capsys.readouterr().err


@given(st.floats(-12, 12), st.sampled_from(["LeftParotid", "PTV59.4"]))
def test_priorities_as_they_are_typed(steps, structure):
    steps = round(steps, 3)
    assert parse_priorities([f" {structure} = {steps:+.3f} "]) == {structure: steps}


def test_wishes_as_they_are_typed():
    for text in ("RightParotid mean 20", "RightParotid=20", "RightParotid mean 20 Gy", "RightParotid = 20.0Gy"):
        assert parse_wanted([text]) == {"RightParotid": 20}
    assert parse_curves(["LeftParotid", "SpinalCord d0.1CC", "LeftParotid mean"]) == (
        ("LeftParotid", "mean"),
        ("SpinalCord", "D0.1cc"),
    )
    with pytest.raises(DeepDoseError):
        parse_curves([" "])


def test_help_says_the_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["explore", "--help"])
    said = capsys.readouterr().out
    assert all(option in said for option in ("--spare", "--want", "--curve", "--reference", "--roles", "--pyradplan"))
