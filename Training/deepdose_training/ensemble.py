"""Put independently trained models into one: python Training/ensemble.py MODEL MODEL ... -o MODEL

Its prediction is the mean of theirs; errors that each network made on its own shrink. The models must have equal
channels and planners; their networks may differ.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import load_model, make_network, save_model

from .average import combine_command, same_inputs


def join_models(
    paths: Sequence[Path],
    output: Path,
    *,
    version: str,
    validation: dict[str, float] | None = None,
    mirror: bool = False,
    deliverable: float = 0.0,
) -> Path:
    """Write the ensemble of model files of single networks; the contract is the first one's otherwise."""
    models = same_inputs([load_model(path) for path in paths])
    first = models[0]
    if len(models) < 2 or any(model.contract.others for model in models):
        raise DeepDoseError(f"{first.path}: an ensemble is made of two or more single networks")
    recipe = "ensemble of: " + " | ".join(model.contract.recipe for model in models)
    others = tuple(model.contract.network for model in models[1:])
    contract = replace(
        first.contract,
        others=others,
        version=version,
        recipe=recipe,
        validation=validation or {},
        single_pass=first.contract.single_pass and not mirror,
        deliverable=deliverable or first.contract.deliverable,
    )
    ensemble = make_network(contract)
    for member, model in zip(ensemble.members, models, strict=True):
        member.load_state_dict(model.network.state_dict())
    save_model(output, ensemble, contract, first.planner)
    return output


def main(arguments: list[str] | None = None) -> int:
    return combine_command(join_models, "Put independently trained models into one.", arguments)


if __name__ == "__main__":
    sys.exit(main())
