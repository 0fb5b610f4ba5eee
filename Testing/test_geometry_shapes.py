"""Structures on grids: coverage of voxels, boxes around them, cropping."""

from __future__ import annotations

import numpy as np
import pytest

from DeepDosePredictLib.geometry.clinical_case import _disjoint, _united
from DeepDosePredictLib.geometry.shapes import LabelmapShape
from DeepDosePredictLib.patient.grid import Grid

FINE = Grid.lps_aligned((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
COARSE = Grid.lps_aligned((10, 10, 10), (3.0, 3.0, 3.0), (1.0, 1.0, 1.0))
"""Three voxels of FINE along each axis make one of COARSE, whose outer faces coincide with its own."""


def block(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> LabelmapShape:
    mask = np.zeros(FINE.shape, bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return LabelmapShape.cropped(mask, FINE)


def whole(part: tuple[tuple[slice, ...], np.ndarray]) -> np.ndarray:
    """On the whole of COARSE."""
    box, values = part
    result = np.zeros(COARSE.shape, values.dtype)
    result[box] = values
    return result


def test_coverage_is_the_part_of_each_voxel():
    shape = block((3, 9), (5, 13), (0, 4))
    mask = np.zeros(FINE.shape)
    mask[3:9, 5:13, 0:4] = 1
    expected = mask.reshape(10, 3, 10, 3, 10, 3).mean((1, 3, 5))
    np.testing.assert_allclose(whole(shape.coverage(COARSE)), expected, atol=1e-6)
    np.testing.assert_array_equal(whole_of(shape), mask)


def test_centres_inside_are_those_of_the_voxels():
    """Voxel centres of COARSE are the middle ones of three."""
    shape = block((4, 8), (3, 4), (0, 30))
    expected = np.zeros(COARSE.shape, bool)
    expected[1:3, 1, :] = False
    assert not whole(shape.inside(COARSE)).any()
    shape = block((4, 8), (4, 5), (0, 30))
    expected[1:3, 1, :] = True
    np.testing.assert_array_equal(whole(shape.inside(COARSE)), expected)


def test_a_voxel_belongs_to_what_covers_half_of_it():
    """4/9 of a voxel are too little beside voxels that are covered; 6/9 are enough."""
    mask = _united([block((0, 6), (0, 5), (0, 5))], COARSE)
    np.testing.assert_array_equal(mask.nonzero(), (*np.indices((2, 2, 2)).reshape(3, -1)[:, [0, 1, 2, 4, 5, 6]],))
    assert not mask[0, 1, 1] and mask[0, 0, 1] and mask[0, 1, 0]


def test_a_small_structure_keeps_its_volume_in_the_most_covered_voxels():
    """Of 2x2x2 fine voxels across a corner, 8/27 of a voxel, one voxel stays: that which has most of it."""
    mask = _united([block((2, 4), (2, 4), (2, 5))], COARSE)
    assert np.argwhere(mask).tolist() == [[0, 0, 1]]
    mask = _united([block((0, 1), (0, 3), (0, 30))], COARSE)
    assert mask.sum() == round(90 / 27) and mask[0, 0].sum() == mask.sum()


def test_parts_of_one_role_are_united():
    mask = _united([block((0, 3), (0, 3), (0, 3)), block((6, 9), (6, 9), (6, 9))], COARSE)
    assert np.argwhere(mask).tolist() == [[0, 0, 0], [2, 2, 2]]


def test_the_highest_prescription_wins_where_targets_overlap():
    one = np.zeros((4, 4, 4), bool)
    masks = {"PTV56": one.copy(), "PTV70": one.copy(), "PTV63": one.copy(), "Larynx": one.copy()}
    masks["PTV56"][:], masks["PTV63"][:3], masks["PTV70"][:2], masks["Larynx"][:] = True, True, True, True
    _disjoint(masks)
    assert {role: np.flatnonzero(mask.any((1, 2))).tolist() for role, mask in masks.items()} == {
        "PTV70": [0, 1],
        "PTV63": [2],
        "PTV56": [3],
        "Larynx": [0, 1, 2, 3],
    }


def test_cropping_keeps_a_mask_where_it_is():
    shape = block((7, 9), (20, 21), (3, 30))
    assert shape.mask.shape == (2, 1, 27) and shape.mask.all()
    assert shape.grid.origin == pytest.approx((3.0, 20.0, 7.0))
    np.testing.assert_array_equal(np.argwhere(whole_of(shape)).min(0), [7, 20, 3])


def whole_of(shape: LabelmapShape) -> np.ndarray:
    box, values = shape.inside(FINE)
    result = np.zeros(FINE.shape, bool)
    result[box] = values
    return result


def test_empty_and_far_structures_have_no_voxels():
    far = LabelmapShape(np.ones((2, 2, 2), bool), Grid.lps_aligned((2, 2, 2), (1, 1, 1), (500, 0, 0)))
    for shape in (LabelmapShape.empty(), LabelmapShape.cropped(np.zeros((3, 3, 3), bool), FINE), far):
        for box, values in (shape.inside(COARSE), shape.coverage(COARSE)):
            assert values.size == 0 and all(s.stop == s.start for s in box)
    assert len(LabelmapShape.empty().corners()) == 0 and len(far.corners()) == 8
