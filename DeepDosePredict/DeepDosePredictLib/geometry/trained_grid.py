"""Which grids a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[float, float]
TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class TrainedGrid:
    """The grid of a model's training patients; by default OpenKBP's.

    Attributes:
        shape: (K, J, I) voxels, in multiples of 16.
        spacing: (k, j, i) in mm, the commonest.
        slices: (lowest, highest) distance of the slices in mm.
        pixels: (lowest, highest) size of the pixels in mm.
        ct_pixels: how many pixels of their CTs made a voxel along each in-plane axis, as their spacings tell: 3.906 and
            4.688 mm, the commonest, are four pixels of 512 x 512 in the usual fields of view of 500 and 600 mm.
    """

    shape: tuple[int, int, int] = (128, 128, 128)
    spacing: tuple[float, float, float] = (2.5, 3.906, 3.906)
    slices: Range = (1.5, 3.3)
    pixels: Range = (2.7, 5.5)
    ct_pixels: int = 4

    def __post_init__(self) -> None:
        for name in ("shape", "spacing", "slices", "pixels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.shape) != 3 or not all(isinstance(n, int) and 16 <= n <= 512 and n % 16 == 0 for n in self.shape):
            raise ValueError(f"impossible grid {self.shape}")
        ranges = (self.slices, self.pixels)
        sizes = [float(size) for size in (*self.spacing, *self.slices, *self.pixels)]
        if len(sizes) != 7 or not all(math.isfinite(size) and size > 0 for size in sizes) or not self.has(self.spacing):
            raise ValueError(f"impossible spacing {self.spacing}, or ranges {ranges}")
        if not isinstance(self.ct_pixels, int) or not 1 <= self.ct_pixels <= 64:
            raise ValueError(f"impossible number of pixels {self.ct_pixels}")

    def has(self, spacing: Sequence[float]) -> bool:
        """Whether training patients had voxels of such a size, (k, j, i) in mm."""
        ranges = (self.slices, self.pixels, self.pixels)
        return all(
            low - TOLERANCE_MM <= step <= high + TOLERANCE_MM for step, (low, high) in zip(spacing, ranges, strict=True)
        )

    def __str__(self) -> str:
        (lowest, highest), (low, high) = self.slices, self.pixels
        return f"slices of {lowest:g} to {highest:g} mm and pixels of {low:g} to {high:g} mm"


OPENKBP_GRID = TrainedGrid()
