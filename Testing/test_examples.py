"""The worked examples run as they are printed, on the phantom."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from DeepDosePredictLib.io.nrrd_case import read_volume, write_nrrd_case
from DeepDosePredictLib.io.slicer_case import read_slicer_case
from DeepDosePredictLib.model import installed
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
def test_predict_one(tmp_path):
    write_nrrd_case(tmp_path / "phantom", head_and_neck_phantom())
    command = [sys.executable, EXAMPLES / "predict_one.py", tmp_path / "phantom", tmp_path / "dose.nrrd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    values = {row[0]: float(row[2]) for row in rows if len(row) == 4 and row[3] == "Gy"}
    assert values["PTV70"] == pytest.approx(70, abs=2) and values["Brainstem"] < values["PTV56"] < values["PTV63"]
    assert "against the reference dose" in done.stdout
    assert read_volume(tmp_path / "dose.nrrd").array.max() > 70


@pytest.fixture
def slicer_files(monkeypatch):
    """slicer.util's loading and saving, by the same storage nodes but without the application's IO manager."""
    slicer = pytest.importorskip("slicer", reason="needs slicer-core")

    def load(node_class: str, storage_class: str, path: str):
        node = slicer.mrmlScene.AddNewNodeByClass(node_class, Path(path).stem)
        storage = slicer.mrmlScene.AddNewNodeByClass(storage_class)
        storage.SetFileName(path)
        if not Path(path).exists() or not storage.ReadData(node):
            raise RuntimeError(f"Failed to load node from file: {path}")
        node.SetAndObserveStorageNodeID(storage.GetID())
        return node

    def load_volume(path: str):
        return load("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", path)

    def load_segmentation(path: str):
        return load("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", path)

    def save_node(node, path: str) -> bool:
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    monkeypatch.setattr(slicer.util, "loadVolume", load_volume)
    monkeypatch.setattr(slicer.util, "loadSegmentation", load_segmentation)
    monkeypatch.setattr(slicer.util, "saveNode", save_node)
    return slicer.util


@pytest.mark.slow
def test_predict_cohort_in_slicer(scene, slicer_files, tiny_model, tmp_path, monkeypatch, capsys):
    from DeepDosePredictLib.mrml.sample_data import loadPhantom
    from qt_standins import SlicerSession

    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(tiny_model, models / f"{installed.DEFAULT_MODEL}.safetensors")
    monkeypatch.setattr(installed, "USER_MODELS", models)
    cohort, out = tmp_path / "cohort", tmp_path / "predicted"
    (cohort / "a-damaged").mkdir(parents=True)
    (cohort / "b").mkdir()
    names = ("ct.nrrd", "segmentation.seg.nrrd", "dose.nrrd")
    for node, name in zip(loadPhantom(scene.scene), names, strict=True):
        slicer_files.saveNode(node, str(cohort / "b" / name))
    monkeypatch.setattr(sys, "argv", ["predict_cohort.py", str(cohort), str(out)])
    session = SlicerSession(scene)
    try:
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(EXAMPLES / "predict_cohort.py"), run_name="__main__")
    finally:
        session.close()
    printed = capsys.readouterr()
    assert stopped.value.code == 1 and "a-damaged: Failed to load" in printed.err and printed.out.startswith("b: ")
    expected = Predictor(load_model(tiny_model), "cpu").predict(read_slicer_case(cohort / "b")).dose
    np.testing.assert_allclose(read_volume(out / "b" / "dose.nrrd").array, expected, atol=1e-4)
    assert "PTV70" in (out / "b" / "metrics.csv").read_text()
