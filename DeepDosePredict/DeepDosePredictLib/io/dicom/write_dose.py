"""A predicted dose as an RTDOSE file that belongs to the patient's CT and structure set."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...dvh.metrics import METHOD, cumulative_dvh, roi_doses
from ...patient.case import Case
from .index import PREDICTION_MODEL_NAME
from .sop_classes import RT_DOSE, RT_PLAN, RT_STRUCTURES
from .writing import decimals, dose_elements, item, new_dataset, new_uid, save

if TYPE_CHECKING:
    from pydicom import Dataset

LABEL, EXPLORED_LABEL = "PREDICTED dose, research use only", "EXPLORED dose, research use only"
DVH_STEP_GY = 0.1


def write_predicted_dose(
    path: str | Path, dose: np.ndarray, case: Case, model: str, comments: str = "", label: str = LABEL
) -> None:
    """Write a (K, J, I) dose in Gy on the grid of a case from DICOM, in 16 bits, exact to 1/65535 of its maximum.

    A dose of the summation type PLAN must refer to a plan. A prediction has none, and must not pass for the dose of
    the patient's plan: it refers to a plan of its own that exists nowhere. A reference to the structure set comes only
    with DVHs (PS3.3 C.8.8.4), so they are written, too.

    Args:
        case: with its `dicom`, a DicomReference.
        model: name and version.
        comments: more about how the dose was made.
        label: what it is called in the series' description: `LABEL` or `EXPLORED_LABEL`.
    """
    now, reference = datetime.now(), case.dicom
    dataset = new_dataset(
        RT_DOSE,
        new_uid(),
        "RTDOSE",
        dict(reference.shared),
        **dose_elements(dose, case.spacing, case.origin),
        SeriesInstanceUID=new_uid(),
        SeriesNumber=1,
        SeriesDescription=label,
        OperatorsName="",
        InstanceNumber=1,
        ManufacturerModelName=PREDICTION_MODEL_NAME,
        DoseComment=f"{label}: {model}"[:64],
        ImageComments=f"Not for clinical use. DVHs on {METHOD}. {comments}".strip()[:10240],
        ContentDate=f"{now:%Y%m%d}",
        ContentTime=f"{now:%H%M%S}",
        InstanceCreationDate=f"{now:%Y%m%d}",
        InstanceCreationTime=f"{now:%H%M%S}",
        ReferencedRTPlanSequence=[item(ReferencedSOPClassUID=RT_PLAN, ReferencedSOPInstanceUID=new_uid())],
        ReferencedStructureSetSequence=[
            item(ReferencedSOPClassUID=RT_STRUCTURES, ReferencedSOPInstanceUID=reference.structures)
        ],
        DVHSequence=list(_dvhs(dose, case)),
    )
    save(Path(path), dataset)


def _dvhs(dose: np.ndarray, case: Case) -> Iterator[Dataset]:
    """Cumulative DVHs in cm3; those of targets without what targets of higher prescriptions share with them."""
    numbers = dict(case.dicom.rois)
    for role, doses in roi_doses(dose, case.rois).items():
        edges = np.arange(0, float(doses.max()) + 2 * DVH_STEP_GY, DVH_STEP_GY)
        volumes = cumulative_dvh(doses, edges) / 100 * doses.size * case.voxel_volume_mm3 / 1000
        higher = [
            n
            for other, level in case.prescriptions.items()
            if level > case.prescriptions.get(role, level)
            for n in numbers[other]
        ]
        rois = [
            item(ReferencedROINumber=n, DVHROIContributionType=kind)
            for kind, group in (("INCLUDED", numbers[role]), ("EXCLUDED", higher))
            for n in group
        ]
        yield item(
            DVHReferencedROISequence=rois,
            DVHType="CUMULATIVE",
            DoseUnits="GY",
            DoseType="PHYSICAL",
            DVHDoseScaling="1",
            DVHVolumeUnits="CM3",
            DVHNumberOfBins=len(edges),
            DVHMinimumDose=decimals([doses.min()])[0],
            DVHMaximumDose=decimals([doses.max()])[0],
            DVHMeanDose=decimals([doses.mean()])[0],
            DVHData=decimals(np.column_stack((np.full(len(edges), DVH_STEP_GY), volumes.round(4))).ravel()),
        )
