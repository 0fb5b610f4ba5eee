"""What is refused without its voxels is refused before PyTorch, which takes seconds to import."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nrrd
import numpy as np

from DeepDosePredictLib.app import cli
from dicom_patient import edit, edit_ct

LIBRARY = Path(cli.__file__).parents[2]
PROGRAM = """
import json, sys
from DeepDosePredictLib.app.cli import main
for arguments in json.loads(sys.argv[1]):
    status = main(arguments)
    print(json.dumps([status, [name for name in ("torch", "lightning", "slicer") if name in sys.modules]]))
"""


def seen_by(arguments: list[list[str]]) -> list[tuple[str, int, list[str]]]:
    """Message, exit status and what was imported so far, of commands one after the other in one new process."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(arguments)]
    done = subprocess.run(command, cwd=LIBRARY, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    messages = [line for line in done.stderr.splitlines() if line.startswith("deepdose: ")]
    return [(message, *answer) for message, answer in zip(messages, answers, strict=True)]


def slicer_patient(folder: Path, spacing: float, label: str = "1") -> Path:
    """Headers whose data is not there at all."""
    folder.mkdir()
    place = {
        "space": "left-posterior-superior",
        "space directions": np.diag((spacing,) * 3),
        "space origin": np.zeros(3),
        "encoding": "raw",
    }
    segment = {"ID": "s", "Name": "PTV70", "LabelValue": label, "Layer": "0"}
    names = {f"Segment0_{key}": value for key, value in segment.items()}
    for name, kind, more in (("ct.nrrd", np.int16, {}), ("segmentation.seg.nrrd", np.uint8, names)):
        path = folder / name
        nrrd.write(str(path), np.zeros((4, 4, 4), kind), place | more, index_order="C")
        path.write_bytes(path.read_bytes()[: -64 * np.dtype(kind).itemsize])
    return folder


def test_what_needs_no_voxels_is_refused_before_pytorch_is_imported(tmp_path, small):
    def dicom(name: str) -> Path:
        return shutil.copytree(small, tmp_path / name)

    a_file = tmp_path / "file"
    a_file.write_text("no roles")
    (tmp_path / "empty").mkdir()
    missing, other, tilted, dose = map(dicom, ("missing", "other", "tilted", "dose"))
    (missing / "ct-010.dcm").unlink()
    edit(other / "structures.dcm", lambda d: setattr(d, "PatientID", "somebody else"))
    edit_ct(tilted, lambda d, n: setattr(d, "ImagePositionPatient", [0, 2 * n, 3 * n]))
    edit(dose / "dose.dcm", lambda d: setattr(d, "DoseUnits", "RELATIVE"))
    roles = tmp_path / "roles.json"
    roles.write_text('{"PTV70": "nowhere"}')
    out = str(tmp_path / "out")
    refused = {
        "no such folder": [str(tmp_path / "none"), "-o", out],
        "no patient here": [str(tmp_path / "empty"), "-o", out],
        "no such model": [str(small), "-o", out, "--model", "nonsense"],
        "no number": [str(small), "-o", out, "--gantry-angles", "left"],
        "no JSON file": [str(small), "-o", out, "--roles", str(a_file)],
        "nowhere": [str(small), "-o", out, "--roles", str(roles)],
        "this is a file": [str(small), "-o", str(a_file)],
        "Not a directory": [str(small), "-o", str(a_file / "out")],
        "slices that it refers to are missing": [str(missing), "-o", out],
        "of patient 'somebody else'": [str(other), "-o", out],
        "gantry tilt": [str(tilted), "-o", out],
        "unit is RELATIVE": [str(dose), "-o", out],
        "no whole number": [str(slicer_patient(tmp_path / "label", 3, "one")), "-o", out],
        "of a planning CT": [str(slicer_patient(tmp_path / "small", 0.01)), "-o", out],
    }
    answers = seen_by([["predict", *arguments] for arguments in refused.values()])
    explored = {"write a structure and its steps": [str(small), "--spare", "x"], "gantry tilt": [str(tilted)]}
    answers += seen_by([["explore", *arguments, "-o", out] for arguments in explored.values()])
    for words, (message, status, imported) in zip([*refused, *explored], answers, strict=True):
        assert words in message and status == 1 and not imported, (words, message, status, imported)
    assert not (tmp_path / "out").exists()


def test_models_and_structures_are_told_without_pytorch(small):
    command = [sys.executable, "-c", PROGRAM, json.dumps([["models"], ["structures", str(small)]])]
    done = subprocess.run(command, cwd=LIBRARY, capture_output=True, text=True, check=True)
    assert done.stdout.count("[0, []]") == 2
