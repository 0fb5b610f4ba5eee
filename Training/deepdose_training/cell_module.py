"""Training of a `CellNet` on patients on cells: slabs by the mean absolute error, then whole patients by all losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from DeepDosePredictLib.dvh.metrics import metric_differences
from DeepDosePredictLib.model.cell_network import CellNet
from DeepDosePredictLib.patient.roi_mask import decode
from DeepDosePredictLib.patient.rois import DOSE_MASK, ROIS

from .cell_augment import CellSource, Example, ExampleMaker
from .cells import CellPatient
from .configuration import TrainingConfig
from .dataset import CACHED_ROIS, collate
from .dose_module import DoseModule
from .losses import Structures

AXES = (-1, -3)
"""Of the left-right and of the head-foot flip."""


class CellModule(DoseModule):
    """Trains a CellNet by a `TrainingConfig`; scored on whole patients at full resolution."""

    network: CellNet

    def __init__(self, config: TrainingConfig):
        super().__init__(config)
        self.cell = self.network.config.cell
        self._maker = ExampleMaker(config, self.spec, self.cell) if config.augment else None
        self._sources: dict[int, CellSource] = {}

    def training_step(self, batch: list[tuple[int, CellPatient]], _: int) -> Tensor:  # type: ignore[override]
        loss = self._slabs(batch) if self._maker else self._whole(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(batch))
        return loss

    def _slabs(self, batch: Sequence[tuple[int, CellPatient]]) -> Tensor:
        examples = [self._example(index, patient) for index, patient in batch]
        x, dose, weight = stacked(examples)
        return self.spec.prescription * ((self.network.dose(x)[:, 0] - dose).abs() * weight).sum() / len(examples)

    def _example(self, index: int, patient: CellPatient) -> Example:
        """As seed, epoch and patient decide."""
        assert self._maker
        draw = np.random.default_rng([self.config.seed, self.current_epoch, index])
        with torch.autocast(self.device.type, enabled=False):
            if index not in self._sources:
                self._sources[index] = CellSource.of(patient, self.spec, self.device)
            return self._maker.draw(self._sources[index], draw)

    def _whole(self, batch: Sequence[tuple[int, CellPatient]]) -> Tensor:
        flips = self._flips(torch.tensor([index for index, _ in batch])).tolist()
        losses = []
        for (_, patient), flip in zip(batch, flips, strict=True):
            one = collate([(0, patient.sample)])
            predicted = self._dose(patient, flip)[None] * self.spec.prescription
            mask = decode(one["bits"], CACHED_ROIS.index(DOSE_MASK)).to(self.device)
            structures = Structures(one["bits"].to(self.device), ROIS, mask, one["outside"], one["spacing"].prod(1))
            losses.append(self.loss(predicted * mask, one["dose"].to(self.device), structures)[0])
        return torch.stack(losses).mean()

    def _dose(self, patient: CellPatient, flips: Sequence[bool]) -> Tensor:
        """(K, J, I) in units of the prescription, as the network sees the flipped patient, for the patient."""
        left_right, _ = flips
        axes = [axis for axis, flip in zip(AXES, flips, strict=True) if flip]
        channels = patient.channels.float().to(self.device)
        plan = patient.sample.plan_dose.float()[None, None].to(self.device)
        on_cells = channels.narrow(0, self.network.config.detail_channel, 1)[None]
        flipped = (channels[self.spec.mirrored()] if left_right else channels).flip(axes)[None]
        change = self.network.dose(flipped).flip(axes) - on_cells
        return F.relu(plan + self.network.interpolated(change, plan.shape[2:]))[0, 0]

    def predict_patient(self, patient: CellPatient) -> Tensor:
        """(K, J, I) Gy, zero outside the dose mask; averaged with the mirrored prediction as `predict_dose`."""
        sides = [(False, False)] if self.config.single_pass else [(False, False), (True, False)]
        dose = torch.stack([self._dose(patient, flips) for flips in sides]).mean(0)
        mask = decode(patient.sample.bits, CACHED_ROIS.index(DOSE_MASK)).to(self.device)
        return self.spec.prescription * dose * mask

    def validation_step(self, batch: list[tuple[int, CellPatient]], _: int) -> None:  # type: ignore[override]
        for index, patient in batch:
            dose = self.predict_patient(patient)
            score = self._score(collate([(index, patient.sample)]), dose[None].cpu(), 0)
            differences = metric_differences(score.reference, score.predicted)
            self._scores.append(
                torch.tensor([1, score.dose_error, len(differences), sum(differences)], dtype=torch.float64)
            )

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        return batch  # patients go there once, see `_example`


def stacked(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, C, k, j, i), dose and weight (B, k, j, i), padded at their upper ends to common extents."""
    extent = [max(example.dose.shape[axis] for example in examples) for axis in range(3)]

    def batch(volumes: Sequence[Tensor]) -> Tensor:
        around = [[n for axis in (2, 1, 0) for n in (0, extent[axis] - v.shape[axis - 3])] for v in volumes]
        return torch.stack([F.pad(v, padding) for v, padding in zip(volumes, around, strict=True)])

    return (
        batch([example.x for example in examples]),
        batch([example.dose for example in examples]),
        batch([example.weight for example in examples]),
    )
