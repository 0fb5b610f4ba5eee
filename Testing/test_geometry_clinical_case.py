"""From a scan to a Case: what lies beyond the scan, values outside what it holds, doses, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.geometry.clinical_case import (
    _check_targets,
    _reference_dose,
    check_ct,
    check_reference_dose,
    clinical_case,
)
from DeepDosePredictLib.geometry.shapes import LabelmapShape
from DeepDosePredictLib.geometry.trained_grid import OPENKBP_GRID
from DeepDosePredictLib.geometry.volume import Volume
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.patient.rois import DOSE_MASK, EXTERNAL
from synthetic import ball

SHAPE, SPACING = (30, 48, 48), (3.0, 6.0, 6.0)
GRID = Grid.lps_aligned(SHAPE, SPACING, (-141.0, -141.0, 0.0))
SMALL = replace(OPENKBP_GRID, shape=(48, 48, 48))
BODY = np.broadcast_to(ball(SHAPE[1:], (24, 24), 17), SHAPE)
SLICE = np.arange(30)[:, None, None]


def scan() -> np.ndarray:
    return np.where(BODY, 30, -1000).astype(np.int16)


def shape(mask: np.ndarray) -> LabelmapShape:
    return LabelmapShape.cropped(mask, GRID)


TARGET = ball(SHAPE, (24, 24, 24), 4)


def case_of(ct: np.ndarray | None = None, reference: Volume | None = None, **masks: np.ndarray):
    masks = {"PTV70": TARGET} | masks
    structures = {role: [(role, shape(mask))] for role, mask in masks.items()}
    return clinical_case(Volume("CT", scan() if ct is None else ct, GRID), structures, "s", reference, trained=SMALL)


def world_k(case) -> np.ndarray:
    """z of the slices of a case, in mm, LPS."""
    return case.origin[2] + case.spacing[0] * np.arange(case.shape[0])


def test_no_dose_where_nothing_was_scanned():
    """A dose mask or a body contour that goes on beyond the CT does not make dose there; the CT is air."""
    beyond = np.ones((60, 48, 48), bool)
    place = Grid.lps_aligned(beyond.shape, SPACING, (-141.0, -141.0, 0.0))
    for role in (DOSE_MASK, EXTERNAL):
        structures = {"PTV70": [("p", shape(TARGET))], role: [("b", LabelmapShape(beyond, place))]}
        case = clinical_case(Volume("CT", scan(), GRID), structures, "s", trained=SMALL)
        outside = world_k(case) > 29.5 * 3 + 0.01
        assert outside.any() and case.dose_mask.any() and not case.dose_mask[outside].any(), role
        assert (case.ct[outside] == -1000).all()


def test_the_part_of_a_target_beyond_the_scan_is_said():
    mask, scanned = np.zeros((10, 20, 20), bool), np.ones((10, 20, 20), bool)
    mask[4:8] = True
    scanned[7:] = False
    warnings: list[str] = []
    _check_targets({"PTV70": mask, "Larynx": ~scanned}, scanned, scanned, "CT", warnings)
    assert warnings == ["25% of PTV70 lies beyond the end of CT, where there is no dose"]
    with pytest.raises(CaseError, match="PTV70 lies outside the body in CT"):
        _check_targets({"PTV70": mask}, scanned, np.zeros_like(mask), "CT", [])
    _check_targets({"PTV70": mask[:7], "PTV56": mask[:1]}, scanned[:7], scanned[:7], "CT", warnings := [])
    assert warnings == ["PTV56 lies within targets of higher prescriptions"]


def test_values_are_held_to_what_a_case_can_hold():
    ct = scan().astype(np.float32)
    ct[0, 0, 0], ct[TARGET] = -5000.0, 30.4
    case = case_of(ct)
    assert case.ct.dtype == np.int16 and case.ct.min() >= -1024 and case.ct[case.rois["PTV70"]].max() == 30


def test_reference_dose_is_read_on_the_grid_of_the_case():
    dose = np.where(BODY, 60.0, -0.5).astype(np.float32)
    case = case_of(reference=Volume("dose", dose, GRID))
    assert case.dose.dtype == np.float32 and case.dose.min() == 0
    assert case.dose[case.rois["PTV70"]] == pytest.approx(60, abs=1e-3)
    assert any("negative values, down to -0.50 Gy" in note for note in case.notes)
    warnings: list[str] = []
    _reference_dose(Volume("dose", np.abs(dose), GRID), GRID, warnings)
    assert warnings == []
    with pytest.raises(CaseError, match="is 0 everywhere around the PTVs"):
        _reference_dose(Volume("dose", np.zeros(SHAPE), GRID), GRID, [])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((3, 3, 3), 200.5, np.float32), r"reaches 200\.5, too high for Gy"),
        (np.full((3, 3, 3), np.nan, np.float32), "NaN or infinite"),
        (np.zeros((3, 3, 3, 2)), "no volume of one value per voxel"),
    ],
)
def test_doses_that_cannot_be(array, words):
    grid = Grid.lps_aligned((3, 3, 3), (3, 3, 3), (0, 0, 0))
    with pytest.raises(CaseError, match=words):
        check_reference_dose(Volume("d", array, grid))
    check_reference_dose(Volume("d", np.full((3, 3, 3), 200.0, np.float32), grid))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 9, 9), np.int16), "no 3D volume"),
        (np.full((2, 9, 9), np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_scans_that_cannot_be(array, words):
    grid = Grid.lps_aligned(array.shape, (3, 3, 3), (0, 0, 0))
    with pytest.raises(CaseError, match=words):
        check_ct(Volume("CT", array, grid))


@pytest.mark.parametrize(("step", "fits"), [(0.14, False), (0.15, True), (12.0, True), (12.1, False)])
def test_steps_of_a_planning_ct(step, fits):
    ct = Volume("CT", np.zeros((2, 2, 2), np.int16), Grid.lps_aligned((2, 2, 2), (step, 1.0, 1.0), (0, 0, 0)))
    if fits:
        check_ct(ct)
    else:
        with pytest.raises(CaseError, match="none of a planning CT"):
            check_ct(ct)


def test_targets_far_from_the_others_are_refused_and_those_that_reach_out_are_said():
    far = np.zeros((400, 4, 4), bool)
    far[-2:] = True
    place = Grid.lps_aligned(far.shape, SPACING, (0.0, 0.0, 72.0))
    structures = {"PTV70": [("p", shape(TARGET))], "PTV56": [("q", LabelmapShape.cropped(far, place))]}
    with pytest.raises(CaseError, match=r"PTV\d\d(, PTV\d\d)? lies outside the"):
        clinical_case(Volume("CT", scan(), GRID), structures, "s", trained=SMALL)
    assert not any("beyond the" in note for note in case_of().notes if "mm that the model sees" in note)
    low = shape(BODY & (SLICE < 26))
    long = {"PTV70": [("p", shape(TARGET))], "PTV56": [("q", low)]}
    short = replace(OPENKBP_GRID, shape=(16, 48, 48))
    case = clinical_case(Volume("CT", scan(), GRID), long, "s", trained=short)
    assert any("mm beyond the" in note and "there they get no dose" in note for note in case.notes)


def test_empty_contours_are_left_out_with_a_word():
    case = case_of(Larynx=np.zeros(SHAPE, bool))
    assert "Larynx is empty; it was left out" in case.notes and "Larynx" not in case.rois
    with pytest.raises(CaseError, match="no PTV has any voxel"):
        case_of(PTV70=np.zeros(SHAPE, bool), Larynx=TARGET)


@pytest.mark.parametrize(("external", "words"), [(True, "the External structure"), (False, "any body in the CT")])
def test_targets_outside_the_body_are_refused(external, words):
    """By the contoured body where there is one."""
    masks = {EXTERNAL: BODY & ~ball(SHAPE, (24, 24, 24), 9)} if external else {}
    organ = np.broadcast_to(ball(SHAPE[1:], (24, 12), 4), SHAPE)
    ct = None if external else np.where(ball(SHAPE, (24, 24, 24), 9), -1000, scan()).astype(np.int16)
    with pytest.raises(CaseError, match=f"the PTVs lie outside {words}"):
        case_of(ct, Larynx=organ, **masks)
