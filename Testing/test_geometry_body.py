"""The body is found without couch and mask, with its cavities, and the dose mask follows the targets."""

from __future__ import annotations

import numpy as np
import pytest

from DeepDosePredictLib.geometry.body import _enclosed, derived_dose_mask, ends_near, find_body
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


def test_a_body_at_the_rim_of_the_grid_goes_on_beyond_it():
    """Shoulders are wider than the grid: a part two voxels wide at its edge is body, and so is a cavity near it."""
    ct = np.full(SHAPE, -1000, np.int16)
    ct[:, 20:40, :2] = 40
    target = np.zeros(SHAPE, bool)
    target[8:12, 28:32, :2] = True
    rows = slice(21, 39)  # the opening rounds corners off
    assert (find_body(ct, target) == (ct > -300))[:, rows].all()
    ct[:, 10:50, :30] = 40
    whole = ct > -300
    ct[:, 26:28, 1:3] = -1000
    assert (find_body(ct, target) == whole)[:, rows].all()


def test_thin_walls_between_cavities_belong_to_the_body():
    """The opening cuts a wall of one voxel; what lies between two enclosed cavities is body all the same."""
    ct, body, target = scan()
    ct[:, 20:30, 26:38] = -1000
    ct[:, 25] = np.where(body[:, 25], 40, ct[:, 25])
    assert (find_body(ct, target) == body).all()


@pytest.mark.parametrize(("first", "last", "near"), [(2, 17, True), (1, 12, False), (8, 18, False), (3, 16, True)])
def test_both_ends_of_a_body_contour_count(first, last, near):
    """Targets in slices 9 to 11 of 12 mm: up to six slices, 72 mm, beyond them on either side."""
    _, body, target = scan()
    slices = np.arange(20)[:, None, None]
    assert ends_near(body & (slices >= first + 1) & (slices <= last), target, 12.0) == near


def test_a_body_contour_up_to_the_end_of_the_grid_is_no_dose_mask():
    _, body, target = scan()
    slices = np.arange(20)[:, None, None]
    assert not ends_near(body & (slices <= 14), target, 1.0) and not ends_near(body & (slices >= 5), target, 1.0)
    assert ends_near(body & (slices >= 1) & (slices <= 18), target, 1.0)


def test_air_is_enclosed_unless_it_reaches_one_of_the_four_edges_of_its_slice():
    air = np.zeros((6, 9, 9), bool)
    air[:, 4, 4] = True
    for n, edge in enumerate(((0, 4), (8, 4), (4, 0), (4, 8))):
        rows, columns = (slice(min(a, 4), max(a, 4) + 1) for a in edge)
        air[n, rows, columns] = True
    assert _enclosed(air).any((1, 2)).tolist() == [False, False, False, False, True, True]
    alone = np.zeros((4, 9, 9), bool)
    for n, (j, i) in enumerate(((0, 4), (8, 4), (4, 0), (4, 8))):
        alone[n, j, i] = True
    assert not _enclosed(alone).any()
