"""What every beam sees of a patient, bixel by bixel, and a network that says which bixels planners prefer.

Many fluences give targets and organs nearly the same dose; how a planner's optimiser spreads it over the beams decides
the dose between them, and a fit to aims in voxels leaves that open. So a small network, the same one for all beams,
looks at the patient and at the fit from each of them and gives every bixel of the fitted fluence a factor. Method and
features are ours; it is trained by the dose of the resulting plan (Training/train.py planner).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .beams import BIXEL_MM, DoseMatrix, Rays, Window, window_of

POOL = 2
"""Slices and bixels that the network sees as one."""
PATIENT_VIEWS, FIT_VIEWS, PLACES = 10, 15, 4
"""Features of a bixel: what it sees of the patient, what of the fit; cosine and sine of the gantry angle, and the place
along and across."""
HARMONICS = 3
"""Beams tell each other what they see by the Fourier components of their angular differences, up to this one."""
LARGEST_LOGARITHM = 1.5


@dataclass(frozen=True)
class Views:
    """The bixels that reach the targets, as an image for every beam.

    Attributes:
        features: (beams, PATIENT_VIEWS + PLACES, K, U), of the window only; with the fit FIT_VIEWS more before PLACES.
        window: slices of a fluence (slices, beams, bixels) along its first and last axes.
        opposite: for every beam the one that takes its place in the mirrored patient; empty where one has none.
        angles: (beams,) of the gantry, in radians.
    """

    features: Tensor
    window: Window
    opposite: tuple[int, ...]
    angles: Tensor

    def mirrored(self, flipped: Sequence[int]) -> Views:
        """As the patient looks when mirrored on the axes -1 (left-right) and -3 (head-foot)."""
        features = self.features
        if -1 in flipped:
            features = features[list(self.opposite)].flip(-1) * self._signs(-3, -1)
        if -3 in flipped:
            features = features.flip(-2) * self._signs(-2)
        return replace(self, features=features)

    def _signs(self, *negative: int) -> Tensor:
        signs = torch.ones(self.features.shape[1])
        signs[list(negative)] = -1
        return signs[:, None, None]

    def seen(self, fluence: Tensor) -> Tensor:
        """(beams, 1, K, U) the window of a fluence (slices, beams, bixels)."""
        return _images(fluence, self.window)[:, None]

    def back(self, image: Tensor, flipped: Sequence[int]) -> Tensor:
        """(beams, 1, K, U) of the mirrored patient as it lies for the patient."""
        if -1 in flipped:
            image = image[list(self.opposite)].flip(-1)
        return image.flip(-2) if -3 in flipped else image

    def with_fit(
        self,
        matrix: DoseMatrix,
        rays: Rays,
        share: Tensor,
        level: Tensor,
        organ: Tensor,
        weight: Tensor,
        aim: Tensor,
        dose: Tensor,
    ) -> Views:
        """What the beams see of a fit, too: what matters behind a bixel, and where the dose (N,) misses its aim (N,).

        Sums along a bixel's rays, first over organs, then over other tissue: weight, weight times dose, dose above and
        below the aim; over the targets: dose above and below the prescription; then number of voxels in organs before
        and behind the targets and in tissue before them; weight of organs and of tissue before them.

        Args:
            weight: (N,) of the fit; organ: (N,) bool, outside targets; the rest as for `make_views`, doses in
                units of the highest prescription.
        """
        target = level > 0
        tissue = ~target & ~organ
        reached = matrix.reaching(share * target).clamp(min=1e-3)
        depth = rays.depth.repeat_interleave(2, 0)
        in_front = depth < (matrix.reaching(share * target * depth) / reached).flatten()[matrix.index]
        values = []
        for mask in (organ, tissue):
            values += [
                (weight * mask, 1),
                (weight * mask * dose, 1),
                (share * mask * (dose - aim).clamp(min=0), 3),
                (share * mask * (aim - dose).clamp(min=0), 3),
            ]
        values += [
            (share * target * (dose - level).clamp(min=0), 2),
            (share * target * (level - dose).clamp(min=0), 2),
            (share * organ * in_front, 3),
            (share * organ * ~in_front, 3),
            (share * tissue * in_front, 3),
            (weight * organ * in_front, 1),
            (weight * tissue * in_front, 1),
        ]
        fit = torch.cat([torch.log1p(self.seen(matrix.back(value))) / scale for value, scale in values], 1)
        return replace(self, features=torch.cat((self.features[:, :-PLACES], fit, self.features[:, -PLACES:]), 1))


def _images(fluence: Tensor, window: Window) -> Tensor:
    """(beams, K, U) the window of a fluence (slices, beams, bixels)."""
    return fluence[window[0], :, window[1]].permute(1, 0, 2)


def make_views(
    matrix: DoseMatrix,
    rays: Rays,
    share: Tensor,
    level: Tensor,
    organ: Tensor,
    kinds: int,
    fluence: Tensor,
    gantry_angles: Sequence[float],
    centre_k: float,
) -> Views:
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
    window = window_of(fluence)

    def seen(values: Tensor) -> Tensor:
        return _images(matrix.back(values), window)

    through = [
        seen(share * mask)
        for mask in (target, level == level.max(), *(organ == n + 1 for n in range(kinds)), ~target & (organ == 0))
    ]
    depth = seen(share * target * rays.depth.repeat_interleave(2, 0)) / through[0].clamp(min=1e-3)
    angles = torch.tensor(np.deg2rad(np.asarray(gantry_angles, float)), dtype=torch.float32)
    k = (torch.arange(fluence.shape[0])[window[0]] - centre_k) * rays.spacing[0] / 100
    u = (torch.arange(fluence.shape[2])[window[1]] - fluence.shape[2] / 2) * BIXEL_MM / 100
    places = (angles.cos()[:, None, None], angles.sin()[:, None, None], k[:, None], u)
    features = torch.stack(
        [
            *(torch.log1p(view) / 3 for view in through),
            (depth / 100).clamp(max=3),
            *(place.expand_as(depth) for place in places),
        ],
        1,
    )
    turned = [int(angle * 1000) % 360000 for angle in gantry_angles]
    opposite = [turned.index(-angle % 360000) for angle in turned if -angle % 360000 in turned]
    return Views(features, window, tuple(opposite) if len(opposite) == len(turned) else (), angles)


class _Block(nn.Module):
    """Two convolutions on a beam's image; as context means over its rows, itself and all beams, and others' rows."""

    def __init__(self, channels: int, dilation: int, dropout: float):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.context = nn.Conv2d((4 + 2 * HARMONICS) * channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, mask: Tensor, harmonics: Tensor) -> Tensor:
        """x, mask: (beams, channels or 1, K, U); harmonics: (2 HARMONICS, beams, beams)."""
        inner = F.silu(self.first_norm(self.first(x)))
        masked = inner * mask
        row = masked.sum(3, keepdim=True) / mask.sum(3, keepdim=True).clamp(min=1)
        image = masked.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
        slices = masked.sum((0, 3), keepdim=True) / mask.sum((0, 3), keepdim=True).clamp(min=1)
        everything = image.mean(0, keepdim=True)
        others = torch.einsum("hab,bck->hack", harmonics, row[..., 0])[..., None]
        context = torch.cat([c.expand_as(row) for c in (row, image, slices, everything, *others)], 1)
        inner = self.dropout(inner + self.context(context))
        return x + self.second_norm(self.second(inner))


def _harmonics(angles: Tensor) -> Tensor:
    """(2 HARMONICS, beams, beams): cosines and sines of the multiples of the differences, for sums over the beams."""
    differences = (angles[:, None] - angles) * torch.arange(1, HARMONICS + 1)[:, None, None]
    return torch.stack((differences.cos(), differences.sin()), 1).flatten(0, 1) * (2 / len(angles))


class BeamPreference(nn.Module):
    """A factor for every bixel; 1 untrained; 0.1 M parameters."""

    def __init__(self, channels: int = 32, dropout: float = 0.1):
        super().__init__()
        self.stem = nn.Conv2d(PATIENT_VIEWS + FIT_VIEWS + PLACES + 1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels, dilation, dropout) for dilation in (1, 2, 4, 1))
        self.head = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, views: Views, fluence: Tensor, flipped: Sequence[int] = ()) -> Tensor:
        """Logarithms (slices, beams, bixels) of the factors; the patient is seen mirrored on the axes `flipped`."""
        if not views.opposite:
            flipped = [axis for axis in flipped if axis != -1]
        image = views.back(views.seen(fluence), flipped)
        x = torch.cat((views.mirrored(flipped).features, torch.log1p(image / image.mean().clamp(min=1e-6))), 1)
        x, mask = F.avg_pool2d(x, POOL, ceil_mode=True), (F.avg_pool2d(image, POOL, ceil_mode=True) > 0).float()
        x, harmonics = self.stem(x), _harmonics(views.angles)
        for block in self.blocks:
            x = block(x, mask, harmonics)
        logarithm = F.interpolate(self.head(x), scale_factor=POOL, mode="bilinear", align_corners=False)
        logarithm = LARGEST_LOGARITHM * torch.tanh(logarithm / LARGEST_LOGARITHM)
        logarithm = views.back(logarithm[..., : image.shape[2], : image.shape[3]], flipped)
        everywhere = torch.zeros_like(fluence)
        everywhere[views.window[0], :, views.window[1]] = logarithm[:, 0].permute(1, 0, 2)
        return everywhere
