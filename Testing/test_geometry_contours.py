"""Contours to labelmaps: areas of known shapes, holes, keyholes, planes left out, parts, planes of any orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.geometry.contours import contours_to_labelmap, filled
from DeepDosePredictLib.geometry.outlines import outlines


def square(size: float, z: float = 0.0, centre=(0.0, 0.0)) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size / 2 + centre
    return np.column_stack((corners, np.full(4, z)))


def volume(contours) -> float:
    mask, grid = contours_to_labelmap(contours, "s")
    return mask.sum() * grid.voxel_volume


def stack(*heights: float, **of) -> list[np.ndarray]:
    return [square(**{"size": 40.0, **of}, z=z) for z in heights]


def test_slabs_are_as_thick_as_the_planes_are_apart():
    assert volume(stack(0, 2.5, 5, 7.5)) == pytest.approx(40 * 40 * 10, rel=0.01)
    assert volume(stack(0, -3, 3)) == pytest.approx(40 * 40 * 9, rel=0.01)
    assert volume(stack(1.7)) == pytest.approx(40 * 40 * 3, rel=0.01)  # a lone contour: 3 mm


@pytest.mark.parametrize("direction", [1, -1])
def test_hole_as_a_contour_of_its_own_and_as_keyhole(direction):
    hole = square(20)[::direction]
    assert volume([square(40), hole]) == pytest.approx(3 * (1600 - 400), rel=0.01)
    outer, inner = square(40), np.roll(hole, 1, 0)
    keyhole = np.concatenate((outer, outer[:1], inner, inner[:1], outer[:1]))
    assert volume([keyhole]) == pytest.approx(3 * (1600 - 400), rel=0.01)


def test_island_in_a_hole():
    assert volume([square(40), square(30), square(10)]) == pytest.approx(3 * (1600 - 900 + 100), rel=0.02)


def test_planes_left_out_are_filled_and_separate_parts_are_not():
    whole = volume(stack(*range(0, 30, 3)))
    assert volume(stack(*(z for z in range(0, 30, 3) if z not in (12, 15)))) == pytest.approx(whole)
    apart = stack(0, 3, 6) + stack(60, 63, 66)
    assert volume(apart) == pytest.approx(6 * 3 * 1600, rel=0.01)
    beside = stack(0, 3, 6, centre=(0, 0)) + stack(12, 15, 18, centre=(100, 0))
    assert volume(beside) == pytest.approx(6 * 3 * 1600, rel=0.03)


@pytest.mark.parametrize("copy", [lambda loop: loop[::-1], lambda loop: np.roll(loop, 2, 0), lambda loop: loop + 0.01])
def test_a_contour_that_is_there_twice_counts_once(copy):
    once = stack(0, 3, 6)
    assert volume([*once, *map(copy, once)]) == pytest.approx(volume(once), rel=0.02)
    hole = [*once, *stack(0, 3, 6, size=30.0)]
    assert volume([*hole, *map(copy, hole)]) == pytest.approx(3 * 3 * (1600 - 900), rel=0.03)
    thin = [*once, *stack(0, 3, 6, size=38.0)]  # a wall of 1 mm is no copy
    assert volume(thin) == pytest.approx(3 * 3 * (1600 - 1444), rel=0.1)


@pytest.mark.parametrize("step", [2.53, 2.97, 1.24])
def test_planes_do_not_drift_from_their_heights(step):
    """A step that rounds to another one must not shift the last of many planes."""
    mask, grid = contours_to_labelmap(stack(*(n * step for n in range(150))), "s")
    assert len(mask) == 150 and mask.any((1, 2)).all()
    assert grid.spacing[0] == pytest.approx(step, abs=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.6))
@settings(max_examples=80, deadline=None)
def test_outlines_of_any_mask_fill_to_the_mask(seed, density):
    """Holes, islands and pixels that touch at corners only."""
    mask = np.random.default_rng(seed).random((11, 13)) < density
    assert (filled(outlines(mask), mask.shape) == mask).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_planes_of_any_orientation_give_the_same_volume(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    place = rng.uniform(-50, 50, 3)
    contours = [loop @ turn.T + place for loop in stack(0, 3, 6, 9)]
    assert volume(contours) == pytest.approx(4 * 3 * 1600, rel=0.02)


@pytest.mark.parametrize(
    ("contours", "words"),
    [
        ([], "no line of three points"),
        ([square(40)[:2]], "no line of three points"),
        ([square(40) * [1, 1, np.nan]], "no place in a patient"),
        ([square(40), square(40, z=1e9)], "no place in a patient"),
        ([square(40) + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 9], [0, 0, 0]])], "parallel planes"),
        (stack(0, 0.1, 0.2, 3000), "far from the others"),
        ([np.concatenate((square(40), square(40)))], "enclose nothing"),
    ],
)
def test_contours_that_are_none_are_refused_with_words(contours, words):
    with pytest.raises(DeepDoseError, match=words):
        contours_to_labelmap(contours, "file, Cord")


def test_parts_up_to_15_mm_apart_belong_together():
    """Planes every 3 mm: five left out are 18 mm from plane to plane, four are 15 mm."""
    lower = [0, 3, 6, 9]
    assert volume(stack(*lower, *(24 + z for z in lower))) == pytest.approx(40 * 40 * 12 * 3, rel=0.01)
    assert volume(stack(*lower, *(27 + z for z in lower))) == pytest.approx(40 * 40 * 8 * 3, rel=0.01)


def test_a_gap_is_filled_from_the_nearer_plane():
    heights = [0, 3, 6, 18, 21]
    contours = [square(40 if z < 10 else 30, z=z) for z in heights]
    mask, _ = contours_to_labelmap(contours, "s")
    areas = mask.sum((1, 2)) / mask[0].sum()
    assert areas == pytest.approx([1, 1, 1, 1, 1, 0.5625, 0.5625, 0.5625], abs=0.02), "half way: the lower one"


def test_parts_beside_one_another_are_not_joined():
    """Half of the smaller must overlap."""
    lower = [square(40, z=z) for z in (0, 3)]
    for shift, filled_planes in ((18, 1), (22, 0)):
        upper = [square(40, z=z, centre=(shift, 0)) for z in (9, 12)]
        mask, _ = contours_to_labelmap([*lower, *upper], "s")
        assert mask.any((1, 2)).tolist() == [True, True, bool(filled_planes), True, True]


@pytest.mark.parametrize("size", [20.0, 100.0, 400.0])
def test_place_and_resolution_of_the_labelmap(size):
    """A quarter of a millimetre to one, 256 pixels across; the grid's voxels lie where the contour is."""
    mask, grid = contours_to_labelmap([square(size, z, centre=(13.0, -7.0)) for z in (5.0, 8.0)], "s")
    assert grid.spacing[1] == grid.spacing[2] == pytest.approx(min(1.0, max(0.25, size / 256)))
    k, j, i = np.nonzero(mask)
    points = (grid.ijk_to_ras @ np.stack((i, j, k, np.ones(len(i)))))[:3]
    assert points.mean(1) == pytest.approx((13.0, -7.0, 6.5), abs=0.51 * grid.spacing[1])
    assert np.ptp(points[0]) == pytest.approx(size, abs=1.01 * grid.spacing[1])
    assert not (mask[:, 0].any() or mask[:, -1].any() or mask[:, :, 0].any() or mask[:, :, -1].any())


