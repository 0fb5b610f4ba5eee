"""Sampling arrays on grids without VTK: against linear fields, whose interpolation is exact, and against VTK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.geometry.volume import Volume, reslice
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
