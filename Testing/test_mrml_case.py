"""Nodes to a Case: equal to the OpenKBP reader's, disjoint targets, and what people really load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clinical import clinical_grid, clinical_nodes
from DeepDosePredictLib.dvh.metrics import dose_error
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.mrml.case_from_nodes import caseMaker
from DeepDosePredictLib.patient.rois import DOSE_MASK
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from mrml_scene import lps_grid, oriented_image, slicer
from synthetic import ball

GRID, SPACING = (40, 64, 64), (3.0, 4.0, 4.0)
PLACE = lps_grid(SPACING, (-126, -126, -60))


def patient(scene, *, without: tuple[str, ...] = (), **masks: np.ndarray):
    """(CT, segmentation): a cylinder of water with nested PTVs, a cord and both parotids."""
    body = np.broadcast_to(ball(GRID[1:], (32, 32), 22), GRID)
    structures = {
        "PTV70": ball(GRID, (20, 30, 32), 3),
        "PTV56": ball(GRID, (20, 30, 32), 6),
        "LeftParotid": ball(GRID, (22, 30, 44), 3),
        "RightParotid": ball(GRID, (22, 30, 20), 3),
        **masks,
    }
    structures = {name: mask for name, mask in structures.items() if name not in without}
    ct = scene.volume(np.where(body, 40, -1000).astype(np.int16), PLACE, "CT")
    return ct, scene.segmentation(structures, PLACE, "Contours")


def names_of(segmentation) -> dict[str, tuple[str, ...]]:
    ids = [
        segmentation.GetSegmentation().GetNthSegmentID(n)
        for n in range(segmentation.GetSegmentation().GetNumberOfSegments())
    ]
    return {name: (name,) for name in ids}


@pytest.mark.slow
def test_openkbp_patient_through_nodes_is_the_same_case(scene, validation_patients: Path):
    """At its own spacing the same Case; without the mask file as good a prediction, within the common mask."""
    predictor = Predictor(open_model(), single_pass=True)
    lost = []
    for name in ("pt_201", "pt_214", "pt_225", "pt_235"):
        case = read_openkbp(validation_patients / name)
        place = lps_grid(case.spacing, (10, 20, 30))
        ct, dose = scene.volume(case.ct, place, name), scene.volume(case.dose, place, "dose")
        masks = {roi: case.rois[roi] for roi in case.rois.present()} | {DOSE_MASK: case.dose_mask}
        roles = names_of(segmentation := scene.segmentation(masks, place))
        same = caseMaker(ct, segmentation, roles, dose)()
        assert (same.ct == case.ct).all() and (same.dose == case.dose).all()
        assert (same.dose_mask == case.dose_mask).all()
        assert set(same.rois.present()) == set(case.rois.present())
        assert all((same.rois[roi] == case.rois[roi]).all() for roi in case.rois.present())
        assert same.spacing == pytest.approx(case.spacing)
        del roles[DOSE_MASK]
        other = caseMaker(ct, segmentation, roles, dose)()
        common = other.dose_mask & case.dose_mask
        errors = [dose_error(case.dose * common, predictor.predict(c).dose * common, common) for c in (other, case)]
        lost.append(errors[0] - errors[1])
    assert abs(np.mean(lost)) <= 0.4


@pytest.mark.slow
def test_clinical_phantom_keeps_volumes_and_places(scene):
    """A 5 degrees oblique, finer CT of the phantom gives the phantom's structures back on the model grid."""
    phantom = head_and_neck_phantom()
    ct, segmentation, dose = clinical_nodes(
        scene, phantom, clinical_grid(phantom, shape=(128, 256, 256), spacing=(2.5, 1.953, 1.953))
    )
    case = caseMaker(ct, segmentation, names_of(segmentation), dose)()
    source = lps_grid(phantom.spacing, phantom.origin)
    for roi in phantom.rois.present():
        if roi in ("SpinalCord", "Esophagus"):  # the oblique CT cuts their lower ends off
            continue
        before, after = np.argwhere(phantom.rois[roi]), np.argwhere(case.rois[roi])
        volumes = len(before) * phantom.voxel_volume_mm3, len(after) * case.voxel_volume_mm3
        assert volumes[1] == pytest.approx(volumes[0], rel=0.05), roi
        places = [
            (matrix @ [*points.mean(0)[::-1], 1])[:3]
            for matrix, points in ((source, before), (case.grid.ijk_to_ras, after))
        ]
        assert np.abs(places[0] - places[1]).max() < 1.0, roi
    assert all("field of view cuts" in note for note in case.notes)  # at its lower end


