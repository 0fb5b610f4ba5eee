"""Grids in the world: corners, boxes, crops, refinement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.patient.grid import Grid, refinement, transformed

GRID = Grid.lps_aligned((4, 5, 6), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0))


def lps(grid: Grid, k: float, j: float, i: float) -> np.ndarray:
    return (transformed(grid.ijk_to_ras, np.array([[i, j, k]], float)) * [-1, -1, 1])[0]


def test_axes_of_an_lps_grid():
    assert lps(GRID, 0, 0, 0).tolist() == [10, 20, 30] == list(GRID.origin)
    assert lps(GRID, 1, 2, 3).tolist() == [13, 24, 33]
    assert GRID.spacing == (3, 2, 1) and GRID.voxel_volume == pytest.approx(6)


def test_corners_are_the_outer_faces():
    corners = GRID.corners() * [-1, -1, 1]
    assert corners.shape == (8, 3)
    assert corners.min(0).tolist() == [9.5, 19, 28.5] and corners.max(0).tolist() == [15.5, 29, 40.5]
    assert (GRID.corners(0) * [-1, -1, 1]).max(0).tolist() == [15, 28, 39]


def test_crops_and_refinements_stay_in_place():
    part = GRID.crop((slice(1, 3), slice(2, 5), slice(0, 6)))
    assert part.shape == (2, 3, 6) and part.origin == (10, 24, 33)
    fine = GRID.refined((3, 2, 1))
    assert fine.shape == (12, 10, 6) and fine.spacing == (1, 1, 1)
    np.testing.assert_allclose(fine.corners(), GRID.corners())
    np.testing.assert_allclose(refinement((2, 2, 2)) @ [0, 0, 0, 1], [-0.25, -0.25, -0.25, 1])


@given(st.lists(st.tuples(*[st.floats(-60, 60)] * 3), min_size=1, max_size=4), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_box_around_points_holds_their_voxels_and_a_margin(points, margin):
    world = np.array(points) * [1, -1, 1] + [-10, -20, 30]
    box = GRID.box_around(world, margin)
    ijk = transformed(GRID.ras_to_ijk, world)
    for axis, s in enumerate(box):
        low, high = ijk[:, 2 - axis].min(), ijk[:, 2 - axis].max()
        inside = [n for n in range(GRID.shape[axis]) if np.floor(low) - margin <= n <= np.ceil(high) + margin]
        assert list(range(s.start, s.stop)) == inside


def test_grids_that_coincide():
    shifted = [Grid.lps_aligned((4, 5, 6), (3.0, 2.0, 1.0), (10.0 + dx, 20.0, 30.0)) for dx in (5e-4, 2e-3)]
    assert [GRID.same_as(other) for other in shifted] == [True, False]
    assert not GRID.same_as(Grid.lps_aligned((4, 5, 7), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0)))
