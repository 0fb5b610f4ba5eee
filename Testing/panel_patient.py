"""A patient in the scene, for tests of the panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrml_scene import Scene, lps_grid
from synthetic import make_case

TG263 = {
    "Brainstem": "Brainstem",
    "SpinalCord": "SpinalCord",
    "RightParotid": "Parotid_R",
    "LeftParotid": "Parotid_L",
    "Mandible": "Bone_Mandible",
    "PTV70": "PTV_7000",
    "PTV63": "PTV_6300",
    "PTV56": "PTV_5600",
}


@dataclass
class Patient:
    ct: object
    segmentation: object
    dose: object


def add_patient(scene: Scene, renamed: dict[str, str] | None = None) -> Patient:
    """The made-up case of the tests as nodes; `renamed` gives segments other names than those of TG-263."""
    case = make_case()
    names = {roi: (renamed or {}).get(name, name) for roi, name in TG263.items()}
    box = (slice(32, 96),) * 3
    grid = lps_grid(case.spacing)
    masks = {names[roi]: case.rois[roi][box] for roi in names}
    return Patient(
        scene.volume(case.ct[box], grid, "CT"),
        scene.segmentation(masks, grid, "Contours"),
        scene.volume(np.ascontiguousarray(case.dose[box]), grid, "Clinical dose"),
    )
