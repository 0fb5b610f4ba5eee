"""Exploring: the dose follows priorities, says what they cost, and finds those for wanted mean doses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from DeepDosePredictLib.dvh.metrics import dose_error
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.explore.explorer import MAX_PRIORITY, NOTE, STEP_WEIGHT, Explorer, priority_words
from DeepDosePredictLib.explore.objectives import (
    AT_LEAST,
    AT_MOST,
    HIGHEST_WEIGHT,
    MEAN,
    DoseObjective,
    dose_objectives,
    objective_structures,
    pyradplan_terms,
    rings,
)
from DeepDosePredictLib.explore.trade_off import TradeOff, TradeOffPoint, trade_off
from DeepDosePredictLib.explore.wanted import reach
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import dose_box
from DeepDosePredictLib.patient.rois import is_target
from DeepDosePredictLib.planner.delivery import Delivery, Emphasis
from synthetic import make_model

BEAMS = ChannelSpec(names=(*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=tuple(range(0, 360, 40)))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> Predictor:
    path = make_model(tmp_path_factory.mktemp("model") / "m.safetensors", spec=BEAMS, deliverable_share=0.3)
    return Predictor(load_model(path), "cpu")


@pytest.fixture(scope="module")
def explorer(predictor, case) -> Explorer:
    """Of the made-up patient; as prediction a dose near the plan, as a trained network gives."""
    prediction = predictor.predict(case)
    plan, box = np.zeros(case.shape, np.float32), dose_box(case.dose_mask)
    plan[box] = predictor.delivery(case, box).plan_dose * case.prescription
    rng = np.random.default_rng(0)
    dose = (plan + rng.normal(0, 1, case.shape)).clip(min=0).astype(np.float32) * case.dose_mask
    return Explorer(predictor, case, replace(prediction, dose=dose, warnings=("as it was",)))


def test_no_priority_is_the_prediction_to_the_bit(explorer):
    nothing = explorer.explore(dict.fromkeys(explorer.structures, 0.0))
    assert nothing.dose.tobytes() == explorer.prediction.dose.tobytes()
    assert nothing.warnings == ("as it was",) and nothing.priorities == {}
    same_beams = explorer.explore({}, gantry_angles=[angle + 360 for angle in reversed(explorer.gantry_angles)])
    assert same_beams.dose.tobytes() == explorer.prediction.dose.tobytes()


def test_a_plan_fitted_to_what_it_was_fitted_to_is_that_plan(explorer):
    """Not by a short cut: the fits are made again."""
    delivery: Delivery = explorer._delivery
    ones = torch.ones(len(delivery.voxels.share))
    assert delivery.replanned(Emphasis(ones, ones)).tobytes() == delivery.plan_dose.tobytes()


def test_order_does_not_matter(explorer):
    first = explorer.explore({"LeftParotid": 2}).dose
    explorer.explore({"Mandible": 6, "PTV70": -3})
    np.testing.assert_array_equal(explorer.explore({"LeftParotid": 2}).dose, first)


@pytest.mark.parametrize("organ", ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Mandible"])
def test_each_step_lowers_its_organ_and_each_step_down_raises_it(explorer, organ):
    means = [explorer.explore({organ: step}).metrics[organ]["mean"] for step in (-2, -1, 0, 1, 2, 4)]
    assert np.all(np.diff(means) < 0)


def test_a_target_that_matters_more_is_covered_better(explorer):
    d95 = [explorer.explore({"PTV56": step}).metrics["PTV56"]["D_95"] for step in (-3, 0, 3)]
    assert d95[0] < d95[1] < d95[2]


@settings(max_examples=12, deadline=None)
@given(st.dictionaries(st.sampled_from(["Brainstem", "LeftParotid", "Mandible", "PTV70", "PTV56"]), st.floats(-12, 12)))
def test_any_priorities_give_a_dose(explorer, priorities):
    explored = explorer.explore(priorities)
    assert np.isfinite(explored.dose).all() and explored.dose.dtype == np.float32
    assert explored.dose.min() >= 0 and not explored.dose[~explorer.case.dose_mask].any()
    assert set(explored.priorities) == {name for name, priority in priorities.items() if priority}


def test_what_is_explored_says_so(explorer):
    explored = explorer.explore({"LeftParotid": 2, "PTV70": -1})
    assert explored.warnings[0] == "as it was"
    assert explored.warnings[1] == f"{NOTE} (LeftParotid +2, PTV70 -1)"
    assert explored.metrics == explorer.metrics(explored.dose)


def test_other_beams_change_the_dose_where_they_go(explorer):
    """Two beams from front and back bring less to what lies beside them."""
    explored = explorer.explore({}, gantry_angles=(0, 180))
    beside = [
        explored.metrics[name]["mean"] - explorer.predicted_metrics[name]["mean"]
        for name in ("RightParotid", "LeftParotid")
    ]
    assert max(beside) < 0 and "beams from 0, 180 degrees" in explored.warnings[1]
    again = explorer.explore({"Mandible": 1}, gantry_angles=(0, 180))
    assert again.metrics["Mandible"]["mean"] < explored.metrics["Mandible"]["mean"]


def test_what_takes_no_priority_is_told(explorer, tiny_model):
    with pytest.raises(DeepDoseError, match="Larynx takes no priority; these do: Brainstem"):
        explorer.explore({"Larynx": 1})
    with pytest.raises(DeepDoseError, match=r"from -12 to 12, not 12\.5"):
        explorer.explore({"Mandible": 12.5})
    with pytest.raises(DeepDoseError, match="not nan"):
        explorer.explore({"Mandible": float("nan")})
    with pytest.raises(DeepDoseError, match="no planner"):
        Explorer(Predictor(load_model(tiny_model), "cpu"), explorer.case, explorer.prediction)


def test_priority_words():
    assert priority_words({"LeftParotid": 2.0, "PTV70": 0.0, "Larynx": -0.5}) == "LeftParotid +2, Larynx -0.5"
    assert priority_words({}, (90.0, 0.0)) == "beams from 0, 90 degrees" and priority_words({}) == "none"


def test_weights_are_those_of_the_fit_and_grow_with_priority(explorer):
    masks = {name: explorer.case.rois[name] for name in ("PTV70", "LeftParotid", "Brainstem", "Larynx")}
    before, after = explorer.weights({}, masks), explorer.weights({"LeftParotid": 2}, masks)
    assert before["PTV70"] == pytest.approx(1) and set(before) == {"PTV70", "LeftParotid", "Brainstem"}
    assert after["LeftParotid"] == pytest.approx(STEP_WEIGHT**2 * before["LeftParotid"])
    assert after["Brainstem"] == pytest.approx(before["Brainstem"])


# --- wanted mean doses


def test_wanted_means_are_reached(explorer):
    before = explorer.predicted_metrics
    wanted = {"LeftParotid": 0.8 * before["LeftParotid"]["mean"], "Brainstem": 1.05 * before["Brainstem"]["mean"]}
    reached = reach(explorer, wanted, {"PTV70": 1})
    assert not reached.unmet
    for organ, gray in wanted.items():
        assert reached.explored.metrics[organ]["mean"] == pytest.approx(gray, abs=0.5)
    assert reached.explored.priorities["PTV70"] == 1 and reached.explored.priorities["LeftParotid"] > 0


def test_what_cannot_be_reached_is_told(explorer):
    reached = reach(explorer, {"Mandible": 1.0})
    assert reached.explored.priorities["Mandible"] == MAX_PRIORITY
    assert len(reached.unmet) == 1 and "Mandible: 1.0 Gy wanted" in reached.unmet[0]
    assert "at the end of its priorities" in reached.unmet[0]


@pytest.mark.parametrize(
    ("wanted", "priorities", "message"),
    [
        ({"PTV70": 60}, {}, "of organs"),
        ({"Mandible": 20}, {"Mandible": 1}, "not both"),
        ({"Mandible": 0}, {}, "above 0"),
        ({"Mandible": float("nan")}, {}, "above 0"),
        ({"Larynx": 20}, {}, "takes no priority"),
    ],
)
def test_impossible_wishes(explorer, wanted, priorities, message):
    with pytest.raises(DeepDoseError, match=message):
        reach(explorer, wanted, priorities)


# --- curves


def curve(means, d95s, reference=None, other=None) -> TradeOff:
    """Of made-up values: an organ's means, D95 of PTV70, and of PTV56 where it is given."""
    others = other or [50.0] * len(means)
    points = [
        TradeOffPoint(
            n, {"LeftParotid": {"mean": mean, "D_0.1_cc": 2 * mean}, "PTV70": {"D_95": d95}, "PTV56": {"D_95": o}}
        )
        for n, (mean, d95, o) in enumerate(zip(means, d95s, others, strict=True))
    ]
    if reference:
        mean, d95 = reference
        reference = {
            "LeftParotid": {"mean": mean, "D_0.1_cc": 2 * mean},
            "PTV70": {"D_95": d95},
            "PTV56": {"D_95": 50.0},
        }
    return TradeOff("LeftParotid", "mean", points, reference)


