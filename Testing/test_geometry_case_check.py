"""What is no CT, no neck, no whole plan or does not belong together is refused or said, wherever it comes from."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepDosePredictLib.app.sources import OPENKBP, CaseSource, read_case
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.geometry.body import find_body
from DeepDosePredictLib.geometry.case_check import checked, orientation_doubts, reference_doubts, tissue_doubts
from DeepDosePredictLib.geometry.clinical_case import check_ct
from DeepDosePredictLib.geometry.ct_check import check_hounsfield
from DeepDosePredictLib.geometry.site_check import body_doubts, field_of_view, site_doubts
from DeepDosePredictLib.geometry.volume import Volume
from DeepDosePredictLib.io.nrrd_case import write_nrrd_case
from DeepDosePredictLib.io.openkbp import write_dose
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import mirrored_name
from synthetic import ball, make_case, padded, write_openkbp

SMALL = (64, 64, 64)


@pytest.fixture(scope="module")
def small_case():
    return make_case(shape=SMALL)


def rois_of(case, change) -> RoiMask:
    """The structures of a case after `change` has altered {name: mask}."""
    return RoiMask.encode(change({roi: case.rois[roi] for roi in case.rois}))


# Values of the CT


def test_a_ct_in_hu_passes_without_a_word(small_case):
    assert checked(small_case).notes == small_case.notes == ()


NO_CT = {
    "RescaleIntercept +1024": (lambda hu, dose: hu + 1024, "about 1000 too high"),
    "RescaleIntercept -1024 applied twice": (lambda hu, dose: hu - 1024, "offset of about 1000"),
    "RescaleSlope -1": (lambda hu, dose: -(hu + 1024) - 1024, "contoured structures have -20"),
    "RescaleSlope 1e30": (lambda hu, dose: np.where(hu + 1024 > 0, 32767, -1024), "without their sign|32767"),
    "RescaleSlope 2": (lambda hu, dose: 2 * (hu + 1024) - 2048, "value of air, -1000 HU; its values run"),
    "signed values read as unsigned": (lambda hu, dose: np.where(hu < 0, 32767, hu), "value of air, -1000 HU"),
    "padding read as unsigned": (lambda hu, dose: padded(hu, 32767), "without their sign"),
    "OpenKBP's CT without its +1000": (lambda hu, dose: np.maximum(hu, 0) - 1000, "the contoured structures have -9"),
    "HU divided by 1000": (lambda hu, dose: np.rint(hu / 1000), "HU divided by 1000"),
    "all 0": (lambda hu, dose: 0 * hu, "nearly all of its values are 0"),
    "the dose as CT": (lambda hu, dose: dose, "an MR, a dose"),
    "an MR as CT": (lambda hu, dose: np.where(hu > -500, 400 + 3 * hu, 8), "an MR, a dose"),
    "air of 0 around the body": (lambda hu, dose: np.where(hu < -900, 0, hu), "nothing in it has the value of air"),
}


@pytest.mark.parametrize(("change", "words"), NO_CT.values(), ids=NO_CT.keys())
def test_what_is_no_ct_is_refused(small_case, change, words):
    ct = np.clip(change(small_case.ct.astype(float), small_case.dose), -32768, 32767).astype(np.int16)
    with pytest.raises(CaseError, match=f"made-up: this is no CT in HU: .*{words}.*; choose the planning CT"):
        checked(replace(small_case, ct=ct))


def test_values_in_doubt_are_said(small_case):
    def notes(ct):
        return " ".join(checked(replace(small_case, ct=ct.astype(np.int16))).notes)

    assert "150 HU, not about 40" in notes(np.where(small_case.ct > -500, 150, -1000))
    assert "no bone" in notes(np.minimum(small_case.ct, 200))  # saved with the window of soft tissue


def test_unscanned_voxels_count_for_nothing(small_case):
    scanned = np.zeros(SMALL, bool)
    scanned[:, 10:54] = True
    hu = np.where(scanned, small_case.ct, -30000).astype(np.float32)
    contoured = small_case.rois.bits != 0
    assert check_hounsfield(hu, contoured, "CT", scanned) == []
    with pytest.raises(CaseError, match="CT: the contours lie beyond the CT"):
        check_hounsfield(hu, contoured, "CT", scanned & ~contoured)


@settings(max_examples=40, deadline=None)
@given(slope=st.floats(-3, 3), intercept=st.floats(-3000, 3000))
def test_no_rescaling_passes_without_a_word(slope, intercept):
    """Wherever it moves air or soft tissue by more than a tenth of what parts them."""
    case = affine_case()
    ct = np.clip(np.rint(case.ct * slope + intercept), -32768, 32767).astype(np.int16)
    moved = abs(-1000 * slope + intercept + 1000) > 160 or abs(15 * slope + intercept - 15) > 160
    try:
        said = bool(checked(replace(case, ct=ct)).notes)
    except CaseError:
        said = True
    assert said or not moved


@cache
def affine_case():
    return make_case(shape=SMALL)


def test_slices_of_two_rescalings_are_refused(small_case):
    for shift in (1024, -1024):
        ct = small_case.ct + np.where(np.arange(64) < 30, shift, 0)[:, None, None]
        with pytest.raises(CaseError, match=r"values jump from one slice to the next|about 40"):
            checked(replace(small_case, ct=ct.astype(np.int16)))


# Anatomy


def test_wide_bodies_and_lungs_are_no_neck(small_case):
    wide = replace(small_case, spacing=(2.5, 10.9, 10.9))
    assert "cross-section of" in site_doubts(wide)[0] and "head and neck only" in site_doubts(wide)[0]
    lung = ball(SMALL, (31.5, 31.5, 24), 8)
    assert "is lung" in site_doubts(replace(small_case, ct=np.where(lung, -750, small_case.ct).astype(np.int16)))[0]


@pytest.mark.parametrize("spacing", [(2.5, 0.3906, 0.3906), (19.0, 3.906, 3.906), (0.25, 3.906, 3.906), (2.5, 19, 19)])
def test_spacings_that_no_patient_has_are_refused(small_case, spacing):
    with pytest.raises(CaseError, match=r"made-up: voxels of .* mm make a grid of .* check the spacing and its unit"):
        checked(replace(small_case, spacing=spacing))


def test_a_body_of_no_possible_size_is_refused(small_case):
    with pytest.raises(CaseError, match=r"cross-section of [0-9.]+ cm2, which no patient has"):
        site_doubts(replace(small_case, spacing=(2.5, 0.977, 0.977)))


def body_of(ct: np.ndarray) -> np.ndarray:
    return find_body(ct, ball(SMALL, (31.5, 31.5, 31.5), 5))


def test_body_cut_by_the_field_of_view_is_said(small_case):
    hu = small_case.ct.copy()
    hu[:30, 26:37] = 40  # shoulders from side to side
    cut = replace(small_case, ct=hu, dose_mask=body_of(hu))
    words = "field of view cuts the body"
    assert words in site_doubts(cut)[-1] and not site_doubts(small_case)
    round_ = padded(hu, -1024).astype(np.int16)  # a circle that touches the edges only in their middle
    round_[:, 26:37, :2] = round_[:, 26:37, -2:] = -1024
    cut = replace(small_case, ct=round_, dose_mask=body_of(round_))
    volume = Volume("CT", round_, cut.grid)
    field = field_of_view(volume, cut.grid, round_.astype(np.float32), np.ones(SMALL, bool))
    assert field[0, 31, 31] and not field[0, 0, 0] and not field[0, 3, 10]


def test_arms_couch_and_what_the_external_leaves_out(small_case):
    ct, spacing = small_case.ct.copy(), small_case.spacing
    mask = small_case.dose_mask

    def doubts(external=None):
        return " ".join(body_doubts(ct, body_of(ct), external, mask, spacing))

    assert doubts() == doubts(body_of(ct)) == ""
    ct[:, 52:54, 10:54] = 60  # a couch: thin
    assert doubts() == ""
    couch = body_of(ct)
    couch[20:44, 50:56, 10:54] = True
    assert "External holds" in doubts(couch) and "couch" in doubts(couch)
    assert "External holds" in doubts(np.ones(SMALL, bool)) and "air around the body" in doubts(np.ones(SMALL, bool))
    half = body_of(ct)
    half[:, :, 36:] = False
    assert "External leaves out" in doubts(half)
    ct[:, 25:38, 2:12] = 30
    assert "tissue beside the body (arms" in doubts()


def test_a_board_that_touches_the_body_is_told_from_it(small_case):
    """It lies under the shoulders, where the body finds it, and goes on below the neck."""
    ct = small_case.ct.copy()
    ct[10:26, 30:52, 20:44] = 40  # shoulders
    ct[:, 52:56, 8:56] = 40
    body = body_of(ct)
    assert body[40, 53, 10]
    for external in (None, body):
        (doubt,) = body_doubts(ct, body, external, small_case.dose_mask, small_case.spacing)
        assert "something flat below the body (couch, board?)" in doubt
    ct[:, 52:56, :16] = ct[:, 52:56, 48:] = -1000  # no wider than a neck
    assert body_doubts(ct, body_of(ct), None, small_case.dose_mask, small_case.spacing) == []


def test_metal_is_said(small_case):
    ct = np.where(ball(SMALL, (31.5, 24, 31.5), 4), 3071, small_case.ct).astype(np.int16)
    assert "cm3 of metal" in " ".join(site_doubts(replace(small_case, ct=ct)))


# What belongs together


def test_sides_and_ends_are_told_from_organs_in_every_kind_of_case(tmp_path, case):
    exchanged = replace(case, rois=rois_of(case, lambda masks: {mirrored_name(roi): m for roi, m in masks.items()}))
    write_nrrd_case(tmp_path / "compact", exchanged)
    write_openkbp(tmp_path / "openkbp", exchanged)
    for kind in ("compact", "openkbp"):
        notes = read_case(tmp_path / kind).notes
        assert notes == (
            "LeftParotid lies to the right of RightParotid: check their names and the orientation of the patient",
        )


def test_feet_first_and_prone_patients_are_said(small_case):
    def turned(*axes):
        return " ".join(
            orientation_doubts(
                replace(small_case, rois=RoiMask(np.flip(small_case.rois.bits, axes).copy(), small_case.rois.names))
            )
        )

    assert turned() == ""
    assert "Brainstem does not lie above SpinalCord" in turned(0, 2) and "LeftParotid" in turned(0, 2)
    assert "Mandible does not lie in front of SpinalCord" in turned(1, 2)


def test_contours_beside_the_anatomy_are_said(small_case):
    """As those of another patient, or of a CT that was shifted."""
    shifted = replace(small_case, ct=np.roll(small_case.ct, 8, 1))
    assert tissue_doubts(small_case) == []
    doubts = " ".join(tissue_doubts(shifted))
    assert "of Mandible has its HU (200 to 4000)" in doubts and "check that CT and contours belong together" in doubts
    away = " ".join(tissue_doubts(replace(small_case, ct=np.roll(small_case.ct, 15, 2))))
    assert "RightParotid has its HU" in away and "% of PTV70 is air" in away


@pytest.mark.parametrize("level", [999, 0.5])
def test_prescriptions_that_nobody_gives_are_refused(small_case, level):
    names = tuple(f"PTV{level:g}" if name == "PTV70" else name for name in small_case.rois.names)
    with pytest.raises(CaseError, match=f"made-up: PTV{level:g}: a prescription lies between 5 and 100 Gy"):
        checked(replace(small_case, rois=RoiMask(small_case.rois.bits, names)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dose: dose * 0.55, "PTV70 39.* Gy .*57% of its 70 Gy: check .* this patient's whole plan"),
        (lambda dose: dose * 46 / 70, "6.% of its 70 Gy"),
        (lambda dose: dose * 1.4, "14.% of its 70 Gy"),
        (lambda dose: np.where(np.arange(64) < 30, dose * 0.5, dose), "leaves part of PTV70 below"),
        (lambda dose: np.where(dose > 68, dose, dose / 2), "PTV56 .* of its 56 Gy"),
    ],
)
def test_reference_doses_that_are_not_the_whole_plan_are_said(small_case, change, words):
    assert not reference_doubts(small_case)
    doubts = " ".join(reference_doubts(replace(small_case, dose=change(small_case.dose).astype(np.float32))))
    assert re.search(words, doubts), doubts


def test_a_reference_dose_beside_the_targets_is_refused(small_case):
    with pytest.raises(CaseError, match="made-up: the reference dose is 0 in all targets"):
        checked(replace(small_case, dose=np.where(small_case.rois.bits, 0, small_case.dose).astype(np.float32)))


def test_a_given_reference_is_checked_instead_of_the_folders_own(tmp_path, case):
    folder = write_openkbp(tmp_path / "pt", replace(case, dose=case.dose * 0.5))
    write_dose(tmp_path / "half.csv", case.dose * 0.55)
    write_dose(tmp_path / "whole.csv", case.dose)
    source = CaseSource("pt", folder, OPENKBP)
    (note,) = source.read(dose=tmp_path / "half.csv").notes
    assert "of its 70 Gy" in note and source.read(dose=tmp_path / "whole.csv").notes == ()


@pytest.mark.parametrize("spacing", [(19.0, 1.0, 1.0), (2.5, 0.0977, 0.0977)])
def test_scans_with_voxels_that_no_ct_has_are_refused(spacing):
    ct = Volume("scan.nrrd", np.zeros((4, 4, 4), np.int16), Grid.lps_aligned((4, 4, 4), spacing, (0, 0, 0)))
    with pytest.raises(CaseError, match=r"scan.nrrd: voxels of .* mm are none of a planning CT"):
        check_ct(ct)
