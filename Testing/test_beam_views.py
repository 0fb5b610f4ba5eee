"""What beams see, and the factors that a planner gives their bixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from DeepDosePredictLib.errors import ModelError
from DeepDosePredictLib.model.model_file import PLANNER_FORMAT, load_planner, save_planner
from DeepDosePredictLib.planner.bixel_factors import (
    FIT_VIEWS,
    LARGEST_LOGARITHM,
    PATIENT_VIEWS,
    PLACES,
    BeamPreference,
    Views,
)
from DeepDosePredictLib.planner.planner import ORGANS, Patient, Planner, Problem, make_problem
from synthetic import ball

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
TARGET, TOP, PAROTID, DEPTH = 0, 1, 2 + ORGANS.index("Parotid"), PATIENT_VIEWS - 1
VIEWS = PATIENT_VIEWS + PLACES


def patient() -> Patient:
    """A box of water with a target of two levels in the middle and a parotid on the patient's left."""
    level = 0.8 * ball(SHAPE, (7.5, 23.5, 23.5), 5).astype(np.float32)
    level[ball(SHAPE, (7.5, 23.5, 23.5), 2.5)] = 1
    organ = ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(1 + ORGANS.index("Parotid"))
    return Patient(np.zeros(SHAPE, np.int16), level, organ, np.ones(SHAPE, bool), SPACING)


def opinionated(seed: int = 0) -> BeamPreference:
    torch.manual_seed(seed)
    preference = BeamPreference()
    torch.nn.init.normal_(preference.head.weight, std=0.2)
    return preference.eval()


@torch.inference_mode()
def fitted_views(problem: Problem) -> Views:
    return Planner().eval().fit(problem, views=True).views


