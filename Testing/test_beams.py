"""The rough plan of coplanar beams: geometry, attenuation and fit against analytic cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.core import beams
from DeepDosePredictLib.core.beams import ATTENUATION_PER_MM, SAD_MM, beam_dose
from DeepDosePredictLib.core.bitmask import RoiMask
from DeepDosePredictLib.core.channels import DEFAULT_CHANNELS, ChannelSpec, rough_plan
from DeepDosePredictLib.core.errors import ModelError
from synthetic import ball, make_case

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
CENTRE = (7.5, 23.5, 23.5)


def water(radius: float = 5.0, centre=CENTRE, shape=SHAPE) -> dict[str, np.ndarray]:
    """A box of water with a ball of one prescription."""
    return {"ct": np.zeros(shape, np.int16), "level": ball(shape, centre, radius).astype(np.float32),
            "oars": np.zeros(shape, bool), "where": np.ones(shape, bool)}


def plan(angles, spacing=SPACING, **case) -> np.ndarray:
    return beam_dose(**(water() | case), spacing=spacing, gantry_angles=angles)


def test_dose_falls_exponentially_along_a_beam():
    """On the axis of one beam, beyond the build-up: exp(-mu depth) and the inverse square of the distance."""
    dose = plan([0])[7, :, 23:25].mean(1)
    t = (np.arange(SHAPE[1]) - CENTRE[1]) * SPACING[1]
    expected = np.exp(-ATTENUATION_PER_MM * t) * (SAD_MM / (SAD_MM + t)) ** 2
    inner = slice(8, -4)
    np.testing.assert_allclose(dose[inner] / dose[24], expected[inner] / expected[24], rtol=0.02)


def test_depth_is_radiological():
    """Behind a slab of lung (half as dense) there is more dose than behind water, by the missing attenuation."""
    ct = np.zeros(SHAPE, np.int16)
    ct[:, 4:14] = -500
    ratio = plan([0], ct=ct)[7, 30:40, 24] / plan([0], ct=ct)[7, 20, 24]
    in_water = plan([0])[7, 30:40, 24] / plan([0])[7, 20, 24]
    np.testing.assert_allclose(ratio, in_water, rtol=0.02)
    before, in_water = (dose[7, 2, 24] / dose[7, 20, 24] for dose in (plan([0], ct=ct), plan([0])))
    assert before == pytest.approx(in_water * np.exp(-ATTENUATION_PER_MM * 20), rel=0.05)


@pytest.mark.parametrize(("angle", "towards"), [(0, (0, -1, 0)), (90, (0, 0, 1)), (180, (0, 1, 0)), (270, (0, 0, -1))])
def test_gantry_angle_is_where_the_beam_comes_from(angle, towards):
    """0 from anterior (low J), 90 from the patient's left (high I): more dose on the beam's side of the target."""
    dose = plan([angle])
    near, far = (dose[tuple(round(c + sign * 15 * d) for c, d in zip(CENTRE, towards, strict=True))]
                 for sign in (1, -1))
    assert near > 1.4 * far > 0
    aside = tuple(round(c + 15 * d) for c, d in zip(CENTRE, (0, towards[2], towards[1]), strict=True))
    assert dose[aside] < 0.05 * far


def test_rays_diverge():
    """The strip of a beam from anterior is wider behind the target than in front of it, as seen from the source."""
    dose = plan([0], level=ball(SHAPE, CENTRE, 7).astype(np.float32))
    widths = [np.count_nonzero(np.interp(np.arange(0, 47, 0.1), np.arange(48), row) > row.max() / 2)
              for row in (dose[7, 4], dose[7, 44])]
    assert widths[1] / widths[0] == pytest.approx((SAD_MM + 82) / (SAD_MM - 78), rel=0.06)


def test_nine_beams_give_the_target_a_uniform_dose_and_keep_it_there():
    case = water()
    dose = plan(NINE)
    core = ball(SHAPE, CENTRE, 4)
    assert dose[case["level"] > 0].mean() == pytest.approx(1, abs=1e-5)
    assert dose[core].std() < 0.06
    assert dose[~ball(SHAPE, CENTRE, 12)].mean() < 0.15


def test_levels_are_followed():
    level = water()["level"] * np.float32(0.8)
    level[ball(SHAPE, (7.5, 23.5, 20), 2.2)] = 1
    dose = plan(NINE, level=level)
    assert dose[level == 1].mean() == pytest.approx(1, abs=1e-5)
    assert 0.75 < dose[np.isclose(level, 0.8)].mean() < 0.92


def test_organs_at_risk_are_spared():
    organ = ball(SHAPE, (7.5, 23.5, 33), 3)
    assert plan(NINE, oars=organ)[organ].mean() < 0.75 * plan(NINE)[organ].mean()


def test_mirrored_patient_gets_the_mirrored_dose():
    case = make_case()
    spec = ChannelSpec((*DEFAULT_CHANNELS, "beam_dose"), gantry_angles=NINE)
    dose = rough_plan(case.ct, case.rois, case.dose_mask, case.spacing, spec)
    mirrored = RoiMask(np.ascontiguousarray(case.rois.bits[..., ::-1]), case.rois.names)
    other = rough_plan(case.ct[..., ::-1], mirrored, case.dose_mask[..., ::-1], case.spacing, spec)[..., ::-1]
    # The tissue voxels that take part in the fit differ: every twelfth, counted from the other side.
    assert np.abs(other - dose)[case.dose_mask].mean() < 0.01


def test_a_turn_by_the_beams_angle_changes_nothing():
    """Nine beams at 0, 40, ... are those at 40, 80, ..."""
    np.testing.assert_allclose(plan(NINE), plan([angle + 40 for angle in NINE]), atol=1e-4)


def test_only_where_it_is_asked_for():
    where = np.zeros(SHAPE, bool)
    where[4:12] = True
    dose = plan(NINE, where=where)
    assert not dose[~where].any() and (dose[where] >= 0).all() and dose.dtype == np.float32
    assert not plan(NINE, where=np.zeros(SHAPE, bool)).any()
    assert not plan(NINE, level=np.zeros(SHAPE, np.float32)).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.5, 5), st.floats(2, 6), st.integers(1, 9))
def test_any_patient_gives_finite_dose(seed, k_spacing, spacing, n_beams):
    rng = np.random.default_rng(seed)
    shape = tuple(16 * rng.integers(1, 3, 3))
    ct = rng.integers(-1024, 3000, shape).astype(np.int16)
    centre = [rng.uniform(0, n - 1) for n in shape]
    dose = beam_dose(ct, np.maximum(0.8 * ball(shape, centre, 4), ball(shape, centre, rng.uniform(0.8, 3))),
                     rng.random(shape) < 0.1, rng.random(shape) < 0.9, (k_spacing, spacing, spacing),
                     rng.uniform(-360, 720, n_beams))
    assert np.isfinite(dose).all() and (dose >= 0).all()


def test_levels_and_organs_of_a_case(monkeypatch):
    """PTVs in units of the highest prescription present; organs are those the model has channels for."""
    taken = {}
    monkeypatch.setattr("DeepDosePredictLib.core.channels.beam_dose", lambda *args: taken.update(args=args))
    case = make_case()
    masks = {roi: case.rois[roi] for roi in case.rois if roi != "PTV70"} | {"Other": case.dose_mask}
    case = replace(case, rois=RoiMask.encode(masks))
    rough_plan(case.ct, case.rois, case.dose_mask, case.spacing,
               ChannelSpec(("roi/Mandible", "ptv/PTV63", "beam_dose"), gantry_angles=NINE))
    _, level, oars, *_, angles = taken["args"]
    assert set(np.unique(level)) == {0, np.float32(56 / 63), 1} and angles == NINE
    np.testing.assert_array_equal(oars, case.rois["Mandible"])


@pytest.mark.parametrize(("names", "angles"), [(("ct", "beam_dose"), ()), (("ct",), (0,)),
                                               (("beam_dose",), (float("nan"),))])
def test_gantry_angles_go_with_the_channel(names, angles):
    with pytest.raises(ModelError, match="gantry angles"):
        ChannelSpec(names, gantry_angles=angles)


def test_fit_lowers_the_weighted_squares():
    """More iterations bring the dose nearer to what is wanted."""
    case = water()
    errors = []
    for n in (1, beams.ITERATIONS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(beams, "ITERATIONS", n)
            dose = plan(NINE)
        target = case["level"] > 0
        errors.append(np.sum((dose[target] - 1) ** 2) + beams.TISSUE_WEIGHT * np.sum(dose[~target] ** 2))
    assert errors[1] < errors[0]
