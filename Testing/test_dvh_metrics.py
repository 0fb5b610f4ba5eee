"""DVH metrics and scores: analytic cases, numpy's percentiles, goals, and the official OpenKBP code's results."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from DeepDosePredictLib.app.evaluation import evaluate
from DeepDosePredictLib.dvh.goals import Goal, read_goals
from DeepDosePredictLib.dvh.metrics import (
    Metric,
    PatientScore,
    cumulative_dvh,
    dose_score,
    dvh_score,
    metric_differences,
    roi_doses,
    score_patient,
)
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.openkbp import read_dose, read_dose_mask, to_case_axes
from DeepDosePredictLib.patient.roi_mask import RoiMask

finite_doses = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 80))


@given(finite_doses, st.floats(0, 100))
@settings(deadline=None)
def test_percent_metrics_are_numpys_percentiles(doses, percent):
    value = Metric("D%", percent).evaluate(doses, 40.0)
    assert value == pytest.approx(np.percentile(doses, 100 - percent), abs=1e-9)


@given(finite_doses, st.floats(0.5, 500))
@settings(deadline=None)
def test_hottest_volume_is_openkbps_percentile(doses, voxel):
    n = min(doses.size, max(1, round(100 / voxel)))
    expected = np.percentile(doses, 100 - n / doses.size * 100)
    assert Metric.parse("D0.1cc").evaluate(doses, voxel) == pytest.approx(expected, abs=1e-9)


def test_linear_ramp():
    """Doses 0, 1, ..., 100 Gy: D(x) = 100 - x, V(d) counts the voxels at or above."""
    doses = np.arange(101.0)[::-1]
    assert Metric.parse("D95%").evaluate(doses, 1) == pytest.approx(5)
    assert Metric.parse("V20Gy").evaluate(doses, 1) == pytest.approx(100 * 81 / 101)
    assert Metric.parse("mean").evaluate(doses, 1) == 50
    np.testing.assert_allclose(cumulative_dvh(doses, np.array([0, 50, 50.5, 101])), np.array([101, 51, 50, 0]) / 1.01)


def test_empty_structure_has_no_metric():
    assert np.isnan(Metric.parse("D95%").evaluate(np.empty(0), 1.0))


@pytest.mark.parametrize("text", ["D95%", "D0.1cc", "mean", "V20Gy", "D2cc", "V59.85Gy"])
def test_metric_names_round_trip(text):
    assert str(Metric.parse(text)) == text


@pytest.mark.parametrize("text", ["D", "D95", "V20", "D101%", "median", "D-1%", ""])
def test_unknown_metrics_are_refused(text):
    with pytest.raises(ValueError):
        Metric.parse(text)


def test_dvh_score_pools_metrics_over_patients():
    """A micro-average: a patient with more structures weighs more."""
    one = PatientScore("a", 0, {"Larynx": {"mean": 1.0}}, {"Larynx": {"mean": 5.0}})
    two = PatientScore("b", 0, {"PTV70": {"D_1": 1.0, "D_95": 2.0}}, {"PTV70": {"D_1": 2.0, "D_95": 1.0}})
    assert dvh_score([one, two]) == pytest.approx((4 + 1 + 1) / 3)


def test_goals(tmp_path):
    goal = Goal("SpinalCord", Metric.parse("D0.03cc"), "<=", 45.0)
    assert goal.met(45.0) and not goal.met(45.1)
    assert Goal("SpinalCord", Metric.parse("mean")).met(3.0) is None
    for entry in (
        {"structure": "A", "metric": "D95%", "goal": ">= 60 %"},
        {"structure": "A", "metric": "Dmedian"},
        {"structure": "A", "metric": "mean", "limit": 3},
        {"metric": "mean"},
        {"structure": "A", "metric": "mean", "weight": -1},
    ):
        path = tmp_path / "goals.json"
        path.write_text(json.dumps({"goals": [entry]}))
        with pytest.raises(DeepDoseError, match=r"goals\.json"):
            read_goals(path)


def test_limits_of_goals_are_kept_when_reached():
    least, most = (Goal("PTV70", Metric.parse("D95%"), sense, 66.5) for sense in (">=", "<="))
    assert [least.met(value) for value in (66.4, 66.5, 66.6)] == [False, True, True]
    assert [most.met(value) for value in (66.4, 66.5, 66.6)] == [True, True, False]


def test_templates_of_goals(tmp_path):
    path = tmp_path / "goals.json"
    path.write_text(
        json.dumps(
            {
                "goals": [
                    {"structure": "PTV70", "metric": "D95%", "goal": ">= 66.5 Gy", "weight": 2},
                    {"structure": "Larynx", "metric": "V50Gy", "goal": " <= 27% "},
                    {"structure": "SpinalCord", "metric": "D0.03cc"},
                ]
            }
        )
    )
    assert read_goals(path) == [
        Goal("PTV70", Metric("D%", 95.0), ">=", 66.5, 2.0),
        Goal("Larynx", Metric("V", 50.0), "<=", 27.0, 1.0),
        Goal("SpinalCord", Metric("Dcc", 0.03), None, None, 1.0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        '{"goals": {}}',
        "[]",
        "{",
        '{"goals": [3]}',
        '{"goals": [{"structure": 3, "metric": "mean"}]}',
        '{"goals": [{"structure": "A", "metric": "mean", "weight": 0}]}',
        '{"goals": [{"structure": "A", "metric": "mean", "weight": Infinity}]}',
        '{"goals": [{"structure": "A", "metric": "mean", "goal": "= 3 Gy"}]}',
        '{"goals": [{"structure": "A", "metric": "V20Gy", "goal": "<= 3 Gy"}]}',
        '{"goals": []}' + " " * 2**20,
    ],
)
def test_templates_that_are_none(tmp_path, content):
    path = tmp_path / "goals.json"
    path.write_text(content)
    with pytest.raises(DeepDoseError, match=r"goals\.json: not a template of clinical goals"):
        read_goals(path)


def test_hot_volumes_of_few_voxels():
    """At least one voxel, and the minimum where the structure is smaller than the volume asked for."""
    doses = np.array([10.0, 20, 30, 40, 50])
    assert Metric.parse("D0.1cc").rank(5, 1000.0) == pytest.approx(4 * (1 - 1 / 5))
    assert Metric.parse("D0.1cc").evaluate(doses, 1000.0) == pytest.approx(42)
    assert Metric.parse("D0.1cc").evaluate(doses, 40.0) == pytest.approx(10 + 4 * 10 * (1 - 2 / 5))
    assert Metric.parse("D1cc").evaluate(doses, 40.0) == 10
    assert Metric.parse("max").evaluate(doses, 40.0) == 50 and str(Metric.parse("Dmax")) == "Dmax"


def test_what_there_cannot_be_in_a_structure():
    assert Metric.parse("D100%").value == 100 and Metric.parse("d1000000CC").value == 1e6
    for text in ("D100.1%", "D1000001cc"):
        with pytest.raises(ValueError, match="more than there can be"):
            Metric.parse(text)
    assert Metric.parse("V20Gy").unit == "%" and Metric.parse("D95%").unit == Metric.parse("mean").unit == "Gy"


def test_scores_of_a_patient_of_a_few_voxels():
    """By hand: doses off by 1 and 3 Gy in two of four voxels of the mask."""
    target, organ = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    target[0, 0], organ[1, 0] = True, True
    rois, mask = RoiMask.encode({"PTV70": target, "Larynx": organ}), target | organ
    reference = np.where(target, 70.0, 20.0) * mask
    predicted = reference.copy()
    predicted[0, 0, 0] -= 1
    predicted[1, 0, 1] += 3
    score = score_patient("p", reference, predicted, rois, mask, 100.0)
    assert score.dose_error == pytest.approx(1.0) == dose_score([score])
    assert set(score.reference["PTV70"]) == {"D_99", "D_95", "D_1"}
    assert set(score.reference["Larynx"]) == {"D_0.1_cc", "mean"}
    expected = [0.99, 0.95, 0.01, 1.5, 1.5]
    assert sorted(metric_differences(score.reference, score.predicted)) == pytest.approx(sorted(expected))
    assert score.dvh_error == pytest.approx(np.mean(expected)) == dvh_score([score])
    assert roi_doses(predicted, rois)["Larynx"].tolist() == [20, 23]


def test_dvh_of_nothing():
    assert cumulative_dvh(np.empty(0), np.array([0.0, 10])).tolist() == [100, 100]


@pytest.mark.slow
def test_official_scores(shared, validation_patients):
    """Reference metrics, shifted metrics, dose errors and both scores equal the official code's to 1e-6 Gy."""
    folder = shared / "reference-results" / "openkbp-scores"

    def shifted(patient):
        dose, mask = read_dose(patient / "dose.csv"), read_dose_mask(patient)
        # One voxel along OpenKBP's first axis, which is J of a Case.
        return np.roll(dose, 1, axis=1) * mask

    content = evaluate(validation_patients, shifted, "shifted").to_dict()
    official = dict(line.split() for line in (folder / "scores.txt").read_text().splitlines())
    assert content["n_patients"] == 33
    assert content["dose_score"] == pytest.approx(float(official["dose_score"]), abs=1e-6)
    assert content["dvh_score"] == pytest.approx(float(official["dvh_score"]), abs=1e-6)
    patients = content["patients"]
    for row in _rows(folder / "shifted_dose_errors.csv"):
        assert patients[row[""]]["dose_error"] == pytest.approx(float(row["dose_error"]), abs=1e-6)
    for name, key in (("reference", "reference_metrics.csv"), ("predicted", "shifted_metrics.csv")):
        for row in _rows(folder / key):
            ours = {
                f"{roi}.{metric}": value[name]
                for roi, metrics in patients[row[""]]["metrics"].items()
                for metric, value in metrics.items()
            }
            theirs = {column: float(value) for column, value in row.items() if column and value}
            assert ours.keys() == theirs.keys()
            assert ours == pytest.approx(theirs, abs=1e-6)


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_axes_against_the_readme_of_the_reference():
    """np.roll along OpenKBP's first axis and along J of a Case are the same shift."""
    volume = np.random.default_rng(0).random((4, 5, 6))
    np.testing.assert_array_equal(to_case_axes(np.roll(volume, 1, axis=0)), np.roll(to_case_axes(volume), 1, axis=1))
