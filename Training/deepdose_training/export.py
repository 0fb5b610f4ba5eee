"""Export a training checkpoint as a model file: python Training/export.py CHECKPOINT --config CONFIG -o MODEL"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import Contract, save_model

from .configuration import TrainingConfig, read_config
from .dataset import Plans
from .dose_module import DoseModule


def export_checkpoint(
    checkpoint: Path,
    config: TrainingConfig,
    output: Path,
    *,
    version: str = "1",
    validation: dict[str, float] | None = None,
    mirror: bool = False,
    deliverable: float = 0.0,
    planned: float = 0.0,
) -> Path:
    """Write the (averaged) weights of a checkpoint as a .safetensors model with its contract; returns `output`."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = DoseModule(config)
    module.load_state_dict(content["state_dict"])
    patients = Path(config.data.train).name
    contract = Contract(
        name=config.name,
        version=version,
        channels=module.spec,
        network=module.network.config,
        single_pass=not (mirror or config.validation_mirror),
        deliverable=deliverable,
        planned=planned,
        training_data=f"OpenKBP ({patients}), head and neck, 70/63/56 Gy, nine coplanar beams",
        recipe=f"{content['epoch'] + 1} of {config.epochs} epochs, {content['global_step']} steps;"
        f" loss {dict(config.loss)}; {config.optimizer.name}, {config.schedule.name}; EMA {config.ema};"
        f" mirroring {config.mirror}; seed {config.seed}",
        validation=validation or {},
    )
    save_model(output, module.network, contract, Plans.of(config).planner)
    return output


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command takes that writes a model file."""
    parser.add_argument("-o", "--output", type=Path, required=True, help=".safetensors file to write")
    parser.add_argument("--version", default="1")
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="by default the model's predictions are averaged with those of the mirrored patient",
    )
    parser.add_argument(
        "--deliverable",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the nearest deliverable dose in the predictions, outside PTVs and organs",
    )
    parser.add_argument(
        "--validation",
        nargs=2,
        type=float,
        metavar=("DOSE", "DVH"),
        help="validation scores in Gy that `deepdose evaluate` gave for this model",
    )


def validation_scores(options: argparse.Namespace) -> dict[str, float] | None:
    """The scores given with `--validation`, as a contract holds them."""
    return dict(zip(("dose_score", "dvh_score"), options.validation, strict=True)) if options.validation else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Export a checkpoint as a model file.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="config.yaml of the run")
    add_model_arguments(parser)
    parser.add_argument(
        "--planned",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the plan's dose in the predictions, likewise",
    )
    options = parser.parse_args(arguments)
    try:
        path = export_checkpoint(
            options.checkpoint,
            read_config(options.config),
            options.output,
            version=options.version,
            validation=validation_scores(options),
            mirror=options.mirror,
            deliverable=options.deliverable,
            planned=options.planned,
        )
    except (DeepDoseError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"Exported {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
