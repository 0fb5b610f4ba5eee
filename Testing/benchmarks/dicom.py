"""A clinical DICOM-RT study from folder to results: read, predict, write, each with its time and peak memory.

The study is made up: the phantom with a 512x512x160 CT and 20 structures.

    python Testing/benchmarks/dicom.py [FOLDER]        FOLDER: a study of your own instead
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from common import peak_megabytes, run_alone
from DeepDosePredictLib.app.prediction import Job, write_prediction
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.geometry.volume import Volume, reslice
from DeepDosePredictLib.io.dicom.write_study import write_study
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

SHAPE, SPACING = (160, 512, 512), (2.0, 0.977, 0.977)


def write_large_study(folder: Path) -> None:
    """The phantom resampled to SHAPE, its ten structures and ten more that no model uses."""
    case = head_and_neck_phantom()
    source, grid = case.grid, Grid.lps_aligned(SHAPE, SPACING, (0.0, 0.0, 0.0))
    ct = np.rint(reslice(case.ct, source, grid, -1000, True)).astype(np.int16)
    masks = {
        roi: reslice(case.rois[roi].astype(np.float32), source, grid, 0, True) >= 0.5 for roi in case.rois.present()
    }
    more = {f"z{name}": mask for name, mask in masks.items()}
    write_study(
        folder,
        "large",
        Volume("CT", ct, grid),
        masks | more,
        Volume("dose", case.dose, source),
    )


def measure(folder: str, part: str) -> dict:
    """Seconds of the parts up to `part` and the peak memory after it."""
    torch.set_num_threads(2)
    keep_freed_memory()
    seconds = {}

    def timed(name, function):
        start = time.perf_counter()
        result = function()
        seconds[name] = time.perf_counter() - start
        return result

    source = find_cases([folder])[0]
    case = timed("read", source.read)
    if part != "read":
        predictor = timed("load", lambda: Predictor(open_model(), "cpu"))
        prediction = timed("predict", lambda: predictor.predict(case, any_prescription=True))
    if part == "write":
        with tempfile.TemporaryDirectory() as out:
            timed("write", lambda: write_prediction(Job(source, Path(out)), case, prediction, predictor.model))
    return {"seconds": seconds, "peak": peak_megabytes()}


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = sys.argv[1] if len(sys.argv) > 1 else temporary
        if len(sys.argv) == 1:
            write_large_study(Path(folder))
        results = {part: run_alone(__file__, folder, part) for part in ("read", "predict", "write")}
    seconds = results["write"]["seconds"]
    for part, result in results.items():
        print(f"{part:<9}{seconds[part]:6.2f} s   peak memory up to here {result['peak']:5.0f} MB")
    print(f"{'all':<9}{sum(seconds.values()):6.2f} s, loading the model included; two threads")


if __name__ == "__main__":
    main()
