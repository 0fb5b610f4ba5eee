"""Time for the DVHs and metrics of a patient's ten structures, and agreement with SlicerRT's own numbers.

The baseline does it plainly: the dose and every mask on the whole oversampled grid, numpy.percentile for each metric, a
comparison with every dose of the curve. SlicerRT itself needs about 3.6 s on one core for a patient of this size.

    python Testing/benchmarks/dvh.py [DATA]

DATA is the folder with openkbp/ and reference-results/; without it only the phantom is timed.
"""

from __future__ import annotations

import csv
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from common import median_seconds
from DeepDosePredictLib.dvh.metrics import Metric
from DeepDosePredictLib.dvh.oversampled import OversampledDose, StructureDose
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

COLUMNS = {
    "D99pct_gy": "D99%",
    "D95pct_gy": "D95%",
    "D1pct_gy": "D1%",
    "D0.1cc_gy": "D0.1cc",
    "D2cc_gy": "D2cc",
    "V20Gy_pct": "V20Gy",
    "V50Gy_pct": "V50Gy",
}
METRICS = [Metric.parse(text) for text in COLUMNS.values()]


def crops(case: Case) -> dict[str, tuple]:
    """Box and mask of every structure, as the segments of a scene come."""
    result = {}
    for roi in case.rois.present():
        mask = case.rois[roi]
        used = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        box = tuple(slice(int(u[0]), int(u[-1]) + 1) for u in used)
        result[roi] = box, np.ascontiguousarray(mask[box])
    return result


def ours(case: Case, masks: dict[str, tuple]) -> dict[str, StructureDose]:
    """Curves, statistics and metrics of all structures."""
    source = OversampledDose(case.dose, case.voxel_volume_mm3)
    structures = {roi: source.samples_of_voxels(*mask) for roi, mask in masks.items()}
    for structure in structures.values():
        _ = structure.volume_cc, structure.mean, structure.minimum, structure.maximum, structure.curve(source.highest)
        _ = [structure.metric(metric) for metric in METRICS]
    return structures


def plain(case: Case, masks: dict[str, np.ndarray]) -> None:
    """The same from the definitions."""
    dose = case.dose
    for axis, n in enumerate(dose.shape):
        positions = np.clip(np.arange(2 * n) / 2 - 0.25, 0, n - 1)
        low = positions.astype(int)
        weights = (positions - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        dose = (1 - weights) * dose.take(low, axis) + weights * dose.take(np.minimum(low + 1, n - 1), axis)
    axis = np.append(0, np.arange(0.1, case.dose.max() + 0.2, 0.2))
    for mask in masks.values():
        fine = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        samples = dose[fine].astype(float)
        volume = samples.size * case.voxel_volume_mm3 / 8000
        _ = samples.mean(), samples.min(), samples.max(), [(samples >= d).mean() for d in axis]
        for metric in METRICS:
            if metric.kind == "V":
                _ = (samples >= metric.value).mean()
            else:
                percent = metric.value if metric.kind == "D%" else min(100, 100 * metric.value / volume)
                _ = np.percentile(samples, 100 - percent)


def time_both(case: Case) -> None:
    masks, whole = crops(case), {roi: case.rois[roi] for roi in case.rois.present()}
    fast = median_seconds(lambda: ours(case, masks))
    slow = median_seconds(lambda: plain(case, whole), runs=3)
    print(
        f"{case.name}, {len(masks)} structures: {fast * 1e3:.0f} ms, baseline {slow * 1e3:.0f} ms,"
        f" ratio {fast / slow:.3f}"
    )


def compare(case: Case, rows: list[dict], worst: dict) -> int:
    """Note the largest differences; returns how many volumes, means and ranges differ in their six digits."""
    structures, unlike = ours(case, crops(case)), 0
    for row in rows:
        structure = structures[row["roi"]]
        values = (structure.volume_cc, structure.mean, structure.minimum, structure.maximum)
        unlike += sum(
            f"{v:.6g}" != row[c] for v, c in zip(values, ("volume_cc", "mean_gy", "min_gy", "max_gy"), strict=True)
        )
        for column, metric in zip(COLUMNS, METRICS, strict=True):
            worst[column].append((abs(structure.metric(metric) - float(row[column])), case.name, row["roi"]))
    return unlike


def main() -> None:
    time_both(head_and_neck_phantom())
    if len(sys.argv) < 2:
        return
    data = Path(sys.argv[1])
    patients = defaultdict(list)
    with (data / "reference-results" / "slicerrt" / "metrics_fine.csv").open() as file:
        for row in csv.DictReader(file):
            patients[row["patient"]].append(row)
    worst, unlike = defaultdict(list), 0
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(data / "openkbp" / "validation-pats.tar.xz") as archive:
            wanted = [
                member for member in archive if Path(member.name).parts[1:2] and Path(member.name).parts[1] in patients
            ]
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later
            archive.extractall(folder, wanted)
        for name, rows in patients.items():
            case = read_openkbp(Path(folder) / "validation-pats" / name)
            time_both(case)
            unlike += compare(case, rows, worst)
    print(
        f"against SlicerRT ({sum(map(len, patients.values()))} structures): {unlike} of the volumes, means, minima"
        " and maxima differ in six digits; largest differences of the metrics:"
    )
    for column, differences in worst.items():
        (first, *where), second = sorted(differences, reverse=True)[:2]
        print(f"  {column:<10} {first:.4f} ({', '.join(where)}), then {second[0]:.4f}")


if __name__ == "__main__":
    main()
