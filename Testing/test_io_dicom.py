"""DICOM-RT in and out: round trips, geometry of CT and dose in every allowed form, what is refused, valid files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pydicom.dicomio
import pytest

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.app.cohort import write_summary
from DeepDosePredictLib.app.prediction import Job
from DeepDosePredictLib.app.sources import DICOM, find_cases, read_case
from DeepDosePredictLib.dvh.metrics import dose_error
from DeepDosePredictLib.errors import CaseError, DeepDoseError
from DeepDosePredictLib.geometry.trained_grid import TrainedGrid
from DeepDosePredictLib.io.dicom.ct import _padding, check_orientation, open_ct
from DeepDosePredictLib.io.dicom.rtdose import read_rtdose
from DeepDosePredictLib.io.dicom.rtstruct import read_structures
from DeepDosePredictLib.io.dicom.write_study import write_case
from DeepDosePredictLib.io.dicom.writing import decimals
from DeepDosePredictLib.io.nrrd_case import read_volume
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.roles import assign
from DeepDosePredictLib.patient.structure_names import Evidence
from DeepDosePredictLib.report.result import read_result
from dicom_patient import ORIGIN, SPACING, edit, edit_ct, small_structures, write_small_patient
from synthetic import ball, make_case


def ct_of(folder: Path):
    return open_ct(sorted(folder.glob("ct-*.dcm"))).volume


@pytest.fixture
def no_pixels(monkeypatch):
    """Whatever is found is found without the CT's pixels."""
    monkeypatch.setattr("DeepDosePredictLib.io.dicom.ct.pixels", lambda *_: pytest.fail("pixels were read"))


def test_case_on_the_model_grid_survives_the_round_trip(tmp_path):
    case = make_case()
    write_case(tmp_path / "d", case)
    same = read_case(tmp_path / "d")
    assert (same.ct == case.ct).all() and (same.dose_mask == case.dose_mask).all()
    assert all((same.rois[roi] == case.rois[roi]).all() for roi in case.rois.present())
    assert np.abs(same.dose - case.dose).max() <= 0.51 * case.dose.max() / 65535
    assert same.spacing == pytest.approx(case.spacing) and same.notes == () and same.name == case.name


@pytest.mark.slow
def test_openkbp_patients_as_dicom_are_predicted_as_well(tmp_path, validation_patients):
    """Volumes above 5 cc within 1 %, dose to the scaling's precision, dose score to 0.05 Gy."""
    predictor, moved = Predictor(open_model(), single_pass=True), []
    for name in ("pt_201", "pt_225", "pt_235"):
        case = read_openkbp(validation_patients / name)
        write_case(tmp_path / name, case)
        same = read_case(tmp_path / name)
        assert (same.ct == case.ct).all() and (same.dose_mask == case.dose_mask).all()
        assert np.abs(same.dose - case.dose).max() <= 0.51 * case.dose.max() / 65535
        for roi in case.rois.present():
            before, after = np.count_nonzero(case.rois[roi]), np.count_nonzero(same.rois[roi])
            if before * case.voxel_volume_mm3 > 5000:
                assert after == pytest.approx(before, rel=0.01), f"{name} {roi}"
        moved.append(np.diff([dose_error(c.dose, predictor.predict(c).dose, c.dose_mask) for c in (case, same)])[0])
    assert np.abs(moved).max() <= 0.05


def test_small_patient_reads_with_names_levels_and_sides(small):
    (source,) = find_cases([small])
    assert (source.name, source.form) == ("small", DICOM)
    case = source.read()
    assert set(case.rois.present()) == {"PTV70", "PTV56", "SpinalCord", "LeftParotid", "RightParotid"}
    masks = small_structures()
    for role, name in (("PTV70", "PTV_7000"), ("LeftParotid", "Parotid_L")):
        k, j, i = np.argwhere(case.rois[role]).mean(0)
        place = np.array(case.origin) + np.array([i, j, k]) * case.spacing[::-1]
        k, j, i = np.argwhere(masks[name]).mean(0)
        # The model grid has the CT's own voxels: contours around them give the same ones again.
        assert place == pytest.approx(np.array(ORIGIN) + np.array([i, j, k]) * SPACING[::-1], abs=1e-6)
        assert case.rois[role].sum() == masks[name].sum()
    assert case.dose.max() == pytest.approx(75, abs=3) and case.notes == ()


# CT


