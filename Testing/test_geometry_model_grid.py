"""Where the model grid lies: on whole voxels of the CT, around targets and body, in any orientation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from DeepDosePredictLib.geometry.model_grid import beyond, model_grid
from DeepDosePredictLib.geometry.model_grid import lps_grid as centred_grid
from DeepDosePredictLib.geometry.shapes import LabelmapShape
from DeepDosePredictLib.geometry.trained_grid import TrainedGrid
from DeepDosePredictLib.geometry.volume import Volume
from DeepDosePredictLib.patient.grid import Grid, transformed
from synthetic import ball

TRAINED = TrainedGrid()


def clinical_ct(step: float, n: int, tilt: float = 0, pixel: float = 1, pixels: int = 500) -> Volume:
    corner = (-pixel * pixels / 2, -pixel * pixels / 2, 7)
    matrix = Grid.lps_aligned((n, pixels, pixels), (step, pixel, pixel), corner).ijk_to_ras
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    shape = (n, pixels, pixels)
    return Volume("CT", np.broadcast_to(np.int16(0), shape), Grid(shape, turn @ matrix))


def target_in(ct: Volume, length: float) -> LabelmapShape:
    """A target around the middle of a CT."""
    grid = centred_grid((round(length), 20, 20), (1, 1, 1), ct.grid.corners().mean(0))
    return LabelmapShape(np.ones(grid.shape, bool), grid)


@pytest.mark.parametrize(
    ("step", "n", "length", "spacing"),
    [
        (3, 100, 100, 3),
        (2, 150, 100, 2),
        (2.5, 120, 200, 2.5),
        (1.25, 240, 100, 2.5),
        (1, 300, 100, 2),
        (1, 300, 250, 3),
        (3.27, 90, 100, 3.27),
        (0.625, 480, 100, 2.5),
        (2, 150, 200, 2.5),
        (5, 60, 100, 2.5),
        (7, 50, 100, 2.5),
    ],
)
def test_model_grid_has_the_slices_of_the_ct_where_training_patients_had_such(step, n, length, spacing):
    ct = clinical_ct(step, n)
    target = target_in(ct, length)
    grid = model_grid(ct, [target], TRAINED)
    assert grid.spacing == pytest.approx((spacing, 4, 4))
    assert np.abs(grid.corners(0).mean(0) - target.corners().mean(0))[2] <= spacing / 2 + 1e-6
    assert made_of_blocks(grid, ct, 2) or spacing % step


def made_of_blocks(grid: Grid, ct: Volume, axis: int) -> bool:
    """Whether the voxels of a grid along i, j or k are blocks of voxels of the CT, counted from its first one."""
    n = grid.spacing[2 - axis] / ct.grid.spacing[2 - axis]
    blocks = (transformed(ct.grid.ras_to_ijk, grid.corners(0))[:, axis] - (n - 1) / 2) / n
    return bool(np.isclose(n, round(n)) and np.allclose(blocks, np.rint(blocks), atol=1e-6))


@pytest.mark.parametrize(
    ("pixels", "pixel", "voxel"),
    [
        (512, 0.9765, 3.906),  # as the training patients, of any field of view that they had
        (512, 1.171875, 4.6875),
        (512, 0.6835, 2.734),
        (512, 1.3555, 5.422),
        (300, 0.9765, 3.906),  # cut in plane
        (512, 1.5625, 4.6875),
        (512, 0.488, 3.904),
        (1024, 0.488, 3.904),
        (1024, 0.7, 4.2),
        (256, 1.953, 3.906),
    ],
)
def test_model_grid_is_made_of_whole_pixels_with_a_spacing_that_training_patients_had(pixels, pixel, voxel):
    ct = clinical_ct(3, 100, pixel=pixel, pixels=pixels)
    target = target_in(ct, 100)
    grid = model_grid(ct, [target], TRAINED, external=[target])
    assert grid.spacing == pytest.approx((3, voxel, voxel))
    assert made_of_blocks(grid, ct, 0) and made_of_blocks(grid, ct, 1)
    assert np.abs(grid.corners(0).mean(0) - ct.grid.corners().mean(0))[:2].max() <= voxel / 2 + 1e-6


def test_pixels_that_are_not_square_or_far_too_coarse_leave_the_commonest_spacing_in_plane():
    for spacing in ((3, 1, 1.2), (3, 6, 6)):
        ct = Volume("CT", np.zeros((100, 90, 90), np.int16), Grid.lps_aligned((100, 90, 90), spacing, (0, 0, 0)))
        assert model_grid(ct, [target_in(ct, 100)], TRAINED).spacing == pytest.approx((3, *TRAINED.spacing[1:]))


def test_model_grid_of_an_oblique_ct_has_the_commonest_spacing():
    ct = clinical_ct(3, 100, tilt=0.1)
    assert model_grid(ct, [target_in(ct, 100)], TRAINED).spacing == pytest.approx(TRAINED.spacing)


def test_a_grid_of_the_models_own_is_kept_whatever_its_axes():
    own = Grid.lps_aligned(TRAINED.shape, (2.5, 4.1, 4.1), (-100, -90, 30))
    mask = ball((128, 128, 128), (60, 60, 60), 5)
    target = [LabelmapShape.cropped(mask, own)]
    flipped = own.ijk_to_ras @ np.array([[0, 0, -1, 127], [0, -1, 0, 127], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    empty = np.broadcast_to(np.int16(0), own.shape)
    for matrix in (own.ijk_to_ras, flipped):
        assert model_grid(Volume("CT", empty, Grid(own.shape, matrix)), target, TRAINED).same_as(own)
    other = Grid.lps_aligned(TRAINED.shape, (2.5, 6.0, 6.0), (-100, -90, 30))
    assert not model_grid(Volume("CT", empty, other), target, TRAINED).same_as(other), "no patient had such pixels"


SMALL = replace(TRAINED, shape=(32, 32, 32), spacing=(3.0, 5.0, 5.0), pixels=(4.0, 5.5), ct_pixels=1)
"""Grids of 96x160x160 mm of whole voxels of the CT below."""
CT_GRID = Grid.lps_aligned((30, 60, 60), (3.0, 5.0, 5.0), (-147.5, -147.5, 0.0))


def ct_with_body(centre_i: float, radius: float = 12.0) -> Volume:
    body = np.broadcast_to(ball(CT_GRID.shape[1:], (29.5, centre_i), radius), CT_GRID.shape)
    return Volume("CT", np.where(body, 40, -1000).astype(np.int16), CT_GRID)


def block(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> LabelmapShape:
    mask = np.zeros(CT_GRID.shape, bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return LabelmapShape.cropped(mask, CT_GRID)


def middle(grid: Grid) -> np.ndarray:
    """(x, y, z), LPS."""
    return grid.corners().mean(0) * [-1, -1, 1]


def test_axially_the_grid_is_centred_on_the_targets_in_plane_on_the_body():
    """A target beside the middle of a body whose middle lies beside that of the CT."""
    target = block((18, 24), (27, 33), (42, 46))
    grid = model_grid(ct_with_body(39.5), [target], SMALL)
    assert grid.shape == SMALL.shape and grid.spacing == pytest.approx((3, 5, 5))
    assert middle(grid) == pytest.approx(((39.5 - 29.5) * 5, 0, 20.5 * 3), abs=5.01)
    assert abs(middle(grid)[2] - 20.5 * 3) <= 1.51
    given = model_grid(ct_with_body(39.5), [target], SMALL, external=[block((0, 30), (20, 40), (30, 40))])
    assert middle(given)[:2] == pytest.approx(((34.5 - 29.5) * 5, 0), abs=2.51), "a contoured body goes before the CT's"


def test_targets_come_first_where_a_wide_body_would_push_them_out():
    target = block((10, 20), (25, 35), (46, 50))
    grid = model_grid(ct_with_body(29.5, 28), [target], SMALL)
    assert beyond([target], grid) <= 2.51
    alone = model_grid(ct_with_body(29.5, 28), [block((10, 20), (25, 35), (28, 31))], SMALL)
    assert middle(grid)[0] > middle(alone)[0] + 10


def test_without_a_body_the_targets_are_the_middle():
    air = Volume("CT", np.full(CT_GRID.shape, -1000, np.int16), CT_GRID)
    grid = model_grid(air, [block((10, 20), (40, 44), (10, 14))], SMALL)
    assert middle(grid) == pytest.approx(((11.5 - 29.5) * 5, (41.5 - 29.5) * 5, 14.5 * 3), abs=2.51)


def test_how_far_shapes_reach_out():
    grid = Grid.lps_aligned((10, 10, 10), (3.0, 5.0, 5.0), (0.0, 0.0, 0.0))

    def cube(origin) -> LabelmapShape:
        return LabelmapShape(np.ones((2, 2, 2), bool), Grid.lps_aligned((2, 2, 2), (1.0, 1.0, 1.0), origin))

    assert beyond([cube((0, 0, 0)), cube((40, 40, 20))], grid) == 0
    assert beyond([cube((0, 0, 0)), cube((50, 0, 0))], grid) == pytest.approx(51.5 - 47.5)
    assert beyond([cube((0, -9, 0))], grid) == pytest.approx(9.5 - 2.5)
    assert beyond([cube((0, 0, -8)), cube((0, 0, 40))], grid) == pytest.approx(41.5 - 28.5)


def test_oblique_axes_are_not_taken_for_straight_ones():
    """Half a degree over 48 slices is a voxel."""
    for tilt, straight in ((1e-5, True), (0.01, False)):
        ct = clinical_ct(3, 100, tilt=tilt)
        spacing = model_grid(ct, [target_in(ct, 100)], TRAINED).spacing
        assert (spacing == pytest.approx((3, 4, 4), rel=1e-3)) == straight


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (128, 128)},
        {"shape": (128, 128, 120)},
        {"shape": (0, 128, 128)},
        {"shape": (128, 128, 528)},
        {"spacing": (2.5, 3.9)},
        {"spacing": (2.5, 9.0, 9.0)},
        {"slices": (0.0, 3.3)},
        {"pixels": (2.7, float("inf"))},
        {"ct_pixels": 0},
        {"ct_pixels": 65},
        {"ct_pixels": 1.5},
    ],
)
def test_grids_that_no_model_has(change):
    with pytest.raises(ValueError, match="impossible"):
        replace(TRAINED, **change)


def test_what_a_model_was_trained_on():
    """Limits included, to a thousandth of a millimetre."""
    assert TRAINED.has((1.5, 2.7, 5.5)) and TRAINED.has((3.3009, 5.5009, 2.6991))
    for spacing in ((1.4987, 4, 4), (3.3013, 4, 4), (2.5, 2.6987, 4), (2.5, 4, 5.5013)):
        assert not TRAINED.has(spacing)
    assert replace(TRAINED, shape=(16, 512, 16), ct_pixels=64).shape == (16, 512, 16)


def test_a_body_in_the_middle_of_the_ct_is_the_middle_of_the_grid():
    """Exactly, where no blocks of the CT's voxels are to be kept: its pixels are not square."""
    grid = Grid.lps_aligned((30, 60, 60), (3.0, 4.0, 5.0), (-147.5, -118.0, 0.0))
    body = np.broadcast_to(ball((60, 60), (29.5, 29.5), 12), grid.shape)
    mask = np.zeros(grid.shape, bool)
    mask[12:18, 26:34, 26:40] = True
    ct = Volume("CT", np.where(body, 40, -1000).astype(np.int16), grid)
    assert middle(model_grid(ct, [LabelmapShape.cropped(mask, grid)], SMALL))[:2] == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("shape", [(100, 1024, 600), (100, 600, 1024)])
def test_the_longer_side_of_a_ct_decides(shape):
    """Of 0.488 mm: eight pixels to hold 1024 of them, where 600 would do with fewer."""
    grid = Grid.lps_aligned(shape, (3, 0.488, 0.488), (0, 0, 7))
    ct = Volume("CT", np.broadcast_to(np.int16(0), shape), grid)
    target = target_in(ct, 100)
    assert model_grid(ct, [target], replace(TRAINED, ct_pixels=6), external=[target]).spacing[2] == pytest.approx(3.904)
