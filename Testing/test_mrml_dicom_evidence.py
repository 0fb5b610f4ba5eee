"""What a structure set and plans in Slicer's DICOM database tell of segments beside their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.mrml import inputs
from DeepDosePredictLib.mrml.dicom_evidence import ROI_NUMBER_TAG, dicomEvidence
from DeepDosePredictLib.mrml.subject_hierarchy import hierarchyOf, itemOf
from DeepDosePredictLib.patient.outcome import Outcome
from DeepDosePredictLib.patient.structure_names import decisions
from dicom_patient import edit, write_small_patient
from mrml_scene import lps_grid, slicer

NAMES = ("PTV_High", "PTV_5600", "SpinalCord", "Region 3", "K 1", "Old")


class Database:
    """Stands for ctkDICOMDatabase: the files of one folder."""

    def __init__(self, folder: Path):
        self.files = {str(path): pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")}

    def fileForInstance(self, uid: str) -> str:
        return next((file for file, one in self.files.items() if one.SOPInstanceUID == uid), "")

    def filesForSeries(self, uid: str) -> tuple[str, ...]:
        return tuple(file for file, one in self.files.items() if one.SeriesInstanceUID == uid)

    def seriesForStudy(self, uid: str) -> tuple[str, ...]:
        return tuple({one.SeriesInstanceUID for one in self.files.values() if one.StudyInstanceUID == uid})

    def fileValue(self, file: str, tag: str) -> str:
        return (
            str(self.files[file][tuple(int(part, 16) for part in tag.split(","))].value) if file in self.files else ""
        )


@pytest.fixture
def folder(tmp_path) -> Path:
    """PTV_High is typed ORGAN and prescribed 66 Gy; two contours are targets by their types alone, and one the body."""
    write_small_patient(tmp_path)

    def rename(dataset):
        kinds = ("ORGAN", "PTV", "ORGAN", "PTV", "EXTERNAL")
        for roi, observed, name, kind in zip(
            dataset.StructureSetROISequence, dataset.RTROIObservationsSequence, NAMES, kinds, strict=False
        ):
            roi.ROIName, observed.RTROIInterpretedType = name, kind

    edit(tmp_path / "structures.dcm", rename)
    one = pydicom.Dataset()
    one.DoseReferenceType, one.DoseReferenceStructureType, one.ReferencedROINumber = "TARGET", "VOLUME", 1
    one.TargetPrescriptionDose = 66
    edit(tmp_path / "plan.dcm", lambda d: setattr(d, "DoseReferenceSequence", pydicom.Sequence([one])))
    return tmp_path


@pytest.fixture
def segmentation(scene, folder, monkeypatch):
    """As SlicerRT loads it; then the user renamed one segment and drew another."""
    masks = {name: np.ones((2, 2, 2), bool) for name in (*NAMES[:4], "K renamed", "drawn")}
    node = scene.segmentation(masks, lps_grid((3, 3, 3)))
    for number in range(1, 6):
        node.GetSegmentation().GetNthSegment(number - 1).SetTag(ROI_NUMBER_TAG, str(number))
    database = Database(folder)
    (file,) = database.filesForSeries(pydicom.dcmread(folder / "structures.dcm").SeriesInstanceUID)
    hierarchy = hierarchyOf(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMInstanceUIDName()
    hierarchy.SetItemUID(itemOf(hierarchy, node), name, database.files[file].SOPInstanceUID)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return node


def test_types_and_prescriptions_are_read_as_from_dicom(segmentation):
    known = dicomEvidence(segmentation)
    assert known.types == dict(
        zip((*NAMES[:4], "K renamed"), ("ORGAN", "PTV", "ORGAN", "PTV", "EXTERNAL"), strict=True)
    )
    assert known.planned == {"PTV_High": 66.0} and known.notes == ()
    rows = {match.role: match for match in inputs.matchRoles(segmentation)}
    assert rows["PTV66"].segments == ("PTV_High",) and rows["External"].segments == ("K renamed",)
    assert any("Region 3: of type PTV" in match.note for match in rows.values())
    with pytest.raises(DeepDoseError, match="Region 3: of type PTV, but its name does not say so"):
        inputs.assignSegments(segmentation, None)
    account = inputs.assignSegments(segmentation, {"not_targets": ["Region 3"]})
    assert account.roles == {
        "PTV66": ("PTV_High",),
        "PTV56": ("PTV_5600",),
        "SpinalCord": ("SpinalCord",),
        "External": ("K renamed",),
    }


def test_without_the_file_names_alone_speak(segmentation, monkeypatch, folder):
    alone = decisions({"PTV_High": "PTV_High"})["PTV_High"]
    assert alone.outcome is Outcome.POSSIBLE_TARGET
    (folder / "structures.dcm").unlink()
    assert dicomEvidence(segmentation).types == {}
    monkeypatch.delattr(slicer, "dicomDatabase")
    assert dicomEvidence(segmentation).types == {}


def test_a_structure_set_that_cannot_be_read_is_said(segmentation, folder):
    edit(folder / "structures.dcm", lambda d: setattr(d.StructureSetROISequence[0], "ROINumber", 2))
    (note,) = dicomEvidence(segmentation).notes
    assert "RT ROI types and prescriptions were not read" in note and "structures.dcm" in note


def test_segments_without_a_number_are_found_by_names_of_one_roi_only(segmentation, folder):
    for n in range(6):
        segmentation.GetSegmentation().GetNthSegment(n).RemoveTag(ROI_NUMBER_TAG)
    assert set(dicomEvidence(segmentation).types) == set(NAMES[:4])


def test_another_part_of_the_body_is_said(scene, segmentation, folder, monkeypatch):
    ct = scene.volume(np.zeros((2, 2, 2), np.int16), lps_grid((3, 3, 3)))
    answers = {"not_targets": ["Region 3"]}
    ct.SetAttribute("DICOM.instanceUIDs", f"{pydicom.dcmread(folder / 'ct-001.dcm').SOPInstanceUID} 1.2.3")
    assert not any("BodyPart" in words for words in inputs.checkInputs(ct, segmentation, roles=answers).warnings)
    edit(folder / "ct-001.dcm", lambda d: setattr(d, "BodyPartExamined", "PROSTATE"))
    monkeypatch.setattr(slicer, "dicomDatabase", Database(folder))
    warnings = inputs.checkInputs(ct, segmentation, roles=answers).warnings
    assert "the CT's BodyPartExamined is PROSTATE: the models know head and neck only" in warnings