def test_hu_by_slope_and_intercept_of_each_slice(patient):
    before = ct_of(patient).array

    def rescaled(dataset, n):
        slope, intercept = 1 + n % 3, -200 + n
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        stored = (dataset.pixel_array.astype(int) - intercept) / slope
        dataset.PixelData = np.rint(stored).astype("<i2").tobytes()

    edit_ct(patient, rescaled)
    assert np.abs(ct_of(patient).array - before).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda array, row, column, step: (array[:, :, ::-1], -row, column, step),
        lambda array, row, column, step: (array[:, ::-1], row, -column, step),
        lambda array, row, column, step: (array[:, ::-1, ::-1], -row, -column, step),
        lambda array, row, column, step: (array.transpose(0, 2, 1), column, row, step),
    ],
    ids=["feet first", "prone feet first", "prone", "transposed"],
)
def test_ct_in_other_orientations_is_the_same_case(patient, small, change):
    """The same patient, scanned with other directions of rows and columns."""
    whole = ct_of(small).array
    row, column = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    array, new_row, new_column, _ = change(whole, row, column, SPACING[1])
    far = np.array([SPACING[2] * 63, SPACING[1] * 63, 0])
    start = np.array(ORIGIN) + far * (np.minimum(new_row + new_column, 0) != 0)

    def turned(dataset, n):
        dataset.PixelData = np.ascontiguousarray(array[n]).tobytes()
        dataset.ImageOrientationPatient = [*new_row, *new_column]
        dataset.ImagePositionPatient = [start[0], start[1], ORIGIN[2] + n * SPACING[0]]

    edit_ct(patient, turned)
    expected, found = read_case(small), read_case(patient)
    assert (found.ct == expected.ct).all()
    assert (found.dose_mask == expected.dose_mask).all()
    assert (found.rois.bits == expected.rois.bits).all()


def test_study_on_oblique_slices_keeps_volumes_and_dose(patient, small):
    """Slices, contours and dose planes tilted together, as of a patient scanned with a rotated coordinate system."""
    angle = np.deg2rad(8)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])

    def turned(dataset, _=None):
        axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3) @ turn.T
        dataset.ImageOrientationPatient = decimals(axes.ravel())
        dataset.ImagePositionPatient = decimals(turn @ np.array(dataset.ImagePositionPatient, float))

    def turned_contours(dataset):
        for roi in dataset.ROIContourSequence:
            for contour in roi.ContourSequence:
                points = np.array(contour.ContourData, float).reshape(-1, 3) @ turn.T
                contour.ContourData = decimals(points.ravel())

    edit_ct(patient, turned)
    edit(patient / "dose.dcm", turned)
    edit(patient / "structures.dcm", turned_contours)
    before, after = read_case(small), read_case(patient)
    for roi in ("PTV70", "PTV56"):
        volumes = [case.rois[roi].sum() * case.voxel_volume_mm3 for case in (before, after)]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.1), roi
        doses = [case.dose[case.rois[roi]].mean() for case in (before, after)]
        assert doses[1] == pytest.approx(doses[0], abs=1), roi
    masks = [case.dose_mask.sum() * case.voxel_volume_mm3 for case in (before, after)]
    assert masks[1] == pytest.approx(masks[0], rel=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "ct-010.dcm").unlink(), "1 of 24 CT slices that it refers to are missing"),
        (
            lambda f: edit(
                shutil.copy(f / "ct-010.dcm", f / "ct-010b.dcm"), lambda d: setattr(d, "InstanceNumber", 99)
            ),
            "doubled slices, ct-010.*ct-010",
        ),
        (
            lambda f: edit_ct(f, lambda d, n: setattr(d, "ImagePositionPatient", [0, 2 * n, 3 * n])),
            "gantry tilt of 33.7",
        ),
        (lambda f: edit_ct(f, lambda d, n: setattr(d, "ImagePositionPatient", [0, 0, n * n])), "mixed spacing"),
        (
            lambda f: edit_ct(f, lambda d, n: setattr(d, "ImagePositionPatient", [0, 0, 3 * n + 0.1 * (n == 5)])),
            "mixed spacing, ct-005.dcm and ct-006.dcm are 3.10 mm apart",
        ),
        (
            lambda f: edit_ct(f, lambda d, n: setattr(d, "ImagePositionPatient", [0, 0, 3 * (n + (n > 5))])),
            "slices are missing, ct-006.dcm and ct-007.dcm",
        ),
        (lambda f: edit(f / "ct-003.dcm", lambda d: setattr(d, "PixelSpacing", [3, 3])), "ct-003.dcm has .* leave one"),
        (
            lambda f: edit(f / "ct-003.dcm", lambda d: setattr(d, "ImageOrientationPatient", [0, 1, 0, 0, 0, 1])),
            "different planes",
        ),
        (
            lambda f: edit(f / "ct-003.dcm", lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0])),
            "ct-003.dcm: ImageOrientationPatient",
        ),
        (lambda f: edit(f / "ct-003.dcm", lambda d: delattr(d, "RescaleIntercept")), "ct-003.dcm: RescaleIntercept is"),
        (lambda f: edit(f / "ct-003.dcm", lambda d: setattr(d, "RescaleType", "OD")), "ct-003.dcm: .* OD, not HU"),
        (lambda f: edit(f / "ct-003.dcm", lambda d: setattr(d, "Rows", 65)), r"ct-003.dcm has \(65, 64\) pixels"),
        (lambda f: edit_ct(f, lambda d, _: d.update({"Rows": 65535, "Columns": 512})), "more than .* voxels"),
        (lambda f: edit_ct(f, lambda d, _: setattr(d, "NumberOfFrames", 2)), "ct-001.dcm: it has several frames"),
        (lambda f: edit_ct(f, lambda d, n: setattr(d, "FrameOfReferenceUID", "1.2.3")), "another frame of reference"),
    ],
)
def test_what_is_wrong_with_a_ct_is_named_before_its_pixels_are_read(patient, change, words, no_pixels):
    change(patient)
    with pytest.raises(CaseError, match=words):
        read_case(patient)


