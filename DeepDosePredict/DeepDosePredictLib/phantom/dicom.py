"""The phantom as a clinic would have it: a DICOM-RT study with a 512x512 CT and TG-263 names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geometry.body import find_body
from ..geometry.grid import Grid, reslice
from ..io.dicom.ct import LPS_TO_RAS
from ..io.dicom.write_study import Scan, write_study
from ..patient.case import dose_box
from ..patient.rois import prescription
from ..patient.structure_names import EXTERNAL, tg263_name
from .anatomy import head_and_neck_phantom

FINER = 4
AIR_HU = -1000


def write_phantom(folder: str | Path) -> None:
    """Write CT, RTSTRUCT, RTPLAN and RTDOSE; the dose on a coarser and smaller grid than the CT."""
    case = head_and_neck_phantom()
    place = np.diag([*case.spacing[::-1], 1.0])
    place[:3, 3] = case.origin
    coarse = Grid(case.shape, LPS_TO_RAS @ place)
    fine = coarse.refined((1, FINER, FINER))
    ct = np.rint(reslice(case.ct, coarse, fine, AIR_HU, True)).astype(np.int16)
    masks = {_clinical_name(roi): case.rois[roi] for roi in case.rois.present()}
    masks[EXTERNAL] = find_body(case.ct, case.rois[case.targets()[0]])
    smooth = {name: reslice(mask.astype(np.float32), coarse, fine, 0, True) >= 0.5 for name, mask in masks.items()}
    box = dose_box(case.dose_mask)
    origin = tuple(o + s.start * step for o, s, step in zip(case.origin, box[::-1], case.spacing[::-1], strict=True))
    write_study(
        folder,
        case.name,
        Scan(ct, fine.spacing, tuple(fine.ijk_to_ras[:3, 3] * (-1, -1, 1))),
        smooth,
        Scan(case.dose[box], case.spacing, origin),
    )


def _clinical_name(roi: str) -> str:
    level = prescription(roi)
    return tg263_name(roi) if level is None else f"PTV_{round(100 * level)}"
