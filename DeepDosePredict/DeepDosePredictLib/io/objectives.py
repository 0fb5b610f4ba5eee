"""Objectives as files: CSV and JSON for people and programs, and what a plan with pyRadPlan needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..explore.objectives import DoseObjective, pyradplan_terms
from ..patient.case import Case
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK
from ..resources import RESOURCES
from .atomic import atomic_write, write_table
from .nrrd_case import ROI_NAMES_KEY, write_volume

CSV_FILE, JSON_FILE = "objectives.csv", "objectives.json"
PYRADPLAN_SCRIPT, PYRADPLAN_CT, PYRADPLAN_ROIS = "plan_with_pyradplan.py", "planning-ct.nrrd", "planning-rois.nrrd"
"""Not named as a patient's files are: with the explored dose beside them they would be taken for one."""


def write_objectives_csv(path: str | Path, objectives: Sequence[DoseObjective], label: str) -> None:
    """structure, sense, dose_gy, volume_percent, volume_cc, weight, model; no volume with a mean."""
    rows = [
        (o.structure, o.sense, f"{o.dose:.2f}", _number(o.volume_percent), _number(o.volume_cc), f"{o.weight:g}", label)
        for o in objectives
    ]
    write_table(path, ("structure", "sense", "dose_gy", "volume_percent", "volume_cc", "weight", "model"), rows)


def write_objectives_json(path: str | Path, objectives: Sequence[DoseObjective], about: Mapping[str, object]) -> None:
    """{"objectives": [{structure, sense, dose, volume_percent, volume_cc, weight, pyradplan}], and what is said}.

    "pyradplan" holds the name of its objective function and the parameters.
    """
    lines = [
        {**asdict(one), "pyradplan": dict(zip(("name", "parameters"), pyradplan_terms(one), strict=True))}
        for one in objectives
    ]
    content = {**about, "objectives": lines}
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def write_pyradplan(folder: str | Path, case: Case, masks: Mapping[str, np.ndarray]) -> None:
    """CT, structures and a script that optimises a plan with pyRadPlan from the objectives.json beside it."""
    folder = Path(folder)
    rois = RoiMask.encode({**masks, DOSE_MASK: case.dose_mask})
    write_volume(folder / PYRADPLAN_CT, case.ct, case.grid)
    write_volume(folder / PYRADPLAN_ROIS, rois.bits, case.grid, {ROI_NAMES_KEY: json.dumps(rois.names)})
    shutil.copyfile(RESOURCES / f"{PYRADPLAN_SCRIPT}.txt", folder / PYRADPLAN_SCRIPT)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