@pytest.mark.parametrize(("off", "refused"), [(0.0009, False), (0.0011, True)])
def test_directions_may_be_off_by_a_thousandth(off, refused):
    with pytest.raises(CaseError, match="no pair of perpendicular") if refused else nullcontext():
        check_orientation(np.array([1, off, 0, 0, 1, 0]), Path("ct.dcm"))


def test_a_ct_may_have_so_many_voxels(small, monkeypatch):
    slices = sorted(small.glob("ct-*.dcm"))
    monkeypatch.setattr("DeepDosePredictLib.io.dicom.ct.MAX_VOXELS", 24 * 64 * 64)
    assert open_ct(slices).grid.shape == (24, 64, 64)
    monkeypatch.setattr("DeepDosePredictLib.io.dicom.ct.MAX_VOXELS", 24 * 64 * 64 - 1)
    with pytest.raises(CaseError, match="more than"):
        open_ct(slices)


@pytest.mark.parametrize("rows", [65, 65535])
def test_pixels_are_as_many_as_the_header_says(patient, rows):
    edit_ct(patient, lambda d, _: setattr(d, "Rows", rows))
    with pytest.raises(CaseError, match=r"ct-001.dcm: damaged"):
        open_ct(sorted(patient.glob("ct-00[12].dcm"))).volume  # noqa: B018


def test_compressed_pixels_without_decoder_are_named(patient):
    def compressed(dataset):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.91"
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True

    edit(patient / "ct-005.dcm", compressed)
    with pytest.raises(CaseError, match=r"ct-005.dcm: its pixels are compressed \(JPEG 2000"):
        read_case(patient)


def test_slices_and_planes_may_be_off_by_a_fiftieth(patient, small):
    """Scanners round positions."""

    def move(dataset, n: int) -> None:
        x, y, z = map(float, dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y, z + 0.05 * (n == 5)]

    edit_ct(patient, move)
    edit(patient / "dose.dcm", offsets(lambda d, v: v + 0.1 * (v == 30)))
    np.testing.assert_allclose(read_case(patient).dose, read_case(small).dose, atol=2e-3)


# Dose


def offsets(change):
    return lambda dataset: setattr(dataset, "GridFrameOffsetVector", list(change(dataset, np.arange(10) * 6.0)))


def downwards(dataset):
    """The same dose with its frames from the highest down."""
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[::-1]).tobytes()
    x, y, z = map(float, dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y, z + 54]
    dataset.GridFrameOffsetVector = list(np.arange(10) * -6.0)


def feet_first(dataset):
    """Rows to the right: the normal points down, and so do the frames."""
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[::-1, :, ::-1]).tobytes()
    x, y, z = map(float, dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x + 19 * 6, y, z + 54]
    dataset.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def feet_first_absolute(dataset):
    feet_first(dataset)
    dataset.GridFrameOffsetVector = [float(dataset.ImagePositionPatient[2]) - 6 * n for n in range(10)]


def wide(dataset):
    """32 bits instead of 16."""
    dataset.PixelData = (dataset.pixel_array.astype("<u4") << 8).tobytes()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.DoseGridScaling = float(dataset.DoseGridScaling) / 256


def sagittal(dataset):
    """Frames from right to left in the patient, with the same dose."""
    array = dataset.pixel_array.transpose(2, 0, 1)  # frames along x, rows along z, columns along y
    dataset.PixelData = np.ascontiguousarray(array).tobytes()
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = array.shape
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
    dataset.GridFrameOffsetVector = list(np.arange(20) * 6.0)


