"""Dose-volume histograms on the twice-oversampled dose grid, as SlicerRT defines them.

The oversampled grid has two samples per voxel and axis; the outer faces of both grids coincide, so samples lie a
quarter of a voxel beside the voxel centres. Dose is interpolated linearly there (beyond the outermost centres the edge
repeats); a structure consists of the samples in its mask. SlicerRT reads metrics off a curve with bins of 0.2 Gy; here
they are what that tends to with ever finer bins, the quantiles of the samples themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from ..patient.grid import Box
from .metrics import Metric

OVERSAMPLING = 2
METHOD = "samples at half the dose grid's spacing, dose linear between voxels, as SlicerRT"
"""How these metrics are made, for every table that shows them; the other method is `metrics.METHOD`."""
START_GY, STEP_GY = 0.1, 0.2
_SLAB = 500_000  # samples read at once: 4 MB fit the cache


@dataclass(frozen=True)
class StructureDose:
    """The doses in one structure.

    Attributes:
        samples: float32, Gy, ascending; at least one.
        sample_volume_mm3: volume that each stands for.
    """

    samples: np.ndarray
    sample_volume_mm3: float

    @property
    def volume_cc(self) -> float:
        return self.samples.size * self.sample_volume_mm3 / 1000

    @property
    def mean(self) -> float:
        return float(self.samples.mean(dtype=np.float64))

    @property
    def minimum(self) -> float:
        return float(self.samples[0])

    @property
    def maximum(self) -> float:
        return float(self.samples[-1])

    def metric(self, metric: Metric) -> float:
        """A metric in its unit.

        D-metrics are samples: the highest dose that more than the asked part of the structure receives at least
        (numpy.percentile's "inverted_cdf"), so D100% is the minimum. A structure smaller than the volume asked for
        gives its minimum too. OpenKBP's metrics (`Metric.evaluate`) interpolate between whole voxels instead.
        """
        if metric.kind == "mean":
            return self.mean
        if metric.kind == "max":
            return self.maximum
        if metric.kind == "V":
            return float(100 * (1 - self.below(metric.value) / self.samples.size))
        if metric.kind == "D%":
            hotter = metric.value * self.samples.size / 100
        else:
            hotter = metric.value * 1000 / self.sample_volume_mm3
        # The margin takes what rounding left of a whole number of samples as that number.
        return float(self.samples[max(0, self.samples.size - 1 - int(hotter + 1e-6))])

    def curve(self, highest: float, start: float = START_GY, step: float = STEP_GY) -> tuple[np.ndarray, np.ndarray]:
        """Cumulative DVH: doses in Gy and percent of the volume that receives at least these, both float64.

        The first point is (0, 100); then start, start + step, ... up to the first dose that is not below `highest`, the
        maximum of the whole dose volume, so that all structures under one dose share their axis.
        """
        n = max(1, ceil((highest - start) / step) + 1)
        doses = np.concatenate(([0.0], start + step * np.arange(n)))
        percents = 100 * (1 - self.below(doses) / self.samples.size)
        percents[0] = 100
        return doses, percents

    def below(self, doses: np.ndarray | float) -> np.ndarray:
        """Number of samples below each dose."""
        # float32 doses are found in float32 samples without a float64 copy of all of them; rounding up keeps "below".
        limits = np.asarray(doses, np.float64)
        rounded = limits.astype(np.float32)
        rounded = np.where(rounded < limits, np.nextafter(rounded, np.float32(np.inf)), rounded)
        return np.searchsorted(self.samples, rounded, side="left")


class OversampledDose:
    """A dose volume to be read on the twice-oversampled grid, which is only computed where a structure is.

    Args:
        dose: (K, J, I) in Gy. Negative values count as 0; ValueError for values that are not finite.
        voxel_volume_mm3: of the dose grid.
    """

    def __init__(self, dose: np.ndarray, voxel_volume_mm3: float):
        self.dose = dose
        self.sample_volume_mm3 = voxel_volume_mm3 / OVERSAMPLING**3
        self.shape = tuple(OVERSAMPLING * n for n in dose.shape)
        lowest, highest = float(dose.min()), float(dose.max())
        if not np.isfinite(lowest + highest):
            raise ValueError("the dose has NaN or infinite values")
        self.highest = max(0.0, highest)
        self.n_negative = int(np.count_nonzero(dose < 0)) if lowest < 0 else 0

    def samples(self, box: Box, mask: np.ndarray) -> StructureDose | None:
        """The doses in a structure; None if its mask is empty.

        Args:
            box: slices of the oversampled grid.
            mask: bool, of the box's extents.
        """
        # Whole voxels of the dose grid around the box, so that samples and voxels stay in step.
        voxels = tuple(slice(s.start // 2, -(-s.stop // 2)) for s in box)
        padding = [(s.start - 2 * v.start, 2 * v.stop - s.stop) for s, v in zip(box, voxels, strict=True)]
        mask = np.pad(mask, padding) if np.any(padding) else mask
        # In slabs, which bounds the memory.
        depth = max(1, _SLAB // max(1, 4 * mask[0].size)) if mask.size else 1
        parts = [np.empty(0, np.float32)]
        for k in range(voxels[0].start, voxels[0].stop, depth):
            slab = slice(k, min(k + depth, voxels[0].stop))
            part = mask[2 * (k - voxels[0].start) : 2 * (slab.stop - voxels[0].start)]
            parts.append(self._oversampled((slab, *voxels[1:]))[part].astype(np.float32))
        samples = np.concatenate(parts)
        if not samples.size:
            return None
        samples.sort()
        return StructureDose(samples, self.sample_volume_mm3)

    def samples_of_voxels(self, box: Box, mask: np.ndarray) -> StructureDose | None:
        """The same for a mask on the dose grid itself: each of its voxels becomes eight samples."""
        for axis in range(3):
            mask = mask.repeat(2, axis)
        return self.samples(tuple(slice(2 * s.start, 2 * s.stop) for s in box), mask)

    def _oversampled(self, voxels: Box) -> np.ndarray:
        """Dose at all samples of a box of voxels, in float64 as SlicerRT computes it before it rounds to float32."""
        around = tuple(
            slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(voxels, self.dose.shape, strict=True)
        )
        dose = self.dose[around].astype(np.float64)
        if self.n_negative:
            np.maximum(dose, 0, out=dose)
        missing = [(a.start - s.start + 1, s.stop + 1 - a.stop) for s, a in zip(voxels, around, strict=True)]
        dose = np.pad(dose, missing, mode="edge") if np.any(missing) else dose
        for axis in range(3):
            dose = _refined(dose, axis)
        return dose


def _refined(dose: np.ndarray, axis: int) -> np.ndarray:
    """Two linearly interpolated samples for each voxel but the outermost along an axis."""
    dose = np.moveaxis(dose, axis, 0)
    n = dose.shape[0] - 2
    near, quarter = 0.75 * dose[1:-1], 0.25 * dose
    refined = np.empty((n, 2, *dose.shape[1:]))
    np.add(near, quarter[:-2], out=refined[:, 0])
    np.add(near, quarter[2:], out=refined[:, 1])
    return np.moveaxis(refined.reshape(2 * n, *dose.shape[1:]), 0, axis)
