"""What every beam sees of a patient, bixel by bixel, and a network that says which bixels planners prefer.

Many fluences give targets and organs nearly the same dose; how a planner's optimiser spreads it over the beams decides
the dose between them, and a fit to aims in voxels leaves that open. So a small network, the same one for all beams,
looks at the patient and at the fit from each of them and gives every bixel of the fitted fluence a factor. Method and
features are ours; it is trained by the dose of the resulting plan (Training/train.py planner).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..patient.rois import OAR_KINDS
from .beams import BIXEL_MM, Beams, DoseMatrix, Window, window_of
from .fluence import FitVoxels, Objective

POOL = 2
"""Slices and bixels that the network sees as one."""
PATIENT_VIEWS = ("target", "highest target", *OAR_KINDS, "other tissue", "depth of the target")
"""What a bixel sees of the patient: how much of each along its rays, and how deep the target lies."""
FIT_VIEWS = {
    "organ: weight": 1,
    "organ: weight x dose": 1,
    "organ: above the aim": 3,
    "organ: below the aim": 3,
    "tissue: weight": 1,
    "tissue: weight x dose": 1,
    "tissue: above the aim": 3,
    "tissue: below the aim": 3,
    "target: above the prescription": 2,
    "target: below the prescription": 2,
    "organ in front": 3,
    "organ behind": 3,
    "tissue in front": 3,
    "organ in front: weight": 1,
    "tissue in front: weight": 1,
}
"""What it sees of a fit, as sums along its rays, and what their logarithms are divided by."""
PLACES = ("cosine of the gantry angle", "sine of the gantry angle", "along the patient", "across the beam")
VIEWS = (*PATIENT_VIEWS, *FIT_VIEWS, *PLACES)
ODD = {-1: ("sine of the gantry angle", "across the beam"), -3: ("along the patient",)}
"""Features that change their sign in the mirrored patient, by the axis that is turned."""
HARMONICS = 3
"""Beams tell each other what they see by the Fourier components of their angular differences, up to this one."""
LARGEST_LOGARITHM = 1.5
CHANNELS, DROPOUT = 32, 0.1


@dataclass(frozen=True)
class Views:
    """The bixels that reach the targets, as an image for every beam.

    Attributes:
        features: (beams, len(names), K, U), of the window only.
        names: of the features: `PATIENT_VIEWS` and `PLACES`, with the fit `VIEWS`.
        window: where in a fluence the images lie.
        opposite: for every beam the one that takes its place in the mirrored patient; empty where one has none.
        angles: (beams,) of the gantry, in radians.
    """

    features: Tensor
    names: tuple[str, ...]
    window: Window
    opposite: tuple[int, ...]
    angles: Tensor

    def mirrored(self, flipped: Collection[int]) -> Views:
        """As the patient looks when mirrored on the axes -1 (left-right) and -3 (head-foot)."""
        features = self.features
        if -1 in flipped:
            features = features[list(self.opposite)].flip(-1) * self._signs(-1)
        if -3 in flipped:
            features = features.flip(-2) * self._signs(-3)
        return replace(self, features=features)

    def _signs(self, axis: int) -> Tensor:
        return torch.tensor([-1.0 if name in ODD[axis] else 1.0 for name in self.names])[:, None, None]

    def seen(self, fluence: Tensor) -> Tensor:
        """(beams, 1, K, U) the window of a fluence (slices, beams, bixels)."""
        return _images(fluence, self.window)[:, None]

    def back(self, image: Tensor, flipped: Collection[int]) -> Tensor:
        """(beams, 1, K, U) of the mirrored patient as it lies for the patient."""
        if -1 in flipped:
            image = image[list(self.opposite)].flip(-1)
        return image.flip(-2) if -3 in flipped else image

    def with_fit(self, voxels: FitVoxels, matrix: DoseMatrix, objective: Objective, dose: Tensor) -> Views:
        """With the features of a fit: what matters behind a bixel, and where the dose misses its aim.

        Args:
            dose: (N,) of the fit's voxels, in units of the highest prescription.
        """
        values = _fit_values(voxels, matrix, objective, dose)
        fit = {name: torch.log1p(_images(matrix.back(values[name]), self.window)) / FIT_VIEWS[name] for name in values}
        before = dict(zip(self.names, self.features.unbind(1), strict=True))
        return replace(self, features=_stacked(before | fit, VIEWS), names=VIEWS)


def _fit_values(voxels: FitVoxels, matrix: DoseMatrix, objective: Objective, dose: Tensor) -> dict[str, Tensor]:
    """{name of a fit's view: what is summed along the rays}, (N,) or, where rays differ, (2 beams, N)."""
    share, level, target, organ = voxels.share, voxels.level, voxels.in_target, voxels.in_organ
    tissue = ~target & ~organ
    weight, aim = objective.weight, objective.aim
    reached = matrix.reaching(share * target).clamp(min=1e-3)
    depth = voxels.rays.depth.repeat_interleave(2, 0)
    in_front = depth < (matrix.reaching(share * target * depth) / reached).flatten()[matrix.index]
    values = {
        "target: above the prescription": share * target * (dose - level).clamp(min=0),
        "target: below the prescription": share * target * (level - dose).clamp(min=0),
        "organ in front": share * organ * in_front,
        "organ behind": share * organ * ~in_front,
        "tissue in front": share * tissue * in_front,
        "organ in front: weight": weight * organ * in_front,
        "tissue in front: weight": weight * tissue * in_front,
    }
    for name, mask in (("organ", organ), ("tissue", tissue)):
        values |= {
            f"{name}: weight": weight * mask,
            f"{name}: weight x dose": weight * mask * dose,
            f"{name}: above the aim": share * mask * (dose - aim).clamp(min=0),
            f"{name}: below the aim": share * mask * (aim - dose).clamp(min=0),
        }
    return values


def _stacked(images: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """(beams, len(names), K, U) of images (beams, K, U) or what broadcasts to them."""
    shape = torch.broadcast_shapes(*(image.shape for image in images.values()))
    return torch.stack([images[name].expand(shape) for name in names], 1)


def _images(fluence: Tensor, window: Window) -> Tensor:
    """(beams, K, U) the window of a fluence (slices, beams, bixels)."""
    return fluence[window[0], :, window[1]].permute(1, 0, 2)


def make_views(voxels: FitVoxels, matrix: DoseMatrix, fluence: Tensor, beams: Beams) -> Views:
    """Views of a patient, not yet of a fit.

    Args:
        matrix: of the fit's voxels.
        fluence: (slices, beams, bixels) of open fields: what is not 0 makes the window.
    """
    window = window_of(fluence)

    def seen(values: Tensor | float) -> Tensor:
        return _images(matrix.back(voxels.share * values), window)

    target = voxels.in_target
    masks = {"target": target, "highest target": voxels.level == voxels.level.max()}
    masks |= {kind: voxels.organ == n for n, kind in enumerate(OAR_KINDS, 1)}
    masks["other tissue"] = ~target & ~voxels.in_organ
    through = {name: seen(mask) for name, mask in masks.items()}
    depth = seen(target * voxels.rays.depth.repeat_interleave(2, 0)) / through["target"].clamp(min=1e-3)
    images = {name: torch.log1p(view) / 3 for name, view in through.items()}
    images["depth of the target"] = (depth / 100).clamp(max=3)
    angles = torch.tensor(np.deg2rad(np.asarray(beams.gantry_angles, float)), dtype=torch.float32)
    k = (torch.arange(fluence.shape[0])[window[0]] - beams.centre[0]) * voxels.rays.spacing[0] / 100
    u = (torch.arange(fluence.shape[2])[window[1]] - fluence.shape[2] / 2) * BIXEL_MM / 100
    images |= dict(zip(PLACES, (angles.cos()[:, None, None], angles.sin()[:, None, None], k[:, None], u), strict=True))
    names = (*PATIENT_VIEWS, *PLACES)
    return Views(_stacked(images, names), names, window, _opposite(beams.gantry_angles), angles)


def _opposite(gantry_angles: Sequence[float]) -> tuple[int, ...]:
    """See `Views`."""
    turned = [int(angle * 1000) % 360000 for angle in gantry_angles]
    opposite = [turned.index(-angle % 360000) for angle in turned if -angle % 360000 in turned]
    return tuple(opposite) if len(opposite) == len(turned) else ()


class _Block(nn.Module):
    """Two convolutions on a beam's image; as context means over its rows, itself and all beams, and others' rows."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.context = nn.Conv2d((4 + 2 * HARMONICS) * channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)
        self.dropout = nn.Dropout2d(DROPOUT)

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


class BixelFactors(nn.Module):
    """A factor for every bixel; 1 untrained; 0.1 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(len(VIEWS) + 1, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(CHANNELS, dilation) for dilation in (1, 2, 4, 1))
        self.head = nn.Conv2d(CHANNELS, 1, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, views: Views, fluence: Tensor, flipped: Collection[int] = ()) -> Tensor:
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