@pytest.mark.parametrize(
    "change",
    [
        offsets(lambda d, v: v + float(d.ImagePositionPatient[2])),
        downwards,
        feet_first,
        feet_first_absolute,
        wide,
        sagittal,
        lambda dataset: dataset.__delattr__("FrameOfReferenceUID"),
    ],
    ids=["absolute", "downwards", "feet first", "feet first absolute", "32 bits", "sagittal", "no frame"],
)
def test_the_same_dose_in_every_allowed_form(patient, small, change):
    edit(patient / "dose.dcm", change)
    np.testing.assert_allclose(read_case(patient).dose, read_case(small).dose, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: setattr(d, "DoseUnits", "RELATIVE"), "unit is RELATIVE"),
        (lambda d: setattr(d, "DoseType", "ERROR"), "DoseType is ERROR"),
        (lambda d: setattr(d, "DoseSummationType", "BEAM"), "dose of a beam, not of the plan"),
        (lambda d: setattr(d, "DoseSummationType", "FRACTION"), "dose of a fraction"),
        (lambda d: setattr(d, "DoseGridScaling", "0"), "DoseGridScaling is 0"),
        (lambda d: delattr(d, "DoseGridScaling"), "DoseGridScaling is missing"),
        (offsets(lambda d, v: v + 17), "begins with 17"),
        (offsets(lambda d, v: v[:-1]), "expected 10 numbers"),
        (offsets(lambda d, v: v**1.3), "mm apart"),
        (offsets(lambda d, v: v + 0.2 * (v == 30)), "5.8 to 6.2 mm apart"),
        (offsets(lambda d, v: v * 0), "mm apart"),
        (lambda d: setattr(d, "NumberOfFrames", 2**30), "cannot be"),
        (lambda d: setattr(d, "Modality", "CT"), "dose"),
    ],
)
def test_what_is_wrong_with_a_dose_is_named_before_the_ct_is_read(patient, change, words, no_pixels):
    edit(patient / "dose.dcm", change)
    with pytest.raises(CaseError, match=rf"dose.dcm: .*{words}"):
        if words == "dose":
            read_rtdose(patient / "dose.dcm")
        read_case(patient)


def test_a_dose_in_no_gray_is_named(patient):
    edit(patient / "dose.dcm", lambda d: setattr(d, "DoseGridScaling", "1"))
    with pytest.raises(CaseError, match=r"dose.dcm: .*too high for Gy"):
        read_case(patient)


def test_dose_of_another_frame_is_refused_when_given_and_ignored_when_found(patient, small):
    edit(
        patient / "dose.dcm",
        lambda d: (setattr(d, "FrameOfReferenceUID", "1.2.3"), delattr(d, "ReferencedRTPlanSequence")),
    )
    assert read_case(patient).dose is None
    with pytest.raises(CaseError, match="frame of reference is not the CT's"):
        read_case(small, dose=patient / "dose.dcm")


# Structures and roles


def named(path: Path, old: str, new: str) -> None:
    def change(dataset):
        for roi in dataset.StructureSetROISequence:
            if roi.ROIName == old:
                roi.ROIName = new

    edit(path / "structures.dcm", change)


def test_names_that_do_not_settle_a_role_must_be_given(patient):
    named(patient, "PTV_7000", "PTV boost")
    (patient / "dose.dcm").unlink()
    with pytest.raises(DeepDoseError, match=r"PTV boost: its name states no dose.*--roles FILE"):
        read_case(patient)
    case = read_case(patient, {"PTV70": "PTV boost", "PTV56": "PTV_5600", "LeftParotid": "Parotid_L"})
    assert set(case.rois.present()) == {"PTV70", "PTV56", "SpinalCord", "LeftParotid", "RightParotid"}
    assert {use.contour: use.source for use in case.assignment.used} == {
        "PTV boost": "user",
        "PTV_5600": "user",
        "SpinalCord": "name",
        "Parotid_L": "user",
        "Parotid_R": "name",
    }
    with pytest.raises(DeepDoseError, match="no segment named 'PTV_7000'"):
        read_case(patient, {"PTV70": "PTV_7000"})


def prescribe(path: Path, *references: tuple[str, float | None, str]) -> None:
    """Give the plan dose references: (ROI number or "", TargetPrescriptionDose, description)."""
    items = []
    for number, level, description in references:
        one = pydicom.Dataset()
        one.DoseReferenceType, one.DoseReferenceDescription = "TARGET", description
        one.DoseReferenceStructureType = "VOLUME" if number else "SITE"
        if number:
            one.ReferencedROINumber = number
        if level is not None:
            one.TargetPrescriptionDose = level
        items.append(one)
    edit(path, lambda d: setattr(d, "DoseReferenceSequence", pydicom.Sequence(items)))


def scale_dose(path: Path, factor: float) -> None:
    edit(path / "dose.dcm", lambda d: setattr(d, "DoseGridScaling", float(d.DoseGridScaling) * factor))


def sources(case: Case) -> dict[str, tuple[str, str]]:
    return {use.contour: (use.role, use.source) for use in case.assignment.used if use.role.startswith("PTV")}


def test_prescriptions_come_from_name_plan_and_dose_in_this_order(patient):
    named(patient, "PTV_7000", "PTV_High")
    scale_dose(patient, 1.04)
    case = read_case(patient)
    assert sources(case) == {"PTV_High": ("PTV70", "reference dose"), "PTV_5600": ("PTV56", "name")}
    assert any("PTV_High" in note and "70 Gy" in note and "confirm" in note for note in case.notes)
    prescribe(patient / "plan.dcm", ("1", 68.0, ""), ("2", 54.0, ""), ("3", None, "CALC POINT"))
    case = read_case(patient)
    assert sources(case) == {"PTV_High": ("PTV68", "RTPLAN dose reference"), "PTV_5600": ("PTV56", "name")}
    assert any("prescribes 54 Gy" in note and "PTV_5600" in note for note in case.notes)
    prescribe(patient / "plan.dcm", ("", 69.96, "PTV high"))
    assert sources(read_case(patient))["PTV_High"] == ("PTV69.96", "RTPLAN dose reference")
    case = read_case(patient, {"PTV68": "PTV_High"})
    assert sources(case)["PTV_High"] == ("PTV68", "user")
    prescribe(patient / "plan.dcm", ("1", 50.0, ""))  # the first of two phases
    with pytest.raises(
        CaseError, match="PTV_High: the RTPLAN prescribes 50 Gy to it, the reference dose suggests 70 Gy"
    ):
        read_case(patient)


