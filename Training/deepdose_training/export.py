"""Training checkpoints as model files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from DeepDosePredictLib.model.contract import Contract
from DeepDosePredictLib.model.model_file import save_model

from .configuration import TrainingConfig
from .dataset import Plans
from .dose_module import DoseModule


@dataclass(frozen=True)
class Release:
    """What a model file says besides weights, inputs and training; the fields are those of `Contract`."""

    version: str = "1"
    single_pass: bool = True
    deliverable_share: float = 0.0
    plan_dose_share: float = 0.0
    validation: Mapping[str, float] = field(default_factory=dict)


def export_checkpoint(checkpoint: Path, config: TrainingConfig, output: Path, release: Release | None = None) -> Path:
    """Write the (averaged) weights of a checkpoint as a .safetensors model with its contract; returns `output`.

    Without a `release` it is version 1, which predicts by default as the run validated.
    """
    release = release or Release(single_pass=config.single_pass)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = DoseModule(config)
    module.load_state_dict(content["state_dict"])
    contract = Contract(
        name=config.name,
        version=release.version,
        channels=module.spec,
        network=module.network.config,
        single_pass=release.single_pass,
        deliverable_share=release.deliverable_share,
        plan_dose_share=release.plan_dose_share,
        training_data=config.data.description or f"patients in {config.data.cohorts}",
        recipe=f"{content['epoch'] + 1} of {config.epochs} epochs, {content['global_step']} steps;"
        f" loss {dict(config.loss)}; {config.optimizer.name}, {config.schedule.name}; EMA {config.ema};"
        f" mirroring {config.mirror}; seed {config.seed}",
        validation=dict(release.validation),
    )
    save_model(output, module.network, contract, Plans.of(config).planner if config.gantry_angles else None)
    return output
