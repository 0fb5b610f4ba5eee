"""Training of a network with pooling at its own resolution: several times as fast, and free to stretch the patients.

A network with pooling (`NetworkConfig.pooling`) can learn on patients that are averaged over its cells once. What is
left out, interpolating its dose back and the DVH terms of the loss, is for a few epochs with `DoseModule`
afterwards, or for none: validation is the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.geometry.body import find_body
from DeepDosePredictLib.model.channels import SPACING_UNIT_MM, ChannelInputs, build_channels
from DeepDosePredictLib.model.contract import ChannelSpec
from DeepDosePredictLib.model.network import network_padding
from DeepDosePredictLib.patient.roi_mask import decode
from DeepDosePredictLib.patient.rois import DOSE_MASK, PTVS

from .augment import Stretch, interpolated
from .dataset import AIR_HU, CACHED_ROIS, Sample, near_targets
from .dose_module import DoseModule

AIR = AIR_HU / 1000


@dataclass(frozen=True)
class CoarsePatient:
    """A patient averaged over cells.

    Attributes:
        channels: (C, k, j, i) float16 inputs; the CT counted from air.
        dose: (1, k, j, i) float16 reference in Gy, mean of the part of the cell that lies in the dose mask.
        body: (1, k, j, i) float16 share of the cell in the body, where derived dose masks may be.
        spacing: (k, j, i) of the voxels before averaging, in mm.
    """

    channels: Tensor
    dose: Tensor
    body: Tensor
    spacing: Tensor

    @classmethod
    def of(cls, sample: Sample, spec: ChannelSpec, pooling: int) -> CoarsePatient:
        """Of a cached patient with its plan."""
        padding = [length for n in reversed(sample.ct.shape) for length in (0, -n % pooling)]
        mask = decode(sample.bits, CACHED_ROIS.index(DOSE_MASK))
        targets = torch.stack([decode(sample.bits, CACHED_ROIS.index(ptv)) for ptv in PTVS]).any(0)
        body = torch.from_numpy(find_body(sample.ct.numpy(), targets.numpy())) | mask
        inputs = ChannelInputs(
            sample.ct[None],
            sample.bits[None],
            CACHED_ROIS,
            mask[None],
            sample.spacing[None].float(),
            sample.plan_dose[None].float(),
        )
        channels = build_channels(inputs, spec)[0]
        channels[spec.names.index("ct")] -= AIR

        def pooled(volumes: Tensor) -> Tensor:
            return F.avg_pool3d(F.pad(volumes.float(), padding), pooling)

        dose = pooled((sample.dose * mask)[None]) / pooled(mask[None]).clamp(min=0.5 / pooling**3)
        return cls(pooled(channels).half(), dose.half(), pooled(body[None]).half(), sample.spacing)


class CoarseModule(DoseModule):
    """`DoseModule`, trained on `CoarsePatient`s by the mean absolute error; loss terms of the configuration wait."""

    def averaged(self, samples: Sequence[Sample]) -> list[CoarsePatient]:
        """What the module trains on."""
        pooling = self.network.config.pooling
        return [
            CoarsePatient.of(sample, self.spec, pooling) for sample in progress_bar(samples, "Averaging", leave=False)
        ]

    def training_step(self, batch: list[tuple[int, CoarsePatient]], _: int) -> Tensor:  # type: ignore[override]
        losses = []
        for index, patient in batch:
            x, reference, weight = self._drawn(index, patient)
            dose = self.network.dose(x[None].contiguous(memory_format=torch.channels_last_3d))[0].float()
            difference = (self.spec.prescription * dose - reference).abs()
            losses.append((difference * weight).sum() / weight.sum().clamp(min=1))
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(batch))
        self.log("train/mae", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def _drawn(self, index: int, patient: CoarsePatient) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs, reference dose, weight) of a patient as seed, epoch and patient decide."""
        names = self.spec.names
        stretch = Stretch.drawn(self.config, self.current_epoch, index)
        volumes = torch.cat([v.float() for v in (patient.channels, patient.dose, patient.body)])
        if stretch.changes:
            volumes = interpolated(volumes, *stretch.source(volumes[names.index("dose_mask")] > 0))
        left_right, head_foot = self._flips(torch.tensor([index]))[0].tolist()
        volumes = volumes.flip([axis for axis, flip in ((-1, left_right), (-3, head_foot)) if flip]).to(self.device)
        x, dose, body = volumes[:-2], volumes[-2:-1], volumes[-1]
        if left_right:
            x = x[self.spec.mirrored()]
        x[names.index("ct")] += AIR
        spacing = stretch.spacing(patient.spacing).tolist()
        for axis in "ki":
            if f"spacing/{axis}" in names:
                x[names.index(f"spacing/{axis}")] = spacing["kji".index(axis)] / SPACING_UNIT_MM
        weight = x[names.index("dose_mask")]
        draw = np.random.default_rng([self.config.seed, self.current_epoch, index, 2])
        if draw.random() < self.config.derived_mask:
            weight = self._derived(draw, x, weight, body, spacing[0])
            x[names.index("dose_mask")] = weight
        padding = network_padding(x.shape[1:])
        return F.pad(x, padding), F.pad(dose, padding), F.pad(weight[None], padding)

    def _derived(self, draw: np.random.Generator, x: Tensor, given: Tensor, body: Tensor, spacing_k: float) -> Tensor:
        """As `dataset.derived_masks`: given mask or body, near the targets."""
        targets = torch.stack([x[n] > 0 for n, name in enumerate(self.spec.names) if name.startswith("ptv/")]).any(0)
        near = near_targets(targets, draw, spacing_k * self.network.config.pooling)
        if draw.random() < 0.5:
            given = body * (given.sum((1, 2), keepdim=True) > 0)
        return given * near[:, None, None]

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        return batch if isinstance(batch, list) else super().transfer_batch_to_device(batch, device, dataloader_idx)
