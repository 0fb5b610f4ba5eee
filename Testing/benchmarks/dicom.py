"""A clinical study from folder to results: read, predict, write, each with its time, CPU time and peak memory.

The studies are made up: the phantom with a CT of the size given and 20 structures, as DICOM and as Slicer saves it.
Then the time of refusals that need no voxels, of the whole command.

    python Testing/benchmarks/dicom.py [--size 512x512x200 | --folder STUDY] [--form dicom | slicer]
"""

from __future__ import annotations

import argparse
import json
import subprocess
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
from DeepDosePredictLib.io.nrrd_case import write_volume
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.grid import Grid
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

EXTENT_MM = 500.0, 400.0
"""In plane, and along the patient."""
LIMIT_S, LIMIT_MB, REFUSAL_S = 10.0, {512: 2048.0, 1024: 3072.0}, 2.0


def write_large(folder: Path, size: str, form: str) -> None:
    """The phantom resampled to a size (I x J x K), its ten structures and ten more that no model uses."""
    i, j, k = map(int, size.split("x"))
    case = head_and_neck_phantom()
    source, grid = case.grid, Grid.lps_aligned((k, j, i), (EXTENT_MM[1] / k, 500 / j, 500 / i), (0.0, 0.0, 0.0))
    ct = np.rint(reslice(case.ct, source, grid, -1000, True)).astype(np.int16)
    masks = {}
    for roi in case.rois.present():
        masks[roi] = reslice(case.rois[roi], source, grid, 0, False) > 0
    masks |= {f"z{name}": mask for name, mask in masks.items()}
    if form == "dicom":
        write_study(folder, "large", Volume("CT", ct, grid), masks, Volume("dose", case.dose, source))
        return
    write_volume(folder / "ct.nrrd", ct, grid)
    write_volume(folder / "dose.nrrd", reslice(case.dose, source, grid, 0, True), grid)
    write_segmentation(folder / "segmentation.seg.nrrd", masks, grid)


def write_segmentation(path: Path, masks: dict[str, np.ndarray], grid: Grid) -> None:
    """As Slicer writes it: two layers, a label for each structure."""
    import nrrd

    layers = np.zeros((*grid.shape, 2), np.uint8)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack((np.full(3, np.nan), np.diag(grid.spacing[::-1]))),
        "space origin": np.asarray(grid.origin),
        "kinds": ["list", "domain", "domain", "domain"],
        "encoding": "gzip",
    }
    for n, (name, mask) in enumerate(masks.items()):
        layer, label = divmod(n, len(masks) // 2)
        layers[..., layer][mask] = label + 1
        entries = {"ID": name, "Name": name, "LabelValue": str(label + 1), "Layer": str(layer)}
        header |= {f"Segment{n}_{key}": value for key, value in entries.items()}
    nrrd.write(str(path), layers, header, index_order="C", compression_level=4)


def measure(folder: str, part: str) -> dict:
    """Seconds, of the clock and of the CPUs, of the parts up to `part`, and the peak memory after it."""
    torch.set_num_threads(2)
    keep_freed_memory()
    seconds, cpu = {}, {}

    def timed(name, function):
        start, used = time.perf_counter(), time.process_time()
        result = function()
        seconds[name], cpu[name] = time.perf_counter() - start, time.process_time() - used
        return result

    source = timed("find", lambda: find_cases([folder])[0])
    case = timed("read", source.read)
    if part != "read":
        predictor = timed("load", lambda: Predictor(open_model(), "cpu"))
        prediction = timed("predict", lambda: predictor.predict(case, any_prescription=True))
    if part == "write":
        with tempfile.TemporaryDirectory() as out:
            timed("write", lambda: write_prediction(Job(source, Path(out)), case, prediction, predictor.model))
    return {"seconds": seconds, "cpu": cpu, "peak": peak_megabytes()}


def refusal_seconds(folder: Path) -> tuple[float, float, str]:
    """Seconds, of the clock and of the CPUs, until a folder without a target among its roles is refused; its words."""
    roles = folder.parent / "roles.json"
    roles.write_text(json.dumps({"PTV70": "no such contour"}))
    command = [
        sys.executable,
        "-m",
        "DeepDosePredictLib.app.cli",
        "predict",
        str(folder),
        "-o",
        str(folder.parent / "o"),
    ]
    script = "import resource,subprocess,sys;r=subprocess.run(sys.argv[1:],capture_output=True,text=True);"
    script += "u=resource.getrusage(resource.RUSAGE_CHILDREN);print(u.ru_utime+u.ru_stime);print(r.stderr)"
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", script, *command, "--roles", str(roles)], capture_output=True, text=True
    )
    cpu, _, words = run.stdout.partition("\n")
    return time.perf_counter() - start, float(cpu), words.strip()[-120:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x512x200", metavar="IxJxK")
    parser.add_argument("--form", choices=("dicom", "slicer"), default="dicom")
    parser.add_argument("--folder", metavar="STUDY")
    parser.add_argument("--part", choices=("read", "predict", "write"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measure(options.folder, options.part)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary, *([] if options.folder else ["study"]))
        if not options.folder:
            folder.mkdir()
            write_large(folder, options.size, options.form)
        results = {
            part: run_alone(__file__, "--folder", folder, "--part", part) for part in ("read", "predict", "write")
        }
        last = results["write"]
        for name, seconds in last["seconds"].items():
            memory = f"   peak memory up to here {results[name]['peak']:5.0f} MB" if name in results else ""
            print(f"{name:<9}{seconds:6.2f} s  CPU {last['cpu'][name]:6.2f} s{memory}")
        total, cpu = sum(last["seconds"].values()), sum(last["cpu"].values())
        print(f"{'all':<9}{total:6.2f} s  CPU {cpu:6.2f} s, loading the model included; two threads")
        print("{:<9}{:6.2f} s  CPU {:6.2f} s: {}".format("refusal", *refusal_seconds(folder)))


if __name__ == "__main__":
    main()
