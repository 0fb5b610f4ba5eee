"""What is installed: PyTorch, models, templates of clinical goals."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from ..model import installed
from ..resources import GOALS


def installedModels() -> list[tuple[str, str]]:
    """(key, label) of every model that can be chosen, the default first."""
    return [(path.stem, path.stem) for path in installed.installed_models()]


def removeModel(key: str) -> None:
    """Delete a model that the user added; DeepDoseError for one that ships with the extension."""
    installed.remove_model(key)


def modelFolder() -> Path:
    """Folder where users put their own models."""
    return installed.USER_MODELS


def goalTemplates() -> list[tuple[str, str]]:
    """(key, label) of the templates of clinical goals that ship."""
    return [
        (path.stem, json.loads(path.read_text(encoding="utf-8")).get("name", path.stem))
        for path in sorted(GOALS.glob("*.json"))
    ]


def torchProblem() -> str:
    """Why PyTorch or safetensors cannot be used, and what to do; empty when both can."""
    # Any exception: a half-installed torch fails with OSError or worse, not only ImportError.
    for package in ("torch", "safetensors"):
        try:
            __import__(package)
        except Exception as error:
            return (
                f"Python package {package} cannot be loaded ({error}). In Slicer press Predict in the panel, which"
                " offers to install it; elsewhere run pip install torch safetensors."
            )
    return ""


def predictorOf(model: str | None, device: str, singlePass: bool | None, gantryAngles: Sequence[float] | None):
    """The Predictor of a model, given by name or path, kept for the next patient."""
    path = installed.find_model(model)
    angles = None if gantryAngles is None else tuple(gantryAngles)
    return _predictor(str(path), path.stat().st_mtime_ns, device, singlePass, angles)


@functools.lru_cache(maxsize=2)
def _predictor(path: str, modified: int, device: str, singlePass: bool | None, gantryAngles: tuple[float, ...] | None):
    """`modified` is there so that a file that was replaced is read again."""
    from ..model.model_file import load_model  # PyTorch may not be installed
    from ..model.predictor import Predictor

    return Predictor(load_model(path), device, singlePass, gantryAngles)
