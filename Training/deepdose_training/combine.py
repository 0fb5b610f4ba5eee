"""One file of several: the mean of the weights of models, or planners whose plans are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import (
    Model,
    load_model,
    load_planner,
    planner_hash,
    save_model,
    save_planner,
)
from DeepDosePredictLib.planner.planner import Planner


def average_models(
    paths: Sequence[Path], output: Path, version: str, validation: Mapping[str, float] | None = None
) -> Path:
    """Write the mean of model files with equal networks, channels and planners; returns `output`.

    The mean of networks on one path of training often generalises better than each of them (Wortsman et al., Model
    soups, ICML 2022); networks trained from different starts must not be averaged. But for version, scores and recipe
    the contract is the first one's.
    """
    models = [load_model(path) for path in paths]
    first = models[0]
    for model in models[1:]:
        _check_alike(model, first)
    states = [model.network.state_dict() for model in models]
    with torch.no_grad():
        for name, value in first.network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name].double() for state in states]).mean(0))
    recipe = "mean of the weights of: " + " | ".join(model.contract.recipe for model in models)
    contract = replace(first.contract, version=version, recipe=recipe, validation=dict(validation or {}))
    save_model(output, first.network, contract, first.planner)
    return output


def _check_alike(model: Model, first: Model) -> None:
    """DeepDoseError where the mean of two models' weights would mean nothing."""
    if model.contract.channels != first.contract.channels:
        raise DeepDoseError(f"{model.path}: its channels differ from those of {first.path}")
    if model.contract.network != first.contract.network:
        raise DeepDoseError(f"{model.path}: its network differs from that of {first.path}")
    if first.planner and (not model.planner or planner_hash(model.planner) != planner_hash(first.planner)):
        raise DeepDoseError(f"{model.path}: its planner differs from that of {first.path}")


def join_planners(paths: Sequence[Path], output: Path) -> Path:
    """Write a planner whose plan is the mean of those of independently trained ones; returns `output`.

    The first one is the planner of single passes, the others are its partners, and so are the others' partners.
    """
    if len(paths) < 2:
        raise DeepDoseError("two or more planners are joined")
    planners = [one for planner in map(load_planner, paths) for one in (planner, *planner.partners)]
    first, *others = planners
    joined = Planner(len(first.bixel_factors), [len(planner.bixel_factors) for planner in others])
    weights = _own_weights(first)
    for n, partner in enumerate(others):
        weights |= {f"partners.{n}.{name}": tensor for name, tensor in _own_weights(partner).items()}
    joined.load_state_dict(weights)
    save_planner(output, joined)
    return output


def _own_weights(planner: Planner) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in planner.state_dict().items() if not name.startswith("partners.")}
