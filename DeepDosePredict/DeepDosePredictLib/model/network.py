"""DeepDoseNet: ResNet and dilated DenseNet 3D U-Net that maps input channels to dose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .contract import NetworkConfig

STRIDE = 16
"""Every spatial extent given to the network is a multiple of this: the stem and three poolings halve it four times."""


def padding_to(multiple: int, extent: Sequence[int]) -> list[int]:
    """What `functional.pad` adds at the upper ends of a volume (..., K, J, I) for extents that are multiples."""
    return [length for n in reversed(extent) for length in (0, -n % multiple)]


@contextlib.contextmanager
def never_flat_in_bf16(x: Tensor) -> Iterator[Tensor]:
    """x to compute with: float32, without autocast, where a CPU's volume (B, C, K, J, I) has only two slices or fewer.

    PyTorch 2.13 with one thread of a CPU gives wrong and infinite bf16 gradients there.
    """
    if x.device.type != "cpu" or min(x.shape[2:]) > 2:
        yield x
        return
    with torch.autocast("cpu", enabled=False):
        yield x.float()


def _norm(config: NetworkConfig, channels: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm3d(channels)
    return nn.GroupNorm(max(1, channels // config.group_size), channels)


class Conv3d(nn.Conv3d):
    """A convolution that predicts twice as fast on the CPU.

    PyTorch leaves float32 convolutions of a single case with few channels or voxels (up to 20480 along its first four
    axes) to a slow path of its own; without gradients oneDNN can be asked directly.
    """

    def forward(self, x: Tensor) -> Tensor:
        direct = (
            x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.is_available()
            and hasattr(torch, "mkldnn_convolution")
        )
        if not direct or isinstance(self.padding, str):
            return super().forward(x)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


class ConvNormReLU(nn.Sequential):
    """A 3x3x3 convolution with normalisation and ReLU."""

    def __init__(self, config: NetworkConfig, n_in: int, n_out: int, dilation: int = 1, stride: int = 1):
        super().__init__(
            Conv3d(n_in, n_out, 3, stride, padding=dilation, dilation=dilation, bias=False),
            _norm(config, n_out),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, each followed by normalisation and ReLU, added to a shortcut.

    The shortcut is the identity, or a 1x1x1 convolution where the number of channels changes.
    """

    def __init__(self, config: NetworkConfig, n_in: int, n_out: int):
        super().__init__()
        self.body = nn.Sequential(ConvNormReLU(config, n_in, n_out), ConvNormReLU(config, n_out, n_out))
        self.shortcut = nn.Identity() if n_in == n_out else Conv3d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class DenseDilatedBlock(nn.Module):
    """Multiscale feature aggregation: densely connected dilated convolutions; each sees all earlier features."""

    def __init__(self, config: NetworkConfig, n_in: int):
        super().__init__()
        self.layers = nn.ModuleList(
            ConvNormReLU(config, n_in + i * config.growth, config.growth, dilation)
            for i, dilation in enumerate(config.dilations)
        )
        self.dropout = nn.Dropout3d(config.dropout)
        self.out_channels = n_in + len(config.dilations) * config.growth

    def forward(self, x: Tensor) -> Tensor:
        with never_flat_in_bf16(x) as x:
            features = [x]
            for layer in self.layers:
                features.append(self.dropout(layer(torch.cat(features, 1))))
            return torch.cat(features, 1)


class DeepDoseNet(nn.Module):
    """DeepDoseNet (Soomro et al. 2021, figure 2a).

    Input (B, C, K, J, I) with every extent a multiple of 16; output (B, 1, K, J, I), dose >= 0 in units of the
    highest prescription. Encoder: 3x3x3 stem with stride 2, then three residual blocks, each followed by 2x2x2 max
    pooling. Dense dilated block at 1/16 resolution. Decoder: four 2x2x2 stride-2 transposed convolutions with three
    residual blocks and the U-Net's skips; a final 1x1x1 convolution and ReLU.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        w = config.widths
        self.stem = ConvNormReLU(config, config.in_channels, w[0], stride=2)
        self.encoder = nn.ModuleList(ResidualBlock(config, a, b) for a, b in pairwise((w[0], *w)))
        self.pool = nn.MaxPool3d(2)
        self.aggregation = DenseDilatedBlock(config, w[2])
        below = (self.aggregation.out_channels, w[2], w[1])
        levels = w[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, 2) for a, b in zip(below, levels, strict=True))
        self.decoder = nn.ModuleList(ResidualBlock(config, 2 * b, b) for b in levels)
        self.up_full = nn.ConvTranspose3d(w[0], config.head_channels, 2, 2)
        n = config.head_channels
        self.full_resolution = None
        if config.full_resolution_channels:
            self.full_resolution = ConvNormReLU(config, n + config.in_channels, config.full_resolution_channels)
            n = config.full_resolution_channels
        self.head = Conv3d(n, 1, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # The last ReLU must start alive: near the mean dose inside the mask, about a third of the prescription.
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        if any(n % STRIDE for n in x.shape[2:]):
            raise ValueError(f"DeepDoseNet needs extents in multiples of {STRIDE}, not {tuple(x.shape[2:])}")
        if self.config.pooling == 1:
            return self.dose(x)
        pooled = F.avg_pool3d(x, self.config.pooling)
        k, j, i = pooled.shape[2:]
        padded = F.pad(pooled, padding_to(STRIDE, (k, j, i))).contiguous(memory_format=torch.channels_last_3d)
        dose = self._interpolated(self.dose(padded)[:, :, :k, :j, :i].float())
        if self.config.detail_channel is not None:
            channel = self.config.detail_channel
            dose = dose + x.narrow(1, channel, 1) - self._interpolated(pooled.narrow(1, channel, 1))
        return torch.relu(dose)

    def _interpolated(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.config.pooling, mode="trilinear", align_corners=False)

    def dose(self, x: Tensor) -> Tensor:
        """Dose (B, 1, K, J, I) at the resolution of inputs (B, C, K, J, I) that are averaged already."""
        features, skips = self.stem(x), []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
            features = self.pool(features)
        features = self.aggregation(features)
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(torch.cat((up(features), skips.pop()), 1))
        features = self.up_full(features)
        if self.full_resolution is not None:
            features = self.full_resolution(torch.cat((features, x), 1))
        return torch.relu(self.head(features))
