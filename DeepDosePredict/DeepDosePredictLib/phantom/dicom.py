"""The phantom as a clinic would have it: a DICOM-RT study with a 512x512 CT and TG-263 names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geometry.body import find_body
from ..geometry.volume import Volume, reslice
from ..io.dicom.write_study import write_study
from ..patient.case import dose_box
from ..patient.rois import EXTERNAL, prescription
from ..patient.structure_names import tg263_name
from .anatomy import head_and_neck_phantom

FINER = 4
AIR_HU = -1000


def write_phantom(folder: str | Path) -> None:
    """Write CT, RTSTRUCT, RTPLAN and RTDOSE; the dose on a coarser and smaller grid than the CT."""
    case = head_and_neck_phantom()
    fine = case.grid.refined((1, FINER, FINER))
    ct = np.rint(reslice(case.ct, case.grid, fine, AIR_HU, True)).astype(np.int16)
    masks = {_clinical_name(roi): case.rois[roi] for roi in case.rois.present()}
    masks[EXTERNAL] = find_body(case.ct, case.rois[case.targets()[0]])
    smooth = {name: reslice(mask.astype(np.float32), case.grid, fine, 0, True) >= 0.5 for name, mask in masks.items()}
    box = dose_box(case.dose_mask)
    assert case.dose is not None  # the phantom has a plan
    dose = Volume("dose", case.dose[box], case.grid.crop(box))
    write_study(folder, case.name, Volume("CT", ct, fine), smooth, dose)


def _clinical_name(roi: str) -> str:
    level = prescription(roi)
    return tg263_name(roi) if level is None else f"PTV_{round(100 * level)}"