def test_a_curve_in_one_sentence():
    dear = curve([27.1, 24, 19, 16, 14], [66.4, 66.3, 66.0, 65.4, 63.4])
    np.testing.assert_allclose(dear.price(), [0, 0.1, 0.4, 1.0, 3.0], atol=1e-9)
    assert (
        dear.sentence() == "LeftParotid: mean 27.1 to 19.0 Gy costs 0.4 Gy of PTV70's D95; below 15.0 Gy more than 2 Gy"
    )
    fair = curve([27.1, 24, 19], [66.4, 66.3, 65.1], other=[50.0, 50.0, 48.5])
    assert fair.dearest_target == "PTV56"
    assert fair.sentence() == (
        "LeftParotid: mean 27.1 to 24.0 Gy costs 0.1 Gy of PTV70's D95; 19.0 Gy, as far as it goes, costs 1.5 Gy of"
        " PTV56's D95"
    )
    assert curve([27, 10], [66, 66.2]).sentence() == "LeftParotid: mean 27.0 to 10.0 Gy costs no coverage"
    assert "hardly goes down" in curve([27, 26.9], [66, 66]).sentence()


def test_the_reference_plan_beside_the_curve():
    means, d95s = [27, 24, 19], [66.4, 66.0, 64.0]
    assert curve(means, d95s).judgement() == ""
    above = curve(means, d95s, (30, 66.2))
    assert above.could_be_better() == pytest.approx(6) and "lies 6.0 Gy above the curve" in above.judgement()
    below = curve(means, d95s, (22, 66.2))
    assert below.could_be_better() == pytest.approx(-2) and "lies 2.0 Gy below the curve" in below.judgement()
    covered = curve(means, d95s, (22, 67.5))
    assert covered.could_be_better() is None and "cannot be judged" in covered.judgement()


