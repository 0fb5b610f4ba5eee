"""What a reader must give for what lies in a folder: read once more with other means, plainly and slowly.

A damaged file that is accepted must be read as what it says; each function raises AssertionError otherwise.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nrrd
import numpy as np
import pydicom
from safetensors.torch import load_file
from scipy.interpolate import RegularGridInterpolator

from DeepDosePredictLib.io import openkbp
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.rois import DOSE_MASK, ROIS

PLACES = 300


def _table(path: Path) -> dict[int, float]:
    """{voxel: value}, 1 where there is none, of an OpenKBP file."""
    with path.open(newline="", encoding="ascii") as file:
        rows = [row for row in csv.reader(file) if len(row) > 1 or "".join(row).strip()]
    assert rows[0][0].strip() == "" or not rows[0][0].strip().isdigit(), "the first voxel was taken for a header"
    return {int(float(row[0])): float(row[1]) if row[1].strip() else 1.0 for row in rows[1:]}


def _filled(values: dict[int, float]) -> np.ndarray:
    """(K, J, I) of a table: axis 0 to Posterior, 1 to Left, 2 to Inferior in the file."""
    flat = np.zeros(openkbp.N_VOXELS)
    for index, value in values.items():
        flat[index] = value
    return np.moveaxis(flat.reshape(openkbp.GRID), 2, 0)[::-1]


def openkbp_case(case: Case, folder: Path) -> None:
    np.testing.assert_array_equal(case.ct, np.rint(_filled(_table(folder / "ct.csv"))) - 1000)
    np.testing.assert_array_equal(case.dose_mask, _filled(_table(folder / f"{DOSE_MASK}.csv")) > 0)
    for roi in ROIS:
        path = folder / f"{roi}.csv"
        np.testing.assert_array_equal(case.rois[roi], _filled(_table(path)) > 0 if path.exists() else False, roi)
    if case.dose is not None:
        np.testing.assert_allclose(case.dose, _filled(_table(folder / "dose.csv")), rtol=1e-6)
    a0, a1, a2 = (float(line) for line in (folder / "voxel_dimensions.csv").read_text().split())
    assert case.spacing == (a2, a0, a1)


def openkbp_dose(dose: np.ndarray, folder: Path) -> None:
    np.testing.assert_array_equal(dose, _filled(_table(folder / "pt_1.csv")))


def _in_world(path: Path, case: Case) -> tuple[np.ndarray, np.ndarray, dict]:
    """Values of some voxels of a file, and the voxels of the case that lie there, by the file's own geometry."""
    values, header = nrrd.read(str(path))
    ijk = np.random.default_rng(0).integers(0, values.shape, (PLACES, 3))
    signs = np.array([1, 1, 1] if header["space"].lower() in ("left-posterior-superior", "lps") else [-1, -1, 1])
    origin = np.asarray(header.get("space origin", (0, 0, 0)), float)
    world = (ijk @ np.asarray(header["space directions"], float) + origin) * signs
    there = (world - case.origin) / case.spacing[::-1]
    assert np.abs(there - np.rint(there)).max() < 0.05, "voxels do not lie where the file says"
    return values[tuple(ijk.T)], np.rint(there).astype(int)[:, ::-1], header


def compact_case(case: Case, folder: Path) -> None:
    hu, there, _ = _in_world(folder / "ct.nrrd", case)
    np.testing.assert_array_equal(case.ct[tuple(there.T)], np.rint(hu))
    bits, there, header = _in_world(folder / "rois.nrrd", case)
    for n, name in enumerate(json.loads(header["DeepDosePredict_ROINames"])):
        mask = case.dose_mask if name == DOSE_MASK else case.rois[" ".join(name.split())]
        np.testing.assert_array_equal(mask[tuple(there.T)], bits.astype(np.uint64) >> np.uint64(n) & np.uint64(1) != 0)
    if case.dose is not None:
        gray, there, _ = _in_world(folder / "dose.nrrd", case)
        np.testing.assert_allclose(case.dose[tuple(there.T)], gray, rtol=1e-6)


def slicer_case(case: Case, folder: Path) -> None:
    """The volume of every target and organ, and the values of the CT."""
    labels, header = nrrd.read(str(folder / "segmentation.seg.nrrd"))
    directions = np.asarray(header["space directions"], float)[-3:]
    layers = labels if labels.ndim == 4 else labels[None]
    names = {header[key]: key.partition("_")[0] for key in header if key.endswith("_Name")}
    for use in case.assignment.used:
        if use.role not in case.rois or sum(other.role == use.role for other in case.assignment.used) > 1:
            continue
        entry = names[use.contour]
        voxels = layers[int(header[f"{entry}_Layer"])] == int(header[f"{entry}_LabelValue"])
        volume, expected = (
            np.count_nonzero(mask) * size
            for mask, size in ((case.rois[use.role], case.voxel_volume_mm3), (voxels, abs(np.linalg.det(directions))))
        )
        assert abs(volume - expected) <= 0.25 * expected + 4 * case.voxel_volume_mm3, (
            f"{use.role}: {volume}, {expected}"
        )
    ct, _ = nrrd.read(str(folder / "ct.nrrd"))
    assert case.ct.max() <= max(ct.max(), -1000) + 1 and case.ct.min() >= min(ct.min(), -1024) - 1


