"""Training configurations: YAML files checked against the fields below."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS


@dataclass(frozen=True)
class DataConfig:
    """Folders of OpenKBP patients, and where their compact cache is kept. Relative to the current folder.

    Attributes:
        train: a folder, or several.
        description: whom a model learnt from, for its card and its contract.
        limit: of each folder only so many patients; 0 for all.
    """

    train: str | Sequence[str]
    validation: str
    cache: str = "cache"
    description: str = ""
    limit: int = 0

    @property
    def cohorts(self) -> str:
        """Names of the folders of the training patients, in words."""
        folders = [self.train] if isinstance(self.train, str) else self.train
        return " and ".join(Path(folder).name for folder in folders)


@dataclass(frozen=True)
class OptimizerConfig:
    """`adam` (weight decay as an L2 term, as in the DeepDoseNet paper) or `adamw`."""

    name: Literal["adam", "adamw"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the run.

    `constant`; `onecycle`; or `trapezoid`: a linear rise, a plateau, and a linear fall to zero over the last
    `decay_fraction` of all steps. On the plateau the number of epochs may still be changed and the run resumed,
    with the same result as a run planned so from the start.
    """

    name: Literal["constant", "onecycle", "trapezoid"] = "onecycle"
    warmup_fraction: float = 0.3
    warmup_steps: int = 300
    decay_fraction: float = 0.35


@dataclass(frozen=True)
class AugmentConfig:
    """How patients on cells are changed, see `cell_augment`.

    Attributes:
        warp: probability that a patient is turned and magnified.
        turn_degrees: standard deviation of the axial turn.
        along, across: standard deviations of the logarithm of the magnification along the axis and in plane.
        density: standard deviation of a shift of the density outside air.
        slabs: numbers of slices of cells of which one is drawn for every step; 0 for all.
    """

    warp: float = 0.6
    turn_degrees: float = 10.0
    along: float = 0.08
    across: float = 0.08
    density: float = 0.01
    slabs: Sequence[int] = (12, 16, 16, 24)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run; see Training/README.md.

    Attributes:
        loss: terms of `losses.DoseLoss` with their weights.
        architecture: `DeepDoseNet`, or `CellNet`.
        network: arguments of `NetworkConfig` or `CellNetConfig` (which channels there are follows from `channels`).
        accumulate: batches whose gradients are averaged into one step.
        ema: decay of the moving average of the weights that is validated and exported; 0 for none.
        mirror: probability of a left-right flip (left and right organs exchange their names with it).
        mirror_axial: probability of a head-foot flip; coplanar beams are the same after it.
        derived_mask: probability that a patient's dose mask is replaced by one as a clinic would derive it, see
            `dataset.derived_masks`.
        augment: how patients on cells are changed, for a CellNet, which then learns by the mean absolute error on
            cells; without it, from whole patients by all terms of the loss.
        gantry_angles: of the beams for the channel `plan_dose`, in degrees.
        planner: file with the planner for that channel: of `train.py planner`, or a model's. Empty: an untrained one.
        held_out_planners: planners that make the plans of the training patients, each of every n-th one, whom it was
            trained without (`train.py planner --without`). A planner's plans of the patients that taught it are better
            than of others, and a network may learn to trust them too much.
        single_pass: validate single passes, not the mean of the prediction and its mirrored prediction.
        precision: "auto" (CUDA: bf16 or fp16 AMP; CPU: bf16 where the processor has it), or a Lightning precision.
    """

    name: str
    data: DataConfig
    loss: Mapping[str, Any]
    seed: int = 1
    epochs: int = 200
    batch_size: int = 1
    accumulate: int = 1
    channels: Sequence[str] = DEFAULT_CHANNELS
    prescription: float = 70.0
    gantry_angles: Sequence[float] = ()
    planner: str = ""
    held_out_planners: Sequence[str] = ()
    architecture: Literal["DeepDoseNet", "CellNet"] = "DeepDoseNet"
    network: Mapping[str, Any] = field(default_factory=dict)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: float = 0.0
    mirror: float = 0.0
    mirror_axial: float = 0.0
    derived_mask: float = 0.0
    augment: AugmentConfig | None = None
    single_pass: bool = True
    validate_every: int = 1
    precision: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Of plain values, as a file holds them."""
        return json.loads(json.dumps(asdict(self)))


_NESTED = {"data": DataConfig, "optimizer": OptimizerConfig, "schedule": ScheduleConfig, "augment": AugmentConfig}


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a YAML configuration; `overrides` are "epochs=3" or "optimizer.lr=1e-4". DeepDoseError names the mistake.

    A file that `extends` another one has its settings where it says nothing else: mappings are merged, and null takes
    away what the other file says.
    """
    path = Path(path)
    content = read_settings(path)
    content.pop("recipe", None)
    return make_config(path, content, overrides)


def make_config(path: Path, content: Mapping[str, Any], overrides: Sequence[str] = ()) -> TrainingConfig:
    """The configuration with these settings, changed by `overrides`; DeepDoseError names `path` and the mistake."""
    settings = copy.deepcopy(dict(content))
    try:
        for override in overrides:
            _override(settings, override)
        values = {
            key: build_settings(_NESTED[key], value, f"{key}.") if value is not None and key in _NESTED else value
            for key, value in settings.items()
        }
        return build_settings(TrainingConfig, values)
    except (yaml.YAMLError, TypeError, ValueError, DeepDoseError) as error:
        raise DeepDoseError(f"{path}: {error}") from error


def read_settings(path: Path, extending: Sequence[Path] = ()) -> dict[str, Any]:
    """A file's settings, merged with those of the file that it extends, whose path is relative to its own."""
    if path.resolve() in extending:
        raise DeepDoseError(f"{path}: extends itself")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise DeepDoseError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DeepDoseError(f"{path}: not a YAML mapping")
    base = content.pop("extends", None)
    return merged(read_settings(path.parent / str(base), (*extending, path.resolve())), content) if base else content


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes: mappings are merged, null takes away."""
    result = {key: value for key, value in base.items() if changes.get(key, value) is not None}
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        elif value is not None:
            result[key] = value
    return result


def _override(content: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise DeepDoseError(f"{override!r} is not of the form key=value")
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    value = yaml.safe_load(text)
    with contextlib.suppress(ValueError):  # YAML 1.1 takes 1e-4 for a string
        value = float(value) if isinstance(value, str) else value
    content[last] = value


def build_settings(cls: type, values: Any, prefix: str = "") -> Any:
    """The settings of a class; the names of nested ones begin with a `prefix`."""
    if not isinstance(values, Mapping):
        raise DeepDoseError(f"expected settings of {cls.__name__}, found {values!r}")
    kinds = get_type_hints(cls)
    for name, value in values.items():
        if name not in kinds:
            raise DeepDoseError(f"unknown setting {prefix + name!r}; known are {', '.join(kinds)}")
        _check(prefix + name, kinds[name], value)
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in values]:
        raise DeepDoseError(f"missing setting {', '.join(missing)}")
    return cls(**values)


def _check(name: str, kind: Any, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, float) and not number:
        raise DeepDoseError(f"{name} must be a number, not {value!r}")
    if kind is int and value != int(value):
        raise DeepDoseError(f"{name} must be a whole number, not {value!r}")
    if kind is bool and not isinstance(value, bool):
        raise DeepDoseError(f"{name} must be true or false, not {value!r}")
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise DeepDoseError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
