"""The regions of interest of OpenKBP, their kinds, prescriptions and mirror images."""

from __future__ import annotations

import re

OARS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
OAR_KINDS = ("Brainstem", "SpinalCord", "Parotid", "Esophagus", "Larynx", "Mandible")
"""Left and right ones are of one kind."""
PTVS = ("PTV56", "PTV63", "PTV70")
ROIS = OARS + PTVS
DOSE_MASK = "possible_dose_mask"
EXTERNAL = "External"

PRESCRIPTIONS_GY = (5.0, 100.0)
"""What a target can be prescribed."""

_PTV = re.compile(r"PTV_?(\d+(?:\.\d+)?)")
_SIDES = {"Left": "Right", "Right": "Left"}


def prescription(roi: str) -> float | None:
    """Prescribed dose in Gy that a PTV's name states ("PTV70" -> 70.0); None for every other structure."""
    match = _PTV.fullmatch(roi)
    return float(match[1]) if match else None


def target_prescription(roi: str) -> float:
    """Prescribed dose of a PTV in Gy; ValueError for every other structure."""
    level = prescription(roi)
    if level is None:
        raise ValueError(f"{roi} is no PTV with a prescription in its name")
    return level


def is_target(roi: str) -> bool:
    return prescription(roi) is not None


def oar_kind(roi: str) -> str:
    """Name of an organ without its side."""
    return roi.removeprefix("Left").removeprefix("Right")


def mirrored_name(roi: str) -> str:
    """Name of the structure on the other side of the patient; the name itself for midline structures."""
    return re.sub("Left|Right", lambda side: _SIDES[side[0]], roi)
