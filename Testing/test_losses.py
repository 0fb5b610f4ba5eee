"""Each loss: analytic values, gradients by finite differences, and agreement with the hard metric it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdose_training.losses import CDMLoss, DoseLoss, DVHLoss, Structures, ValueDVHLoss, mae, mse
from DeepDosePredictLib.dvh.goals import Goal, read_goals
from DeepDosePredictLib.dvh.metrics import Metric, cumulative_dvh
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.patient.roi_mask import RoiMask, to_tensor
from DeepDosePredictLib.resources import GOALS

SHAPE = (4, 5, 6)
VOLUME = 40.0  # mm3: 0.1 cc are 2.5 voxels


def structures(masks: dict[str, np.ndarray], outside: int = 0, dose_mask: np.ndarray | None = None) -> Structures:
    bits = to_tensor(RoiMask.encode(masks).bits)[None]
    mask = torch.ones((1, *SHAPE), dtype=torch.bool) if dose_mask is None else torch.from_numpy(dose_mask)[None]
    return Structures(bits, list(masks), mask, torch.full((1, len(masks)), outside), torch.tensor([VOLUME]))


def doses(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(1, 75, (1, *SHAPE)))


def two_rois(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"PTV70": rng.random(SHAPE) > 0.4, "SpinalCord": rng.random(SHAPE) > 0.6}


def test_mse_and_mae_average_over_the_dose_mask():
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, :4] = True
    reference = torch.zeros(1, *SHAPE)
    predicted = torch.full((1, *SHAPE), 100.0)
    predicted[0, 0, 0, :4] = torch.tensor([1.0, 2.0, 3.0, 6.0])
    s = structures(two_rois(), dose_mask=mask)
    assert mae(predicted, reference, s) == pytest.approx(3.0)
    assert mse(predicted, reference, s) == pytest.approx((1 + 4 + 9 + 36) / 4)


@pytest.mark.parametrize(
    "loss",
    [mse, mae, DVHLoss(bin_gy=2.0), ValueDVHLoss(), CDMLoss("openkbp"), CDMLoss("head-and-neck", temperature_gy=3.0)],
    ids=lambda loss: getattr(loss, "__name__", type(loss).__name__),
)
def test_gradients_against_finite_differences(loss):
    s = structures(two_rois(), outside=3)
    reference, predicted = doses(1), doses(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, reference, s), predicted, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [mse, mae, DVHLoss(), ValueDVHLoss(), CDMLoss("head-and-neck")])
def test_zero_for_a_perfect_prediction_and_positive_otherwise(loss):
    s = structures(two_rois())
    assert loss(doses(1), doses(1), s) == 0
    assert loss(doses(2), doses(1), s) > 0


def test_value_dvh_is_the_area_between_the_curves():
    """Independent: integrate |DVH - DVH| numerically over dose."""
    masks = {"PTV70": two_rois()["PTV70"]}
    predicted, reference = doses(3), doses(4)
    axis = np.linspace(0, 80, 80001)
    curves = [cumulative_dvh(d[0].numpy()[masks["PTV70"]], axis) / 100 for d in (predicted, reference)]
    area = np.trapezoid(np.abs(curves[0] - curves[1]), axis)
    assert float(ValueDVHLoss()(predicted, reference, structures(masks))) == pytest.approx(area, abs=2e-3)


def test_value_dvh_of_a_uniform_shift_is_the_shift():
    assert float(ValueDVHLoss()(doses(1) + 2.5, doses(1), structures(two_rois()))) == pytest.approx(2.5)


def test_voxels_outside_the_crop_count_with_zero_dose():
    masks = two_rois()
    inside = masks["PTV70"].sum()
    s = structures({"PTV70": masks["PTV70"]}, outside=10)
    assert float(ValueDVHLoss()(doses(1) + 2.5, doses(1), s)) == pytest.approx(2.5 * inside / (inside + 10))


def test_differentiable_dvh_approaches_the_hard_curve():
    d = doses(5).flatten()
    for steepness, tolerance in ((1.0, 0.02), (20.0, 0.004)):
        loss = DVHLoss(bin_gy=1.0, steepness=steepness)
        hard = cumulative_dvh(d.numpy(), loss.bins.numpy()) / 100
        assert np.abs(loss.curve(d).numpy() - hard).mean() < tolerance


def test_differentiable_dvh_of_uniform_doses():
    """Uniform 50 Gy against 60 Gy: the curves differ by 1 over 10 of the 81 bins."""
    masks = {"PTV70": np.ones(SHAPE, bool)}
    a, b = torch.full((1, *SHAPE), 50.0), torch.full((1, *SHAPE), 60.0)
    assert float(DVHLoss(steepness=8.0)(a, b, structures(masks))) == pytest.approx(10 / 81, rel=1e-3)


@given(
    st.sampled_from(["D99%", "D95%", "D1%", "D50%", "D100%", "D0%", "D0.1cc", "D2cc", "D500cc", "mean"]),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_d_metrics_equal_the_hard_metric(text, seed):
    d = torch.from_numpy(np.random.default_rng(seed).uniform(0, 75, np.random.default_rng(seed).integers(1, 200)))
    metric = Metric.parse(text)
    assert float(CDMLoss().metric(metric, d, VOLUME)) == pytest.approx(metric.evaluate(d.numpy(), VOLUME), abs=1e-9)


def test_v_surrogate_approaches_the_hard_metric_as_it_cools():
    d = doses(6).flatten()
    metric = Metric.parse("V40Gy")
    hard = metric.evaluate(d.numpy(), VOLUME)
    errors = [abs(float(CDMLoss(temperature_gy=t).metric(metric, d, VOLUME)) - hard) for t in (5.0, 0.5, 0.005)]
    assert errors[2] < 0.1 and errors[2] <= errors[1] < 1.5


def test_v_surrogate_of_one_temperature_above_the_threshold():
    d = torch.full((10,), 42.0)
    value = CDMLoss(temperature_gy=2.0).metric(Metric.parse("V40Gy"), d, VOLUME)
    assert float(value) == pytest.approx(100 / (1 + np.exp(-1)))


def test_cdm_weighs_goals_and_skips_structures_without_goals():
    goals = [Goal("PTV70", Metric.parse("mean"), weight=3.0), Goal("SpinalCord", Metric.parse("V40Gy"), weight=1.0)]
    loss = CDMLoss(goals, temperature_gy=1.0, gy_per_percent=0.5)
    masks = {"PTV70": np.ones(SHAPE, bool), "SpinalCord": np.ones(SHAPE, bool), "Larynx": np.ones(SHAPE, bool)}
    high, low = torch.full((1, *SHAPE), 60.0), torch.full((1, *SHAPE), 20.0)
    assert float(loss(high, low, structures(masks))) == pytest.approx((3 * 40 + 1 * 0.5 * 100) / 4, rel=1e-4)


def test_no_dvh_gradient_leaks_outside_the_dose_mask():
    mask = np.zeros(SHAPE, bool)
    mask[:2] = True
    s = structures({"PTV70": np.ones(SHAPE, bool)}, dose_mask=mask)
    predicted = doses(1).float().requires_grad_()
    total, _ = DoseLoss({"mae": 1.0, "dvh": 1.0, "value_dvh": 1.0, "cdm": 1.0})(predicted, doses(2), s)
    total.backward()
    assert predicted.grad[:, 2:].abs().max() == 0
    assert predicted.grad[:, :2].abs().min() > 0


def test_weighted_sum_reports_its_parts():
    s = structures(two_rois())
    total, parts = DoseLoss({"mae": 2.0, "cdm": {"weight": 0.5, "goals": "openkbp"}})(doses(1), doses(2), s)
    assert float(total) == pytest.approx(2 * float(parts["mae"]) + 0.5 * float(parts["cdm"]))


def test_unknown_terms_are_refused():
    with pytest.raises(DeepDoseError, match="unknown loss terms"):
        DoseLoss({"dice": 1.0})


@pytest.mark.parametrize("name", ["openkbp", "head-and-neck"])
def test_shipped_templates(name):
    goals = read_goals(GOALS / f"{name}.json")
    assert {goal.structure for goal in goals} >= {"PTV56", "PTV63", "PTV70", "SpinalCord", "LeftParotid"}
