"""How far a crop's dose differs from the whole grid's, by distance from the crop's border, in Gy.

The shipped model on the phantom: the network runs on the dose mask's box, on a larger box and on the whole grid. Batch
norm would leave border effects alone; group norm also sees the crop in its statistics, so this is measured, and the
predictor always computes the same box for the same dose mask.

    python Testing/benchmarks/crop.py [MODEL]
"""

from __future__ import annotations

import sys

import numpy as np

from DeepDosePredictLib.dvh.metrics import dose_error
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import dose_box
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom


def widened(box: tuple[slice, ...], by: int) -> tuple[slice, ...]:
    """The box with `by` more voxels on either side, shifted where the grid ends."""
    extents = [min(128, part.stop - part.start + 2 * by) for part in box]
    starts = [min(max(0, part.start - by), 128 - extent) for part, extent in zip(box, extents, strict=True)]
    return tuple(slice(start, start + extent) for start, extent in zip(starts, extents, strict=True))


def main() -> None:
    case = head_and_neck_phantom()
    predictor = Predictor(open_model(sys.argv[1] if len(sys.argv) > 1 else None), single_pass=True)
    box = dose_box(case.dose_mask)
    doses = {}
    for name, part in (("box", box), ("box + 16", widened(box, 16)), ("whole grid", (slice(0, 128),) * 3)):
        doses[name] = np.zeros(case.shape, np.float32)
        doses[name][part] = predictor._run(case, part)[0]
    distance = np.full(case.shape, -1)
    for n in range(64):
        inner = tuple(slice(part.start + n, part.stop - n) for part in box)
        if all(part.start < part.stop for part in inner):
            distance[inner] = n
    print("mean |difference| from the dose box's result, inside the dose mask [Gy]")
    print(f"{'voxels from the border':<24}" + "".join(f"{name:>14}" for name in list(doses)[1:]))
    for low, high in ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64)):
        where = case.dose_mask & (distance >= low) & (distance < high)
        if where.any():
            values = (np.abs(doses[name] - doses["box"])[where].mean() for name in list(doses)[1:])
            print(f"{low:>4} to {high - 1:<16}" + "".join(f"{value:>14.3f}" for value in values))
    for name, dose in doses.items():
        print(f"dose error against the phantom's plan, {name}: {dose_error(case.dose, dose, case.dose_mask):.3f} Gy")


if __name__ == "__main__":
    main()
