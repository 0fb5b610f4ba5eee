"""Train a dose prediction network by a configuration.

Several GPUs or machines: start it with torchrun, or give `devices` and `num_nodes`; Lightning's DDP does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from DeepDosePredictLib.device import cpu_has_bf16, keep_freed_memory
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import load_model

from .cell_module import CellModule
from .cells import cache_cell_patients
from .configuration import TrainingConfig
from .dataset import PatientData, Plans, cache_patients, patient_folders
from .dose_module import DoseModule
from .export import export_checkpoint


def precision(name: str, accelerator: str) -> str:
    """Lightning's precision for "auto": AMP on CUDA, bf16 on processors that compute in it, else float32."""
    if name != "auto":
        return name
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if accelerator in ("auto", "cpu") and cpu_has_bf16() else "32-true"


class ValidationLine(lightning.Callback):
    """A line for each validation: what a log file shows in place of a progress bar."""

    def on_validation_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        scores = {
            name.removeprefix("val/"): f"{value:.3f}"
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if trainer.is_global_zero:
            words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in scores.items())
            print(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}: {words}", flush=True)


def make_trainer(
    config: TrainingConfig, run: Path, callbacks_extra: Sequence[lightning.Callback] = (), **settings: Any
) -> lightning.Trainer:
    """A Lightning trainer with the run's checkpoints, logs and weight averaging.

    Checkpoints are written at the end of epochs only: the order of patients and their augmentation depend on seed and
    epoch alone, so resuming there is exact.
    """
    files: dict[str, Any] = {
        "dirpath": run / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor="val/score", mode="min", **files)
    last = ModelCheckpoint(filename="last", **files)
    callbacks: list[lightning.Callback] = [best, last, LearningRateMonitor("step"), *callbacks_extra]
    bar = settings.get("enable_progress_bar", True)
    callbacks.append(TQDMProgressBar(refresh_rate=10) if bar else ValidationLine())
    if config.ema:
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(config.ema)))
    settings = {"accelerator": "auto", "devices": "auto", **settings}
    settings["precision"] = precision(config.precision, str(settings["accelerator"]))
    return lightning.Trainer(
        default_root_dir=run,
        max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate,
        check_val_every_n_epoch=config.validate_every,
        callbacks=callbacks,
        logger=[CSVLogger(run, name="csv"), TensorBoardLogger(run, name="", version="tensorboard")],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        sync_batchnorm=torch.cuda.is_available(),
        log_every_n_steps=10,
        **settings,
    )


def train(
    config: TrainingConfig, run: Path, *, resume: bool = False, init: Path | None = None, **settings: Any
) -> Path | None:
    """Train, validate, and export the best checkpoint; returns the exported model's path (on the first process).

    A new run starts from the weights of the model file `init` where one is given, e.g. to adapt the shipped model to
    one's own patients.
    """
    last = run / "checkpoints" / "last.ckpt"
    if last.exists() and not resume:
        raise DeepDoseError(f"{run}: there is a run here already; continue it with --resume or give another --run")
    keep_freed_memory()
    lightning.seed_everything(config.seed, verbose=False)
    # First: mistakes show before patients are read.
    module = (CellModule if config.architecture == "CellNet" else DoseModule)(config)
    data = _data(module, config)
    trainer = make_trainer(config, run, **settings)
    if trainer.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")
    if init and not (resume and last.exists()):
        start_from(module, init)
    # weights_only: a checkpoint of ours holds tensors and plain values; nothing else is ever unpickled.
    trainer.fit(module, data, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    best = trainer.checkpoint_callback
    if not (trainer.is_global_zero and isinstance(best, ModelCheckpoint) and best.best_model_path):
        return None
    return export_checkpoint(Path(best.best_model_path), config, run / f"{config.name}.safetensors")


def _data(module: DoseModule, config: TrainingConfig) -> PatientData:
    """Patients; those of training have plans of planners that have not seen them where there are such."""
    train, validation, cache = config.data.train, config.data.validation, Path(config.data.cache)
    held_out, usual, limit = Plans.of_training_patients(config), [Plans.of(config)], config.data.limit
    if isinstance(module, CellModule):
        folders = patient_folders(train, limit), patient_folders(validation, limit)
        learnt_from, others = (
            cache_cell_patients(patients, plans, cache, module.spec, module.cell)
            for patients, plans in zip(folders, (held_out, usual), strict=True)
        )
        return PatientData(learnt_from, others, config, batch=list)
    return PatientData(
        cache_patients(train, cache, held_out, limit), cache_patients(validation, cache, usual, limit), config
    )


def start_from(module: DoseModule, path: Path) -> None:
    """Copy a model file's weights into the module; DeepDoseError where they do not fit."""
    model = load_model(path)
    theirs, ours = model.contract.channels, module.spec
    if (theirs.names, theirs.hu_window, theirs.prescription) != (ours.names, ours.hu_window, ours.prescription):
        raise DeepDoseError(f"{path}: its channels are {theirs}, the configuration's {ours}")
    try:
        module.network.load_state_dict(model.network.state_dict())
    except RuntimeError as error:
        raise DeepDoseError(f"{path}: its network differs from the configuration's: {error}") from error
