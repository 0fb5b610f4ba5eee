"""Train the planner of the channel `plan_dose` through the fit of the beams' fluences.

It learns from the reference doses, by the mean absolute difference of the plan's dose: which dose to aim at, with which
weights, and how the dose is spread over the beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import load_planner, save_planner
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import DOSE_MASK
from DeepDosePredictLib.planner.bixel_factors import BixelFactors
from DeepDosePredictLib.planner.fluence import FitVoxels
from DeepDosePredictLib.planner.planner import Fit, Planner
from DeepDosePredictLib.planner.planning_case import PlanningCase
from DeepDosePredictLib.planner.problem import Problem, make_problem

from .configuration import TrainingConfig
from .dataset import CACHED_ROIS, Sample, ShardSampler, cache_patients

WEIGHT_DECAY = 0.05
BATCH = 2
VALIDATE_EVERY = 5
STRETCH, ANISOTROPY = 0.07, 0.03
"""Largest logarithms of a copy's magnification along every axis, and between the axes in plane."""


@dataclass(frozen=True)
class LeftOut:
    """Every `of`-th training patient from `first` on, who gets a plan of a planner that has not seen them."""

    first: int
    of: int

    def rest(self, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for n, sample in enumerate(samples) if n % self.of != self.first]


@dataclass(frozen=True)
class PlannerTraining:
    """How a planner is trained.

    Attributes:
        rate: peak of the learning rate.
        copies: stretched copies in which every training patient is also seen.
        init: planner, or model with one, to start from.
        bixel_factors: train one more network that spreads the dose over the beams, and only that, on the fits of the
            planner `init`, which are made once.
        without: patients who are left out.
    """

    epochs: int = 30
    rate: float = 4e-3
    dropout: float = 0.15
    copies: int = 0
    init: Path | None = None
    bixel_factors: bool = False
    without: LeftOut | None = None


@dataclass(frozen=True)
class PlannedPatient:
    """A problem and the reference dose (N,) at its voxels, in units of the highest prescription.

    `counts` (N,): voxels of the dose mask that each voxel stands for. `fit`: where only factors of bixels are trained.
    """

    problem: Problem
    reference: Tensor
    counts: Tensor
    fit: Fit | None = None

    @classmethod
    def of(cls, sample: Sample, prescription: float, gantry_angles: Sequence[float]) -> PlannedPatient:
        rois = RoiMask(sample.bits.numpy().view(np.uint16), CACHED_ROIS)
        k, j, i = sample.spacing.tolist()
        case = Case(sample.name, sample.ct.numpy(), rois, rois[DOSE_MASK], (k, j, i))
        planning_case = PlanningCase.of(case)
        if not planning_case.plannable:
            raise DeepDoseError(f"{sample.name}: no target in the dose mask")
        problem, *_ = make_problem(planning_case, gantry_angles)
        voxels = problem.voxels
        inside = torch.from_numpy(case.dose_mask)[voxels.index]
        return cls(problem, sample.dose[voxels.index] / prescription, voxels.share * inside)

    def halves(self) -> tuple[PlannedPatient, PlannedPatient]:
        """Every second of the fit's voxels, counting twice: less work, and a fit that differs from step to step."""
        return self._part(slice(0, None, 2)), self._part(slice(1, None, 2))

    def _part(self, where: slice) -> PlannedPatient:
        problem, voxels, rays = self.problem, self.problem.voxels, self.problem.voxels.rays
        rays = replace(
            rays,
            index=rays.index[:, where].contiguous(),
            share=rays.share[..., where].contiguous(),
            depth=rays.depth[:, where].contiguous(),
        )
        factor = len(voxels.share) / len(voxels.share[where])
        k, j, i = (axis[where] for axis in voxels.index)
        voxels = FitVoxels(
            (k, j, i), rays, voxels.share[where] * factor, voxels.level[where], voxels.top[where], voxels.organ[where]
        )
        problem = replace(problem, voxels=voxels, features=problem.features[where], place=problem.place[where])
        return PlannedPatient(problem, self.reference[where], self.counts[where] * factor)

    @torch.no_grad()
    def with_fit(self, planner: Planner) -> PlannedPatient:
        return replace(self, fit=planner.fit(self.problem, views=True))

    def dose(self, planner: Planner, flipped: Sequence[int]) -> Tensor:
        """(N,) of the planner's plan; where there is a fit, with the last network of factors alone."""
        if self.fit:
            return planner.delivered(self.problem, self.fit, planner.bixel_factors[-1:], flipped)[1]
        return planner(self.problem, flipped)[1]

    def difference(self, dose: Tensor) -> Tensor:
        """Mean absolute difference of a dose (N,) to the reference."""
        return ((dose - self.reference).abs() * self.counts).sum() / self.counts.sum()


def stretched_copy(sample: Sample, draw: np.random.Generator) -> Sample:
    """The patient a little larger or smaller: the same voxels with another spacing."""
    k, j = draw.uniform(-STRETCH, STRETCH, 2)
    factors = torch.from_numpy(np.exp([k, j, j + draw.uniform(-ANISOTROPY, ANISOTROPY)]))
    return replace(sample, spacing=sample.spacing * factors)


