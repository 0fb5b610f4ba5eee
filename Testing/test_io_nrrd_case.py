"""The compact NRRD form: round trips, orientation, and errors that name the file."""

from __future__ import annotations

import json
from dataclasses import replace

import nrrd
import numpy as np
import pytest

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io.nrrd_case import (
    ROI_NAMES_KEY,
    _as_hu,
    read_dose_on_grid,
    read_nrrd_case,
    read_volume,
    write_dose,
    write_nrrd_case,
    write_volume,
)
from DeepDosePredictLib.patient.roi_mask import RoiMask


@pytest.fixture
def folder(tmp_path, case):
    write_nrrd_case(tmp_path / "made-up", case)
    return tmp_path / "made-up"


def test_round_trip(folder, case):
    read = read_nrrd_case(folder)
    np.testing.assert_array_equal(read.ct, case.ct)
    np.testing.assert_array_equal(read.dose, case.dose)
    np.testing.assert_array_equal(read.dose_mask, case.dose_mask)
    assert read.rois.names == case.rois.names and read.spacing == pytest.approx(case.spacing)
    np.testing.assert_array_equal(read.rois.bits, case.rois.bits)
    assert sorted(p.name for p in folder.iterdir()) == ["ct.nrrd", "dose.nrrd", "rois.nrrd"]


def test_forty_rois_and_an_origin(tmp_path, case):
    rng = np.random.default_rng(0)
    many = RoiMask.encode({f"PTV{n + 30}": (rng.random(case.shape) > 0.9) & case.dose_mask for n in range(40)})
    write_nrrd_case(tmp_path / "x", replace(case, rois=many, origin=(-10.0, 20.5, 3.0), dose=None))
    read = read_nrrd_case(tmp_path / "x")
    assert read.origin == (-10.0, 20.5, 3.0) and read.dose is None and len(read.rois.names) == 40
    np.testing.assert_array_equal(read.rois["PTV69"], many["PTV69"])


def test_compact(folder, case):
    """The whole patient takes less than a plain CT volume of the same grid."""
    assert sum(p.stat().st_size for p in folder.iterdir()) < case.ct.nbytes


def test_ras_and_flipped_axes_are_turned_to_lps(tmp_path, case):
    """The same dose written by a program that stores RAS, with I running to the right and K to inferior."""
    k, j, i = case.spacing
    header = {
        "space": "right-anterior-superior",
        "space directions": np.diag([i, -j, -k]),
        "space origin": [-(127 * i), 0.0, 127 * k],
    }
    nrrd.write(str(tmp_path / "dose.nrrd"), case.dose[::-1, :, ::-1], header, index_order="C")
    np.testing.assert_array_equal(read_dose_on_grid(tmp_path / "dose.nrrd", case.grid), case.dose)


def test_damaged_files(folder):
    content = (folder / "ct.nrrd").read_bytes()
    for damaged in (b"", b"NRRD0004\n", content[:100], content[: len(content) // 2], b"\0" * 500):
        (folder / "ct.nrrd").write_bytes(damaged)
        with pytest.raises(CaseError, match=r"ct\.nrrd"):
            read_nrrd_case(folder)


def test_huge_declared_size_is_refused_before_reading(folder):
    content = (folder / "ct.nrrd").read_bytes().replace(b"sizes: 128 128 128", b"sizes: 99999 99999 99999")
    (folder / "ct.nrrd").write_bytes(content)
    with pytest.raises(CaseError, match="at most"):
        read_nrrd_case(folder)


def test_detached_data_is_refused(folder, tmp_path):
    (tmp_path / "secret.raw").write_bytes(b"x" * 1000)
    (folder / "ct.nrrd").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nendian: little\n"
        "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        f"data file: {tmp_path / 'secret.raw'}\n\n"
    )
    with pytest.raises(CaseError, match="other file"):
        read_nrrd_case(folder)


def test_other_grid(folder, case):
    shifted = replace(case, origin=(5.0, 0.0, 0.0))
    write_dose(folder / "dose.nrrd", case.dose, shifted.grid)
    with pytest.raises(CaseError, match=r"dose\.nrrd.*origin"):
        read_nrrd_case(folder)
    write_dose(folder / "dose.nrrd", case.dose[:, :, :64], case.grid)
    with pytest.raises(CaseError, match=r"dose\.nrrd: shape"):
        read_nrrd_case(folder)


def test_oblique(folder, case):
    header = {
        "space": "left-posterior-superior",
        "space origin": np.zeros(3),
        "space directions": np.array([[3.9, 0.3, 0], [-0.3, 3.9, 0], [0, 0, 2.5]]),
    }
    nrrd.write(str(folder / "ct.nrrd"), case.ct, header, index_order="C")
    with pytest.raises(CaseError, match=r"ct\.nrrd: the volume is oblique"):
        read_nrrd_case(folder)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (-1.0, "negative"), (7000.0, "cGy")])
def test_impossible_doses(folder, case, value, message):
    dose = case.dose.copy()
    dose[64, 64, 64] = value
    write_dose(folder / "dose.nrrd", dose, case.grid)
    with pytest.raises(CaseError, match=rf"dose\.nrrd.*{message}"):
        read_nrrd_case(folder)


def test_ct_with_nan(folder, case):
    ct = case.ct.astype(np.float32)
    ct[0, 0, 0] = np.nan
    write_volume(folder / "ct.nrrd", ct, case.grid)
    with pytest.raises(CaseError, match=r"ct\.nrrd: the CT has NaN"):
        read_nrrd_case(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, ROI_NAMES_KEY),
        ({ROI_NAMES_KEY: "not json"}, ROI_NAMES_KEY),
        ({ROI_NAMES_KEY: '["a", 3]'}, ROI_NAMES_KEY),
        ({ROI_NAMES_KEY: '["PTV70"]'}, "bits are set beyond"),
        ({ROI_NAMES_KEY: json.dumps([f"r{n}" for n in range(17)])}, "do not fit"),
        ({ROI_NAMES_KEY: json.dumps([f"r{n}" for n in range(11)])}, "possible_dose_mask"),
    ],
)
def test_roi_names_that_do_not_fit_the_bits(folder, case, entries, message):
    bits = read_volume(folder / "rois.nrrd").array
    write_volume(folder / "rois.nrrd", bits, case.grid, entries)
    with pytest.raises(CaseError, match=rf"rois\.nrrd.*{message}"):
        read_nrrd_case(folder)


def test_nrrd_files_in_other_units_than_mm_are_refused(tmp_path, case):
    write_nrrd_case(tmp_path, case)
    for name in ("ct.nrrd", "rois.nrrd", "dose.nrrd"):
        content = (tmp_path / name).read_bytes()
        line = b"space: left-posterior-superior\n"
        (tmp_path / name).write_bytes(content.replace(line, line + b'space units: "cm" "cm" "cm"\n', 1))
    with pytest.raises(CaseError, match=r"ct.nrrd: space units are cm, cm, cm; save it again in mm"):
        read_nrrd_case(tmp_path)


def test_what_a_case_can_hold_are_values_of_16_bits(tmp_path):
    for values, fits in (((-32768, 32767.4), False), ((-32768, 32767), True), ((-32769, 0), False)):
        array = np.float32([[values]])
        if fits:
            assert _as_hu(array, tmp_path).tolist() == [[[*values]]]
        else:
            with pytest.raises(CaseError, match="cannot be HU"):
                _as_hu(array, tmp_path)