@pytest.mark.parametrize(
    ("references", "source"),
    [
        ([("", 66.0, "High 66 Gy"), ("", 56.0, "Low")], "RTPLAN dose reference without contour"),
        ([("", 66.0, "PTV high (66Gy)"), ("", 50.0, "Phase")], "RTPLAN dose reference"),
        ([("", 66.0, "Head and neck")], "RTPLAN dose reference without contour"),
    ],
)
def test_dose_references_to_a_site_settle_what_a_name_leaves_open(patient, references, source):
    named(patient, "PTV_7000", "PTV_High")
    (patient / "dose.dcm").unlink()
    prescribe(patient / "plan.dcm", *references)
    assert sources(read_case(patient)) == {"PTV_High": ("PTV66", source), "PTV_5600": ("PTV56", "name")}


def test_a_prescription_to_no_contour_that_no_target_has_is_said(patient):
    prescribe(patient / "plan.dcm", ("", 70.0, "Head and neck"), ("", 63.0, "Nodes"))
    (note,) = read_case(patient).notes
    assert note == "the RTPLAN prescribes 63 Gy, but no target of 63 Gy is used: check that none was left out"


def test_prescriptions_to_no_contour_in_several_plans_are_not_used(patient):
    shutil.copy(patient / "plan.dcm", patient / "second.dcm")
    edit(patient / "second.dcm", lambda d: setattr(d, "SOPInstanceUID", "1.2.3"))
    prescribe(patient / "plan.dcm", ("", 50.0, "Phase 1"))
    prescribe(patient / "second.dcm", ("", 20.0, "Phase 2"))
    assert any("several RTPLANs prescribe doses to no contour" in note for note in read_case(patient).notes)


def test_a_dose_that_fits_no_prescription_tells_none(patient):
    named(patient, "PTV_7000", "PTV_High")
    scale_dose(patient, 0.5)
    with pytest.raises(CaseError, match="PTV_High: its name states no dose"):
        read_case(patient)


def test_what_the_plan_prescribes_a_dose_to_is_not_lost_for_its_name(patient):
    named(patient, "PTV_7000", "Region 3")
    edit(patient / "structures.dcm", lambda d: setattr(d.RTROIObservationsSequence[0], "RTROIInterpretedType", "ORGAN"))
    assert read_case(patient).targets() == ("PTV56",)
    prescribe(patient / "plan.dcm", ("1", 66.0, ""))
    with pytest.raises(CaseError, match=r"Region 3: the RTPLAN prescribes.*66 Gy.*PTV66"):
        read_case(patient)


def test_plans_that_contradict_each_other_tell_no_prescription(patient):
    named(patient, "PTV_7000", "PTV_High")
    shutil.copy(patient / "plan.dcm", patient / "plan2.dcm")
    edit(patient / "plan2.dcm", lambda d: setattr(d, "SOPInstanceUID", "1.2.3.4"))
    prescribe(patient / "plan.dcm", ("1", 50.0, ""))
    prescribe(patient / "plan2.dcm", ("1", 20.0, ""))
    case = read_case(patient)
    assert sources(case)["PTV_High"] == ("PTV68", "reference dose")
    assert any("different doses to PTV_High" in note for note in case.notes)


def test_a_target_by_type_is_not_lost_for_its_name(patient):
    named(patient, "PTV_7000", "Boost")
    for roles in (None, {"PTV56": "PTV_5600"}):
        with pytest.raises(CaseError, match="Boost: its name may be a target's"):
            read_case(patient, roles)
    assert read_case(patient, {"not_targets": ["Boost"]}).targets() == ("PTV56",)
    named(patient, "Boost", "Region 3")
    with pytest.raises(CaseError, match="Region 3: of type PTV"):
        read_case(patient)
    named(patient, "Region 3", "Boost")
    named(patient, "Boost", "zBoost")  # a help structure
    assert read_case(patient).targets() == ("PTV56",)


