"""Intervals that hold: on made-up differences, for every metric, through the model's file to every output."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.app.cli import main
from DeepDosePredictLib.dvh.metrics import Metric, cumulative_dvh
from DeepDosePredictLib.model.contract import Contract, read_contract
from DeepDosePredictLib.model.model_file import load_model, rewrite_contract
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.report.tables import checked_metrics, metric_values
from DeepDosePredictLib.trust.intervals import (
    LEVEL,
    QUANTITIES,
    VOLUMES,
    Intervals,
    Measured,
    StructureCalibration,
    conformal_rank,
)
from DeepDosePredictLib.trust.plan_check import Checked, outside, summary
from synthetic import make_model

VOXEL_MM3 = 40.0
Q = len(QUANTITIES)


def structure(rng: np.random.Generator, disagreement: float = 1.0, n: int = 400) -> Measured:
    doses = rng.normal(30, 8, n).clip(0)
    return Measured.of(doses, np.full(n, disagreement), VOXEL_MM3)


def plans(n: int, rng: np.random.Generator, noise: float = 1.0) -> list[tuple[np.ndarray, Measured]]:
    """Plans that differ from predictions by 2 Gy and noise in units of the patient's difficulty."""
    found = []
    for _ in range(n):
        measured = structure(rng, rng.uniform(0.5, 8))
        found.append((measured.values + 2 + noise * rng.normal() * measured.difficulties, measured))
    return found


@given(st.integers(10, 200))
def test_the_rank_covers_a_further_patient(n):
    rank = conformal_rank(n)
    assert 1 <= rank <= n and rank / (n + 1) >= LEVEL > (rank - 1) / (n + 1)


def test_nine_in_ten_further_patients_are_covered_and_the_shift_is_found():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        intervals = Intervals.of({"Larynx": plans(40, rng)}, 40)
        for plan, measured in plans(10, rng):
            low, high = intervals.band("Larynx", measured).interval(Metric.parse("mean"), measured.values[0])
            covered.append(low <= plan[0] <= high)
    assert LEVEL - 0.03 < np.mean(covered) < LEVEL + 0.04
    assert intervals.structures["Larynx"].shift[0] == pytest.approx(2, abs=0.8)


def test_difficult_patients_have_wider_intervals():
    rng = np.random.default_rng(1)
    intervals = Intervals.of({"Larynx": plans(40, rng)}, 40)
    easy, hard = (intervals.band("Larynx", structure(rng, d)).half_width for d in (0.5, 8))
    assert (hard > 2 * easy).all()


def test_few_patients_are_helped_by_structures_of_their_kind_and_it_is_said():
    rng = np.random.default_rng(2)
    pairs = {"LeftParotid": plans(12, rng), "RightParotid": plans(12, rng), "Larynx": plans(30, rng)}
    intervals = Intervals.of({**pairs, "Esophagus": plans(3, rng), "PTV70": plans(4, rng)}, 30)
    structures = intervals.structures
    assert structures["LeftParotid"].pooled == "Parotids" and structures["LeftParotid"].n_patients == 24
    assert structures["Larynx"].pooled == "" and structures["Esophagus"].pooled == "organs"
    assert "PTV70" not in structures and intervals.band("PTV70", structure(rng)) is None
    assert "Esophagus by organs taken together" in intervals.words()
    with pytest.raises(ValueError, match="at least 10 patients, not 9"):
        Intervals.of({"Larynx": plans(9, rng)}, 9)


def exact(shift: float, width: float) -> Intervals:
    """The same shift and half-width in Gy everywhere, for a disagreement of 0.7 Gy."""
    return Intervals(20, {"Larynx": StructureCalibration(20, (shift,) * Q, (width,) * Q)})


