"""Two real studies, and what happens to such in clinics: each ends in the right dose, a word, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from DeepDosePredictLib.app.sources import read_case
from DeepDosePredictLib.errors import CaseError
from dicom_patient import edit

pytestmark = pytest.mark.slow
BOOST = {"PTV14": ["Tumor Bed"]}


def copied(study: Path, folder: Path) -> Path:
    """Links to the files of a study, under the names of these; what is altered replaces its link."""
    folder.mkdir()
    for path in sorted(study.rglob("*")):
        if path.is_file():
            (folder / path.name).symlink_to(path)
    return folder


def changed(path: Path, change: Callable[[pydicom.Dataset], object]) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    edit(path, change)


@pytest.fixture
def breast(shared: Path, tmp_path: Path) -> Path:
    return copied(shared / "clinical" / "breast", tmp_path / "breast")


def ct_slices(folder: Path) -> list[Path]:
    """From the feet to the head."""
    read = ((path, pydicom.dcmread(path, stop_before_pixels=True)) for path in folder.iterdir())
    return [path for path, ct in sorted((x for x in read if x[1].Modality == "CT"), key=lambda x: x[1].SliceLocation)]


def test_a_breast_is_no_neck(breast):
    notes = " ".join(read_case(breast, BOOST).notes)
    assert "another part of the body: Breast, Heart, Lt Lung" in notes
    assert "cross-section of" in notes and "of the body at the targets is lung" in notes


def test_dose_of_a_phase(breast):
    changed(breast / "rtdose.dcm", lambda d: setattr(d, "DoseGridScaling", float(d.DoseGridScaling) * 0.55))
    assert any("56% of its 14 Gy" in note for note in read_case(breast, BOOST).notes)


def phase_and_sum(folder: Path) -> None:
    def as_sum(dataset):
        dataset.SOPInstanceUID, dataset.DoseSummationType = "1.2.3", "MULTI_PLAN"

    (folder / "sum.dcm").write_bytes((folder / "rtdose.dcm").read_bytes())
    edit(folder / "sum.dcm", as_sum)


def exchanged_slices(folder: Path) -> None:
    first, second = (p for p in ct_slices(folder)[40:42])
    places = [pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient for path in (first, second)]
    for path, place in zip((first, second), places[::-1], strict=True):
        changed(path, lambda d, place=place: setattr(d, "ImagePositionPatient", place))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (phase_and_sum, r"several doses fit .*rtdose.dcm \(PLAN.*sum.dcm \(MULTI_PLAN.* with --reference"),
        (exchanged_slices, "2 of .* contours lie up to 3.0 mm from the CT slices that they name"),
        (
            lambda folder: changed(folder / "rtdose.dcm", lambda d: setattr(d, "PatientID", "other")),
            "rtdose.dcm: it is of patient 'other', the CT of patient '123456'",
        ),
    ],
    ids=["phase and sum", "exchanged slices", "dose of another patient"],
)
def test_what_does_not_belong_together(breast, change, words):
    change(breast)
    with pytest.raises(CaseError, match=words):
        read_case(breast, BOOST)


def test_a_neck_whose_shoulders_are_cut(shared):
    notes = read_case(shared / "clinical" / "head-neck").notes
    assert any("field of view cuts the body" in note for note in notes)
    assert not any("neck" in note or "HU" in note for note in notes)


def test_a_ct_shifted_by_1024(shared, tmp_path):
    folder = copied(shared / "clinical" / "head-neck", tmp_path / "shifted")
    for path in ct_slices(folder):
        changed(path, lambda d: setattr(d, "RescaleIntercept", 0))
    with pytest.raises(CaseError, match=r"this is no CT in HU: .*about 1000 too high"):
        read_case(folder)


@pytest.fixture
def neck(shared: Path, tmp_path: Path) -> Path:
    return copied(shared / "clinical" / "head-neck", tmp_path / "neck")


def mr_like(dataset: pydicom.Dataset) -> None:
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    dataset.PixelData = np.where(hu > -500, 300 + 2 * hu, 5).astype(np.int16).tobytes()
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, 0
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian


def test_an_mr_for_the_ct(neck):
    for path in ct_slices(neck):
        changed(path, mr_like)
    with pytest.raises(CaseError, match=r"this is no CT in HU: nothing in it has the value of air"):
        read_case(neck)


def renamed(names: dict[str, str]) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        for roi in dataset.StructureSetROISequence:
            roi.ROIName = names.get(roi.ROIName, roi.ROIName)

    return change


def test_names_with_hyphens_and_exchanged_sides(neck):
    sides = {"Parotis re": "Parotis li", "Parotis li": "Parotis re"}
    changed(neck / "RS.dcm", renamed({"PTV 66 Gy": "PTV-T66", "PTV 54 Gy": "PTV54-L", **sides}))
    case = read_case(neck)
    assert {use.contour: use.role for use in case.assignment.used if use.prescription_gy} == {
        "PTV-T66": "PTV66",
        "PTV54-L": "PTV54",
    }
    assert any("LeftParotid lies to the right of RightParotid" in note for note in case.notes)


def test_a_target_that_is_left_only_as_what_it_was_cut_to_is_asked(neck):
    changed(neck / "RS.dcm", renamed({"PTV 54 Gy": "PTV54 - 3mm skin"}))
    with pytest.raises(CaseError, match=r"PTV54 - 3mm skin: .* there is no other target of 54 Gy"):
        read_case(neck)