def test_nested_targets_become_disjoint(scene):
    ct, segmentation = patient(scene)
    case = caseMaker(ct, segmentation, names_of(segmentation))()
    assert not (case.rois["PTV70"] & case.rois["PTV56"]).any()
    both = ball(GRID, (20, 30, 32), 6).sum() * np.prod(SPACING)
    union = (case.rois["PTV70"] | case.rois["PTV56"]).sum() * case.voxel_volume_mm3
    assert union == pytest.approx(both, rel=0.05)


def test_several_segments_of_one_role_are_united(scene):
    ct, segmentation = patient(scene, PTVn=ball(GRID, (20, 40, 40), 3))
    roles = {"PTV70": ("PTV70", "PTVn")}
    case = caseMaker(ct, segmentation, roles)()
    assert case.rois["PTV70"].sum() * case.voxel_volume_mm3 == pytest.approx(
        2 * ball(GRID, (20, 30, 32), 3).sum() * np.prod(SPACING), rel=0.05
    )


def test_small_structure_is_not_lost(scene):
    """Half a voxel of the model grid, wherever it lies."""
    fine = lps_grid((1.0, 1.0, 1.0), (-20, -20, -10))
    ct, segmentation = patient(scene)
    tiny = np.zeros((20, 40, 40), bool)
    tiny[9:11, 19:22, 19:22] = True

    segment = slicer.vtkSegment()
    segment.SetName("Larynx")
    segment.AddRepresentation("Binary labelmap", oriented_image(tiny, fine))
    segmentation.GetSegmentation().AddSegment(segment, "Larynx")
    case = caseMaker(ct, segmentation, names_of(segmentation))()
    assert 1 <= case.rois["Larynx"].sum() <= 2


def test_body_segment_is_used_instead_of_the_ct(scene):
    outline = np.broadcast_to(ball(GRID[1:], (32, 32), 15), GRID)
    ct, segmentation = patient(scene, External=outline)
    case = caseMaker(ct, segmentation, names_of(segmentation))()
    slices = case.dose_mask.any((1, 2))
    area = case.dose_mask.sum() / slices.sum() * np.prod(case.spacing[1:])
    assert area == pytest.approx(outline[0].sum() * 16, rel=0.02)


def test_empty_organ_is_left_out_and_empty_targets_are_an_error(scene):
    nothing = np.zeros(GRID, bool)
    ct, segmentation = patient(scene, Larynx=nothing)
    case = caseMaker(ct, segmentation, names_of(segmentation))()
    assert "Larynx is empty" in case.notes[0] and "Larynx" not in case.rois.present()
    ct, segmentation = patient(scene, PTV70=nothing, PTV56=nothing)
    with pytest.raises(DeepDoseError, match="Contours: no PTV has any voxel"):
        caseMaker(ct, segmentation, names_of(segmentation))()


def test_ct_that_ends_inside_the_neck(scene):
    ct, segmentation = patient(scene)
    cut = scene.volume(
        slicer.util.arrayFromVolume(ct)[18:].copy(),
        PLACE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 18], [0, 0, 0, 1.0]]),
        "Short CT",
    )
    case = caseMaker(cut, segmentation, names_of(segmentation))()
    assert any("beyond the end of Short CT" in note for note in case.notes)
    heights = case.grid.ijk_to_ras[2, 3] + case.grid.ijk_to_ras[2, 2] * np.flatnonzero(case.dose_mask.any((1, 2)))
    assert heights.min() > -60 + 18 * 3 - 3


