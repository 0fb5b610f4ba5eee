"""The built wheel has all that the library needs, and predicts the phantom in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from DeepDosePredictLib import __version__
from DeepDosePredictLib.io.nrrd_case import read_volume

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "DeepDosePredict"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder]
    command = [sys.executable, "-m", "pip", "wheel", *options, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_has_the_library_and_its_resources_and_nothing_else(wheel):
    assert wheel.name == f"deepdosepredict-{__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = {path.relative_to(MODULE).as_posix() for path in (MODULE / "DeepDosePredictLib").rglob("*.py")}
    resources = {path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()}
    assert names == library | {f"DeepDosePredictLib/{name}" for name in resources}


def test_wheel_predicts_the_phantom_in_an_empty_folder(wheel, tmp_path):
    """Only the wheel's library is on the path, before this checkout's; its dependencies are those installed here."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()

    def python(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(python("-c", "import DeepDosePredictLib as it; print(it.__file__)").strip()).is_relative_to(site)
    entry = next(site.glob("*.dist-info/entry_points.txt")).read_text()
    assert "deepdose = DeepDosePredictLib.app.cli:main" in entry
    deepdose = ("-m", "DeepDosePredictLib.app.cli")
    assert "deepdosenet-openkbp" in python(*deepdose, "models")
    python(*deepdose, "phantom", "phantom")
    python(*deepdose, "predict", "phantom", "-o", "prediction", "--single-pass", "--device", "cpu")
    assert 70 < read_volume(empty / "prediction" / "dose.nrrd").array.max() < 90
    assert (empty / "prediction" / "report.html").stat().st_size > 1e5
