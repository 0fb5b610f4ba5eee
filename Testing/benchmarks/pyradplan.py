"""A plan that pyRadPlan optimises from the exported objectives of the phantom: python pyradplan.py PYTHON [FOLDER]

PYTHON is an interpreter that has pyRadPlan; FOLDER keeps what is written. Prints DVH metrics of the predicted dose
beside those of the plan, which pyRadPlan computes with its own machine and its own dose engine.

    python Testing/benchmarks/pyradplan.py venv-with-pyradplan/bin/python
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from DeepDosePredictLib.app import cli
from DeepDosePredictLib.dvh.metrics import openkbp_metrics, roi_doses
from DeepDosePredictLib.io.nrrd_case import read_nrrd_case, read_volume
from DeepDosePredictLib.io.objectives import PYRADPLAN_SCRIPT
from DeepDosePredictLib.patient.rois import is_target


def main() -> None:
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    patient, out = folder / "phantom", folder / "explored"
    if cli.main(["phantom", str(patient)]) or cli.main(["explore", str(patient), "-o", str(out), "--pyradplan"]):
        sys.exit("the phantom could not be explored")
    start = time.perf_counter()
    subprocess.run([sys.argv[1], str(out / PYRADPLAN_SCRIPT)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    case = read_nrrd_case(patient)
    doses = [read_volume(out / name).array for name in ("dose.nrrd", "pyradplan-dose.nrrd")]
    predicted, planned = (openkbp_metrics(roi_doses(dose, case.rois), case.voxel_volume_mm3) for dose in doses)
    print(f"{'structure':<14} {'metric':<9} {'predicted':>9} {'plan':>7} {'plan - predicted':>17}   [Gy]")
    differences: dict[bool, list[float]] = {True: [], False: []}
    for roi, metrics in predicted.items():
        for name, value in metrics.items():
            difference = planned[roi][name] - value
            differences[is_target(roi)].append(abs(difference))
            print(f"{roi:<14} {name:<9} {value:9.1f} {planned[roi][name]:7.1f} {difference:+17.1f}")
    for what, values in (("targets", differences[True]), ("organs", differences[False])):
        print(f"mean |difference| of {what}: {sum(values) / len(values):.2f} Gy")
    print(f"pyRadPlan took {seconds:.0f} s")


if __name__ == "__main__":
    main()
