"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from DeepDosePredictLib.patient.case import Case
from synthetic import make_case, make_model, write_openkbp

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the OpenKBP data and reference results; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("DEEPDOSE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no reference data at {folder}; set DEEPDOSE_SHARED to the folder that holds data/")
    return folder / "data"


@pytest.fixture(scope="session")
def validation_patients(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the 33 OpenKBP validation patients."""
    folder = tmp_path_factory.mktemp("openkbp")
    with tarfile.open(shared / "openkbp" / "validation-pats.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later
        archive.extractall(folder)
    return folder / "validation-pats"


@pytest.fixture(scope="session")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three made-up OpenKBP patients, read-only by agreement."""
    folder = tmp_path_factory.mktemp("patients")
    for n in (1, 2, 10):
        write_openkbp(folder / f"pt_{n}", make_case(f"pt_{n}", seed=n))
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small made-up DICOM-RT patient, read-only by agreement."""
    from dicom_patient import write_small_patient

    return write_small_patient(tmp_path_factory.mktemp("dicom") / "small")


@pytest.fixture
def patient(small: Path, tmp_path: Path) -> Path:
    """A copy of the small DICOM-RT patient to alter."""
    return shutil.copytree(small, tmp_path / "patient")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def scene(tmp_path: Path):
    """A MRML scene on slicer-core (mrml_scene.Scene)."""
    from mrml_scene import Scene

    return Scene(str(tmp_path / "mrml-cache"))


@pytest.fixture
def session(scene):
    """Slicer with the module in a real Qt window; nothing may have been complained about at the end."""
    from qt_standins import SlicerSession, complaints

    session = SlicerSession(scene)
    yield session
    session.close()
    assert complaints == []


@pytest.fixture
def panel(session, patient, tiny_model):
    """The opened panel with a patient (panel_patient.Patient) and a small model."""
    panel = session.open()
    panel.logic.getParameterNode().model = str(tiny_model)
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
    return panel


@pytest.fixture(autouse=True)
def _alone() -> None:
    """One thread, since threads of networks as small as these only wait; the same draws, whatever ran before."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
