"""The fit of fluences: nearer to what is wanted with every step, and a deliverable dose is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from DeepDosePredictLib.planner import fluence as fluence_module
from DeepDosePredictLib.planner.beams import Beams, DoseMatrix, Physics
from DeepDosePredictLib.planner.fluence import Objective, fit_fluence, open_fields, refit_fluence
from synthetic import ball

SHAPE, SPACING = (16, 48, 48), (4.0, 4.0, 4.0)
CENTRE = (7.5, 23.5, 23.5)


@pytest.fixture(scope="module")
def matrix() -> DoseMatrix:
    """Of all voxels of a box of water."""
    everywhere = tuple(torch.from_numpy(index) for index in np.nonzero(np.ones(SHAPE, bool)))
    beams = Beams(np.zeros(SHAPE, np.int16), CENTRE, SPACING, range(0, 360, 40))
    return DoseMatrix(beams.rays(everywhere), Physics())


@pytest.fixture(scope="module")
def level() -> torch.Tensor:
    """Of a target in its middle."""
    return torch.from_numpy(ball(SHAPE, CENTRE, 5.0).astype(np.float32)).flatten()


def test_a_refit_mends_a_fluence_and_stays_near_it(matrix, level):
    weight = torch.where(level > 0, 1.0, 0.01)
    objective = Objective(weight, level)
    fitted = fit_fluence(matrix, objective, open_fields(matrix, level))
    torch.manual_seed(0)
    broken = fitted * torch.empty(fitted.shape[1:]).uniform_(0.5, 1.5)
    mended = refit_fluence(matrix, objective, broken)

    def error(fluence):
        return float((weight * (matrix.dose(fluence) - level) ** 2).sum())

    assert 0 < error(mended) - error(fitted) < 0.5 * (error(broken) - error(fitted))
    assert (mended - broken).abs().sum() < (mended - fitted).abs().sum()
    assert torch.equal(refit_fluence(matrix, objective, broken, iterations=0), broken)


def test_fit_lowers_the_weighted_squares(monkeypatch, matrix, level):
    """More iterations bring the dose nearer to what is wanted, and as near as non-negative fluences of a plan get."""
    weight = torch.where(level > 0, 1.0, 0.01)
    errors = []
    for n in (0, 3, fluence_module.ITERATIONS):
        monkeypatch.setattr(fluence_module, "ITERATIONS", n)
        fluence = fit_fluence(matrix, Objective(weight, level), open_fields(matrix, level))
        assert (fluence >= 0).all()
        errors.append(float((weight * (matrix.dose(fluence) - level) ** 2).sum()))
    assert errors[0] > errors[1] > errors[2]


def test_fit_finds_a_deliverable_dose_again(matrix, level):
    first = open_fields(matrix, level)
    wanted = matrix.dose(first * (0.5 + torch.rand(first.shape, generator=torch.Generator().manual_seed(0))))
    fitted = matrix.dose(fit_fluence(matrix, Objective(torch.ones_like(wanted), wanted), first))
    inside = wanted > 0.2 * wanted.max()
    assert float((fitted - wanted)[inside].abs().mean() / wanted[inside].mean()) < 0.02


def test_smoothness_keeps_fluences_small(matrix, level):
    weight = torch.where(level > 0, 1.0, 0.01)
    free, smooth = (
        fit_fluence(matrix, Objective(weight, level, smoothness), open_fields(matrix, level))
        for smoothness in (0.0, 10.0)
    )
    assert 0 < smooth.square().sum() < 0.9 * free.square().sum()
