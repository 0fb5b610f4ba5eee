"""What beams see, and the factors that a planner gives their bixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from DeepDosePredictLib.core.beam_views import LARGEST_LOGARITHM, VIEWS, BeamPreference
from DeepDosePredictLib.core.beams import DoseMatrix
from DeepDosePredictLib.core.model_file import load_planner, save_planner
from DeepDosePredictLib.core.planner import ORGANS, Patient, Planner, make_problem
from synthetic import ball

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
TARGET, TOP, PAROTID, DEPTH = 0, 1, 2 + ORGANS.index("Parotid"), VIEWS - 5


def patient() -> Patient:
    """A box of water with a target of two levels in the middle and a parotid on the patient's left."""
    level = 0.8 * ball(SHAPE, (7.5, 23.5, 23.5), 5).astype(np.float32)
    level[ball(SHAPE, (7.5, 23.5, 23.5), 2.5)] = 1
    organ = ball(SHAPE, (7.5, 23.5, 33), 3) * np.uint8(1 + ORGANS.index("Parotid"))
    return Patient(np.zeros(SHAPE, np.int16), level, organ, np.ones(SHAPE, bool), SPACING)


def opinionated(seed: int = 0) -> BeamPreference:
    torch.manual_seed(seed)
    preference = BeamPreference()
    torch.nn.init.normal_(preference.head.weight, std=0.5)
    return preference.eval()


def test_views_show_the_patient_from_every_beam():
    """A parotid on the left lies in front of the target for the beam from the left, beside it for one from above."""
    problem, beams = make_problem(patient(), (0, 90, 180, 270))
    views = problem.views
    assert views.features.shape[:2] == (4, VIEWS) and torch.isfinite(views.features).all()
    k, u = (slice.stop - slice.start for slice in views.window)
    assert views.features.shape[2:] == (k, u) and k < SHAPE[0] + 1 and u < beams.shape[2]
    middle = views.features[:, :, k // 2, u // 2]
    assert (middle[:, TARGET] > middle[:, TOP]).all() and (middle[:, TOP] > 0.1).all()
    anterior, left, posterior, right = middle[:, PAROTID]
    assert min(left, right) > 0.2 > 0.05 > max(anterior, posterior)
    assert left > right, "the parotid is nearer to the beam from its side, so less attenuated"
    depth = 100 * middle[:, DEPTH]
    assert torch.allclose(depth, torch.tensor(96.0), atol=12), "half of 48 voxels of 4 mm"


@pytest.mark.parametrize("axis", [-1, -3])
def test_mirrored_views_are_those_of_the_mirrored_patient(axis):
    straight = patient()
    volumes = {name: np.ascontiguousarray(np.flip(getattr(straight, name), axis))
               for name in ("ct", "level", "organ", "dose_mask")}
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
    """1 where nothing was learned, positive and bounded else, and turned back when the patient is seen mirrored."""
    problem, _ = make_problem(patient(), NINE)
    fluence = problem.fluence
    assert torch.equal(BeamPreference().eval()(problem.views, fluence), torch.ones_like(fluence))
    preference = opinionated()
    with torch.inference_mode():
        factors = preference(problem.views, fluence)
        assert factors.shape == fluence.shape and factors.std() > 0.01
        assert np.exp(-LARGEST_LOGARITHM) < float(factors.min()) and float(factors.max()) < np.exp(LARGEST_LOGARITHM)
        for axes in ((-1,), (-3,), (-1, -3)):
            views = problem.views.mirrored(axes)
            k, u = problem.views.window
            image = problem.views.back(fluence[k, :, u].permute(1, 0, 2)[:, None], axes)
            seen = torch.ones_like(fluence)
            seen[k, :, u] = image[:, 0].permute(1, 0, 2)
            inner = preference(views, seen)[k, :, u].permute(1, 0, 2)[:, None]
            expected = problem.views.back(inner, axes)[:, 0].permute(1, 0, 2)
            torch.testing.assert_close(preference(problem.views, fluence, axes)[k, :, u], expected)


def test_one_sided_beams_are_never_seen_mirrored():
    problem, _ = make_problem(patient(), (0, 40, 90))
    assert problem.views.opposite == ()
    preference = opinionated()
    assert torch.equal(preference(problem.views, problem.fluence, (-1,)), preference(problem.views, problem.fluence))


def test_a_preference_moves_dose_between_the_beams_and_keeps_the_target(tmp_path):
    """The plan changes outside the target; its unit stays the mean dose in the highest; the file keeps the factors."""
    planner, problem = Planner().eval(), make_problem(patient(), NINE)[0]
    with torch.inference_mode():
        _, before = planner(problem)
        torch.manual_seed(1)
        torch.nn.init.normal_(planner.preference.head.weight, std=0.5)
        _, after = planner(problem)
        assert float(after[problem.top].mean()) == pytest.approx(1, abs=1e-5)
        assert (after - before).abs().mean() > 1e-3
        save_planner(tmp_path / "p.safetensors", planner)
        _, loaded = load_planner(tmp_path / "p.safetensors")(problem)
    torch.testing.assert_close(loaded, after, atol=5e-3, rtol=0)


def test_files_without_preference_plan_as_before(tmp_path):
    planner = Planner(prefers=False).eval()
    save_planner(tmp_path / "p.safetensors", planner)
    loaded = load_planner(tmp_path / "p.safetensors")
    assert loaded.preference is None
    problem, _ = make_problem(patient(), NINE)
    with torch.inference_mode():
        fluence, dose = loaded(problem)
        matrix = DoseMatrix(problem.rays, loaded.physics())
        fitted = loaded.fitted(problem, matrix)
        torch.testing.assert_close(fluence, fitted / matrix.dose(fitted)[problem.top].mean())
    assert torch.isfinite(dose).all()