@given(st.integers(5, 500), st.sampled_from(["mean", "Dmax", "D95%", "D50%", "D2%", "D0.1cc", "D1cc"]))
def test_dose_metrics_are_shifted_and_widened(n, text):
    rng = np.random.default_rng(n)
    doses = rng.uniform(20, 60, n)
    band = exact(1.0, 3.0).band("Larynx", Measured.of(doses, np.full(n, 0.7), VOXEL_MM3))
    value = Metric.parse(text).evaluate(doses, VOXEL_MM3)
    np.testing.assert_allclose(band.interval(Metric.parse(text), value), (value - 2, value + 4), atol=1e-6)


@given(st.floats(5, 75))
def test_volume_metrics_come_from_the_curves(limit):
    doses = np.linspace(20, 60, 2001)
    band = exact(0.0, 4.0).band("Larynx", Measured.of(doses, np.full(2001, 0.7), VOXEL_MM3))
    metric = Metric("V", limit)
    low, high = band.interval(metric, metric.evaluate(doses, VOXEL_MM3))
    expected = [cumulative_dvh(doses, np.array([limit + shift]))[0] for shift in (4, -4)]
    np.testing.assert_allclose((low, high), expected, atol=0.6)


@given(st.integers(0, 50))
def test_bands_hold_the_predicted_curve_and_fall(seed):
    rng = np.random.default_rng(seed)
    calibration = StructureCalibration(20, tuple(rng.normal(0, 0.1, Q)), tuple(rng.uniform(0.5, 3, Q)))
    measured = structure(rng)
    band = Intervals(20, {"Larynx": calibration}).band("Larynx", measured)
    low, high = band.curves
    assert (np.diff(low) <= 0).all() and (np.diff(high) <= 0).all() and (low >= 0).all()
    assert (low <= measured.curve + 1e-9).all() and (measured.curve <= high + 1e-9).all()
    volumes = band.volumes(np.linspace(0, 80, 50))
    assert (volumes[0] <= volumes[1] + 1e-9).all() and volumes[0][0] == volumes[1][0] == 100


