"""Where the files live that travel with the code: models and clinical goals."""

from __future__ import annotations

from pathlib import Path

from .errors import DeepDoseError

_HERE = Path(__file__).resolve().parent
# Beside the library in a checkout and in Slicer, inside it where pip installed it.
RESOURCES = next((p for p in (_HERE / "Resources", _HERE.parent / "Resources") if p.is_dir()), _HERE / "Resources")
MODELS = RESOURCES / "Models"
GOALS = RESOURCES / "ClinicalGoals"


def goals_path(name: str | Path) -> Path:
    """Path of a template of clinical goals, by the name of one that ships or by its own path."""
    path = GOALS / f"{name}.json"
    if path.is_file():
        return path
    if Path(name).is_file():
        return Path(name)
    shipped = ", ".join(sorted(p.stem for p in GOALS.glob("*.json")))
    raise DeepDoseError(f"{name}: no such template of clinical goals; shipped are {shipped}")