def test_a_curve_goes_from_the_prediction_down(explorer):
    found = trade_off(explorer, "LeftParotid", priorities={"LeftParotid": 5, "PTV70": 1})
    assert found.points[0].priority == 0 and np.all(np.diff(found.values) < 0) and len(found.points) > 4
    np.testing.assert_allclose(
        found.points[0].metrics["PTV70"]["D_95"], explorer.explore({"PTV70": 1}).metrics["PTV70"]["D_95"]
    )
    assert found.reference == explorer.metrics(explorer.case.dose)
    hottest = trade_off(explorer, "SpinalCord", "D0.1cc")
    assert hottest.values[0] == pytest.approx(explorer.predicted_metrics["SpinalCord"]["D_0.1_cc"])
    for structure, metric in (("PTV70", "mean"), ("LeftParotid", "V20Gy")):
        with pytest.raises(DeepDoseError, match="curves are of organs'"):
            trade_off(explorer, structure, metric)


# --- objectives


def test_the_dose_meets_its_objectives(explorer):
    """By the definition of a DVH: so much of the volume has at least so much dose."""
    case, explored = explorer.case, explorer.explore({"LeftParotid": 2})
    masks, lines = objective_structures(explorer), dose_objectives(explorer, explored)
    assert {line.structure for line in lines} == {*masks}
    for line in lines:
        doses = explored.dose[masks[line.structure]]
        assert line.weight > 0 and (line.structure not in case.rois or doses.size == case.rois[line.structure].sum())
        if line.sense == MEAN:
            assert line.volume_percent is None and doses.mean() == pytest.approx(line.dose, rel=1e-5)
            continue
        assert 100 * (doses >= line.dose).mean() == pytest.approx(line.volume_percent, abs=202 / doses.size)
        volume_cc = line.volume_percent / 100 * doses.size * case.voxel_volume_mm3 / 1000
        assert line.volume_cc == pytest.approx(volume_cc)
    kinds = {name: [(o.sense, o.volume_percent) for o in lines if o.structure == name] for name in masks}
    assert kinds["PTV70"] == [(AT_LEAST, 99), (AT_LEAST, 95), (AT_MOST, 1)]
    assert kinds["LeftParotid"][0] == (MEAN, None) and [p for _, p in kinds["LeftParotid"][2:]] == [75, 50, 25]
    assert len(kinds["PTV56 ring 3 mm"]) == 2
    assert all(line.dose >= 1 for line in lines if line.volume_percent in (75, 50, 25))


