"""Damaged DICOM files end in a clear error or a valid case; benchmarks/corruption_dicom.py runs many more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from DeepDosePredictLib.app.sources import find_cases, read_case
from DeepDosePredictLib.errors import CaseError
from dicom_corruption import damaged_copy, outcome


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
