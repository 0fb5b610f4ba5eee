"""Sampling arrays on grids without VTK: against linear fields, whose interpolation is exact, and against VTK."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.geometry.volume import Volume, averaged, downsampling, reslice
from DeepDosePredictLib.patient.grid import Grid, transformed

SLOPES = np.array([0.3, -0.2, 0.5])


def turned(axes=(0, 1, 2), signs=(1, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), degrees=0.0) -> np.ndarray:
    """4x4 of a grid whose I, J, K run along world axes `axes` with `signs`, turned about z."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, list(axes)] * signs * spacing
    angle = np.deg2rad(degrees)
    matrix[:2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ matrix[:2]
    matrix[:3, 3] = origin
    return matrix


def field(grid: Grid) -> np.ndarray:
    """A linear function of the world at the voxels of a grid."""
    k, j, i = np.indices(grid.shape).reshape(3, -1)
    return (transformed(grid.ijk_to_ras, np.stack((i, j, k), 1)) @ SLOPES).reshape(grid.shape).astype(np.float32)


@given(
    st.permutations((0, 1, 2)),
    st.tuples(*[st.sampled_from((-1, 1))] * 3),
    st.sampled_from((0.0, 30.0)),
    st.tuples(*[st.floats(0.5, 3)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_linear_fields_are_interpolated_exactly_on_grids_of_any_orientation(axes, signs, degrees, spacing):
    source = Grid((30, 30, 30), turned(axes, signs, (2.0, 2.5, 3.0), degrees=degrees))
    middle = transformed(source.ijk_to_ras, np.full((1, 3), 14.5))[0]
    grid = Grid((4, 5, 6), turned(spacing=spacing, origin=middle - 4))
    assert np.allclose(reslice(field(source), source, grid, -99, linear=True), field(grid), atol=1e-3)


@pytest.mark.parametrize("degrees", [0, 25])
def test_what_lies_more_than_half_a_voxel_outside_is_background(degrees):
    source = Grid((6, 6, 6), turned(spacing=(2, 2, 2), degrees=degrees))
    grid = Grid((14, 14, 14), source.ijk_to_ras @ turned(spacing=(0.5, 0.5, 0.5), origin=(-0.75, -0.75, -0.75)))
    inside = reslice(np.ones((6, 6, 6), np.uint8), source, grid, 7, linear=False) == 1
    within = np.abs(np.arange(14) * 0.5 - 0.75 - 2.5) <= 3
    assert (inside == within[:, None, None] & within[:, None] & within).all()


def test_coinciding_grid_is_copied_exactly():
    grid = Grid((7, 8, 9), turned(spacing=(0.7, 1.3, 2.9), origin=(-31.7, 12.3, 0.1)))
    array = np.random.default_rng(0).normal(0, 1e3, grid.shape).astype(np.float32)
    assert (Volume("v", array, grid).sampled(grid) == array).all()


def test_numpy_and_vtk_agree():
    pytest.importorskip("slicer", reason="needs slicer-core")
    from DeepDosePredictLib.mrml.geometry import reslice as vtk_reslice

    rng = np.random.default_rng(1)
    for degrees in (0, 33):
        source = Grid((9, 10, 11), turned((1, 0, 2), (1, -1, 1), (2, 3, 4), degrees=degrees))
        grid = Grid((20, 21, 22), turned(spacing=(1.7, 1.9, 2.1), origin=source.corners().min(0) - 3.17))
        values = rng.normal(size=source.shape).astype(np.float32)
        ours, theirs = (f(values, source, grid, -5, True) for f in (reslice, vtk_reslice))
        border = (ours == -5) != (theirs == -5)
        assert border.mean() < 1e-3 and np.abs(ours - theirs)[~border].max() < 1e-4
        ours, theirs = (f(values > 0, source, grid, 0, False) for f in (reslice, vtk_reslice))
        assert (ours != theirs).mean() < 1e-3


@pytest.mark.parametrize("degrees", [0, 90])
def test_the_outer_faces_belong_to_the_volume(degrees):
    """Samples exactly on them, as a grid refined by two about its corners has, are no background."""
    source = Grid((4, 5, 6), turned(spacing=(2, 2, 2), origin=(-7, 3, 11), degrees=degrees))
    shape = tuple(2 * n + 1 for n in source.shape)
    grid = Grid(shape, source.ijk_to_ras @ turned(spacing=(0.5,) * 3, origin=(-0.5,) * 3))
    for linear in (True, False):
        assert (reslice(np.ones(source.shape, np.float32), source, grid, 7, linear) == 1).all()


def test_half_way_between_two_voxels_the_upper_one_counts():
    source = Grid((3, 4, 5), turned())
    array = np.arange(60).reshape(3, 4, 5)
    grid = Grid((3, 4, 4), turned(origin=(0.5, 0, 0)))
    np.testing.assert_array_equal(reslice(array, source, grid, -1, linear=False), array[:, :, 1:])


@pytest.mark.parametrize(
    ("ratio", "number"), [(0.4, 1), (0.89, 1), (1.0, 1), (1.5, 1), (1.89, 1), (1.92, 2), (2.0, 2), (2.6, 2), (3.95, 4)]
)
def test_only_whole_voxels_are_averaged(ratio, number):
    """A tenth of a voxel may lack; with half of one, a voxel would count that lies in the next block."""
    source = Grid((9, 9, 9), turned())
    assert downsampling(source, Grid((2, 2, 2), turned(spacing=(ratio,) * 3))) == (number,) * 3


def test_voxels_are_counted_along_the_axis_they_lie_on():
    """(k, j, i) of the source, whichever way it lies: its K along the grid's I, I along J, J along K."""
    source = Grid((9, 9, 9), turned((1, 2, 0), (-1, 1, 1), (1.0, 2.0, 0.5)))
    grid = Grid((2, 2, 2), turned(spacing=(2.0, 3.0, 8.0)))
    assert downsampling(source, grid) == (4, 4, 3)


def test_means_over_blocks():
    """Of 5x4x3 voxels in blocks of 2x3x1: the last blocks repeat the edge, and the outer faces stay."""
    grid = Grid((5, 4, 3), turned(spacing=(3, 2, 1), origin=(10, 20, 30)))
    array = np.random.default_rng(2).integers(0, 99, grid.shape).astype(np.int16)
    means, coarse = averaged(array, grid, (2, 3, 1))
    longer = array[[0, 1, 2, 3, 4, 4]][:, [0, 1, 2, 3, 3, 3]]
    np.testing.assert_allclose(means, longer.reshape(3, 2, 2, 3, 3, 1).mean((1, 3, 5)), rtol=1e-6)
    assert means.dtype == np.float32 and coarse.shape == means.shape and coarse.spacing == pytest.approx((2, 6, 3))
    assert coarse.corners().min(0) == pytest.approx(grid.corners().min(0))
    same, unchanged = averaged(array, grid, (1, 1, 1))
    assert (same == array).all() and same.dtype == np.float32 and unchanged.same_as(grid)


def test_smooth_sampling_averages_what_is_finer_than_the_grid():
    """A checkerboard, which single samples would turn into stripes, becomes its mean; coarser grids' edges too."""
    source = Grid((20, 20, 20), turned())
    board = np.indices(source.shape).sum(0) % 2
    grid = Grid((6, 6, 6), turned(spacing=(2, 2, 2), origin=(4.5, 4.5, 4.5)))
    assert (Volume("v", board, source).sampled(grid, smooth=True) == 0.5).all()
    far = Grid((3, 3, 3), turned(origin=(500, 0, 0)))
    assert (Volume("v", board, source).sampled(far, background=-7) == -7).all()


def test_interpolation_at_the_rim_repeats_the_outermost_voxels():
    source = Grid((2, 2, 3), turned())
    array = np.broadcast_to(np.float32([10, 20, 40]), (2, 2, 3))
    grid = Grid((1, 1, 9), turned(spacing=(0.4, 1, 1), origin=(-0.8, 0, 0)))
    found = reslice(array, source, grid, -1, linear=True)[0, 0]
    assert found == pytest.approx([-1, 10, 10, 14, 18, 24, 32, 40, 40], abs=1e-4)


@pytest.mark.parametrize("linear", [True, False])
def test_a_large_volume_is_resampled_without_a_second_copy(linear):
    """As 32-bit numbers, a CT of 1024 x 1024 x 250 voxels takes 1 GB."""
    array = np.zeros((64, 256, 512), np.int16)
    source = Grid.lps_aligned(array.shape, (1, 1, 1), (0, 0, 0))
    grid = Grid.lps_aligned((128, 32, 32), (0.5, 8, 16), (0, 0, 0))
    tracemalloc.start()
    try:
        reslice(array, source, grid, 0, linear)
        averaged(array, source, (2, 4, 4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes


def test_means_are_those_of_blocks():
    """Of any number of voxels, also where the last block is cut."""
    array = np.random.default_rng(0).integers(-1000, 3000, (7, 9, 10)).astype(np.int16)
    means, grid = averaged(array, Grid.lps_aligned(array.shape, (1, 1, 1), (0, 0, 0)), (2, 4, 3))
    assert means.shape == grid.shape == (4, 3, 4)
    np.testing.assert_allclose(
        means[:3, :2, :3], array[:6, :8, :9].reshape(3, 2, 2, 4, 3, 3).mean((1, 3, 5)), rtol=1e-6
    )
    assert means[3, 0, 0] == pytest.approx(array[6, :4, :3].mean(), rel=1e-6)


def test_volumes_are_sampled_linearly():
    grid = Grid((2, 2, 3), turned())
    between = Grid((2, 2, 2), turned(origin=(0.25, 0, 0)))
    values = Volume("v", np.broadcast_to(np.float32([0, 8, 20]), (2, 2, 3)), grid).sampled(between)
    assert values[0, 0] == pytest.approx([2, 11])
