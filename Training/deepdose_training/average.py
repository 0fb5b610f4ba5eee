"""Average the weights of models that went on from one another: python Training/average.py MODEL MODEL ... -o MODEL

The mean of networks on one path of training often generalises better than each of them (Wortsman et al., Model soups,
ICML 2022); networks trained from different starts must not be averaged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import Model, load_model, planner_hash, save_model

from .export import add_model_arguments, validation_scores


def average_models(
    paths: Sequence[Path],
    output: Path,
    *,
    version: str,
    validation: dict[str, float] | None = None,
    mirror: bool = False,
    deliverable: float = 0.0,
) -> Path:
    """Write the mean of model files with equal networks and channels; the contract is the first one's otherwise."""
    models = same_inputs([load_model(path) for path in paths])
    first = models[0]
    for model in models[1:]:
        if (model.contract.network, model.contract.others) != (first.contract.network, first.contract.others):
            raise DeepDoseError(f"{model.path}: its network differs from that of {first.path}")
    states = [model.network.state_dict() for model in models]
    with torch.no_grad():
        for name, value in first.network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name].double() for state in states]).mean(0))
    recipe = "mean of the weights of: " + " | ".join(model.contract.recipe for model in models)
    contract = replace(
        first.contract,
        version=version,
        recipe=recipe,
        validation=validation or {},
        single_pass=first.contract.single_pass and not mirror,
        deliverable=deliverable or first.contract.deliverable,
    )
    save_model(output, first.network, contract, first.planner)
    return output


def same_inputs(models: Sequence[Model]) -> Sequence[Model]:
    """The models, if their channels and planners are equal; DeepDoseError otherwise."""
    first = models[0]
    for model in models[1:]:
        if model.contract.channels != first.contract.channels:
            raise DeepDoseError(f"{model.path}: its channels differ from those of {first.path}")
        if first.planner and planner_hash(model.planner) != planner_hash(first.planner):
            raise DeepDoseError(f"{model.path}: its planner differs from that of {first.path}")
    return models


def combine_command(combine: Callable[..., Path], description: str, arguments: list[str] | None) -> int:
    """A command that makes one model file of several by `average_models` or the like; returns the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    add_model_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        path = combine(
            options.models,
            options.output,
            version=options.version,
            validation=validation_scores(options),
            mirror=options.mirror,
            deliverable=options.deliverable,
        )
    except (DeepDoseError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    return combine_command(average_models, "Average the weights of models that went on from one another.", arguments)


if __name__ == "__main__":
    sys.exit(main())
