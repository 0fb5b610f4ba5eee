"""The Lightning module: network, loss, optimiser, and validation by the OpenKBP scores."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from DeepDosePredictLib.dvh.metrics import PatientScore, metric_differences, openkbp_metrics
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.architectures import make_network
from DeepDosePredictLib.model.channels import ChannelInputs, build_channels
from DeepDosePredictLib.model.contract import ARCHITECTURES, CellNetConfig, ChannelSpec, NetworkConfig
from DeepDosePredictLib.patient.roi_mask import decode, swap_bits
from DeepDosePredictLib.patient.rois import DOSE_MASK, ROIS, mirrored_name

from .configuration import OptimizerConfig, ScheduleConfig, TrainingConfig
from .dataset import CACHED_ROIS, VOLUMES, Batch, channel_spec, derived_masks
from .losses import DoseLoss, Structures

MIRRORED_ORDER = [CACHED_ROIS.index(mirrored_name(roi)) for roi in CACHED_ROIS]
MIRRORED_BITS = [(r, ROIS.index(mirrored_name(roi))) for r, roi in enumerate(ROIS) if roi < mirrored_name(roi)]


class DoseModule(lightning.LightningModule):
    """Trains a network on whole patients at full resolution by a `TrainingConfig`."""

    def __init__(self, config: TrainingConfig):
        super().__init__()
        self.config = config
        self.spec = channel_spec(config)
        self.network = make_network(network_config(config, self.spec))
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.loss = DoseLoss(config.loss)
        self._scores: list[Tensor] = []

    def forward(
        self, ct: Tensor, bits: Tensor, spacing: Tensor | None = None, plan_dose: Tensor | None = None
    ) -> Tensor:
        """Dose (B, K, J, I) in Gy, zero outside the dose mask, from HU, bit-mask and what else the channels need."""
        dose_mask = decode(bits, CACHED_ROIS.index(DOSE_MASK))
        channels = build_channels(ChannelInputs(ct, bits, CACHED_ROIS, dose_mask, spacing, plan_dose), self.spec)
        output = self.network(channels.contiguous(memory_format=torch.channels_last_3d))
        return output[:, 0].float() * self.spec.prescription * dose_mask

    def _flips(self, index: Tensor) -> Tensor:
        """(B, 2) whether each patient is flipped left-right and head-foot in this epoch, by seed, epoch and patient."""
        draws = [np.random.default_rng([self.config.seed, self.current_epoch, int(i)]).random(2) for i in index]
        return torch.from_numpy(np.stack(draws) < (self.config.mirror, self.config.mirror_axial)).to(index.device)

    def _flipped(self, batch: Batch) -> Batch:
        """The batch with the patients flipped that are drawn for it."""
        volumes, outside = {key: batch[key] for key in VOLUMES}, batch["outside"]
        left_right, head_foot = self._flips(batch["index"]).T
        if left_right.any():
            flipped = {key: volume.flip(-1) for key, volume in volumes.items()}
            flipped["bits"] = swap_bits(flipped["bits"], MIRRORED_BITS)
            volumes = {key: torch.where(_per_case(left_right), flipped[key], volumes[key]) for key in volumes}
            outside = torch.where(left_right[:, None], outside[:, MIRRORED_ORDER], outside)
        if head_foot.any():
            volumes = {key: torch.where(_per_case(head_foot), v.flip(-3), v) for key, v in volumes.items()}
        return batch | volumes | {"outside": outside}

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        # Dropout as in a run that never stopped.
        torch.manual_seed(int(np.random.default_rng([self.config.seed, self.current_epoch, batch_idx]).integers(2**62)))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        if self.config.derived_mask:
            batch = derived_masks(batch, self.config.derived_mask, self.config.seed, self.current_epoch)
        batch = self._flipped(batch)
        ct, bits, dose, outside = batch["ct"], batch["bits"], batch["dose"], batch["outside"]
        predicted = self(ct, bits, batch["spacing"], batch["plan_dose"])
        structures = Structures(
            bits, ROIS, decode(bits, CACHED_ROIS.index(DOSE_MASK)), outside, batch["spacing"].prod(1)
        )
        loss, parts = self.loss(predicted, dose, structures)
        n = len(ct)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=n)
        self.log_dict(
            {f"train/{name}": part for name, part in parts.items()}, on_step=False, on_epoch=True, batch_size=n
        )
        return loss

    def predict_dose(
        self, ct: Tensor, bits: Tensor, spacing: Tensor | None = None, plan_dose: Tensor | None = None
    ) -> Tensor:
        """`forward`, averaged with the mirrored prediction unless the configuration asks for single passes."""
        dose = self(ct, bits, spacing, plan_dose)
        if not self.config.single_pass:
            mirrored_plan = None if plan_dose is None else plan_dose.flip(-1)
            mirrored = self(ct.flip(-1), swap_bits(bits.flip(-1), MIRRORED_BITS), spacing, mirrored_plan)
            dose = (dose + mirrored.flip(-1)) / 2
        return dose

    def validation_step(self, batch: Batch, _: int) -> None:
        predicted = self.predict_dose(batch["ct"], batch["bits"], batch["spacing"], batch["plan_dose"])
        for b in range(len(predicted)):
            score = self._score(batch, predicted, b)
            differences = metric_differences(score.reference, score.predicted)
            self._scores.append(
                torch.tensor([1, score.dose_error, len(differences), sum(differences)], dtype=torch.float64)
            )

    @staticmethod
    def _score(batch: Batch, predicted: Tensor, b: int) -> PatientScore:
        """The official metrics of one case, from its crop and the number of voxels outside."""
        bits, volume = batch["bits"][b], float(batch["spacing"][b].prod())
        mask = decode(bits, CACHED_ROIS.index(DOSE_MASK))
        reference = batch["dose"][b] * mask

        def metrics(dose: Tensor) -> dict:
            doses = {}
            for r, roi in enumerate(ROIS):
                values, outside = dose[decode(bits, r)].cpu().numpy(), int(batch["outside"][b, r])
                if values.size + outside:
                    doses[roi] = np.concatenate((values, np.zeros(outside))).astype(np.float64)
            return openkbp_metrics(doses, volume)

        error = (predicted[b].double() - reference.double()).abs().sum() / mask.sum()
        return PatientScore(str(int(batch["index"][b])), float(error), metrics(reference), metrics(predicted[b]))

    def on_validation_epoch_end(self) -> None:
        # Sums instead of means, so that processes with different numbers of patients add up rightly.
        total = torch.stack(self._scores).sum(0) if self._scores else torch.zeros(4, dtype=torch.float64)
        self._scores.clear()
        if self.trainer.world_size > 1:
            gathered = self.all_gather(total.to(self.device))
            assert isinstance(gathered, Tensor)
            total = gathered.sum(0)
        patients, dose_errors, metrics, differences = total.tolist()
        scores = {"dose_score": dose_errors / patients, "dvh_score": differences / metrics}
        scores["score"] = sum(scores.values())
        self.log_dict(
            {f"val/{name}": value for name, value in scores.items()},
            prog_bar=True,
            rank_zero_only=False,
            sync_dist=False,
        )

    def _groups(self, settings: OptimizerConfig) -> list[dict[str, Any]]:
        """Parameters; decoupled weight decay leaves biases and the norms' scales alone."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1 or settings.name == "adam"]
        others = [p for p in self.network.parameters() if p.ndim <= 1 and settings.name != "adam"]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.config.optimizer
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name](
            self._groups(settings),
            lr=settings.lr,
            betas=tuple(settings.betas),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = learning_rate_schedule(self.config.schedule, optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def network_config(config: TrainingConfig, spec: ChannelSpec) -> NetworkConfig | CellNetConfig:
    """Of the configuration's architecture; what follows from the channels is filled in."""
    channels = {"in_channels": len(spec.names)}
    if config.architecture == "CellNet":
        if "plan_dose" not in spec.names:
            raise DeepDoseError(f"{config.name}: a CellNet needs the channel plan_dose, whose detail it takes")
        channels["detail_channel"] = spec.names.index("plan_dose")
    try:
        return ARCHITECTURES[config.architecture](**{**config.network, **channels})
    except (TypeError, ValueError) as error:
        raise DeepDoseError(f"{config.name}: no such network: {error}") from error


def learning_rate_schedule(
    config: ScheduleConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule that a configuration names, over `steps` optimiser steps."""
    if config.name == "onecycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=optimizer.param_groups[0]["lr"],
            total_steps=steps,
            pct_start=config.warmup_fraction,
            cycle_momentum=False,
        )
    if config.name == "trapezoid":
        decay = max(1, round(config.decay_fraction * steps))

        def factor(step: int) -> float:
            return max(0.0, min(1.0, (step + 1) / max(1, config.warmup_steps), (steps - step) / decay))

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _per_case(values: Tensor) -> Tensor:
    return values[:, None, None, None]