def test_planes_that_are_too_many_are_refused():
    near, far = stack(0, 0.25, 0.5), stack(1500)
    with pytest.raises(DeepDoseError, match=r"0\.25 mm apart but reach over 1500 mm"):
        contours_to_labelmap([*near, *far], "s")
    assert volume([*near, *stack(800)]) == pytest.approx(1600 * 4 * 0.25, rel=0.02)


def test_extent_that_no_patient_has_is_refused():
    assert volume([square(3990)]) > 0
    with pytest.raises(DeepDoseError, match="no place in a patient"):
        contours_to_labelmap([square(4010)], "s")


def test_outlines_have_corners_only():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:10] = True
    (line,) = outlines(mask)
    assert sorted(map(tuple, line.tolist())) == [(2.5, 1.5), (2.5, 6.5), (9.5, 1.5), (9.5, 6.5)]
    mask[4, 5:8] = False
    assert sorted(len(line) for line in outlines(mask)) == [4, 4]


@pytest.mark.parametrize(("apart", "count"), [(0.09, 1), (0.5, 2)])
def test_copies_of_a_contour_lie_within_a_tenth_of_a_millimetre(apart, count):
    """Two that are further apart cut each other out, but for the rim between them."""
    area = volume([square(40), square(40, centre=(apart, 0))])
    assert (area > 3 * 1590) == (count == 1)


def test_the_planes_are_those_of_the_largest_contour():
    """A sliver whose points lie on a line has no normal of its own."""
    turn = np.array([[1, 0, 0], [0, np.cos(0.5), -np.sin(0.5)], [0, np.sin(0.5), np.cos(0.5)]])
    sliver = np.array([[0.0, 0, 0], [10, 0, 0], [5, 0, 0]])
    assert volume([loop @ turn.T for loop in (sliver, *stack(0, 3, 6))]) == pytest.approx(1600 * 9, rel=0.02)