def test_views_show_the_patient_from_every_beam():
    """A parotid on the left lies in front of the target for the beam from the left, beside it for one from above."""
    problem, rays = make_problem(patient(), (0, 90, 180, 270))
    views = problem.views
    assert views.features.shape[:2] == (4, VIEWS) and torch.isfinite(views.features).all()
    k, u = (slice.stop - slice.start for slice in views.window)
    assert views.features.shape[2:] == (k, u) and k < SHAPE[0] + 1 and u < rays.shape[2]
    middle = views.features[:, :, k // 2, u // 2]
    assert (middle[:, TARGET] > middle[:, TOP]).all() and (middle[:, TOP] > 0.1).all()
    anterior, left, posterior, right = middle[:, PAROTID]
    assert min(left, right) > 0.2 > 0.05 > max(anterior, posterior)
    assert left > right, "the parotid is nearer to the beam from its side, so less attenuated"
    depth = 100 * middle[:, DEPTH]
    assert torch.allclose(depth, torch.tensor(96.0), atol=12), "half of 48 voxels of 4 mm"


def test_views_of_a_fit():
    """Dose above its aim shows where the organ lies; what lies in front of the target is told from what is behind."""
    problem, _ = make_problem(patient(), (0, 90, 180, 270))
    planner = Planner().eval()
    with torch.inference_mode():
        fit = planner.fit(problem, views=True)
        none = replace(fit, aim=torch.ones_like(fit.aim), dose=torch.zeros_like(fit.dose))
        below = problem.views.with_fit(
            none.matrix, problem.rays, problem.share, problem.level, problem.organ, none.weight, none.aim, none.dose
        )
    features = fit.views.features
    assert features.shape[1] == VIEWS + FIT_VIEWS and torch.isfinite(features).all()
    torch.testing.assert_close(features[:, :PATIENT_VIEWS], problem.views.features[:, :PATIENT_VIEWS])
    torch.testing.assert_close(features[:, -PLACES:], problem.views.features[:, -PLACES:])
    k, u = (n // 2 for n in features.shape[2:])
    weight, _, above, under = features[:, PATIENT_VIEWS : PATIENT_VIEWS + 4, k, u].T
    _, left, _, right = weight
    assert min(left, right) > 3 * max(weight[0], weight[2]), "the parotid lies on the rays from left and right"
    assert (above[[1, 3]] > 0.01).all() and (under < above).all(), "around a target dose is above an aim of little"
    organ = below.features[:, PATIENT_VIEWS : PATIENT_VIEWS + 4, k, u]
    assert (organ[:, 2] == 0).all() and (organ[[1, 3], 3] > 0.1).all(), "no dose at all is below any aim"
    in_front, behind = features[:, PATIENT_VIEWS + 10 : PATIENT_VIEWS + 12, k, u].T
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
    features = [n for n in range(VIEWS) if n not in (DEPTH - 1, DEPTH)]
    difference = (mirrored - theirs.features)[:, features].abs()
    assert difference.mean() < 0.03
    back = ours.mirrored([axis]).mirrored([axis]).features
    torch.testing.assert_close(back, ours.features)


def test_factors():
    """None where nothing was learned, bounded else, and turned back when the patient is seen mirrored."""
    problem, _ = make_problem(patient(), NINE)
    fluence = problem.fluence
    views = fitted_views(problem)
    assert not BeamPreference().eval()(views, fluence).any()
    preference = opinionated()
    with torch.inference_mode():
        logarithms = preference(views, fluence)
        assert logarithms.shape == fluence.shape and logarithms.std() > 0.01
        assert float(logarithms.abs().max()) < LARGEST_LOGARITHM
        for axes in ((-1,), (-3,), (-1, -3)):
            mirrored = views.mirrored(axes)
            k, u = views.window
            seen = torch.ones_like(fluence)
            seen[k, :, u] = views.back(views.seen(fluence), axes)[:, 0].permute(1, 0, 2)
            expected = views.back(views.seen(preference(mirrored, seen)), axes)
            torch.testing.assert_close(views.seen(preference(views, fluence, axes)), expected)


def test_beams_are_told_by_their_angles_not_by_their_order():
    """The same beams in another order get the same factors."""
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    straight, shuffled = (make_problem(patient(), angles)[0] for angles in (NINE, [NINE[n] for n in order]))
    preference = opinionated()
    with torch.inference_mode():
        ours, theirs = (preference(fitted_views(p), p.fluence) for p in (straight, shuffled))
    torch.testing.assert_close(ours[:, order], theirs, atol=1e-4, rtol=1e-3)


def test_one_sided_beams_are_never_seen_mirrored():
    problem, _ = make_problem(patient(), (0, 40, 90))
    assert problem.views.opposite == ()
    preference, views = opinionated(), fitted_views(problem)
    assert torch.equal(preference(views, problem.fluence, (-1,)), preference(views, problem.fluence))


def opinionated_planner(preferences: int) -> Planner:
    torch.manual_seed(1)
    planner = Planner(preferences=preferences).eval().requires_grad_(False)
    for preference in planner.preferences:
        torch.nn.init.normal_(preference.head.weight, std=0.2)
    return planner


def test_a_preference_moves_dose_between_the_beams_and_keeps_the_target(tmp_path):
    """The plan changes outside the target; its unit stays the mean dose in the highest; the file keeps the factors."""
    planner, problem = opinionated_planner(1), make_problem(patient(), NINE)[0]
    with torch.inference_mode():
        fit = planner.fit(problem)
        _, before = planner.delivered(problem, fit, ())
        _, after = planner(problem)
        bare = fit.matrix.dose(fit.fluence * planner.preferences[0](fit.views, fit.fluence).exp())
        save_planner(tmp_path / "p.safetensors", planner)
        _, loaded = load_planner(tmp_path / "p.safetensors")(problem)
    assert float(after[problem.top].mean()) == pytest.approx(1, abs=1e-5)
    assert (after - before).abs().mean() > 1e-3

    def roughness(dose):
        return (dose / dose[problem.top].mean())[problem.top].std()

    assert roughness(after) < 0.8 * roughness(bare), "the fit is mended after the factors"
    torch.testing.assert_close(loaded, after, atol=5e-3, rtol=0)


def test_the_mean_of_preferences_counts_and_every_second_sees_the_patient_mirrored():
    planner, problem = opinionated_planner(2), make_problem(patient(), NINE)[0]
    with torch.inference_mode():
        fit = planner.fit(problem)
        first = planner.preferences[0](fit.views, fit.fluence)
        second = planner.preferences[1](fit.views, fit.fluence, (-1,))
        mean = opinionated_planner(1)
        mean.preferences[0].forward = lambda views, fluence, flipped: (first + second) / 2
        expected = mean.delivered(problem, fit, mean.preferences)[1]
        torch.testing.assert_close(planner.delivered(problem, fit, planner.preferences)[1], expected)
        assert (second - planner.preferences[1](fit.views, fit.fluence)).abs().max() > 0.01


def test_files_without_preference_have_none_and_those_of_version_6_are_refused(tmp_path):
    path = tmp_path / "p.safetensors"
    save_planner(path, Planner().eval())
    assert not load_planner(path).preferences
    old = {f"planner.preference.{name}": t for name, t in BeamPreference().state_dict().items()}
    save_file(load_file(path) | old, path, {"format": PLANNER_FORMAT})
    with pytest.raises(ModelError, match=r"p\.safetensors: its planner .* version 6.*--preference"):
        load_planner(path)