def roles(answers: dict, folder: Path) -> None:
    said = json.loads((folder / "roles.json").read_text())
    assert {role: names if isinstance(names, list) else [names] for role, names in said.items()} == {
        role: list(names) if isinstance(names, list | tuple) else [names] for role, names in answers.items()
    }


def goals(read: list, folder: Path) -> None:
    """Structure, limit and weight of every entry, and its metric of the doses 0, 1, ... 100 Gy, each of 0.1 cc."""
    entries = json.loads((folder / "goals.json").read_text())["goals"]
    assert len(entries) == len(read)
    doses = np.arange(101.0)
    for entry, goal in zip(entries, read, strict=True):
        assert goal.structure == entry["structure"] and goal.weight == float(entry.get("weight", 1))
        limit = entry.get("goal", "").replace(" ", "")
        assert (goal.sense, goal.limit) == (
            (limit[:2], float(limit[2:].removesuffix("Gy").removesuffix("%"))) if limit else (None, None)
        )
        words = entry["metric"].strip().lower()
        value = float("".join(c for c in words if c.isdigit() or c == ".") or 0)
        expected = {
            "%": lambda value=value: np.percentile(doses, 100 - value),
            "c": lambda value=value: np.percentile(doses, max(0, 100 * (1 - max(1, round(value * 10)) / 101))),
            "y": lambda value=value: 100 * np.mean(doses >= value),
            "n": doses.mean,
            "x": doses.max,
        }[words[-1]]()
        np.testing.assert_allclose(goal.metric.evaluate(doses, 100.0), expected)


def model(loaded, folder: Path) -> None:
    weights = load_file(folder / "m.safetensors")
    for name, tensor in loaded.network.state_dict().items():
        assert (tensor.double() == weights[name].double()).all(), name


def dicom_case(case: Case, folder: Path) -> None:
    """HU of the CT where its voxels are the case's, and the volume that contours enclose, by pydicom alone."""
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("ct-*.dcm")):
        one = pydicom.dcmread(path)
        row, column = rng.integers(0, (one.Rows, one.Columns), (PLACES, 2)).T
        x, y, z = map(float, one.ImagePositionPatient)
        down, right = map(float, one.PixelSpacing)
        world = np.column_stack((x + column * right, y + row * down, np.full(PLACES, z)))
        there = (world - case.origin) / case.spacing[::-1]
        inside = ((there > -0.5) & (there < np.array(case.shape[::-1]) - 0.5)).all(1)
        if not np.allclose(there, np.rint(there), atol=1e-3):
            continue
        k, j, i = np.rint(there[inside]).astype(int).T[::-1]
        hu = one.pixel_array[row, column][inside] * float(one.RescaleSlope) + float(one.RescaleIntercept)
        wrong = np.abs(case.ct[k, j, i] - np.clip(hu, -1024, 32767)) > 1
        assert not wrong.any(), f"{path.name}: {np.count_nonzero(wrong)} values are not those of the file"
    if case.dose is not None:
        _dicom_dose(case, folder / "dose.dcm")
    structures = pydicom.dcmread(folder / "structures.dcm")
    step = 3.0
    for use in case.assignment.used:
        if use.role not in case.rois:
            continue
        loops = [
            np.reshape(np.array(contour.ContourData, float), (-1, 3))
            for roi in structures.ROIContourSequence
            if str(roi.ReferencedROINumber) == use.segment
            for contour in roi.ContourSequence
        ]
        area = sum(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 for x, y, _ in (loop.T for loop in loops))
        volume = np.count_nonzero(case.rois[use.role]) * case.voxel_volume_mm3
        nested = use.role != case.highest_target and use.role in case.prescriptions
        assert volume <= 1.3 * area * step + 200 and (nested or volume >= 0.7 * area * step - 200), use.contour


def _dicom_dose(case: Case, path: Path) -> None:
    one = pydicom.dcmread(path)
    x, y, z = map(float, one.ImagePositionPatient)
    down, right = map(float, one.PixelSpacing)
    axes = (
        z + np.array(one.GridFrameOffsetVector, float),
        y + down * np.arange(one.Rows),
        x + right * np.arange(one.Columns),
    )
    gray = RegularGridInterpolator(axes, one.pixel_array * float(one.DoseGridScaling), bounds_error=False)
    voxels = np.random.default_rng(0).integers(0, case.shape, (20 * PLACES, 3))
    expected = gray(voxels * case.spacing + case.origin[::-1])
    inside = np.isfinite(expected)
    assert inside.any()
    np.testing.assert_allclose(case.dose[tuple(voxels.T)][inside], expected[inside], atol=0.02, rtol=1e-4)