def test_a_structure_of_one_voxel():
    measured = Measured.of(np.array([5.0]), np.array([1.0]), VOXEL_MM3)
    assert np.all(measured.values == 5) and len(measured.values) == Q == len(VOLUMES) + 2


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(n_patients="many"),
        lambda c: c.update(structures={}),
        lambda c: c.update(surprise=1),
        lambda c: c["structures"]["Larynx"].update(width=[1.0]),
        lambda c: c["structures"]["Larynx"].update(width=[-1.0] * Q),
        lambda c: c["structures"]["Larynx"].update(shift=[float("nan")] * Q),
        lambda c: c["structures"]["Larynx"].update(pooled=3),
        lambda c: c["structures"].update(Larynx=7),
        lambda c: c.pop("structures"),
    ],
)
def test_impossible_intervals_are_no_contract(tiny_model, change):
    content = json.loads(replace(read_contract(tiny_model), intervals=exact(1, 2)).to_json())
    assert Contract.from_json(json.dumps(content)).intervals == exact(1, 2)
    change(content["intervals"])
    with pytest.raises((ValueError, TypeError, KeyError)):
        Contract.from_json(json.dumps(content))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A small model whose file knows of the brainstem and the highest target."""
    path = make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    one = StructureCalibration(20, (1.0,) * Q, (2.0,) * Q)
    known = Intervals(20, {"Brainstem": one, "PTV70": replace(one, n_patients=17, pooled="targets")})
    rewrite_contract(path, path, replace(read_contract(path), intervals=known))
    return path


def test_intervals_go_with_the_prediction(calibrated, tiny_model, case):
    prediction = Predictor(load_model(calibrated), "cpu").predict(case)
    assert prediction.bands.keys() == {"Brainstem", "PTV70"}
    assert prediction.intervals == (
        "90% intervals from 20 patients that the model did not learn from; PTV70 by targets taken together"
    )
    width = 2 * np.sqrt(0.3)  # no beams: nothing to disagree with
    for m in metric_values(case, prediction.dose, prediction.bands):
        if m.structure in prediction.bands:
            assert m.low == pytest.approx(max(0, m.predicted + 1 - width), abs=1e-3)
            assert m.high == pytest.approx(m.predicted + 1 + width, abs=1e-3)
        else:
            assert m.low is None and m.high is None
    unknown = Predictor(load_model(tiny_model), "cpu").predict(case)
    assert not unknown.bands and unknown.intervals.startswith("no intervals: nobody has measured")


def test_prescriptions_that_nothing_is_known_of_have_no_intervals(calibrated, case):
    names = [name.replace("PTV70", "PTV80") for name in case.rois.names]
    other = replace(case, rois=RoiMask(case.rois.bits, names), dose=None)
    prediction = Predictor(load_model(calibrated), "cpu").predict(other, any_prescription=True)
    assert not prediction.bands
    assert (
        "no intervals: nothing is known of the model's errors at prescriptions of 80/63/56 Gy" in prediction.intervals
    )


# The plan check


def test_what_lies_outside_is_ordered_worse_and_further_first():
    parotid = Checked("LeftParotid", "mean", "Gy", 31, 22, 18, 26)
    metrics = [
        Checked("Larynx", "mean", "Gy", 40, 41, 38, 45),
        Checked("PTV70", "D95%", "Gy", 70, 66, 64, 68),
        Checked("PTV56", "D95%", "Gy", 50, 54, 52, 56),
        Checked("PTV63", "D1%", "Gy", 72, 68, 66, 71),
        Checked("Brainstem", "mean", "Gy", 1, 12, 9, 15),
        parotid,
    ]
    found = outside(metrics)
    assert [one.structure for one in found] == ["LeftParotid", "PTV56", "PTV63", "Brainstem", "PTV70"]
    assert parotid.sentence() == "LeftParotid mean 31.0 Gy, predicted 22.0 (18.0 to 26.0): could be lower"
    words = [one.sentence().partition("): ")[2] for one in found]
    assert words[1:] == [
        "covered less than plans usually do",
        "hotter than plans usually are",
        "lower than plans usually are",
        "covered better than plans usually do",
    ]
    assert "5 of 6 metrics lie outside their 90% intervals" in summary(metrics)
    assert summary(metrics).endswith("3 are worse than predicted, most of all LeftParotid mean")


def test_a_plan_inside_all_intervals_and_one_without_any():
    assert summary([Checked("Larynx", "mean", "Gy", 40, 41, 38, 45)]).endswith("none is worse than predicted")
    assert summary([]) == "" and outside([]) == []


def test_only_metrics_with_a_plan_and_an_interval_are_judged(calibrated, case):
    prediction = Predictor(load_model(calibrated), "cpu").predict(case)
    checked = checked_metrics(metric_values(case, prediction.dose, prediction.bands))
    assert {one.structure for one in checked} == {"Brainstem", "PTV70"}
    assert not checked_metrics(metric_values(replace(case, dose=None), prediction.dose, prediction.bands))


def test_patient_folder_tells_all_of_it(calibrated, patients, tmp_path, capsys):
    assert main(["predict", str(patients / "pt_1"), "-o", str(tmp_path / "out"), "--model", str(calibrated)]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    brainstem = next(m for m in result["metrics"] if m["structure"] == "Brainstem" and m["metric"] == "mean")
    assert brainstem["low"] < brainstem["high"]
    assert result["plan_check"][0].startswith("plan check: ") and len(result["plan_check"]) > 1
    printed, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    for sentence in (*result["plan_check"], result["intervals"]):
        assert sentence in printed
    assert "90% interval" in page and f"{brainstem['low']:.1f} to {brainstem['high']:.1f}" in page
    table = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert "difference,low,high,method" in table[0]
    curves = (tmp_path / "out" / "dvh.csv").read_text().splitlines()
    assert "reference_percent,low_percent,high_percent" in curves[0]
