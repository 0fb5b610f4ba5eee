"""The gates open and close where they say: each limit from both sides, on the smallest cases that reach it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.geometry import ct_check, site_check
from DeepDosePredictLib.geometry.case_check import (
    check_levels,
    check_spacing_of_grid,
    orientation_doubts,
    reference_doubts,
    tissue_doubts,
)
from DeepDosePredictLib.geometry.ct_check import check_hounsfield
from DeepDosePredictLib.geometry.dose_level import dose_level
from DeepDosePredictLib.geometry.shapes import LabelmapShape
from DeepDosePredictLib.geometry.volume import Volume
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.stated_levels import likely_level

SHAPE = (10, 40, 50)
N = 2000
"""Voxels in a slice, 20000 in all."""
SPACING = (5.0, 5.0, 5.0)


def voxels(number: int, slices: slice = slice(None)) -> np.ndarray:
    """The first voxels of each of some slices."""
    mask = np.zeros((SHAPE[0], N), bool)
    mask[slices, :number] = True
    return mask.reshape(SHAPE)


def case_of(masks: dict[str, np.ndarray], ct: np.ndarray | None = None, dose: np.ndarray | None = None) -> Case:
    ct = np.where(voxels(400), 40, -1000).astype(np.int16) if ct is None else ct
    return Case("c", ct, RoiMask.encode(masks), voxels(400), SPACING, dose)


# Hounsfield units

INSIDE = voxels(100, slice(2, 8))


def hu_of(soft: float = 40.0, bone: int = 20, air: int = 1600) -> np.ndarray:
    """Slices of air, bone and tissue, which the contours hold."""
    hu = np.full(SHAPE, soft, np.float32).reshape(SHAPE[0], N)
    hu[:, N - air :] = -1000
    hu[:, 200 : 200 + bone] = 600
    return hu.reshape(SHAPE)


def test_the_value_of_air():
    assert check_hounsfield(hu_of(air=20), INSIDE, "CT") == []
    with pytest.raises(CaseError, match="nothing in it has the value of air"):
        check_hounsfield(hu_of(air=19), INSIDE, "CT")
    for value, is_air in ((-1100, True), (-1101, False), (-850, True), (-849, False)):
        hu = np.where(hu_of(air=1600) == -1000, value, hu_of()).astype(np.float32)
        if is_air:
            assert check_hounsfield(hu, INSIDE, "CT") == []
        else:
            with pytest.raises(CaseError, match="value of air"):
                check_hounsfield(hu, INSIDE, "CT")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu * 0 + 7, "nearly all of its values are 7"),
        (lambda hu: hu + 1000, "about 1000 too high"),
        (lambda hu: hu / 1000, "as of HU divided by 1000"),
        (lambda hu: hu + 1500, "as of an MR"),
        (lambda hu: np.maximum(hu + 400, 0), "as of an MR"),
        (lambda hu: hu * 3, r"run from -3000 to 1800; choose"),
    ],
)
def test_what_values_without_air_look_like(change, words):
    with pytest.raises(CaseError, match=words):
        check_hounsfield(change(hu_of(bone=60)), INSIDE, "CT")


def test_impossible_values():
    for number, allowed in ((2, True), (3, False)):  # in each slice of 2000
        hu = hu_of().reshape(SHAPE[0], N)
        hu[:, 390 : 390 + number] = 8001
        if allowed:
            assert check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT") == []
        else:
            with pytest.raises(CaseError, match=r"0\.1% of it is above 8000 HU|0\.2% of it"):
                check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT")
    hu = hu_of()
    hu.reshape(SHAPE[0], N)[:, 390:399] = 8000
    assert check_hounsfield(hu, INSIDE, "CT") == []


def test_what_the_contours_hold():
    for solid, allowed in ((30, True), (29, False)):
        hu = hu_of().reshape(SHAPE[0], N)
        hu[:, solid:100] = -800
        if allowed:
            assert check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT") == []
        else:
            with pytest.raises(CaseError, match="contoured structures have -800 HU"):
                check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT")


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        (-265, "soft tissue has -270"),
        (-245, "-250 HU, not about 40"),
        (-75, "-70 HU, not about 40"),
        (-55, ""),
        (115, ""),
        (135, "130 HU, not about 40"),
        (445, "450 HU, not about 40"),
        (465, "soft tissue has 470"),
    ],
)
def test_soft_tissue(soft, words):
    """In bins of 20 HU."""
    hu = hu_of(soft)
    if words.startswith("soft"):
        with pytest.raises(CaseError, match=words):
            check_hounsfield(hu, INSIDE, "CT")
    else:
        doubts = " ".join(check_hounsfield(hu, INSIDE, "CT"))
        assert words in doubts and bool(words) == bool(doubts)


def test_bone():
    """0.5 % of the 400 dense voxels in a slice are two."""
    assert check_hounsfield(hu_of(bone=2), INSIDE, "CT") == []
    assert "no bone" in check_hounsfield(hu_of(bone=1), INSIDE, "CT")[0]


def test_air_from_slice_to_slice():
    hu = hu_of(air=1600)
    for left, allowed in ((401, True), (399, False)):
        changed = hu.copy().reshape(SHAPE[0], N)
        changed[5:, 400 : N - left] = 40
        if allowed:
            assert check_hounsfield(changed.reshape(SHAPE), INSIDE, "CT") == []
        else:
            with pytest.raises(CaseError, match="values jump from one slice"):
                check_hounsfield(changed.reshape(SHAPE), INSIDE, "CT")
    changed = hu.copy().reshape(SHAPE[0], N)
    changed[8:, 400:] = 40
    assert check_hounsfield(changed.reshape(SHAPE), INSIDE, "CT") == [], "beyond the contours it does not matter"
    scanned = np.ones(SHAPE, bool)
    scanned.reshape(SHAPE[0], N)[7, 900:] = False
    changed = np.where(scanned, hu, -30000).astype(np.float32)
    changed.reshape(SHAPE[0], N)[7, 400:900] = 40
    assert check_hounsfield(changed, INSIDE, "CT", scanned) == [], "a slice of which less than half was scanned"


def test_the_commonest_value():
    assert ct_check._commonest(np.array([39.0, 41, 59, 40, -10, -10])) == 50
    assert np.isnan(ct_check._commonest(np.empty(0)))


# Site


def test_cross_sections():
    """Of n voxels of 25 mm2; 400 are 100 cm2."""
    target = {"PTV70": voxels(50, slice(3, 6))}

    def doubts(number: int) -> str:
        case = replace(case_of(target), dose_mask=voxels(number))
        return " ".join(site_check._anatomy(replace(case, ct=np.full(SHAPE, 40, np.int16))))

    assert doubts(240) == doubts(1600) == ""
    assert "cross-section of 60 cm2" in doubts(239) and "cross-section of 400 cm2" in doubts(1601)
    assert "neck" in doubts(80)
    with pytest.raises(CaseError, match=r"cross-section of 19\.8 cm2"):
        doubts(79)


def test_share_of_lung():
    target = {"PTV70": voxels(50, slice(3, 6))}
    for number, words in ((64, 0), (65, 1)):
        ct = np.where(voxels(400), 40, -1000).astype(np.int16)
        ct.reshape(SHAPE[0], N)[:, 100 : 100 + number] = -700
        ct.reshape(SHAPE[0], N)[:, 1000:1500] = 40  # beside the body
        assert len(site_check._anatomy(case_of(target, ct))) == words
    ct.reshape(SHAPE[0], N)[:, 100:165] = -500
    assert site_check._anatomy(case_of(target, ct)) == [], "values of lung end below -500"


def test_volume_of_metal():
    """Voxels of 0.125 cm3; 32 are 4 cm3."""
    for number, words in ((32, []), (33, ["4.1 cm3 of metal"])):
        ct = np.where(voxels(400), 40, -1000).astype(np.int16)
        ct.reshape(SHAPE[0], N)[0, :number] = 2801
        doubts = site_check._metal(case_of({"PTV70": voxels(50)}, ct))
        assert [one[: len("4.1 cm3 of metal")] for one in doubts] == words
    ct[ct == 2801] = 2800
    assert site_check._metal(case_of({"PTV70": voxels(50)}, ct)) == []


def test_slices_that_the_field_cuts():
    """Three voxels of tissue at the rim in each of three slices."""
    field = np.ones(SHAPE, bool)
    field[:, :, 45:] = False
    for slices, height, words in ((3, 3, 1), (2, 3, 0), (3, 2, 0)):
        mask = np.zeros(SHAPE, bool)
        mask[2 : 2 + slices, 20 : 20 + height, 30:45] = True
        mask[2:5, 20:23, 30:40] = True
        ct = np.where(mask, 40, -1000).astype(np.int16)
        case = replace(case_of({"PTV70": mask}, ct), dose_mask=mask)
        doubts = site_check._cut(case, field)
        assert len(doubts) == words
    assert not site_check._cut(case, np.ones(SHAPE, bool))


def test_a_field_is_round_where_its_corners_hold_one_value():
    hu = np.full((2, 50, 50), -1000.0, np.float32)
    scanned = np.ones(hu.shape, bool)
    columns, rows = site_check._centred(hu.shape)
    assert columns.ravel()[[0, -1]].tolist() == [-0.98, 0.98] and rows.ravel()[[0, -1]].tolist() == [-0.98, 0.98]
    field = site_check._round_field(hu, scanned, columns, rows)
    assert field.sum() == pytest.approx(2 * np.pi * 25**2, rel=0.01) and not field[:, 0, 0].any()
    hu[:, 1, 1] = -998
    assert site_check._round_field(hu, scanned, columns, rows).all()


# Case


@pytest.mark.parametrize(
    ("spacing", "fits"),
    [
        ((0.75, 1.0, 11.0), True),
        ((6.6, 11.0, 1.0), True),
        ((0.74, 4, 4), False),
        ((6.7, 4, 4), False),
        ((3, 0.99, 4), False),
        ((3, 4, 11.1), False),
    ],
)
def test_spacings_of_the_grid(spacing, fits):
    case = replace(case_of({"PTV70": voxels(50)}), spacing=spacing)
    if fits:
        check_spacing_of_grid(case)
    else:
        with pytest.raises(CaseError, match="holds no head and neck"):
            check_spacing_of_grid(case)


@pytest.mark.parametrize(("target", "fits"), [("PTV5", True), ("PTV100", True), ("PTV4.9", False), ("PTV101", False)])
def test_prescriptions(target, fits):
    case = case_of({target: voxels(50)})
    if fits:
        check_levels(case)
    else:
        with pytest.raises(CaseError, match="lies between 5 and 100 Gy"):
            check_levels(case)


@pytest.mark.parametrize(
    ("highest", "cold", "lower", "words"),
    [
        (70, 70, 56, []),
        (56.1, 56.1, 56, []),
        (55.9, 55.9, 56, ["gives PTV70 55.9 Gy"]),
        (83.9, 83.9, 56, []),
        (84.1, 84.1, 56, ["gives PTV70 84.1 Gy"]),
        (70, 49.1, 56, []),
        (70, 48.9, 56, ["leaves part of PTV70 below 69%"]),
        (70, 70, 47.7, []),
        (70, 70, 47.5, ["gives PTV56 47.5 Gy (median), 85% of its 56 Gy"]),
        (70, 70, 72.7, []),
        (70, 70, 72.9, ["gives PTV56 72.9 Gy (median), 130% of its 56 Gy"]),
    ],
)
def test_reference_doses(highest, cold, lower, words):
    """A tenth of the highest target gets `cold`."""
    masks = {"PTV70": voxels(50), "PTV56": voxels(100) & ~voxels(50)}
    dose = np.where(masks["PTV70"], highest, lower) * voxels(400)
    dose[voxels(5)] = cold
    doubts = reference_doubts(case_of(masks, dose=dose.astype(np.float32)))
    assert len(doubts) == len(words) and all(word in doubt for word, doubt in zip(words, doubts, strict=True))


@pytest.mark.parametrize(
    ("roi", "values", "share"),
    [
        ("Mandible", (200, 4000), 0.4),
        ("Brainstem", (-100, 200), 0.5),
        ("SpinalCord", (-100, 200), 0.5),
        ("LeftParotid", (-250, 250), 0.75),
        ("RightParotid", (-250, 250), 0.75),
    ],
)
def test_tissue_of_organs(roi, values, share):
    """The limits of HU belong to an organ; of 100 voxels a slice the least part has them."""
    masks = {roi: voxels(100), "PTV70": voxels(400) & ~voxels(300)}
    number = round(100 * share)
    for inside, lacking, said in (
        (values[0], 0, False),
        (values[1], 0, False),
        (values[0], 1, True),
        (values[0] - 1, 0, True),
        (values[1] + 1, 0, True),
    ):
        ct = np.full((SHAPE[0], N), -600, np.int16)
        ct[:, : number - lacking] = inside
        doubts = tissue_doubts(case_of(masks, ct.reshape(SHAPE)))
        assert [roi in doubt for doubt in doubts] == [True] * said


def test_air_in_targets():
    for number, said in ((30, False), (31, True)):
        ct = np.full((SHAPE[0], N), 40, np.int16)
        ct[:, :number] = -701
        assert bool(tissue_doubts(case_of({"PTV70": voxels(100)}, ct.reshape(SHAPE)))) == said
    ct[ct == -701] = -700
    assert tissue_doubts(case_of({"PTV70": voxels(100)}, ct.reshape(SHAPE))) == []


def at(k: int, j: int, i: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[k, j, i] = True
    return mask


@pytest.mark.parametrize(
    ("first", "second", "axis", "sign"),
    [
        ("Brainstem", "SpinalCord", 0, 1),
        ("Brainstem", "Larynx", 0, 1),
        ("Brainstem", "Esophagus", 0, 1),
        ("Larynx", "Esophagus", 0, 1),
        ("Mandible", "SpinalCord", 1, -1),
        ("Larynx", "SpinalCord", 1, -1),
        ("Mandible", "Brainstem", 1, -1),
        ("LeftParotid", "RightParotid", 2, 1),
    ],
)
def test_order_of_organs(first, second, axis, sign):
    """Said as soon as two centres are the wrong way round, and not where they are level."""
    for shift in (-1, 0, 1):
        place = [5, 20, 20]
        place[axis] += shift
        masks = {first: at(*place), second: at(5, 20, 20), "PTV70": voxels(50)}
        doubts = orientation_doubts(case_of(masks))
        assert len(doubts) == (shift * sign < 0)
        assert all(first in doubt and second in doubt for doubt in doubts)


def test_the_level_that_a_dose_suggests():
    """By its D95 inside the shape; nothing where it has no voxel, or no usual prescription."""
    grid = Grid.lps_aligned((4, 10, 10), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    mask = np.zeros((4, 10, 10), bool)
    mask[1:3, 2:8, 2:8] = True
    shape = LabelmapShape.cropped(mask, grid)

    def level(inside: float) -> float | None:
        return dose_level(shape, Volume("d", np.where(mask, inside, 5.0), grid))

    assert level(0.98 * 70) == 70 and level(0.98 * 54) == 54 and level(30.0) is None
    far = Grid.lps_aligned((4, 10, 10), (3.0, 3.0, 3.0), (900.0, 0.0, 0.0))
    assert dose_level(shape, Volume("d", np.full(far.shape, 68.0), far)) is None


@pytest.mark.parametrize("level", [45, 50, 50.4, 54, 56, 57, 59.4, 60, 63, 64, 65, 66, 68, 70, 72])
def test_common_prescriptions_are_suggested_by_their_d95(level):
    """Of 98 %, and up to four hundredths beside it."""
    assert likely_level(0.98 * level) == level
    assert likely_level(0.93 * 45) is None and likely_level(1.03 * 72) is None
    assert likely_level(0.95 * 45) == 45 and likely_level(1.01 * 72) == 72


def test_values_that_are_nearly_all_one():
    """But for one in a hundred at each end."""
    hu = np.full((SHAPE[0], N), 7.0, np.float32)
    hu[:, :18] = 40
    with pytest.raises(CaseError, match="nearly all of its values are 7"):
        check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT")
    hu[:, :30] = 3
    with pytest.raises(CaseError, match="nothing in it has the value of air"):
        check_hounsfield(hu.reshape(SHAPE), INSIDE, "CT")