def test_every_output_says_what_went_in(patient, tmp_path, tiny_model, capsys):
    for old, new in (("Parotid_L", "Parotis li"), ("SpinalCord", "Rückenmark"), ("PTV_5600", "PTV_Low")):
        named(patient, old, new)
    scale_dose(patient, 1.04)
    assert cli.main(["structures", str(patient)]) == 0
    before = capsys.readouterr().out
    out = tmp_path / "out"
    assert cli.main(["predict", str(patient), "-o", str(out), "--model", str(tiny_model), "--device", "cpu"]) == 0
    after = capsys.readouterr().out
    for said in (before, after):
        assert "PTV_7000 -> PTV70 (from name)" in said and "Rückenmark -> SpinalCord (from name)" in said
        assert re.search(r"PTV_Low -> PTV\d+ \(from reference dose\); .*confirm it", said)
    uses = {use["contour"]: use for use in json.loads((out / "result.json").read_text())["assignment"]}
    assert uses["Parotis li"]["role"] == "LeftParotid" and uses["PTV_Low"]["doubted"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Rückenmark" in page and "reference dose" in page
    assert "PTV_7000 -> PTV70" in nrrd.read_header(str(out / "dose.nrrd"))["DeepDosePredict_Contours"]
    job = Job(find_cases([patient])[0], out)
    write_summary(tmp_path, [job], {job.source.name: read_result(out)})
    assert "Parotis li -> LeftParotid" in (tmp_path / "summary.csv").read_text(encoding="utf-8")
    named(patient, "PTV_7000", "Boost")
    (tmp_path / "roles.json").write_text(json.dumps({"patients": {"small": {"PTV70": "Boost"}}}))
    assert cli.main(["structures", str(patient)]) == 1 and "Boost: its name may be" in capsys.readouterr().out
    assert cli.main(["structures", str(patient), "--roles", str(tmp_path / "roles.json")]) == 0
    assert "Boost -> PTV70 (from user)" in capsys.readouterr().out
    (tmp_path / "roles.json").write_text(json.dumps({"patients": {"smal": {"PTV70": "Boost"}}}))
    assert cli.main(["structures", str(patient), "--roles", str(tmp_path / "roles.json")]) == 1
    assert "has roles for smal, who is not here" in capsys.readouterr().err


def test_targets_with_hyphens_in_their_names_are_not_lost(tmp_path):
    """A clinic's plan with PTV56-L and PTV56-R was once predicted without its nodes."""
    nodes = {f"PTV56-{side}": ball((24, 64, 64), (12, 34, i), 4) for side, i in (("L", 42), ("R", 22))}
    path = write_small_patient(tmp_path / "p", **nodes)
    named(path, "PTV_5600", "PTV56-L cropped")
    case = read_case(path)
    assert case.assignment.roles["PTV56"] == ("6", "7") and "PTV56-L and PTV56-R are united to PTV56" in case.notes
    assert all(case.rois["PTV56"][:, :, half].any() for half in (slice(0, 60), slice(68, 128)))
    assert [use.contour for use in case.assignment.left_out] == ["PTV56-L cropped"]


def test_names_of_a_real_study_are_all_settled(shared):
    path = shared / "clinical" / "head-neck" / "RS.dcm"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    structures = read_structures(path)
    account = assign(structures.names, None, "study", Evidence(structures.types))
    assert {use.contour: use.role for use in account.used} == {
        "PTV 66 Gy": "PTV66",
        "PTV 54 Gy": "PTV54",
        "Außenkontur": "External",
        "Myelon": "SpinalCord",
        "Hirnstamm": "Brainstem",
        "Parotis re": "RightParotid",
        "Parotis li": "LeftParotid",
        "Unterkiefer": "Mandible",
        "Kehlkopf": "Larynx",
        "Ösophagus": "Esophagus",
    }
    assert account.warnings() == () and {use.contour for use in account.left_out} == {"GTV", "Dosis 105[%]"}
    others = {"PTV 54 Gy": "PTV54-L", "PTV 66 Gy": "PTV-T66"}
    hyphens = {number: others.get(name, name) for number, name in structures.names.items()}
    assert assign(hyphens, None, "study").roles == account.roles


def test_exchanged_sides_are_said(patient):
    for old, new in (("Parotid_L", "x"), ("Parotid_R", "Parotid_L"), ("x", "Parotid_R")):
        named(patient, old, new)
    assert any("LeftParotid lies to the right of RightParotid" in note for note in read_case(patient).notes)


def test_body_contour_by_its_type(patient, tmp_path):
    outline = np.zeros((24, 64, 64), bool)
    outline[:, 20:45, 12:53] = True
    write_small_patient(tmp_path / "b", External=outline)
    named(tmp_path / "b", "External", "K 1")
    case = read_case(tmp_path / "b")
    area = case.dose_mask.any(0).sum() * np.prod(case.spacing[1:])
    assert area == pytest.approx(25 * 41 * 16, rel=0.05)


def test_points_and_open_lines_are_no_structure_and_empty_organs_are_said(patient):
    def change(dataset):
        for contour in dataset.ROIContourSequence[2].ContourSequence:
            contour.ContourGeometricType = "OPEN_PLANAR"

    edit(patient / "structures.dcm", change)
    case = read_case(patient)
    assert "SpinalCord is empty; it was left out" in case.notes and "SpinalCord" not in case.rois


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: setattr(d.ROIContourSequence[0].ContourSequence[3], "ContourData", [1, 2, 3, 4]), "4 coordinates"),
        (lambda d: delattr(d.ROIContourSequence[0].ContourSequence[3], "ContourData"), "a contour has no points"),
        (lambda d: setattr(d.StructureSetROISequence[1], "ROINumber", 1), "ROI number 1 of 'PTV_5600'"),
        (
            lambda d: setattr(d.StructureSetROISequence[0], "ReferencedFrameOfReferenceUID", "1.2"),
            "PTV_7000: .* frame of",
        ),
        (lambda d: d.update({"StructureSetROISequence": [], "ROIContourSequence": []}), "it has no segments"),
        (lambda d: setattr(d, "ROIContourSequence", []), "no PTV has any voxel"),
    ],
)
def test_what_is_wrong_with_structures_is_named(patient, change, words):
    edit(patient / "structures.dcm", change)
    with pytest.raises(DeepDoseError, match=rf"structures.dcm.*{words}"):
        read_case(patient)