def test_targets_that_do_not_fit_are_warned_about(scene):
    place = lps_grid((10.0, 8.0, 8.0), (-252, -252, -200))
    body = np.broadcast_to(ball(GRID[1:], (32, 32), 24), GRID)
    ct = scene.volume(np.where(body, 40, -1000).astype(np.int16), place, "Long CT")
    segmentation = scene.segmentation({"PTV70": np.broadcast_to(ball(GRID[1:], (32, 32), 5), GRID)}, place)
    case = caseMaker(ct, segmentation, {"PTV70": ("PTV70",)})()
    assert any("beyond the 500x500x320 mm" in note for note in case.notes)


def test_a_target_that_would_get_no_dose_is_an_error_and_one_within_another_is_said(scene):
    """Otherwise the next lower prescription would silently become the highest."""
    ct, segmentation = patient(scene, PTV70=ball(GRID, (20, 4, 4), 2))
    with pytest.raises(DeepDoseError, match="PTV70 lies outside the body in CT"):
        caseMaker(ct, segmentation, names_of(segmentation))()
    ct, segmentation = patient(scene, PTV63=ball(GRID, (20, 30, 32), 2))
    case = caseMaker(ct, segmentation, names_of(segmentation))()
    assert "PTV63 lies within targets of higher prescriptions" in case.notes and "PTV63" not in case.targets()


def test_exchanged_sides_are_noticed(scene):
    ct, segmentation = patient(scene)
    roles = {"PTV70": ("PTV70",), "LeftParotid": ("RightParotid",), "RightParotid": ("LeftParotid",)}
    case = caseMaker(ct, segmentation, roles)()
    assert any("LeftParotid lies to the right" in note for note in case.notes)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "CT: the CT has NaN"), (np.inf, "CT: the CT has NaN")])
def test_ct_with_nan_is_refused(scene, value, words):
    ct, segmentation = patient(scene)
    array = slicer.util.arrayFromVolume(ct).astype(np.float32)
    array[3, 3, 3] = value
    slicer.util.updateVolumeFromArray(ct, array)
    with pytest.raises(DeepDoseError, match=words):
        caseMaker(ct, segmentation, names_of(segmentation))()


def test_ct_not_in_hu_or_of_another_patient_is_refused(scene):
    ct, segmentation = patient(scene)
    slicer.util.updateVolumeFromArray(ct, np.full(GRID, -1000, np.int16))
    with pytest.raises(DeepDoseError, match="no CT in HU"):
        caseMaker(ct, segmentation, names_of(segmentation))()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dose: dose * 100, "cGy"),
        (lambda dose: dose * np.nan, "NaN"),
        (lambda dose: dose * 0, "0 everywhere"),
    ],
)
def test_unusable_reference_doses_are_refused(scene, change, words):
    ct, segmentation = patient(scene)
    dose = np.full(GRID, 70, np.float32)
    reference = scene.volume(change(dose).astype(np.float32), PLACE, "Plan")
    with pytest.raises(DeepDoseError, match=f"Plan: .*{words}"):
        caseMaker(ct, segmentation, names_of(segmentation), reference)()


@pytest.mark.parametrize(("factor", "offset", "words"), [(0.3, 0, "check its unit"), (1, -1, "negative values")])
def test_odd_reference_doses_are_warned_about(scene, factor, offset, words):
    ct, segmentation = patient(scene)
    dose = np.where(ball(GRID, (20, 30, 32), 10), 70 * factor, offset).astype(np.float32)
    case = caseMaker(ct, segmentation, names_of(segmentation), scene.volume(dose, PLACE, "Plan"))()
    assert any(words in note for note in case.notes) and case.dose.min() >= 0
