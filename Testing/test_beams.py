"""The beams' geometry and dose against analytic cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.planner.beams import SAD_MM, Beams, DoseMatrix, Physics, window_of
from DeepDosePredictLib.planner.fluence import Objective, fit_fluence, open_fields
from synthetic import ball

NINE = tuple(range(0, 360, 40))
SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
CENTRE = (7.5, 23.5, 23.5)
MU = Physics().attenuation


def everywhere(shape=SHAPE) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(index) for index in np.nonzero(np.ones(shape, bool)))


def open_dose(angles, ct: np.ndarray | None = None, target: np.ndarray | None = None, **physics) -> np.ndarray:
    """Dose of open fields around a target in a box of water, 1 on average in the target."""
    ct = np.zeros(SHAPE, np.int16) if ct is None else ct
    target = ball(SHAPE, CENTRE, 5.0) if target is None else target
    matrix = DoseMatrix(Beams(ct, CENTRE, SPACING, angles).rays(everywhere()), Physics(**physics))
    level = torch.from_numpy(target.astype(np.float32)).flatten()
    return matrix.dose(open_fields(matrix, level)).view(SHAPE).numpy()


def test_dose_falls_exponentially_along_a_beam():
    """On the axis of one beam, beyond the build-up: exp(-mu depth) and the inverse square of the distance."""
    dose = open_dose([0])[7, :, 23:25].mean(1)
    t = (np.arange(SHAPE[1]) - CENTRE[1]) * SPACING[1]
    expected = np.exp(-MU * t) * (SAD_MM / (SAD_MM + t)) ** 2
    inner = slice(8, -4)
    np.testing.assert_allclose(dose[inner] / dose[24], expected[inner] / expected[24], rtol=0.02)


def test_depth_is_radiological():
    """Behind a slab of lung (half as dense) there is more dose than behind water, by the missing attenuation."""
    ct = np.zeros(SHAPE, np.int16)
    ct[:, 4:14] = -500
    lung, water = open_dose([0], ct), open_dose([0])
    np.testing.assert_allclose(lung[7, 30:40, 24] / lung[7, 20, 24], water[7, 30:40, 24] / water[7, 20, 24], rtol=0.02)
    before, in_water = (dose[7, 2, 24] / dose[7, 20, 24] for dose in (lung, water))
    assert before == pytest.approx(in_water * np.exp(-MU * 20), rel=0.05)


@pytest.mark.parametrize(("angle", "towards"), [(0, (0, -1, 0)), (90, (0, 0, 1)), (180, (0, 1, 0)), (270, (0, 0, -1))])
def test_gantry_angle_is_where_the_beam_comes_from(angle, towards):
    """0 from anterior (low J), 90 from the patient's left (high I): more dose on the beam's side of the target."""
    dose = open_dose([angle])
    near, far = (
        dose[tuple(round(c + sign * 15 * d) for c, d in zip(CENTRE, towards, strict=True))] for sign in (1, -1)
    )
    assert near > 1.4 * far > 0
    aside = tuple(round(c + 15 * d) for c, d in zip(CENTRE, (0, towards[2], towards[1]), strict=True))
    assert dose[aside] < 0.05 * far


def test_rays_diverge():
    """The strip of a beam from anterior is wider behind the target than in front of it, as seen from the source."""
    dose = open_dose([0], target=ball(SHAPE, CENTRE, 7))
    widths = [
        np.count_nonzero(np.interp(np.arange(0, 47, 0.1), np.arange(48), row) > row.max() / 2)
        for row in (dose[7, 4], dose[7, 44])
    ]
    assert widths[1] / widths[0] == pytest.approx((SAD_MM + 82) / (SAD_MM - 78), rel=0.06)


def test_scatter_widens_a_beam_and_keeps_its_dose():
    narrow, wide = open_dose([0]), open_dose([0], scatter=0.2, scatter_mm=30.0)
    aside = (7, 24, 40)
    assert wide[aside] > 5 * narrow[aside] and wide[aside] > 0.005
    assert wide[:, 24].sum() == pytest.approx(narrow[:, 24].sum(), rel=0.25)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_back_is_the_transpose_of_dose(seed, n_beams):
    """<dose(x), y> = <x, back(y)>, with and without gradients."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(4, 12, 3))
    ct = rng.integers(-1024, 2000, shape).astype(np.int16)
    beams = Beams(ct, [rng.uniform(0, n - 1) for n in shape], rng.uniform(2, 6, 3), rng.uniform(-360, 720, n_beams))
    matrix = DoseMatrix(beams.rays(everywhere(shape)), Physics(scatter=0.1))
    x, y = torch.rand(beams.shape), torch.rand(int(np.prod(shape)))
    there, back = float((matrix.dose(x) * y).sum()), float((x * matrix.back(y)).sum())
    assert there == pytest.approx(back, rel=1e-3)
    assert float((x * matrix.back(y.requires_grad_())).sum().detach()) == pytest.approx(back, rel=1e-4)


def test_a_window_changes_nothing_inside():
    """Neither dose nor its transpose, and no fit: where no fluence is, none comes to be."""
    rays = Beams(np.zeros(SHAPE, np.int16), CENTRE, SPACING, NINE).rays(everywhere())
    whole = DoseMatrix(rays, Physics(scatter=0.1))
    level = torch.from_numpy(ball(SHAPE, CENTRE, 5.0).astype(np.float32)).flatten()
    fluence = open_fields(whole, level)
    window = window_of(fluence)
    k, u = window
    assert fluence.any(1)[k, u].any(1).all() and fluence[k, :, u].count_nonzero() == fluence.count_nonzero()
    assert k.stop - k.start < SHAPE[0] and u.stop - u.start < fluence.shape[2]
    small = DoseMatrix(rays, Physics(scatter=0.1), window)
    torch.testing.assert_close(small.dose(fluence), whole.dose(fluence))
    back = small.back(level)
    torch.testing.assert_close(back[k, :, u], whole.back(level)[k, :, u])
    assert back.shape == fluence.shape and back.count_nonzero() == back[k, :, u].count_nonzero()
    objective = Objective(torch.ones_like(level), level)
    fits = (fit_fluence(matrix, objective, fluence) for matrix in (small, whole))
    torch.testing.assert_close(*fits, atol=1e-4, rtol=1e-3)
