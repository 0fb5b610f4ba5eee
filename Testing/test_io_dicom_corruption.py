"""Damaged DICOM files end in a clear error or a valid case; benchmarks/corruption_dicom.py runs many more."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from DeepDosePredictLib.app.sources import find_cases, read_case
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.roi_mask import RoiMask
from dicom_corruption import damaged_copy, outcome
from right_results import dicom_case


@pytest.fixture(scope="session")
def pristine(small: Path):
    return read_case(small)


@pytest.mark.parametrize("block", range(5))
def test_damage_is_refused_or_harmless(small, pristine, tmp_path, block):
    for seed in range(100_000 + 5 * block, 100_000 + 5 * (block + 1)):
        what = damaged_copy(small, tmp_path / "damaged", seed)
        result = outcome(tmp_path / "damaged", pristine)
        assert result.kind != "broken", f"{seed}, {what}: {result.words}"


@pytest.mark.parametrize("name", ["structures.dcm", "dose.dcm", "ct-012.dcm"])
def test_a_truncated_file_is_never_taken_for_whole(small, tmp_path, name):
    """Wherever it was cut: an error, or a note that names what is missing."""
    data = (small / name).read_bytes()
    shutil.copytree(small, tmp_path / "cut")
    for n in range(140, len(data) - 1, len(data) // 9):
        (tmp_path / "cut" / name).write_bytes(data[:n])
        (source,) = find_cases([tmp_path / "cut"])
        try:
            case = source.read()
        except CaseError as error:
            assert str(tmp_path) in str(error)
        else:
            assert any(name in note or "is empty" in note for note in case.notes), n


def test_the_oracle_tells_a_wrong_value_from_a_right_one(small, pristine):
    """Of the CT, the dose and a structure; otherwise it would prove nothing."""
    dicom_case(pristine, small)
    empty = RoiMask(pristine.rois.bits * (pristine.rois.bits < 4), pristine.rois.names)
    for wrong in ({"ct": pristine.ct + np.int16(5)}, {"dose": pristine.dose * np.float32(0.9)}, {"rois": empty}):
        with pytest.raises(AssertionError):
            dicom_case(replace(pristine, **wrong), small)
