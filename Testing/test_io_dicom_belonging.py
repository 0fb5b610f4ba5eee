"""Studies whose files are not of one patient, one place and the head and neck are refused, or it is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from DeepDosePredictLib.app.sources import read_case
from DeepDosePredictLib.errors import CaseError
from dicom_patient import edit, edit_ct
from synthetic import padded


def change_all(**values):
    """An edit that sets elements."""

    def change(dataset, *_):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def exchanged(folder: Path, keyword: str, first: int = 12, second: int = 13) -> None:
    """Exchange an element of two slices."""
    paths = [folder / f"ct-{n:03}.dcm" for n in (first, second)]
    values = [pydicom.dcmread(path)[keyword].value for path in paths]
    for path, value in zip(paths, values[::-1], strict=True):
        edit(path, change_all(**{keyword: value}))


def moved(folder: Path, millimetres: float) -> None:
    def change(dataset, _):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + millimetres]

    edit_ct(folder, change)


def half_dose(dataset) -> None:
    dataset.DoseGridScaling = dataset.DoseGridScaling * 0.55


def plan_sum(folder: Path) -> None:
    """The sum beside a phase of 55 %, referring to two plans that are not here, as planning systems export it."""
    shutil.copy(folder / "dose.dcm", folder / "sum.dcm")
    edit(folder / "dose.dcm", half_dose)
    edit(
        folder / "sum.dcm",
        change_all(
            SOPInstanceUID="1.2.3", DoseSummationType="MULTI_PLAN", SeriesDescription="Sum", ReferencedRTPlanSequence=[]
        ),
    )


REFUSED = {
    "CT of another patient": (
        lambda folder: edit_ct(folder, change_all(PatientID="A", FrameOfReferenceUID="")),
        r"structures.dcm: it is of patient 'small', its CT of patient 'A'",
    ),
    "dose of another patient": (
        lambda folder: edit(folder / "dose.dcm", change_all(PatientID="B")),
        r"dose.dcm: it is of patient 'B', the CT of patient 'small'",
    ),
    "two slices exchanged": (
        lambda folder: exchanged(folder, "ImagePositionPatient"),
        r"PTV_7000: 2 of 9 contours lie up to 3.0 mm from the CT slices that they name \(slices every 3 mm\)",
    ),
    "UIDs of two slices exchanged": (lambda folder: exchanged(folder, "SOPInstanceUID"), "slices were exchanged"),
    "CT shifted by a slice": (lambda folder: moved(folder, 3.0), "9 of 9 contours .* or the CT shifted"),
    "RescaleIntercept +1024": (lambda folder: edit_ct(folder, change_all(RescaleIntercept=1024)), "1000 too high"),
    "RescaleSlope -1": (lambda folder: edit_ct(folder, change_all(RescaleSlope=-1)), "RescaleSlope -1"),
    "RescaleSlope 1e30": (lambda folder: edit_ct(folder, change_all(RescaleSlope=1e30)), r"RescaleSlope 1e\+30"),
    "signed read as unsigned": (lambda folder: edit_ct(folder, change_all(PixelRepresentation=0)), "no CT in HU"),
    "MR for CT": (lambda folder: edit_ct(folder, lambda d, _: write_pixels(d, mr_like)), "an MR, a dose"),
    "CT beside the contours": (
        lambda folder: edit_ct(folder, change_all(PixelSpacing=[0.4, 0.4])),
        "lie outside|lie beyond|no CT in HU|outside",
    ),
    "plan sum beside a phase": (
        plan_sum,
        r"several doses fit this structure set: .*dose.dcm \(PLAN, .*sum.dcm \(MULTI_PLAN, Sum.*of phases, their sum"
        r".* with --reference, for instance --reference .*sum.dcm",
    ),
}


def mr_like(hu: np.ndarray) -> np.ndarray:
    return np.where(hu > -500, 300 + 2 * hu, 5)


def write_pixels(dataset, change) -> None:
    stored = dataset.pixel_array * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
    dataset.PixelData = change(stored).astype(np.int16).tobytes()
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, 0


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_studies_that_do_not_belong_together_are_refused(patient, change, words):
    change(patient)
    with pytest.raises(CaseError, match=words):
        read_case(patient)


SAID = {
    "dose of a phase": (lambda folder: edit(folder / "dose.dcm", half_dose), "55% of its 70 Gy|5.% of its 70 Gy"),
    "breast": (lambda folder: edit_ct(folder, change_all(BodyPartExamined="BREAST")), "BodyPartExamined is BREAST"),
    "organs": (lambda folder: rename(folder, "SpinalCord", "Heart"), "another part of the body: Heart; the models"),
    "exchanged slices, of which no contour tells": (
        lambda folder: (edit(folder / "structures.dcm", without_images), exchanged(folder, "ImagePositionPatient")),
        r"CT slices ct-01.\.dcm and ct-01.\.dcm lie against the order of their instance numbers",
    ),
    "two plans": (lambda folder: second_plan(folder), "dose of one plan; there are others .*second.dcm"),
}


def rename(folder: Path, old: str, new: str) -> None:
    def change(dataset):
        (roi,) = (roi for roi in dataset.StructureSetROISequence if roi.ROIName == old)
        roi.ROIName = new

    edit(folder / "structures.dcm", change)


def without_images(dataset) -> None:
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            del contour.ContourImageSequence


def second_plan(folder: Path) -> None:
    shutil.copy(folder / "plan.dcm", folder / "second.dcm")
    edit(folder / "second.dcm", change_all(SOPInstanceUID="1.2.3"))


@pytest.mark.parametrize(("change", "words"), SAID.values(), ids=SAID.keys())
def test_what_is_doubtful_in_a_study_is_said(patient, change, words):
    change(patient)
    assert re.search(words, " ".join(read_case(patient).notes))


def test_the_sum_can_be_chosen(patient, small):
    plan_sum(patient)
    case = read_case(patient, dose=patient / "sum.dcm")
    np.testing.assert_array_equal(case.dose, read_case(small).dose)


@pytest.mark.parametrize("answer", ["sum.dcm", "SUM*", "multi_plan", "Sum"])
def test_roles_choose_among_several_doses(patient, small, answer):
    plan_sum(patient)
    case = read_case(patient, roles={"reference_dose": answer})
    np.testing.assert_array_equal(case.dose, read_case(small).dose)


def test_a_choice_for_a_cohort_holds_where_there_are_several_doses_and_is_told_elsewhere(patient):
    for_all = {"reference_dose": "*sum*", "patients": {}}
    (note,) = read_case(patient, roles=for_all).notes
    assert read_case(patient, roles={"reference_dose": "*sum*"}).notes == (note,)
    with pytest.raises(CaseError, match=r"'sum.dcm' fits none of the doses"):
        read_case(patient, roles={"reference_dose": "sum.dcm"})
    assert note.startswith("the reference is the only dose here") and "'*sum*'" in note
    own = {"patients": {"small": {"reference_dose": "dose.dcm"}}, "reference_dose": "*sum*"}
    assert read_case(patient, roles=own).notes == ()
    plan_sum(patient)
    assert read_case(patient, roles=for_all).notes == ()
    assert any("55%" in note for note in read_case(patient, roles=own).notes)


@pytest.mark.parametrize(("answer", "words"), [("*.dcm", "fits several doses"), ("x", "'x' fits none of the doses")])
def test_a_choice_that_fits_no_dose_or_several_is_refused(patient, answer, words):
    plan_sum(patient)
    with pytest.raises(CaseError, match=rf"{words} of this structure set: .*dose.dcm.*sum.dcm"):
        read_case(patient, roles={"reference_dose": answer})


@pytest.mark.slow
@pytest.mark.parametrize(("declared", "signed"), [(63536, 0), (63536, 1), (-2000, 1)])
def test_padding_is_not_taken_for_tissue(patient, small, declared, signed):
    """A scanner's -2000 outside its round field, stored as 63536 where values have no sign."""

    def change(dataset, _):
        hu = dataset.pixel_array * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        stored = padded(hu[None] + 1024, 63536)[0]
        dataset.PixelData = stored.astype(np.uint16).tobytes()
        dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = signed, 1, -1024
        tag = pydicom.datadict.tag_for_keyword("PixelPaddingValue")
        dataset.add_new(tag, "US" if declared > 0 else "SS", declared)

    edit_ct(patient, change)
    case = read_case(patient)
    assert case.ct.max() < 1500 and case.ct.min() >= -1024
    body = read_case(small).ct > -500
    np.testing.assert_array_equal(case.ct[body], read_case(small).ct[body])


def test_a_padding_value_that_is_tissue_punches_no_holes(patient, small):
    edit_ct(patient, lambda dataset, _: dataset.add_new("PixelPaddingValue", "SS", 40))
    np.testing.assert_array_equal(read_case(patient).ct, read_case(small).ct)


def test_contours_that_all_name_one_slice_tell_nothing(patient):
    def change(dataset):
        for roi in dataset.ROIContourSequence:
            for contour in roi.ContourSequence:
                contour.ContourImageSequence = dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence

    edit(patient / "structures.dcm", change)
    assert read_case(patient).notes == ()