class PlannedPatients(Dataset):
    """An item is (index, what stands for the patient: itself alone, or the halves of its copies)."""

    def __init__(self, patients: Sequence[Sequence[PlannedPatient]]):
        self.patients = patients

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int) -> tuple[int, Sequence[PlannedPatient]]:
        return index, self.patients[index]


class PlannerModule(lightning.LightningModule):
    """Trains a `Planner`, one patient at a time, with gradients gathered over `BATCH` of them."""

    def __init__(self, planner: Planner, seed: int, prescription: float, rate: float):
        super().__init__()
        self.planner, self.seed, self.prescription, self.rate = planner, seed, prescription, rate

    def _step(self, patient: PlannedPatient, name: str, flipped: Sequence[int] = ()) -> Tensor:
        difference = self.prescription * patient.difference(patient.dose(self.planner, flipped))
        self.log(name, difference, on_step=False, on_epoch=True, prog_bar=True, batch_size=1)
        return difference

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)  # dropout as in a run that never stopped

    def training_step(self, batch: list[tuple[int, Sequence[PlannedPatient]]], _: int) -> Tensor:
        index, parts = batch[0]
        draw = np.random.default_rng([self.seed, self.current_epoch, index])
        left_right, head_foot = draw.random(2) < 0.5
        part = parts[int(draw.integers(len(parts)))]
        return self._step(part, "train/mae", [*([-1] if left_right else []), *([-3] if head_foot else [])])

    def validation_step(self, batch: list[tuple[int, Sequence[PlannedPatient]]], _: int) -> None:
        self._step(batch[0][1][0], "val/mae")

    def transfer_batch_to_device(self, batch: list, device: torch.device, dataloader_idx: int) -> list:
        return batch  # the fit runs on the CPU

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trained = [p for p in self.planner.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.rate, weight_decay=WEIGHT_DECAY)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, pct_start=0.15, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train_planner(
    config: TrainingConfig,
    output: Path,
    how: PlannerTraining,
    callbacks: Sequence[lightning.Callback] = (),
    **settings: Any,
) -> Path:
    """Train a planner and write it as it is after the last epoch; returns `output`.

    Of the configuration, data, prescription, seed and gantry angles are used. Training and validation errors go to a
    CSV log in a folder beside the planner, with a checkpoint after every epoch, from which a stopped training goes on
    as if it had never stopped. `settings`: of Lightning's trainer.
    """
    if not config.gantry_angles:
        raise DeepDoseError("the configuration names no gantry angles to plan with")
    if how.bixel_factors and not how.init:
        raise DeepDoseError("further factors are trained on the fits of a trained planner; name it with --init")
    keep_freed_memory()
    lightning.seed_everything(config.seed, verbose=False)
    planner = load_planner(how.init) if how.init else Planner(bixel_factors=1)
    if how.bixel_factors:
        planner.bixel_factors.append(BixelFactors())
    for module in planner.modules():
        if isinstance(module, nn.Dropout2d | nn.Dropout3d):
            module.p = how.dropout
    planner.eval().requires_grad_(False)
    cache = Path(config.data.cache)
    training = cache_patients(config.data.train, cache, limit=config.data.limit)
    loaders = (
        _loader(how.without.rest(training) if how.without else training, planner, config, how),
        _loader(cache_patients(config.data.validation, cache, limit=config.data.limit), planner, config),
    )
    logs = output.parent / f"{output.stem}-log"
    checkpoint = ModelCheckpoint(logs, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    last = logs / "last.ckpt"
    trainer = lightning.Trainer(
        max_epochs=how.epochs,
        check_val_every_n_epoch=min(VALIDATE_EVERY, how.epochs),
        accumulate_grad_batches=BATCH,
        gradient_clip_val=1.0,
        callbacks=[checkpoint, *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        accelerator="cpu",
        logger=CSVLogger(output.parent, name=logs.name),
        **settings,
    )
    trained = planner.bixel_factors[-1] if how.bixel_factors else planner
    trained.train().requires_grad_(True)
    module = PlannerModule(planner, config.seed, config.prescription, how.rate)
    trainer.fit(module, *loaders, ckpt_path=last if last.exists() else None, weights_only=True)
    save_planner(output, planner.eval())
    return output


def _loader(
    samples: Sequence[Sample], planner: Planner, config: TrainingConfig, how: PlannerTraining | None = None
) -> DataLoader:
    """Of training patients where it is said `how` they are trained on, of validation patients otherwise."""
    draw = np.random.default_rng(config.seed)
    patients = []
    for sample in progress_bar(samples, desc="Beams through patients", leave=False):
        seen = [sample, *(stretched_copy(sample, draw) for _ in range(how.copies if how else 0))]
        parts = [PlannedPatient.of(one, config.prescription, config.gantry_angles) for one in seen]
        if how and how.bixel_factors:
            parts = [part.with_fit(planner) for part in parts]
        elif how:
            parts = [half for part in parts for half in part.halves()]
        patients.append(parts)
    sampler = ShardSampler(len(patients), 0, 1, shuffle=how is not None, seed=config.seed)
    # A generator of its own: making an iterator must not take from the random numbers of dropout.
    return DataLoader(PlannedPatients(patients), 1, sampler=sampler, collate_fn=list, generator=torch.Generator())
