"""Time to score one patient (dose error and all DVH metrics), against the plain way of doing it.

The baseline indexes the whole grid and calls numpy.percentile once for every metric, as the definition reads.

    python Testing/benchmarks/scoring.py
"""

from __future__ import annotations

import numpy as np

from common import median_seconds
from DeepDosePredictLib.dvh.metrics import score_patient
from DeepDosePredictLib.patient.rois import is_target
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom


def plain(case, predicted: np.ndarray) -> list[float]:
    """Dose error and metric differences, straight from the definitions."""
    reference = case.dose.astype(float)
    values = [np.sum(np.abs(reference - predicted)) / np.sum(case.dose_mask)]
    for roi in case.rois:
        mask = case.rois[roi].astype(float)
        n = max(1, round(100 / case.voxel_volume_mm3)) / mask.sum()
        for percent in (1, 5, 99) if is_target(roi) else (100 - 100 * n, None):
            pair = [
                np.mean(d[mask > 0]) if percent is None else np.percentile(d[mask > 0], percent)
                for d in (reference, predicted)
            ]
            values.append(abs(pair[0] - pair[1]))
    return values


def main() -> None:
    case = head_and_neck_phantom()
    predicted = np.roll(case.dose, 1, axis=1).astype(float) * case.dose_mask
    ours = median_seconds(
        lambda: score_patient("", case.dose, predicted, case.rois, case.dose_mask, case.voxel_volume_mm3)
    )
    baseline = median_seconds(lambda: plain(case, predicted))
    print(f"scoring one patient: {ours * 1e3:.0f} ms, baseline {baseline * 1e3:.0f} ms, ratio {ours / baseline:.2f}")


if __name__ == "__main__":
    main()
