"""CellNet: a 3D U-Net on cells of several voxels, made for few cores.

Where most cells are it has few channels and factorised convolutions. Means and variances are taken over the channels
of a cell, so neither crop nor padding changes the dose elsewhere. The architecture is ours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .contract import CellNetConfig
from .network import Conv3d, never_flat_in_bf16, padding_to


class ChannelNorm(nn.Module):
    """Zero mean and unit variance over the channels of every cell (layer norm)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, K, J, I); in the type of x, which autocast would widen."""
        with torch.autocast(x.device.type, enabled=False):
            last = x.permute(0, 2, 3, 4, 1)
            last = F.layer_norm(last, last.shape[-1:], self.weight.to(x.dtype), self.bias.to(x.dtype))
            return last.permute(0, 4, 1, 2, 3)


class FactorisedBlock(nn.Module):
    """x + two convolutions of normalised x, in plane and then along the patient's axis, with a ReLU between."""

    def __init__(self, channels: int, dilation: int = 1, dropout: float = 0.0):
        super().__init__()
        self.norm = ChannelNorm(channels)
        around = (0, dilation, dilation)
        self.in_plane = Conv3d(channels, channels, (1, 3, 3), padding=around, dilation=(1, dilation, dilation))
        self.dropout = nn.Dropout3d(dropout)
        self.along = Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        with never_flat_in_bf16(x) as x:
            inner = F.relu(self.in_plane(self.norm(x)))
            return x + self.along(self.dropout(inner))


class Up(nn.Module):
    """To twice as many cells along every axis: a transposed 2x2x2 convolution, as a product and a rearrangement.

    Many times as fast on the CPU as `ConvTranspose3d`.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.product = Conv3d(n_in, 8 * n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, k, j, i = x.shape
        parts = self.product(x).permute(0, 2, 3, 4, 1).reshape(b, k, j, i, 2, 2, 2, -1)
        return parts.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, 2 * k, 2 * j, 2 * i, -1).permute(0, 4, 1, 2, 3)


class CellNet(nn.Module):
    """(B, C, K, J, I) inputs to (B, 1, K, J, I) dose >= 0 in units of the highest prescription, of any extent.

    It works on means over cells; its dose is interpolated back and gets the detail of one of the inputs, the plan: what
    that loses itself when it is averaged and interpolated back.
    """

    def __init__(self, config: CellNetConfig):
        super().__init__()
        self.config, w = config, config.widths
        self.stem = Conv3d(config.in_channels, w[0], 3, padding=1)
        self.encoder, self.decoder = (
            nn.ModuleList(
                nn.Sequential(*(FactorisedBlock(width) for _ in range(n))) for width, n in zip(w, blocks, strict=False)
            )
            for blocks in (config.encoder_blocks, config.decoder_blocks)
        )
        self.down = nn.ModuleList(Conv3d(fine, coarse, 2, 2) for fine, coarse in pairwise(w))
        self.up = nn.ModuleList(Up(coarse, fine) for fine, coarse in pairwise(w))
        self.context = nn.Sequential(
            *(FactorisedBlock(w[-1], dilation, config.dropout) for dilation in config.dilations)
        )
        self.norm = ChannelNorm(w[0])
        self.head = Conv3d(w[0], 1, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            if isinstance(module, FactorisedBlock):
                nn.init.normal_(module.along.weight, std=0.3 * module.along.weight[0].numel() ** -0.5)
        # What is learnt is the difference to the plan, which is small.
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        cells = averaged(x, self.config.cell)
        detail = self.config.detail_channel
        lost = x.narrow(1, detail, 1) - self.interpolated(cells.narrow(1, detail, 1), x.shape[2:])
        return F.relu(self.interpolated(self.dose(cells), x.shape[2:]) + lost)

    def interpolated(self, cells: Tensor, extent: torch.Size) -> Tensor:
        """(B, C, k, j, i) on cells, at the voxels of a volume of that extent."""
        fine = F.interpolate(cells.float(), scale_factor=self.config.cell, mode="trilinear", align_corners=False)
        return fine[:, :, : extent[0], : extent[1], : extent[2]]

    def dose(self, cells: Tensor) -> Tensor:
        """(B, C, k, j, i) inputs on cells to (B, 1, k, j, i) dose on cells, with either sign, float32."""
        extent = cells.shape[2:]
        padded = F.pad(cells, padding_to(self.config.stride, extent))
        features = self.stem(padded.contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            features = blocks(features)
            skips.append(features)
            features = down(features)
        features = self.context(features)
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            features = blocks(up(features) + skips.pop())
        # A plain ReLU died here within the first steps, where hardly anything is to be changed, and nothing was learnt.
        change = self.head(F.leaky_relu(self.norm(features), 0.1)).float()[:, :, : extent[0], : extent[1], : extent[2]]
        return cells.narrow(1, self.config.detail_channel, 1).float() + change


def averaged(volumes: Tensor, cell: int) -> Tensor:
    """(..., K, J, I) to (..., k, j, i): means over cells; odd extents are padded with 0 at their upper ends."""
    return F.avg_pool3d(F.pad(volumes.float(), padding_to(cell, volumes.shape[-3:])), cell)
