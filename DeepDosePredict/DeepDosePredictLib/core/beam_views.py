"""What every beam sees of a patient, bixel by bixel, and a network that says which bixels planners prefer.

Many fluences give targets and organs nearly the same dose; how a planner's optimiser spreads it over the beams decides
the dose between them, and a fit to aims in voxels leaves that open. So a small network, the same one for all beams,
looks at the patient from each of them and gives every bixel of the fitted fluence a factor. Method and features are
ours; it is trained by the dose of the resulting plan (Training/train_planner.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .beams import BIXEL_MM, DoseMatrix, Rays

POOL = 2
"""Slices and bixels that the network sees as one."""
VIEWS = 14
"""Features of a bixel; the last four are cosine and sine of the gantry angle, and the place along and across."""
LARGEST_LOGARITHM = 1.5


@dataclass(frozen=True)
class Views:
    """The bixels that reach the targets, as an image for every beam.

    Attributes:
        features: (beams, VIEWS, K, U), of the window only.
        window: slices of a fluence (slices, beams, bixels) along its first and last axes.
        opposite: for every beam the one that takes its place in the mirrored patient; empty where one has none.
    """

    features: Tensor
    window: tuple[slice, slice]
    opposite: tuple[int, ...]

    def mirrored(self, flipped: Sequence[int]) -> Views:
        """As the patient looks when mirrored on the axes -1 (left-right) and -3 (head-foot)."""
        features = self.features
        if -1 in flipped:
            features = features[list(self.opposite)].flip(-1) * _signs(-3, -1)
        if -3 in flipped:
            features = features.flip(-2) * _signs(-2)
        return Views(features, self.window, self.opposite)

    def back(self, image: Tensor, flipped: Sequence[int]) -> Tensor:
        """(beams, 1, K, U) of the mirrored patient as it lies for the patient."""
        if -1 in flipped:
            image = image[list(self.opposite)].flip(-1)
        return image.flip(-2) if -3 in flipped else image


def _signs(*negative: int) -> Tensor:
    signs = torch.ones(VIEWS)
    signs[list(negative)] = -1
    return signs[:, None, None]


def make_views(matrix: DoseMatrix, rays: Rays, share: Tensor, level: Tensor, organ: Tensor, kinds: int,
               fluence: Tensor, gantry_angles: Sequence[float], centre_k: float) -> Views:
    """Views of a patient.

    Args:
        matrix, rays: of the fit's N voxels.
        share: (N,) how many voxels each stands for.
        level: (N,) prescription, 0 outside the targets; organ: (N,) kind of organ, from 1 to `kinds`, or 0.
        fluence: (slices, beams, bixels) of open fields: what is not 0 makes the window.
        gantry_angles: in degrees.
        centre_k: slice of the isocentre.
    """
    target = level > 0
    used = fluence.sum(1) > 0
    reached = [torch.nonzero(used.any(axis)).flatten().tolist() for axis in (1, 0)]
    window = tuple(slice(n[0], n[-1] + 1) for n in reached)

    def seen(values: Tensor) -> Tensor:
        return matrix.back(values)[window[0], :, window[1]].permute(1, 0, 2)

    through = [seen(share * mask) for mask in (target, level == level.max(), *(organ == n + 1 for n in range(kinds)),
                                               ~target & (organ == 0))]
    depth = seen(share * target * rays.depth.repeat_interleave(2, 0)) / through[0].clamp(min=1e-3)
    angles = torch.tensor(np.deg2rad(np.asarray(gantry_angles, float)), dtype=torch.float32)[:, None, None]
    k = (torch.arange(fluence.shape[0])[window[0]] - centre_k) * rays.spacing[0] / 100
    u = (torch.arange(fluence.shape[2])[window[1]] - fluence.shape[2] / 2) * BIXEL_MM / 100
    places = (angles.cos(), angles.sin(), k[:, None], u)
    features = torch.stack([*(torch.log1p(view) / 3 for view in through), (depth / 100).clamp(max=3),
                            *(place.expand_as(depth) for place in places)], 1)
    turned = [int(angle * 1000) % 360000 for angle in gantry_angles]
    opposite = [turned.index(-angle % 360000) for angle in turned if -angle % 360000 in turned]
    return Views(features, window, tuple(opposite) if len(opposite) == len(turned) else ())


class _Block(nn.Module):
    """Two convolutions on a beam's image, and means over rows, images and all beams as context."""

    def __init__(self, channels: int, dilation: int, dropout: float):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.context = nn.Conv2d(4 * channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        inner = F.silu(self.first_norm(self.first(x)))
        masked = inner * mask
        row = masked.sum(3, keepdim=True) / mask.sum(3, keepdim=True).clamp(min=1)
        image = masked.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
        slices = masked.sum((0, 3), keepdim=True) / mask.sum((0, 3), keepdim=True).clamp(min=1)
        everything = image.mean(0, keepdim=True)
        context = torch.cat([c.expand_as(row) for c in (row, image, slices, everything)], 1)
        inner = self.dropout(inner + self.context(context))
        return x + self.second_norm(self.second(inner))


class BeamPreference(nn.Module):
    """A factor for every bixel; 1 untrained."""

    def __init__(self, channels: int = 32, dropout: float = 0.1):
        super().__init__()
        self.stem = nn.Conv2d(VIEWS + 1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels, dilation, dropout) for dilation in (1, 2, 4, 1))
        self.head = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, views: Views, fluence: Tensor, flipped: Sequence[int] = ()) -> Tensor:
        """Factors (slices, beams, bixels) for a fluence; the patient is seen mirrored on the axes `flipped`."""
        k, u = views.window
        if not views.opposite:
            flipped = [axis for axis in flipped if axis != -1]
        image = views.back(fluence[k, :, u].permute(1, 0, 2)[:, None], flipped)
        x = torch.cat((views.mirrored(flipped).features, torch.log1p(image / image.mean().clamp(min=1e-6))), 1)
        x, mask = F.avg_pool2d(x, POOL, ceil_mode=True), (F.avg_pool2d(image, POOL, ceil_mode=True) > 0).float()
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, mask)
        logarithm = F.interpolate(self.head(x), scale_factor=POOL, mode="bilinear", align_corners=False)
        logarithm = LARGEST_LOGARITHM * torch.tanh(logarithm / LARGEST_LOGARITHM)
        logarithm = views.back(logarithm[..., : image.shape[2], : image.shape[3]], flipped)
        factors = torch.ones_like(fluence)
        factors[k, :, u] = logarithm[:, 0].permute(1, 0, 2).exp()
        return factors
