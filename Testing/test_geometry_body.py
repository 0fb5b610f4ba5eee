"""The body is found without couch and mask, with its cavities, and the dose mask follows the targets."""

from __future__ import annotations

import numpy as np
import pytest

from DeepDosePredictLib.geometry.body import derived_dose_mask, ends_near, find_body
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from synthetic import ball

SHAPE = (20, 64, 64)


def cylinder(radius: float, centre: tuple[float, float] = (30, 32)) -> np.ndarray:
    return np.broadcast_to(ball(SHAPE[1:], centre, radius), SHAPE)


def scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(CT, body, target): a cylinder with an airway that is open at the top and the bottom slice."""
    ct = np.full(SHAPE, -1000, np.int16)
    body = cylinder(18).copy()
    ct[body] = 40
    ct[cylinder(4, (24, 32))] = -1000
    return ct, body, cylinder(3, (36, 32)) & (np.arange(20) > 8)[:, None, None] & (np.arange(20) < 12)[:, None, None]


def test_cavities_belong_to_the_body():
    ct, body, target = scan()
    assert (find_body(ct, target) == body).all()


def test_couch_and_immobilisation_do_not():
    ct, body, target = scan()
    ct[:, 54:57, 5:60] = 200  # couch plate
    ct[:, 49:51, 20:44] = 100  # head rest, touching the skin
    shell = cylinder(22) & ~cylinder(21)
    ct[shell] = -100  # mask, a voxel thick, clear of the skin
    found = find_body(ct, target)
    assert (found & ~body).sum() < 0.02 * body.sum() and not (body & ~found).any()


def test_no_body_where_the_targets_lie_in_air():
    ct, _, _ = scan()
    assert not find_body(ct, cylinder(2, (5, 5))).any()


@pytest.mark.slow
def test_phantom_body_covers_its_dose_mask():
    case = head_and_neck_phantom()
    targets = np.logical_or.reduce([case.rois[name] for name in case.targets()])
    found = find_body(case.ct, targets)
    assert (found & case.dose_mask).sum() > 0.95 * case.dose_mask.sum()  # it lacks skin voxels filled by less than half


def test_dose_mask_ends_a_margin_beyond_the_targets():
    _, body, target = scan()
    mask = derived_dose_mask(body, target, spacing_k=2.5, margin_mm=5)
    assert np.flatnonzero(mask.any((1, 2))).tolist() == list(range(7, 14))
    assert (mask[7:14] == body[7:14]).all()
    assert derived_dose_mask(body, target, 2.5, 1000).any((1, 2)).all()


def test_a_short_body_contour_is_a_dose_mask_already():
    _, body, target = scan()
    short = body & (np.arange(20) > 2)[:, None, None] & (np.arange(20) < 18)[:, None, None]
    assert ends_near(short, target, spacing_k=2.5)
    assert not ends_near(body, target, spacing_k=2.5), "it may go on beyond the grid"
    assert not ends_near(short, target, spacing_k=20.0)
