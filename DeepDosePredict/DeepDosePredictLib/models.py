"""The models that are installed: their files, contracts and cards."""

from __future__ import annotations

from pathlib import Path

from .core.errors import ModelError
from .core.model_file import Model, load_model
from .resources import MODELS

DEFAULT_MODEL = "deepdosenet-openkbp"


def installed_models() -> list[Path]:
    """Model files that ship or were put beside them, the default first."""
    return sorted(MODELS.glob("*.safetensors"), key=lambda path: (path.stem != DEFAULT_MODEL, path.stem))


def find_model(name: str | Path | None = None) -> Path:
    """Path of a model by the name of an installed one or by its own path; None gives the default."""
    name = name or DEFAULT_MODEL
    installed = {path.stem: path for path in installed_models()}
    if str(name) in installed:
        return installed[str(name)]
    if Path(name).is_file():
        return Path(name)
    raise ModelError(f"{name}: no such model; installed are {', '.join(installed) or 'none'}")


def open_model(name: str | Path | None = None) -> Model:
    return load_model(find_model(name))


def model_card(path: Path) -> str | None:
    """Text of the card beside a model file, or None."""
    card = path.with_suffix(".md")
    return card.read_text(encoding="utf-8") if card.is_file() else None
