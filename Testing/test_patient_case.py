"""A Case refuses what cannot be true, and its box holds all that can receive dose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.case import dose_box
from DeepDosePredictLib.patient.grid import Grid, transformed
from DeepDosePredictLib.patient.roi_mask import RoiMask


@pytest.mark.parametrize("spacing", [(0, 1, 1), (-2.5, 4, 4), (2.5, 4, np.nan), (2.5, 4, 400), (2.5, 4)])
def test_impossible_spacing(case, spacing):
    with pytest.raises(CaseError, match=r"made-up: the voxel spacing"):
        replace(case, spacing=spacing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda dose: np.where(dose > 60, np.nan, dose), "NaN"),
        (lambda dose: dose - 1, "negative"),
        (lambda dose: dose * 100, "cGy"),
        (lambda dose: dose[1:], "shape"),
    ],
)
def test_impossible_dose(case, change, message):
    with pytest.raises(CaseError, match=message):
        replace(case, dose=change(case.dose))


def test_case_without_target_or_dose_mask(case):
    without = RoiMask.encode({roi: case.rois[roi] & (not roi.startswith("PTV")) for roi in case.rois})
    with pytest.raises(CaseError, match="no PTV has any voxel"):
        replace(case, rois=without)
    with pytest.raises(CaseError, match="dose mask"):
        replace(case, dose_mask=np.zeros(case.shape, bool))


def test_ct_must_be_hu_integers(case):
    with pytest.raises(CaseError, match="int16"):
        replace(case, ct=case.ct.astype(np.float32))


def test_targets_and_volume(case):
    assert case.targets() == ("PTV56", "PTV63", "PTV70")
    assert case.prescriptions == {"PTV56": 56, "PTV63": 63, "PTV70": 70}
    assert (case.highest_target, case.prescription) == ("PTV70", 70)
    without = RoiMask.encode({roi: case.rois[roi] & (roi != "PTV70") for roi in case.rois})
    assert replace(case, rois=without).prescription == 63, "a target without voxels does not count"
    assert case.voxel_volume_mm3 == pytest.approx(2.5 * 3.906**2)


@given(st.tuples(*[st.floats(0.2, 20)] * 3), st.tuples(*[st.floats(-1e4, 1e4)] * 3))
@settings(deadline=None)
def test_grid_has_the_spacing_and_origin_to_the_last_digit(spacing, origin):
    grid = Grid.lps_aligned((3, 4, 5), spacing, origin)
    assert (grid.spacing, grid.origin) == (spacing, origin)
    x, y, z = transformed(grid.ijk_to_ras, np.array([[4, 3, 2]]))[0]
    last = (origin[0] + 4 * spacing[2], origin[1] + 3 * spacing[1], origin[2] + 2 * spacing[0])
    assert (-x, -y, z) == pytest.approx(last)


def test_grid_of_a_case(case):
    there = replace(case, origin=(-250.0, -240.0, 17.0))
    assert there.grid.shape == there.shape and there.grid.spacing == there.spacing
    assert there.grid.origin == (-250.0, -240.0, 17.0)


@given(st.lists(st.tuples(*[st.integers(0, 63)] * 3), min_size=1, max_size=5))
@settings(deadline=None)
def test_box_holds_the_mask_in_multiples_of_16(points):
    mask = np.zeros((64, 64, 64), bool)
    mask[tuple(np.transpose(points))] = True
    box = dose_box(mask)
    assert mask[box].sum() == mask.sum()
    for axis, part in enumerate(box):
        used = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
        assert part.start >= 0 and part.stop <= 64 and (part.stop - part.start) % 16 == 0
        assert part.stop - part.start < used[-1] - used[0] + 1 + 16


@pytest.mark.parametrize(("limit", "beyond"), [(0.2, 0.199), (20.0, 20.01)])
def test_limits_of_spacing(case, limit, beyond):
    for axis in range(3):
        spacing = [3.0, 3.0, 3.0]
        spacing[axis] = limit
        assert replace(case, spacing=tuple(spacing)).spacing == tuple(spacing)
        spacing[axis] = beyond
        with pytest.raises(CaseError, match="the voxel spacing"):
            replace(case, spacing=tuple(spacing))


def test_highest_dose(case):
    dose = np.zeros(case.shape, np.float32)
    dose[0, 0, 0] = 200
    assert replace(case, dose=dose).dose.max() == 200
    dose[0, 0, 0] = 200.1
    with pytest.raises(CaseError, match="cGy"):
        replace(case, dose=dose)
