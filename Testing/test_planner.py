"""The planner: plans of simple patients, its symmetries, and what cases it takes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from deepdose_training.combine import join_planners
from DeepDosePredictLib.device import in_threads, one_thread
from DeepDosePredictLib.errors import DeepDoseError, ModelError
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.model.model_file import load_model, load_planner, save_planner
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import OAR_KINDS
from DeepDosePredictLib.planner.delivery import Delivery, plan_dose
from DeepDosePredictLib.planner.feature_names import FEATURES
from DeepDosePredictLib.planner.features import distance_mm
from DeepDosePredictLib.planner.planner import BeamModel, Planner, untrained_planner
from DeepDosePredictLib.planner.planning_case import PlanningCase
from DeepDosePredictLib.planner.problem import make_problem
from synthetic import ball, make_case, make_model

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
CENTRE = (7.5, 23.5, 23.5)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return untrained_planner()


def water(radius: float = 5.0, **changes) -> PlanningCase:
    """A box of water with a ball of one prescription."""
    patient = PlanningCase(
        np.zeros(SHAPE, np.int16),
        ball(SHAPE, CENTRE, radius).astype(np.float32),
        np.zeros(SHAPE, np.uint8),
        np.ones(SHAPE, bool),
        SPACING,
    )
    return replace(patient, **changes)


def shaken(seed: int) -> Planner:
    """A planner with an opinion on every voxel and two on every bixel."""
    torch.manual_seed(seed)
    planner = Planner(bixel_factors=2)
    torch.nn.init.normal_(planner.judge[-1].weight, std=0.2)
    for network in planner.bixel_factors:
        torch.nn.init.normal_(network.head.weight, std=0.2)
    return planner.eval()


def test_nine_beams_give_the_target_a_uniform_dose_and_keep_it_there(planner):
    patient = water()
    dose = plan_dose(planner, patient, NINE)
    assert dose[patient.level > 0].mean() == pytest.approx(1, abs=1e-5)
    assert dose[ball(SHAPE, CENTRE, 4)].std() < 0.06
    assert dose[~ball(SHAPE, CENTRE, 12)].mean() < 0.15


def test_levels_are_followed(planner):
    level = water().level * np.float32(0.8)
    level[ball(SHAPE, (7.5, 23.5, 20), 2.2)] = 1
    dose = plan_dose(planner, water(level=level), NINE)
    assert dose[level == 1].mean() == pytest.approx(1, abs=1e-5)
    assert 0.75 < dose[np.isclose(level, 0.8)].mean() < 0.92


def test_organs_at_risk_are_spared(planner):
    organ = ball(SHAPE, (7.5, 23.5, 33), 3)
    spared, plain = (plan_dose(planner, water(organ=organ * np.uint8(kind)), NINE) for kind in (3, 0))
    assert spared[organ].mean() < 0.75 * plain[organ].mean()


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 2])
def test_mirrored_patient_gets_the_mirrored_dose(axis):
    case, planner = make_case(), untrained_planner()
    patient = PlanningCase.of(case)
    volumes = {
        name: np.ascontiguousarray(np.flip(getattr(patient, name), axis))
        for name in ("ct", "level", "organ", "dose_mask")
    }
    dose, other = plan_dose(planner, patient, NINE), plan_dose(planner, replace(patient, **volumes), NINE)
    # The tissue voxels that take part in the fit differ: every twelfth, counted from the other side.
    assert np.abs(np.flip(other, axis) - dose)[case.dose_mask].mean() < 0.01


@pytest.mark.slow
def test_context_is_mirrored_with_its_places():
    """What a voxel is told of its surroundings is seen at the same place when the context is seen mirrored."""
    planner = shaken(1)
    torch.nn.init.dirac_(planner.stem.weight)  # without a direction of its own
    for block in planner.blocks:
        torch.nn.init.zeros_(block.second_norm.weight)
    problem, *_ = make_problem(PlanningCase.of(make_case()), NINE)
    for axes in ((-1,), (-3,), (-1, -3)):
        ours, theirs = planner.objective(problem), planner.objective(problem, axes)
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=2e-2, atol=1e-3)
        torch.testing.assert_close(ours.aim, theirs.aim, rtol=2e-2, atol=1e-3)


def test_a_turn_by_the_beams_angle_changes_nothing(planner):
    """Nine beams at 0, 40, ... are those at 40, 80, ..."""
    np.testing.assert_allclose(
        plan_dose(planner, water(), NINE), plan_dose(planner, water(), [a + 40 for a in NINE]), atol=1e-4
    )


def test_only_where_dose_can_be(planner):
    air = np.full(SHAPE, -1000, np.int16)
    mask = np.zeros(SHAPE, bool)
    mask[4:12] = True
    dose = plan_dose(planner, water(ct=air, dose_mask=mask), NINE)
    assert not dose[~mask].any() and (dose[mask] >= 0).all() and dose.dtype == np.float32
    assert not plan_dose(planner, water(ct=air, dose_mask=np.zeros(SHAPE, bool)), NINE).any()
    assert not plan_dose(planner, water(level=np.zeros(SHAPE, np.float32)), NINE).any()


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> tuple[Planner, list[Planner]]:
    """Three planners with different beam models in one, of which two were joined before; and they themselves."""
    folder = tmp_path_factory.mktemp("planners")
    paths = [folder / f"{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        planner = shaken(seed)
        for logarithm in planner.beam_model.logarithms.values():
            logarithm.data += 0.2 * seed
        save_planner(path, planner)
    two = join_planners(paths[1:], folder / "two.safetensors")
    return load_planner(join_planners([paths[0], two], folder / "all.safetensors")), list(map(load_planner, paths))


@pytest.mark.slow
def test_the_mean_of_the_partners_plans_counts(joined):
    planner, members = joined
    patient = water(organ=ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(3))
    plans = [plan_dose(member, patient, NINE) for member in members]
    np.testing.assert_allclose(plan_dose(planner, patient, NINE), np.mean(plans, 0), atol=1e-5)
    assert np.abs(plans[1] - plans[0]).max() > 0.02 < np.abs(plans[2] - plans[1]).max()
    alone, first = (Delivery(p, patient, NINE, partners=False) for p in (planner, members[0]))
    np.testing.assert_array_equal(alone.plan_dose, plans[0])
    np.testing.assert_array_equal(alone.nearest(plans[1]), first.nearest(plans[1]))


def test_a_single_pass_plans_without_partners(joined, tmp_path):
    planner, members = joined
    spec = ChannelSpec((*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=NINE)
    model = load_model(make_model(tmp_path / "m.safetensors", spec=spec, deliverable_share=0.3))
    case = make_case()
    for single_pass in (True, False):
        ours, alone = (
            Predictor(replace(model, planner=p), "cpu", single_pass).predict(case).dose for p in (planner, members[0])
        )
        assert np.array_equal(ours, alone) == single_pass


def test_one_planner_is_not_joined(tmp_path):
    with pytest.raises(DeepDoseError, match="two or more"):
        join_planners([tmp_path / "a.safetensors"], tmp_path / "b.safetensors")


def test_nearest_deliverable_dose(planner):
    """Of a plan it is nearly that plan; of one with streaks that no beam makes it is nearer to the one without them."""
    delivery = Delivery(planner, water(), NINE)
    np.testing.assert_array_equal(delivery.plan_dose, plan_dose(planner, water(), NINE))
    other = Delivery(planner, water(organ=ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(3)), NINE).plan_dose
    assert np.abs(delivery.nearest(other) - other).mean() < 0.25 * np.abs(delivery.plan_dose - other).mean()
    rng = np.random.default_rng(0)
    noisy = np.maximum(other + 0.1 * rng.standard_normal(SHAPE).astype(np.float32), 0)
    assert np.abs(delivery.nearest(noisy) - other).mean() < 0.5 * np.abs(noisy - other).mean()


def test_blending_leaves_the_structures_and_what_lies_outside_the_mask(planner):
    mask = np.ones(SHAPE, bool)
    mask[:, :4] = False
    patient = water(dose_mask=mask, organ=ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(3))
    delivery = Delivery(planner, patient, NINE)
    dose = np.random.default_rng(1).random(SHAPE).astype(np.float32) * mask
    blended, left = delivery.blended(dose, 0.25, 0.35), (patient.level > 0) | (patient.organ > 0) | ~mask
    assert not blended[~mask].any() and blended.dtype == np.float32
    np.testing.assert_array_equal(blended[left], dose[left])
    expected = 0.4 * dose + 0.25 * delivery.nearest(dose) + 0.35 * delivery.plan_dose
    np.testing.assert_allclose(blended[~left], expected[~left], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.5, 5), st.floats(2, 6), st.integers(1, 9))
def test_any_patient_gives_finite_dose(seed, k_spacing, spacing, n_beams):
    rng = np.random.default_rng(seed)
    shape = tuple(16 * rng.integers(1, 3, 3))
    centre = [rng.uniform(0, n - 1) for n in shape]
    level = np.maximum(0.8 * ball(shape, centre, 4), ball(shape, centre, rng.uniform(0.8, 3))).astype(np.float32)
    patient = PlanningCase(
        rng.integers(-1024, 3000, shape).astype(np.int16),
        level,
        (rng.integers(0, 7, shape) * (rng.random(shape) < 0.1)).astype(np.uint8),
        rng.random(shape) < 0.9,
        (k_spacing, spacing, spacing),
    )
    dose = plan_dose(shaken(seed % 2**31), patient, rng.uniform(-360, 720, n_beams))
    assert np.isfinite(dose).all() and (dose >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.5, 5), st.floats(2, 6))
def test_distances_are_right_to_a_voxel(seed, k_spacing, spacing):
    rng = np.random.default_rng(seed)
    shape = tuple(2 * rng.integers(4, 12, 3))
    mask = ball(shape, [rng.uniform(0, n - 1) for n in shape], rng.uniform(0.8, 6))
    if not mask.any():
        return
    expected = distance_transform_edt(~mask, sampling=(k_spacing, spacing, spacing))
    distance = distance_mm(torch.from_numpy(mask), (k_spacing, spacing, spacing)).numpy()
    assert not distance[mask].any()
    assert np.abs(distance - expected).max() <= 2 * spacing + k_spacing
    assert np.abs(distance - expected).mean() < 1.5 * spacing


def test_levels_and_organs_of_a_case():
    """PTVs in units of the highest prescription present; parotids are of one kind; others are left out."""
    case = make_case()
    masks = {roi: case.rois[roi] for roi in case.rois if roi != "PTV70"} | {"Other": case.dose_mask}
    patient = PlanningCase.of(replace(case, rois=RoiMask.encode(masks)))
    assert set(np.unique(patient.level)) == {0, np.float32(56 / 63), 1}
    parotids = case.rois["LeftParotid"] | case.rois["RightParotid"]
    np.testing.assert_array_equal((patient.organ == 1 + OAR_KINDS.index("Parotid")) & parotids, parotids)
    named = np.any([case.rois[roi] for roi in case.rois if not roi.startswith("PTV")], axis=0)
    np.testing.assert_array_equal(patient.organ > 0, named)


def test_features_say_what_their_names_say():
    """Of a patient with a target of two levels, a parotid, and water in front of it."""
    level = 0.9 * ball(SHAPE, CENTRE, 5).astype(np.float32)
    level[ball(SHAPE, CENTRE, 2.5)] = 1
    parotid = ball(SHAPE, (7.5, 23.5, 33), 3)
    case = water(level=level, organ=parotid * np.uint8(1 + OAR_KINDS.index("Parotid")), ct=np.full(SHAPE, 40, np.int16))
    problem, *_ = make_problem(case, (0,))
    k, j, i = problem.voxels.index
    feature = dict(zip(FEATURES, problem.features.T, strict=True))
    inside = torch.from_numpy(level)[k, j, i] > 0
    assert (feature["far from the targets"] > 0).equal(~inside) and (feature["near the targets"] == 1).equal(inside)
    assert feature["high level"].equal((torch.from_numpy(level)[k, j, i] == 1).float())
    assert feature["middle level"].equal(inside.float() - feature["high level"]) and not feature["low level"].any()
    assert feature["any middle level"].all() and not feature["any low level"].any()
    assert feature["Parotid"].bool().equal(torch.from_numpy(parotid)[k, j, i]) and not feature["Brainstem"].any()
    torch.testing.assert_close(feature["beside the isocentre"], (i - 23.5).abs() * 4 / 100)
    inner = inside & (i > 20) & (i < 28)
    torch.testing.assert_close(feature["least depth"][inner], (j[inner] + 0.5) * 4 * 1.04 / 100, atol=0.05, rtol=0)
    torch.testing.assert_close(feature["CT"], torch.full_like(feature["CT"], 0.04))
    assert (feature["slice spacing"] == 1).all() and (feature["dose mask"] == 1).all()


@pytest.mark.slow
def test_plan_hardly_depends_on_the_dose_mask(planner):
    """Where the mask ends far from the targets, the plan inside stays the same."""
    case = make_case()
    shorter = case.dose_mask.copy()
    outer = np.nonzero(shorter.any((1, 2)))[0]
    shorter[outer[-1] - 1 :] = False
    long, short = (
        plan_dose(planner, PlanningCase.of(replace(case, dose_mask=mask)), NINE) for mask in (case.dose_mask, shorter)
    )
    assert np.abs(long - short)[shorter].mean() < 0.01


@pytest.mark.parametrize(
    ("names", "angles"), [(("ct", "plan_dose"), ()), (("ct",), (0,)), (("plan_dose",), (float("nan"),))]
)
def test_gantry_angles_go_with_the_channel(names, angles):
    with pytest.raises(ModelError, match="gantry angles"):
        ChannelSpec(names, gantry_angles=angles)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_planning_takes_one_thread_and_gives_the_others_back(planner, two_threads, monkeypatch):
    """Beside a busy process a second thread made it ten times as slow."""
    seen = []
    monkeypatch.setattr(
        BeamModel,
        "forward",
        lambda self, forward=BeamModel.forward: (seen.append(torch.get_num_threads()), forward(self))[1],
    )
    delivery = Delivery(planner, water(), NINE)
    delivery.nearest(delivery.plan_dose)
    assert set(seen) == {1} and torch.get_num_threads() == 2


def test_partners_plan_side_by_side_with_one_thread_each(two_threads, monkeypatch):
    torch.manual_seed(0)
    planner = Planner(partners=[0, 0]).eval().requires_grad_(False)
    seen = []
    monkeypatch.setattr(
        BeamModel,
        "forward",
        lambda self, forward=BeamModel.forward: (
            seen.append((threading.get_ident(), torch.get_num_threads())),
            forward(self),
        )[1],
    )
    together = Delivery(planner, water(), NINE).plan_dose
    assert {threads for _, threads in seen} == {1} and threading.get_ident() not in {thread for thread, _ in seen}
    torch.set_num_threads(1)
    seen.clear()
    np.testing.assert_array_equal(Delivery(planner, water(), NINE).plan_dose, together)
    assert {thread for thread, _ in seen} == {threading.get_ident()}


def test_what_fails_in_a_thread_fails_here(two_threads):
    with one_thread(), pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 / n, (1, 0))
    assert torch.get_num_threads() == 2
