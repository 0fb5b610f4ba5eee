"""Segmentations as Slicer saves them: read as Slicer reads them, and what is damaged is refused before any voxel."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from clinical import rotation
from DeepDosePredictLib.app.sources import read_case
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io import nrrd_file
from DeepDosePredictLib.io.segmentation_file import open_segmentation
from DeepDosePredictLib.patient.grid import Grid
from mrml_scene import Scene, lps_grid, slicer

from DeepDosePredictLib.mrml.segments import segmentShape  # isort: skip (needs slicer-core)

SHAPE = (14, 22, 30)


def masks(seed: int = 0) -> dict[str, np.ndarray]:
    """Segments that overlap, so that they need layers, one within a single voxel, and an empty one."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in ("PTV70", "PTV56", "Müller <漢>", "Larynx"):
        low, high = np.sort(rng.integers(1, np.array(SHAPE) - 1, (2, 3)), 0)
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
        found[name] = mask & (rng.random(SHAPE) < 0.7)
    voxel = np.zeros(SHAPE, bool)
    voxel[3, 4, 5] = True
    return found | {"voxel": voxel, "empty": ~voxel & voxel}


def saved(scene: Scene, path: Path, structures: dict[str, np.ndarray], place: np.ndarray) -> Path:
    node = scene.segmentation(structures, place)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    return path


@pytest.fixture
def path(scene, tmp_path) -> Path:
    return saved(scene, tmp_path / "segmentation.seg.nrrd", masks(), lps_grid((2.0, 3.0, 4.0)))


@pytest.mark.parametrize("place", [lps_grid((2.0, 3.0, 4.0), (5, -6, 7)), rotation(20) @ np.diag([1.0, 2, -3, 1])])
@pytest.mark.parametrize("seed", range(3))
def test_segments_are_those_that_slicer_reads(scene, tmp_path, place, seed):
    path = saved(scene, tmp_path / "s.seg.nrrd", masks(seed), place)
    ours = open_segmentation(path)
    node = scene.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    grid = Grid(SHAPE, place)
    assert list(ours.names.values()) == list(masks())
    for segment, name in ours.names.items():
        for shape in (ours.shape(segment), segmentShape(node, segment)):
            box, inside = shape.inside(grid)
            mask = np.zeros(SHAPE, bool)
            mask[box] = inside
            np.testing.assert_array_equal(mask, masks(seed)[name], name)


def test_a_single_layer(scene, tmp_path):
    path = saved(scene, tmp_path / "s.seg.nrrd", {"PTV70": masks()["PTV70"]}, lps_grid((2.0, 3.0, 4.0)))
    assert open_segmentation(path).file.header["dimension"] == 3
    assert open_segmentation(path).shape("PTV70").mask.sum() == masks()["PTV70"].sum()


