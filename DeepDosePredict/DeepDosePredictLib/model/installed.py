"""The models that are installed: their files, contracts and cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..resources import MODELS

USER_MODELS = Path.home() / ".DeepDosePredict" / "Models"
"""Where users put models of their own; a model in here wins over a shipped one of the same name."""

if TYPE_CHECKING:
    from .model_file import Model

DEFAULT_MODEL = "deepdosenet-openkbp"


def installed_models() -> list[Path]:
    """Model files that ship and those of the user, the default first."""
    models = {path.stem: path for folder in (MODELS, USER_MODELS) for path in folder.glob("*.safetensors")}
    return sorted(models.values(), key=lambda path: (path.stem != DEFAULT_MODEL, path.stem))


def find_model(name: str | Path | None = None) -> Path:
    """Path of a model by the name of an installed one or by its own path; None gives the default."""
    name = name or DEFAULT_MODEL
    installed = {path.stem: path for path in installed_models()}
    if str(name) in installed:
        return installed[str(name)]
    if Path(name).is_file():
        return Path(name)
    raise ModelError(f"{name}: no such model; installed are {', '.join(installed) or 'none'}")


def is_replacement(path: Path) -> bool:
    """Whether a user's model stands in place of one that ships."""
    return path.parent == USER_MODELS and (MODELS / path.name).is_file()


def remove_model(name: str) -> None:
    """Delete a user's model with its card; ModelError for one that ships, or that there is not."""
    path = find_model(name)
    if path.parent != USER_MODELS:
        raise ModelError(
            f"{name}: this model ships with the extension and goes with it; only models in {USER_MODELS} can be removed"
        )
    path.with_suffix(".md").unlink(missing_ok=True)
    path.unlink()


def open_model(name: str | Path | None = None) -> Model:
    from .model_file import load_model  # not before it is needed: PyTorch may not be installed

    return load_model(find_model(name))


def model_card(path: Path) -> str | None:
    """Text of the card beside a model file, or None."""
    card = path.with_suffix(".md")
    return card.read_text(encoding="utf-8") if card.is_file() else None
