"""Memory over a long cohort: many made-up patients, two at a time, all processes together measured every second.

    python Testing/benchmarks/cohort.py [--patients 300] [--jobs 2] [--single-pass]

Memory is flat where the last third of the run needs no more than the second. The first one loads programs and model.
Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from DeepDosePredictLib.io.nrrd_case import write_nrrd_case
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

GROWTH = 1.05
"""How much the last third may need of what the second one did."""


def write_cohort(folder: Path, number: int) -> None:
    """One phantom in folders of their own, as links."""
    write_nrrd_case(folder / "patient_1", head_and_neck_phantom())
    for n in range(2, number + 1):
        (folder / f"patient_{n}").mkdir()
        for file in (folder / "patient_1").iterdir():
            os.link(file, folder / f"patient_{n}" / file.name)


def processes(first: int) -> list[int]:
    """A process and all that it started, of those that still run."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [first]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def megabytes(process: int) -> float:
    """What a process holds; what several share counts for each by its share."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--single-pass", action="store_true")
    options = parser.parse_args()
    if options.patients < 12:
        parser.error("a trend needs 12 patients or more")
    with tempfile.TemporaryDirectory() as temporary:
        cohort, out = Path(temporary, "cohort"), Path(temporary, "out")
        write_cohort(cohort, options.patients)
        command = [sys.executable, "-m", "DeepDosePredictLib.app.cli", "predict", str(cohort), "-o", str(out)]
        command += ["--jobs", str(options.jobs), "--device", "cpu", *["--single-pass"] * options.single_pass]
        start, trace = time.perf_counter(), []
        with subprocess.Popen(command) as run:
            while run.poll() is None:
                done = len([*out.glob("*/result.json")])
                trace.append((done, sum(map(megabytes, processes(run.pid)))))
                time.sleep(1)
        seconds, finished = time.perf_counter() - start, len([*out.glob("*/result.json")])
    done, memory = np.array(trace).T
    for low in range(0, options.patients, max(1, options.patients // 10)):
        part = memory[(done >= low) & (done < low + max(1, options.patients // 10))]
        if part.size:
            print(f"from patient {low + 1:3d}: {part.mean():5.0f} MB on average, {part.max():5.0f} MB at most")
    second, third = (
        memory[(done >= share * options.patients / 3) & (done < (share + 1) * options.patients / 3)] for share in (1, 2)
    )
    print(f"{finished} of {options.patients} predicted in {seconds:.0f} s, at most {memory.max():.0f} MB")
    print(f"last third against the second: {third.mean() / second.mean():.3f}, peaks {third.max() / second.max():.3f}")
    sys.exit(run.returncode or int(third.mean() > GROWTH * second.mean()))


if __name__ == "__main__":
    main()
