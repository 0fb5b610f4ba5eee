"""What beams see, and the factors that a planner gives their bixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from DeepDosePredictLib.model.model_file import load_planner, save_planner
from DeepDosePredictLib.patient.rois import OAR_KINDS
from DeepDosePredictLib.planner.bixel_factors import (
    LARGEST_LOGARITHM,
    PATIENT_VIEWS,
    PLACES,
    VIEWS,
    BixelFactors,
    Views,
)
from DeepDosePredictLib.planner.fluence import Objective
from DeepDosePredictLib.planner.planner import Planner
from DeepDosePredictLib.planner.planning_case import PlanningCase
from DeepDosePredictLib.planner.problem import Problem, make_problem
from synthetic import ball

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)


def patient() -> PlanningCase:
    """A box of water with a target of two levels in the middle and a parotid on the patient's left."""
    level = 0.8 * ball(SHAPE, (7.5, 23.5, 23.5), 5).astype(np.float32)
    level[ball(SHAPE, (7.5, 23.5, 23.5), 2.5)] = 1
    organ = ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(1 + OAR_KINDS.index("Parotid"))
    return PlanningCase(np.zeros(SHAPE, np.int16), level, organ, np.ones(SHAPE, bool), SPACING)


def middle(views: Views, name: str) -> torch.Tensor:
    """(beams,) of one feature in the middle of the beams' images."""
    image = views.features[:, views.names.index(name)]
    return image[:, image.shape[1] // 2, image.shape[2] // 2]


def opinionated(seed: int = 0) -> BixelFactors:
    torch.manual_seed(seed)
    network = BixelFactors()
    torch.nn.init.normal_(network.head.weight, std=0.2)
    return network.eval()


@torch.inference_mode()
def fitted_views(problem: Problem) -> Views:
    return Planner().eval().fit(problem, views=True).views


def test_views_show_the_patient_from_every_beam():
    """A parotid on the left lies in front of the target for the beam from the left, beside it for one from above."""
    problem, rays, _ = make_problem(patient(), (0, 90, 180, 270))
    views = problem.views
    assert views.features.shape[:2] == (4, len(PATIENT_VIEWS) + len(PLACES)) and torch.isfinite(views.features).all()
    k, u = (slice.stop - slice.start for slice in views.window)
    assert views.features.shape[2:] == (k, u) and k < SHAPE[0] + 1 and u < rays.shape[2]
    target, top = middle(views, "target"), middle(views, "highest target")
    assert (target > top).all() and (top > 0.1).all()
    anterior, left, posterior, right = middle(views, "Parotid")
    assert min(left, right) > 0.2 > 0.05 > max(anterior, posterior)
    assert left > right, "the parotid is nearer to the beam from its side, so less attenuated"
    depth = 100 * middle(views, "depth of the target")
    assert torch.allclose(depth, torch.tensor(96.0), atol=12), "half of 48 voxels of 4 mm"


def test_views_of_a_fit():
    """Dose above its aim shows where the organ lies; what lies in front of the target is told from what is behind."""
    problem, *_ = make_problem(patient(), (0, 90, 180, 270))
    planner = Planner().eval()
    with torch.inference_mode():
        fit = planner.fit(problem, views=True)
        one, none = torch.ones_like(fit.objective.aim), torch.zeros_like(fit.dose)
        objective = Objective(fit.objective.weight, one)
        below = problem.views.with_fit(problem.voxels, fit.matrix, objective, none)
    assert fit.views.names == VIEWS and torch.isfinite(fit.views.features).all()
    for name in (*PATIENT_VIEWS, *PLACES):
        torch.testing.assert_close(middle(fit.views, name), middle(problem.views, name))
    weight, above, under = (
        middle(fit.views, f"organ: {what}") for what in ("weight", "above the aim", "below the aim")
    )
    _, left, _, right = weight
    assert min(left, right) > 3 * max(weight[0], weight[2]), "the parotid lies on the rays from left and right"
    assert (above[[1, 3]] > 0.01).all() and (under < above).all(), "around a target dose is above an aim of little"
    assert (middle(below, "organ: above the aim") == 0).all(), "no dose at all is above no aim"
    assert (middle(below, "organ: below the aim")[[1, 3]] > 0.1).all(), "but below any"
    in_front, behind = middle(fit.views, "organ in front"), middle(fit.views, "organ behind")
    assert in_front[1] > 0.1 > 0.02 > in_front[3] and behind[3] > 0.1 > 0.02 > behind[1]


@pytest.mark.parametrize("axis", [-1, -3])
def test_mirrored_views_are_those_of_the_mirrored_patient(axis):
    straight = patient()
    volumes = {
        name: np.ascontiguousarray(np.flip(getattr(straight, name), axis))
        for name in ("ct", "level", "organ", "dose_mask")
    }
    ours, theirs = (make_problem(p, NINE)[0].views for p in (straight, replace(straight, **volumes)))
    assert ours.opposite == (0, 8, 7, 6, 5, 4, 3, 2, 1)
    mirrored = ours.mirrored([axis]).features
    # Tissue is seen by every twelfth voxel, counted from the other side, and bixels lie half a bixel off the middle.
    features = [n for n, name in enumerate(ours.names) if name not in ("other tissue", "depth of the target")]
    difference = (mirrored - theirs.features)[:, features].abs()
    assert difference.mean() < 0.03
    back = ours.mirrored([axis]).mirrored([axis]).features
    torch.testing.assert_close(back, ours.features)


def test_factors():
    """None where nothing was learned, bounded else, and turned back when the patient is seen mirrored."""
    problem, *_ = make_problem(patient(), NINE)
    fluence = problem.fluence
    views = fitted_views(problem)
    assert not BixelFactors().eval()(views, fluence).any()
    network = opinionated()
    with torch.inference_mode():
        logarithms = network(views, fluence)
        assert logarithms.shape == fluence.shape and logarithms.std() > 0.01
        assert float(logarithms.abs().max()) < LARGEST_LOGARITHM
        for axes in ((-1,), (-3,), (-1, -3)):
            mirrored = views.mirrored(axes)
            k, u = views.window
            seen = torch.ones_like(fluence)
            seen[k, :, u] = views.back(views.seen(fluence), axes)[:, 0].permute(1, 0, 2)
            expected = views.back(views.seen(network(mirrored, seen)), axes)
            torch.testing.assert_close(views.seen(network(views, fluence, axes)), expected)


def test_beams_are_told_by_their_angles_not_by_their_order():
    """The same beams in another order get the same factors."""
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    straight, shuffled = (make_problem(patient(), angles)[0] for angles in (NINE, [NINE[n] for n in order]))
    network = opinionated()
    with torch.inference_mode():
        ours, theirs = (network(fitted_views(p), p.fluence) for p in (straight, shuffled))
    torch.testing.assert_close(ours[:, order], theirs, atol=1e-4, rtol=1e-3)


def test_one_sided_beams_are_never_seen_mirrored():
    problem, *_ = make_problem(patient(), (0, 40, 90))
    assert problem.views.opposite == ()
    network, views = opinionated(), fitted_views(problem)
    assert torch.equal(network(views, problem.fluence, (-1,)), network(views, problem.fluence))


def opinionated_planner(bixel_factors: int) -> Planner:
    torch.manual_seed(1)
    planner = Planner(bixel_factors).eval().requires_grad_(False)
    for network in planner.bixel_factors:
        torch.nn.init.normal_(network.head.weight, std=0.2)
    return planner


def test_factors_move_dose_between_the_beams_and_keep_the_target(tmp_path):
    """The plan changes outside the target; its unit stays the mean dose in the highest; the file keeps the factors."""
    planner, problem = opinionated_planner(1), make_problem(patient(), NINE)[0]
    with torch.inference_mode():
        fit = planner.fit(problem)
        _, before = planner.delivered(problem, fit, ())
        _, after = planner(problem)
        bare = fit.matrix.dose(fit.fluence * planner.bixel_factors[0](fit.views, fit.fluence).exp())
        save_planner(tmp_path / "p.safetensors", planner)
        _, loaded = load_planner(tmp_path / "p.safetensors")(problem)
    assert float(after[problem.voxels.top].mean()) == pytest.approx(1, abs=1e-5)
    assert (after - before).abs().mean() > 1e-3

    def roughness(dose):
        return (dose / dose[problem.voxels.top].mean())[problem.voxels.top].std()

    assert roughness(after) < 0.8 * roughness(bare), "the fit is mended after the factors"
    torch.testing.assert_close(loaded, after, atol=5e-3, rtol=0)


def test_the_mean_of_factors_counts_and_every_second_sees_the_patient_mirrored():
    planner, problem = opinionated_planner(2), make_problem(patient(), NINE)[0]
    with torch.inference_mode():
        fit = planner.fit(problem)
        first = planner.bixel_factors[0](fit.views, fit.fluence)
        second = planner.bixel_factors[1](fit.views, fit.fluence, (-1,))
        mean = opinionated_planner(1)
        mean.bixel_factors[0].forward = lambda views, fluence, flipped: (first + second) / 2
        expected = mean.delivered(problem, fit, mean.bixel_factors)[1]
        torch.testing.assert_close(planner.delivered(problem, fit, planner.bixel_factors)[1], expected)
        assert (second - planner.bixel_factors[1](fit.views, fit.fluence)).abs().max() > 0.01


def test_files_without_factors_have_none(tmp_path):
    path = tmp_path / "p.safetensors"
    save_planner(path, Planner().eval())
    assert not load_planner(path).bixel_factors
