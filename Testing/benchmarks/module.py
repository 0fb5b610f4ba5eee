"""The module's logic on slicer-core: the phantom as a 512x512x160 CT with ten segments, oblique by 5 degrees.

Time of `predict` by step, without loading PyTorch and the model, against the plain resampling of every segment to the
whole twice-oversampled dose grid (what SlicerRT does, the baseline for the DVH step), and the peak memory.

    python Testing/benchmarks/module.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import torch

from clinical import clinical_grid, clinical_nodes
from common import peak_megabytes
from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.mrml.geometry import reslice, volumeGrid
from DeepDosePredictLib.mrml.prediction import predictDose
from DeepDosePredictLib.mrml.segments import LabelmapShape, segmentShape
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from mrml_scene import Scene

RUNS = 3


def timed_steps(ct, segmentation, dose) -> dict[str, float]:
    """{step: seconds} of one prediction, by what it reports."""
    marks = [("start", time.perf_counter())]
    predictDose(ct, segmentation, dose, progress=lambda _, what: marks.append((what, time.perf_counter())))
    return {what: after - now for (what, now), (_, after) in pairwise(marks[1:])}


def full_grid_seconds(segmentation, dose) -> float:
    """Resampling every segment to the whole oversampled grid, once for each of two doses."""
    grid = volumeGrid(dose).refined((2, 2, 2))
    start = time.perf_counter()
    for n in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        shape = segmentShape(segmentation, segmentation.GetSegmentation().GetNthSegmentID(n))
        assert isinstance(shape, LabelmapShape)
        for _ in range(2):
            reslice(shape.mask, shape.grid, grid, 0, linear=False)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(2)
    keep_freed_memory()
    scene = Scene(tempfile.mkdtemp())
    phantom = head_and_neck_phantom()
    nodes = clinical_nodes(scene, phantom, clinical_grid(phantom))
    before = peak_megabytes()
    timed_steps(*nodes)
    runs = [timed_steps(*nodes) for _ in range(RUNS)]
    steps = {step: sorted(run[step] for run in runs)[RUNS // 2] for step in runs[0]}
    for step, seconds in steps.items():
        print(f"{step:<32}{seconds:7.2f} s")
    dvh = sum(seconds for step, seconds in steps.items() if step in ("Computing DVHs", "Making chart and table"))
    total = sum(steps.values())
    print(f"prediction, nodes to dose node  {total - dvh:7.2f} s")
    print(f"DVHs, chart and table           {dvh:7.2f} s")
    print(f"ratio of the DVH step to resampling whole grids: {dvh / full_grid_seconds(nodes[1], nodes[2]):.2f}")
    print(f"peak memory {peak_megabytes():.0f} MB ({before:.0f} MB of it before, with the made-up CT)")


if __name__ == "__main__":
    main()
