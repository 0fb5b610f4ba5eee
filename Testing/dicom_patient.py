"""A small made-up DICOM-RT patient, quick to write and to read, and changes to its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from DeepDosePredictLib.geometry.volume import Volume
from DeepDosePredictLib.io.dicom.write_study import write_study
from DeepDosePredictLib.patient.grid import Grid
from synthetic import ball

SHAPE, SPACING, ORIGIN = (24, 64, 64), (3.0, 4.0, 4.0), (-126.0, -130.0, 40.0)


def small_structures() -> dict[str, np.ndarray]:
    """Nested targets, cord and parotids on SHAPE; Left is at high indices."""
    return {
        "PTV_7000": ball(SHAPE, (12, 30, 32), 4),
        "PTV_5600": ball(SHAPE, (12, 30, 32), 7),
        "SpinalCord": np.broadcast_to(ball(SHAPE[1:], (44, 32), 2), SHAPE),
        "Parotid_L": ball(SHAPE, (13, 30, 44), 3),
        "Parotid_R": ball(SHAPE, (13, 30, 20), 3),
    }


def write_small_patient(folder: Path, patient: str = "small", dose: bool = True, **more: np.ndarray) -> Path:
    """CT of a cylinder of water with a spine, structures (`more` by name), a dose on a coarser, smaller grid."""
    body = np.broadcast_to(ball(SHAPE[1:], (32, 32), 22), SHAPE)
    texture = np.random.default_rng(0).integers(-20, 20, SHAPE)
    ct = np.where(body, 40 + texture, -1000).astype(np.int16)
    ct[np.broadcast_to(ball(SHAPE[1:], (44, 32), 4) & ~ball(SHAPE[1:], (44, 32), 2), SHAPE)] = 700
    k, j, i = np.ogrid[:10, :20, :20]
    gray = np.clip(75 - 2.5 * np.sqrt((k - 4) ** 2 + (j - 9) ** 2 + (i - 9) ** 2), 0, None).astype(np.float32)
    place = Grid.lps_aligned(gray.shape, (6.0, 6.0, 6.0), (ORIGIN[0] + 70, ORIGIN[1] + 64, ORIGIN[2] + 9))
    scan = Volume("CT", ct, Grid.lps_aligned(SHAPE, SPACING, ORIGIN))
    write_study(folder, patient, scan, small_structures() | more, Volume("dose", gray, place) if dose else None)
    return folder


def edit(path: Path, change: Callable[[pydicom.Dataset], object]) -> None:
    """Rewrite a file after `change` has altered its dataset."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    if "SOPInstanceUID" in dataset:
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)


def edit_ct(folder: Path, change: Callable[[pydicom.Dataset, int], object]) -> None:
    """Alter every slice; `change` also gets its number from 0."""
    for n, path in enumerate(sorted(folder.glob("ct-*.dcm"))):
        edit(path, lambda dataset, n=n: change(dataset, n))