DAMAGED = {
    "no label": (rb"Segment1_LabelValue:=1\n", b"", "Segment1: its entry LabelValue is missing"),
    "misspelt label": (rb"Segment1_LabelValue", b"Segment1_LabelVale", "Segment1: its entry LabelValue is missing"),
    "label in words": (rb"Segment1_LabelValue:=1", b"Segment1_LabelValue:=one", "LabelValue is 'one', no whole number"),
    "another's label": (rb"Segment(.)_LabelValue:=2", rb"Segment\1_LabelValue:=1", "have the same voxels"),
    "a label without voxels": (rb"Segment0_LabelValue:=1", b"Segment0_LabelValue:=77", "the label 1, which no segment"),
    "no layer": (rb"Segment0_Layer:=0\n", b"", "Segment0: its entry Layer is missing"),
    "a layer that is not there": (rb"Segment0_Layer:=0", b"Segment0_Layer:=5", "layer 5 of"),
    "an extent of another volume": (rb"Segment0_Extent:=[ 0-9]+", b"Segment0_Extent:=0 100000 0 1 0 1", "its Extent"),
    "an extent that cuts": (rb"Segment0_Extent:=[ 0-9]+", b"Segment0_Extent:=0 1 0 1 0 1", "voxels beyond its Extent"),
    "an extent of five numbers": (
        rb"Segment0_Extent:=[ 0-9]+",
        b"Segment0_Extent:=0 1 0 1 0",
        "none of this",
    ),
    "an extent below zero": (rb"Segment0_Extent:=[ 0-9]+", b"Segment0_Extent:=-1 1 0 1 0 1", "its Extent"),
    "an extent in words": (rb"Segment0_Extent:=[ 0-9]+", b"Segment0_Extent:=a b", "no whole number"),
    "too few directions": (rb"space directions: none ", b"space directions: ", "3 space directions for 4 axes"),
    "one ID twice": (rb"Segment1_ID:=PTV56", b"Segment1_ID:=PTV70", "two segments have the ID 'PTV70'"),
    "no name": (rb"Segment1_Name:=PTV56", b"Segment1_Name:= ", "Segment1: its entry Name is missing"),
    "no space": (rb"space: left-posterior-superior\n", b"", "damaged|no usable geometry"),
}


@pytest.mark.parametrize(("pattern", "new", "words"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_entries_are_refused(path, pattern, new, words):
    content = path.read_bytes()
    damaged = re.sub(pattern, new, content)
    assert damaged != content
    path.write_bytes(damaged)
    with pytest.raises(CaseError, match=rf"segmentation\.seg\.nrrd.*({words})"):
        segmentation = open_segmentation(path)
        for segment in segmentation.segments:
            segmentation.shape(segment)


@pytest.fixture
def folder(scene, tmp_path, case) -> Path:
    """A made-up patient as Slicer saves it."""
    folder = tmp_path / "Müller 漢"
    folder.mkdir()
    place = lps_grid(case.spacing)
    saved(scene, folder / "segmentation.seg.nrrd", {roi: case.rois[roi] for roi in case.rois.present()}, place)
    for name, array in (("ct", case.ct), ("dose", case.dose)):
        node = scene.volume(array, place, name)
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / f"{name}.nrrd"))
        assert node.GetStorageNode().WriteData(node)
    return folder


def test_a_folder_is_read_once_without_slicer(folder, case, monkeypatch):
    opened = []
    slabs, read = nrrd_file.NrrdFile.slabs, nrrd_file.NrrdFile.read
    monkeypatch.setattr(nrrd_file.NrrdFile, "slabs", lambda self: opened.append(self.path.name) or slabs(self))
    monkeypatch.setattr(nrrd_file.NrrdFile, "read", lambda self: opened.append(self.path.name) or read(self))
    same = read_case(folder)
    assert sorted(opened) == ["ct.nrrd", "dose.nrrd", "segmentation.seg.nrrd"] and same.name == "Müller 漢"
    np.testing.assert_array_equal(same.ct, case.ct)
    np.testing.assert_array_equal(same.dose, case.dose)
    assert all((same.rois[roi] == case.rois[roi]).all() for roi in case.rois.present())


def test_what_needs_no_voxels_is_refused_before_they_are_read(folder, monkeypatch):
    """A contour to ask about, and a CT of no patient's size."""
    monkeypatch.setattr(nrrd_file.NrrdFile, "_data", lambda self: pytest.fail(f"{self.path} was read"))
    path = folder / "segmentation.seg.nrrd"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Segment0_Name:=Brainstem", b"Segment0_Name:=Boost 70"))
    with pytest.raises(CaseError, match="Boost 70"):
        read_case(folder)
    path.write_bytes(whole)
    ct = folder / "ct.nrrd"
    ct.write_bytes(ct.read_bytes().replace(b"sizes: 128 128 128", b"sizes: 99999 9999 999"))
    with pytest.raises(CaseError, match=r"ct\.nrrd: the volume has sizes"):
        read_case(folder)
