"""Dose-volume histograms, D- and V-metrics, and the OpenKBP dose and DVH scores, in float64.

Doses are in Gy. The scores follow the definitions of OpenKBP (Babier et al., Med. Phys. 48 (2021) 5549).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..patient.roi_mask import RoiMask
from ..patient.rois import is_target

_METRIC = re.compile(
    r"(?P<plain>D?(?:mean|max))|D(?P<d>\d+(?:\.\d+)?)(?P<d_unit>%|cc)|V(?P<v>\d+(?:\.\d+)?)Gy", re.IGNORECASE
)

METHOD = "whole voxels of the model grid, as OpenKBP's official metrics"
"""How these metrics are made, for every table that shows them; the other method is `oversampled.METHOD`."""
MAX_CC = 1e6
OAR_METRICS = {"D_0.1_cc": "D0.1cc", "mean": "mean"}
TARGET_METRICS = {"D_99": "D99%", "D_95": "D95%", "D_1": "D1%"}


@dataclass(frozen=True)
class Metric:
    """A clinical DVH metric.

    Attributes:
        kind: "mean", "max", "D%" (dose that `value` percent of the structure receive at least), "Dcc" (dose that the
            hottest `value` cc receive at least) or "V" (percent of the structure that receives at least `value` Gy).
        value: percent, cc or Gy.
    """

    kind: str
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read "mean", "max", "D95%", "D0.1cc" or "V20Gy"; ValueError for anything else."""
        match = _METRIC.fullmatch(text.strip())
        if not match:
            raise ValueError(f"unknown DVH metric {text!r}; write mean, max, D95%, D0.1cc or V20Gy")
        if match["plain"]:
            return cls(match["plain"].lower().removeprefix("d"))
        if match["v"]:
            return cls("V", float(match["v"]))
        metric = cls("D" + match["d_unit"].lower(), float(match["d"]))
        if metric.value > (100 if metric.kind == "D%" else MAX_CC):
            raise ValueError(f"{text!r} asks for more than there can be in a structure")
        return metric

    @property
    def unit(self) -> str:
        return "%" if self.kind == "V" else "Gy"

    def __str__(self) -> str:
        return {
            "mean": "mean",
            "max": "Dmax",
            "D%": f"D{self.value:g}%",
            "Dcc": f"D{self.value:g}cc",
            "V": f"V{self.value:g}Gy",
        }[self.kind]

    def rank(self, n_voxels: int, voxel_volume_mm3: float) -> float:
        """Fractional index of a D-metric in the ascending doses of a structure (0 to n_voxels - 1).

        Percent: numpy's linear percentile at 100 - value. cc: OpenKBP's rule, the percentile at 100 (1 - n/N) with
        n = max(1, round(volume / voxel volume)); a structure smaller than the volume gives its minimum.
        """
        if self.kind == "Dcc":
            fraction = max(1, round(self.value * 1000 / voxel_volume_mm3)) / n_voxels
        else:
            fraction = self.value / 100
        return max(0.0, 1 - fraction) * (n_voxels - 1)

    def evaluate(self, doses: np.ndarray, voxel_volume_mm3: float) -> float:
        """The metric of a structure from the doses of its voxels (1D, Gy); NaN for a structure without voxels."""
        doses = np.asarray(doses, np.float64)
        if not doses.size:
            return float("nan")
        if self.kind == "mean":
            return float(doses.mean())
        if self.kind == "max":
            return float(doses.max())
        if self.kind == "V":
            return float(100 * np.count_nonzero(doses >= self.value) / doses.size)
        rank = self.rank(doses.size, voxel_volume_mm3)
        below = int(rank)
        above = min(below + 1, doses.size - 1)
        low, high = np.partition(doses, (below, above))[[below, above]]
        return float(low + (high - low) * (rank - below))


def roi_doses(dose: np.ndarray, rois: RoiMask) -> dict[str, np.ndarray]:
    """Doses of the voxels of each structure that has any: {name: 1D float64, Gy}."""
    return {roi: dose[rois[roi]].astype(np.float64) for roi in rois.present()}


def openkbp_metrics(doses: Mapping[str, np.ndarray], voxel_volume_mm3: float) -> dict[str, dict[str, float]]:
    """OpenKBP's metrics {ROI: {metric: Gy}}: D_0.1_cc and mean for OARs; D_99, D_95, D_1 for PTVs."""
    return {
        roi: {
            name: Metric.parse(text).evaluate(values, voxel_volume_mm3)
            for name, text in (TARGET_METRICS if is_target(roi) else OAR_METRICS).items()
        }
        for roi, values in doses.items()
    }


def dose_error(reference: np.ndarray, predicted: np.ndarray, dose_mask: np.ndarray) -> float:
    """OpenKBP's dose error of a patient: sum of |reference - predicted| over the grid, per voxel of the dose mask."""
    difference = np.abs(np.asarray(reference, np.float64) - np.asarray(predicted, np.float64))
    return float(difference.sum() / np.count_nonzero(dose_mask))


def metric_differences(reference: Mapping, predicted: Mapping) -> list[float]:
    """|reference - predicted| of every metric of every structure of a patient."""
    return [abs(value - predicted[roi][name]) for roi, metrics in reference.items() for name, value in metrics.items()]


@dataclass(frozen=True)
class PatientScore:
    """How one prediction compares with its reference."""

    name: str
    dose_error: float
    reference: Mapping[str, Mapping[str, float]]
    predicted: Mapping[str, Mapping[str, float]]

    @property
    def dvh_error(self) -> float:
        """Mean of the patient's metric differences (for information: the DVH score averages over all entries)."""
        return float(np.mean(metric_differences(self.reference, self.predicted)))


def score_patient(
    name: str,
    reference: np.ndarray,
    predicted: np.ndarray,
    rois: RoiMask,
    dose_mask: np.ndarray,
    voxel_volume_mm3: float,
) -> PatientScore:
    """Dose error and metrics of one patient; all arrays (K, J, I), doses in Gy."""
    return PatientScore(
        name,
        dose_error(reference, predicted, dose_mask),
        openkbp_metrics(roi_doses(reference, rois), voxel_volume_mm3),
        openkbp_metrics(roi_doses(predicted, rois), voxel_volume_mm3),
    )


def dose_score(scores: Sequence[PatientScore]) -> float:
    """Mean dose error over patients."""
    return float(np.mean([score.dose_error for score in scores]))


def dvh_score(scores: Iterable[PatientScore]) -> float:
    """Mean metric difference over all (patient, structure, metric) entries that exist, pooled over patients."""
    return float(np.mean([d for score in scores for d in metric_differences(score.reference, score.predicted)]))


def cumulative_dvh(doses: np.ndarray, dose_axis: np.ndarray) -> np.ndarray:
    """Cumulative DVH: percent of the structure's voxels with at least each dose of `dose_axis` (ascending, Gy)."""
    doses = np.sort(np.asarray(doses, np.float64))
    return 100 * (1 - np.searchsorted(doses, dose_axis, side="left") / max(1, doses.size))
