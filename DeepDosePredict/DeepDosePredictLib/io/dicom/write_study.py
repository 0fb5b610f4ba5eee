"""CT, structures and dose as a DICOM-RT study of their own: for made-up patients and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...geometry.outlines import outlines
from ...geometry.volume import Volume
from ...patient.case import Case
from ...patient.rois import DOSE_MASK, EXTERNAL, is_target
from .sop_classes import CT_IMAGE, RT_DOSE, RT_PLAN, RT_STRUCTURES
from .writing import (
    dose_elements,
    image_elements,
    item,
    new_dataset,
    new_uid,
    save,
    set_decimals,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_MOMENT = {"Date": "20000101", "Time": "120000"}  # made up, as the patient is


def write_case(folder: str | Path, case: Case, names: Mapping[str, str] | None = None, dose_mask: bool = True) -> None:
    """Write a case at its own spacing; its dose mask, if wanted, as one more structure.

    Args:
        names: ROI names instead of the case's, {structure: name}.
    """
    masks = {roi: case.rois[roi] for roi in case.rois.present()} | ({DOSE_MASK: case.dose_mask} if dose_mask else {})
    dose = None if case.dose is None else Volume("dose", case.dose, case.grid)
    write_study(
        folder,
        case.name,
        Volume("CT", case.ct, case.grid),
        {(names or {}).get(roi, roi): mask for roi, mask in masks.items()},
        dose,
    )


def write_study(
    folder: str | Path, patient: str, ct: Volume, structures: Mapping[str, np.ndarray], dose: Volume | None = None
) -> None:
    """Write ct-NNN.dcm, structures.dcm and, with a dose, plan.dcm and dose.dcm; the same UIDs on every call.

    Args:
        patient: name and ID.
        ct: int16 HU, on an LPS-aligned grid, as the dose.
        structures: {name: mask on the CT's grid}; outlined along the edges of their voxels.
        dose: in Gy.
    """
    folder = Path(folder)
    study = _Study(patient)
    x, y, z = ct.grid.origin
    images = [study.uid("image", n) for n in range(len(ct.array))]
    for n, (uid, hu) in enumerate(zip(images, ct.array, strict=True)):
        place = (x, y, z + n * ct.grid.spacing[0])
        save(
            folder / f"ct-{n + 1:03}.dcm",
            study.dataset(
                CT_IMAGE,
                uid,
                "CT",
                "series",
                SeriesNumber=1,
                InstanceNumber=n + 1,
                PatientPosition="HFS",
                BodyPartExamined="HEADNECK",
                ImageType=["DERIVED", "SECONDARY", "AXIAL"],
                AcquisitionNumber=None,
                KVP=None,
                RescaleIntercept="0",
                RescaleSlope="1",
                RescaleType="HU",
                PixelData=np.asarray(hu, "<i2").tobytes(),
                **image_elements(hu.shape, ct.grid.spacing, place, PixelRepresentation=1),
            ),
        )
    save(folder / "structures.dcm", study.structures(ct, structures, images))
    if dose is not None:
        save(folder / "plan.dcm", study.plan())
        save(folder / "dose.dcm", study.dose(dose))


@dataclass(frozen=True)
class _Study:
    patient: str

    def uid(self, *parts: object) -> str:
        return new_uid("DeepDosePredict study", self.patient, *parts)

    def dataset(self, sop_class: str, uid: str, modality: str, series: str, **elements: Any) -> Dataset:
        shared = {
            "PatientName": f"{self.patient}^Made up",
            "PatientID": self.patient,
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyInstanceUID": self.uid("study"),
            "StudyDate": _MOMENT["Date"],
            "StudyTime": _MOMENT["Time"],
            "StudyID": "1",
            "AccessionNumber": "",
            "ReferringPhysicianName": "",
            "FrameOfReferenceUID": self.uid("frame"),
            "PositionReferenceIndicator": "",
        }
        return new_dataset(
            sop_class,
            uid,
            modality,
            shared,
            SeriesInstanceUID=self.uid(series),
            SeriesDescription=f"Made-up {modality}",
            **elements,
        )

    def structures(self, ct: Volume, masks: Mapping[str, np.ndarray], images: Sequence[str]) -> Dataset:
        frame = self.uid("frame")
        series = item(SeriesInstanceUID=self.uid("series"), ContourImageSequence=[_image(uid) for uid in images])
        study = item(
            ReferencedSOPClassUID=_STUDY_CLASS,
            ReferencedSOPInstanceUID=self.uid("study"),
            RTReferencedSeriesSequence=[series],
        )
        numbered = list(enumerate(masks.items(), 1))
        colours = np.random.default_rng(0).integers(60, 256, (len(masks), 3)).tolist()
        return self.dataset(
            RT_STRUCTURES,
            self.uid("structures"),
            "RTSTRUCT",
            "structures series",
            SeriesNumber=2,
            OperatorsName="",
            StructureSetLabel="Made up",
            ApprovalStatus="UNAPPROVED",
            **{f"StructureSet{part}": value for part, value in _MOMENT.items()},
            ReferencedFrameOfReferenceSequence=[item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])],
            StructureSetROISequence=[
                item(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=name, ROIGenerationAlgorithm="")
                for n, (name, _) in numbered
            ],
            ROIContourSequence=[
                item(ROIDisplayColor=colour, ContourSequence=list(_contours(mask, ct, images)), ReferencedROINumber=n)
                for (n, (_, mask)), colour in zip(numbered, colours, strict=True)
                if mask.any()
            ],
            RTROIObservationsSequence=[
                item(ObservationNumber=n, ReferencedROINumber=n, ROIInterpreter="", RTROIInterpretedType=_type(name))
                for n, (name, _) in numbered
            ],
        )

    def plan(self) -> Dataset:
        return self.dataset(
            RT_PLAN,
            self.uid("plan"),
            "RTPLAN",
            "plan series",
            SeriesNumber=3,
            OperatorsName="",
            RTPlanLabel="Made up",
            RTPlanGeometry="PATIENT",
            ApprovalStatus="UNAPPROVED",
            **{f"RTPlan{part}": value for part, value in _MOMENT.items()},
            ReferencedStructureSetSequence=[_reference(RT_STRUCTURES, self.uid("structures"))],
        )

    def dose(self, dose: Volume) -> Dataset:
        return self.dataset(
            RT_DOSE,
            self.uid("dose"),
            "RTDOSE",
            "dose series",
            SeriesNumber=4,
            OperatorsName="",
            InstanceNumber=1,
            **dose_elements(dose.array, dose.grid.spacing, dose.grid.origin),
            ReferencedRTPlanSequence=[_reference(RT_PLAN, self.uid("plan"))],
        )


def _contours(mask: np.ndarray, ct: Volume, images: Sequence[str]) -> Iterable[Dataset]:
    x, y, z = ct.grid.origin
    spacing = ct.grid.spacing
    for k in np.flatnonzero(mask.any((1, 2))).tolist():
        for line in outlines(mask[k]):
            points = np.column_stack(
                (
                    x + line[:, 0] * spacing[2],
                    y + line[:, 1] * spacing[1],
                    np.full(len(line), z + k * spacing[0]),
                )
            )
            contour = item(
                ContourImageSequence=[_image(images[k])],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(line),
            )
            set_decimals(contour, "ContourData", points)
            yield contour


def _image(uid: str) -> Dataset:
    return _reference(CT_IMAGE, uid)


def _reference(sop_class: str, uid: str) -> Dataset:
    return item(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid)


def _type(name: str) -> str:
    return "EXTERNAL" if name == EXTERNAL else "PTV" if is_target(name) else "ORGAN"