@pytest.mark.parametrize(
    ("sense", "percent", "terms"),
    [
        (MEAN, None, ("Mean Dose", {"d_ref": 20.5, "f_diff": "quadratic"})),
        (AT_LEAST, 99.0, ("Squared Underdosing", {"d_min": 20.5})),
        (AT_LEAST, 95.0, ("Min DVH", {"d": 20.5, "v_min": 95.0})),
        (AT_MOST, 1.0, ("Squared Overdosing", {"d_max": 20.5})),
        (AT_MOST, 0.4, ("Squared Overdosing", {"d_max": 20.5})),
        (AT_MOST, 50.0, ("Max DVH", {"d": 20.5, "v_max": 50.0})),
    ],
)
def test_objectives_in_pyradplans_terms(sense, percent, terms):
    """Names and parameters as pyRadPlan 0.5.0 has them."""
    assert pyradplan_terms(DoseObjective("Larynx", sense, 20.5, percent, percent, 1.0)) == terms


def test_weights_of_objectives_grow_with_priority(explorer):
    def weights(priorities):
        found: dict[str, float] = {}
        for line in dose_objectives(explorer, explorer.explore(priorities)):
            found[line.structure] = found.get(line.structure, 0) + line.weight
        return found

    before, after = weights({}), weights({"LeftParotid": 2})
    assert before["PTV70"] == pytest.approx(HIGHEST_WEIGHT, rel=0.01)
    assert after["LeftParotid"] == pytest.approx(2.25 * before["LeftParotid"], rel=0.02)


def test_rings_lie_around_their_target(case):
    near, far = rings(case, "PTV56").values()
    assert near.any() and far.any() and not (near & far).any()
    targets = np.any([case.rois[target] for target in case.targets()], 0)
    assert not ((near | far) & (targets | ~case.dose_mask)).any()
    touching = binary_dilation(case.rois["PTV56"]) & ~targets & case.dose_mask
    assert (near | far)[touching].all() and list(rings(case, "PTV56")) == ["PTV56 ring 3 mm", "PTV56 ring 6 mm"]
    sphere = rings(case, "PTV70")
    assert not any(ring.any() for ring in sphere.values())  # the ball lies in another target


# --- a real patient, with the shipped model


@pytest.mark.slow
def test_a_real_patient_explored(validation_patients):
    """A step is about a tenth; told the plan's organ means, the dose has them and is nearer to it."""
    case = read_openkbp(validation_patients / "pt_204")
    predictor = Predictor(open_model(), "cpu")
    explorer = Explorer(predictor, case, predictor.predict(case))
    before = explorer.predicted_metrics
    for organ in ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Larynx"):
        one, three = (explorer.explore({organ: step}).metrics[organ]["mean"] / before[organ]["mean"] for step in (1, 3))
        assert 0.85 < one < 0.96 and three < 0.85
    planned = explorer.metrics(case.dose)
    wanted = {organ: metrics["mean"] for organ, metrics in planned.items() if not is_target(organ)}
    reached = reach(explorer, wanted)
    off = [abs(reached.explored.metrics[organ]["mean"] - gray) for organ, gray in wanted.items()]
    assert np.mean(off) < 0.2
    assert dose_error(case.dose, reached.explored.dose, case.dose_mask) < dose_error(
        case.dose, explorer.prediction.dose, case.dose_mask
    )