# The predicted dose


@pytest.fixture(scope="session")
def predicted(small: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "out"
    assert cli.main(["predict", str(small), "-o", str(out), "--model", str(tiny_model)]) == 0
    return out


@pytest.mark.slow
def test_predicted_dose_says_what_it_is_and_belongs_to_the_patient(predicted, small):
    dose, structures = (pydicom.dcmread(path) for path in (predicted / "dose.dcm", small / "structures.dcm"))
    ct = pydicom.dcmread(small / "ct-001.dcm")
    for words in (dose.SeriesDescription, dose.DoseComment):
        assert "PREDICTED" in words and "research use only" in words
    assert "Not for clinical use. DVHs on whole voxels" in dose.ImageComments and "tiny 1" in dose.DoseComment
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dose[keyword].value == ct[keyword].value
    assert dose.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    plan = pydicom.dcmread(small / "plan.dcm")
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID != plan.SOPInstanceUID


def test_predicted_dose_reopens_with_the_same_values_in_the_same_place(predicted):
    expected = read_volume(predicted / "dose.nrrd")
    dose = pydicom.dcmread(predicted / "dose.dcm")
    half = 0.5001 * float(dose.DoseGridScaling)
    values = dose.pixel_array * float(dose.DoseGridScaling)
    assert np.abs(values - expected.array).max() <= half and half < 1e-3
    assert [float(x) for x in dose.ImagePositionPatient] == pytest.approx(expected.grid.origin, abs=1e-6)
    ours = read_rtdose(predicted / "dose.dcm").volume
    assert np.abs(ours.array - expected.array).max() <= half + 1e-5
    assert ours.grid.spacing == pytest.approx(expected.grid.spacing)
    assert ours.grid.origin == pytest.approx(expected.grid.origin, abs=1e-6)


def test_dicompyler_reads_the_predicted_dose_and_its_dvhs(predicted, small, monkeypatch):
    pytest.importorskip("dicompylercore", reason="needs dicompyler-core")
    monkeypatch.setattr(pydicom.dicomio, "read_file", pydicom.dcmread, raising=False)  # its name before pydicom 3
    from dicompylercore.dicomparser import DicomParser

    parser = DicomParser(str(predicted / "dose.dcm"))
    expected, data = read_volume(predicted / "dose.nrrd"), parser.GetDoseData()
    plane = parser.GetDoseGrid(expected.grid.origin[2] + 60 * expected.grid.spacing[0]) * data["dosegridscaling"]
    assert np.abs(plane - expected.array[60]).max() <= data["dosegridscaling"]
    assert parser.HasDVHs() and data["doseunits"] == "GY"
    case = read_case(small)
    numbers = {roi.ROINumber: roi.ROIName for roi in pydicom.dcmread(small / "structures.dcm").StructureSetROISequence}
    for dvh in parser.ds.DVHSequence:
        included = [
            numbers[r.ReferencedROINumber]
            for r in dvh.DVHReferencedROISequence
            if r.DVHROIContributionType == "INCLUDED"
        ]
        if included == ["PTV_5600"]:
            mask = case.rois["PTV56"]
            assert [r.DVHROIContributionType for r in dvh.DVHReferencedROISequence] == ["INCLUDED", "EXCLUDED"]
            assert float(dvh.DVHMeanDose) == pytest.approx(expected.array[mask].mean(), abs=1e-3)
            assert float(dvh.DVHData[1]) == pytest.approx(mask.sum() * case.voxel_volume_mm3 / 1000, abs=1e-4)
            break
    else:
        pytest.fail("no DVH of PTV_5600")


def test_a_prediction_beside_the_patient_is_not_taken_for_the_reference(predicted, small, patient):
    shutil.copy(predicted / "dose.dcm", patient / "predicted.dcm")
    np.testing.assert_array_equal(read_case(patient).dose, read_case(small).dose)
    (patient / "dose.dcm").unlink()
    assert read_case(patient).dose is None


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors that dciodvfy finds; it prints them to its error output."""
    process = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (process.stdout + process.stderr).splitlines() if line.startswith("Error")]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "phantom"
    assert cli.main(["phantom", "--dicom", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_written_files_are_valid(phantom, predicted):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    assert dciodvfy_errors(Path(__file__))  # it does find errors
    for path in (
        phantom / "ct-001.dcm",
        phantom / "ct-128.dcm",
        phantom / "structures.dcm",
        phantom / "plan.dcm",
        phantom / "dose.dcm",
        predicted / "dose.dcm",
    ):
        assert dciodvfy_errors(path) == [], path.name


@pytest.mark.slow
def test_phantom_is_a_clinical_study(phantom):
    """512x512, 2.5 mm, TG-263 names, a dose that is coarser and smaller than the CT; it reads without a question."""
    from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

    ct = ct_of(phantom)
    assert ct.array.shape == (128, 512, 512) and ct.grid.spacing == pytest.approx((2.5, 0.9765, 0.9765))
    case, original = read_case(phantom), head_and_neck_phantom()
    assert case.notes == () and case.rois.present() == tuple(sorted(original.rois.present(), key=case.rois.names.index))
    for roi in original.rois.present():
        assert case.rois[roi].sum() == original.rois[roi].sum(), roi  # drawn around blocks of 4x4 pixels
    target = original.rois["PTV70"]
    assert case.dose[case.rois["PTV70"]].mean() == pytest.approx(original.dose[target].mean(), abs=0.5)


def test_the_model_decides_which_grid_a_patient_is_read_on(small):
    """Here one of half as many voxels, each twice as large."""
    trained = TrainedGrid((64, 64, 64), (5, 7.8, 7.8), slices=(3.5, 6), pixels=(6, 10), ct_pixels=8)
    usual, case = read_case(small), read_case(small, trained=trained)
    assert case.shape == (64, 64, 64) and trained.has(case.spacing) and not trained.has(usual.spacing)
    volumes = [np.count_nonzero(c.rois["PTV70"]) * c.voxel_volume_mm3 for c in (usual, case)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.15)


@pytest.mark.parametrize("name", ["PTV_7000", "SpinalCord"])
def test_contours_that_are_there_twice_count_once(patient, name):
    """Exported twice, the contours of a target cut each other out: it vanished, and the patient was planned lower."""
    whole = read_case(patient)

    def doubled(dataset):
        number = next(roi.ROINumber for roi in dataset.StructureSetROISequence if roi.ROIName == name)
        (roi,) = (roi for roi in dataset.ROIContourSequence if roi.ReferencedROINumber == number)
        roi.ContourSequence = [*roi.ContourSequence, *roi.ContourSequence]

    edit(patient / "structures.dcm", doubled)
    twice = read_case(patient)
    assert twice.notes == whole.notes
    np.testing.assert_array_equal(twice.rois.bits, whole.rois.bits)


def test_contours_without_a_name_are_nobodys(patient):
    """Without its name a target was left out in silence."""
    edit(patient / "structures.dcm", lambda d: d.StructureSetROISequence.pop(1))
    with pytest.raises(CaseError, match=r"structures.dcm: it has contours of ROI 2, but no name"):
        read_case(patient)
    edit(patient / "structures.dcm", lambda d: d.ROIContourSequence[1].__delattr__("ContourSequence"))
    assert read_case(patient).targets() == ("PTV70",)


@pytest.mark.parametrize(
    "change",
    [
        lambda contour: setattr(contour, "ContourGeometricType", "POINT"),
        lambda contour: setattr(contour, "ContourGeometricType", "OPEN_PLANAR"),
        lambda contour: contour.update({"NumberOfContourPoints": 2, "ContourData": contour.ContourData[:6]}),
    ],
)
def test_contours_that_enclose_nothing_are_said(patient, change):
    edit(patient / "structures.dcm", lambda d: change(d.ROIContourSequence[0].ContourSequence[2]))
    assert any("PTV_7000: 1 of" in note and "left out" in note for note in read_case(patient).notes)


def test_questions_about_contours_come_before_voxels_are_read(patient, monkeypatch, no_pixels):
    edit(patient / "structures.dcm", lambda d: setattr(d.StructureSetROISequence[0], "ROIName", "Boost 70"))
    monkeypatch.setattr("DeepDosePredictLib.io.dicom.rtdose.pixels", lambda *_: pytest.fail("voxels were read"))
    with pytest.raises(CaseError, match="Boost 70: its name may be a target"):
        read_case(patient)


def test_padding_is_known_with_and_without_its_sign():
    """A value, a range, and a negative value that was read back as one of 16 bits."""
    stored = np.array([-2000, -1999, 0, 63535, 63536])
    dataset = pydicom.Dataset()
    assert _padding(dataset, stored) is None
    dataset.PixelPaddingValue = -2000
    assert _padding(dataset, stored).tolist() == [True, False, False, False, True]
    dataset.PixelPaddingRangeLimit = -1999
    assert _padding(dataset, stored).tolist() == [True, True, False, False, True]
