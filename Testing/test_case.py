"""A Case refuses what cannot be true, and its box holds all that can receive dose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.case import dose_box
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
    assert case.voxel_volume_mm3 == pytest.approx(2.5 * 3.906**2)


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
