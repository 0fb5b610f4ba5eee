"""Damaged and hostile inputs: a clear error or a right result. `benchmarks/corruption.py` runs many more."""

from __future__ import annotations

import errno
import gzip
import json
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from corruption import READERS, SHAPE, outcome, tiny_case, use_tiny_grid
from DeepDosePredictLib.app import workers
from DeepDosePredictLib.app.prediction import Job, Settings
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.dvh.goals import read_goals
from DeepDosePredictLib.dvh.metrics import Metric
from DeepDosePredictLib.errors import CaseError, DeepDoseError, ModelError
from DeepDosePredictLib.io import openkbp
from DeepDosePredictLib.io.nrrd_case import read_nrrd_case, write_nrrd_case
from DeepDosePredictLib.io.nrrd_file import MAX_VOXELS, read_nrrd
from DeepDosePredictLib.io.roles import read_roles
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.report.result import MetricValue, Result

CASES = 60
QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@pytest.fixture
def tiny_grid(monkeypatch):
    use_tiny_grid(monkeypatch.setattr)


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if not reader.alone])
def test_damaged_inputs_are_refused_in_words_or_read_right(tmp_path, tiny_grid, name):
    reader = READERS[name]
    (tmp_path / "original").mkdir()
    reader.make(tmp_path / "original")
    outcomes = [outcome(reader, tmp_path / "original", tmp_path / "input", seed) for seed in range(CASES)]
    assert not set(outcomes) - {"read", "refused"}
    assert outcomes.count("refused") > CASES / 4


def test_the_oracle_of_goals_tells_wrong_from_right(tmp_path):
    reader = READERS["goals"]
    reader.make(tmp_path)
    goals = reader.read(tmp_path)
    reader.oracle(goals, tmp_path)
    first = goals[0]
    for wrong in ({"sense": "<="}, {"limit": 66.0}, {"metric": Metric("D%", 94)}, {"weight": 1.0}, {"structure": "x"}):
        with pytest.raises(AssertionError):
            reader.oracle([replace(first, **wrong), *goals[1:]], tmp_path)
    with pytest.raises(AssertionError):
        reader.oracle(goals[1:], tmp_path)


@pytest.mark.slow
def test_damaged_segmentations_do_not_end_the_process():
    pytest.importorskip("slicer", reason="needs slicer-core")
    script = Path(__file__).parent / "benchmarks" / "corruption.py"
    process = subprocess.run(
        [sys.executable, script, "--work", "scene", "16", "34"], capture_output=True, text=True, check=False
    )
    outcomes = [json.loads(line)[1] for line in process.stdout.splitlines() if line.startswith("[")]
    assert process.returncode == 0 and len(outcomes) == 18 and set(outcomes) == {"read", "refused"}, process.stderr


@QUICK
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | ANY_JSON)
def test_any_text_as_roles_goals_and_result(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    for read in (read_roles, read_goals):
        try:
            read(tmp_path / "x.json")
        except DeepDoseError as error:
            assert "x.json" in str(error)


WORDS = st.text(max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.builds(MetricValue, WORDS, WORDS, WORDS, NUMBERS | st.none(), NUMBERS)


@QUICK
@given(
    st.builds(
        Result,
        WORDS,
        WORDS,
        WORDS,
        WORDS,
        WORDS,
        WORDS,
        NUMBERS,
        WORDS,
        st.lists(WORDS).map(tuple),
        NUMBERS | st.none(),
        NUMBERS | st.none(),
        st.lists(METRICS, max_size=3).map(tuple),
        st.dictionaries(WORDS, st.integers(0, 2**40), max_size=3),
    )
)
def test_results_come_back_as_they_were_written(result):
    assert Result.from_json(result.to_json()) == result


@QUICK
@given(
    arrays.arrays(
        np.float64, SHAPE, fill=st.just(0), elements=st.floats(0, 200, width=32).map(lambda gray: round(gray, 3))
    )
)
def test_predictions_come_back_as_they_were_written(tmp_path, tiny_grid, dose):
    openkbp.write_dose(tmp_path / "p.csv", dose)
    if dose.any():
        np.testing.assert_allclose(openkbp.read_dose(tmp_path / "p.csv"), dose, rtol=1e-5)
    else:
        with pytest.raises(CaseError, match="no values"):
            openkbp.read_dose(tmp_path / "p.csv")


def nrrd(path: Path, lines: str, data: bytes, **changes: str) -> Path:
    fields = {
        "type": "double",
        "dimension": "3",
        "sizes": "4 4 4",
        "encoding": "gzip",
        "endian": "little",
        "space": "left-posterior-superior",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
    } | changes
    header = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()) + lines
    path.write_bytes(header.encode() + b"\n" + data)
    return path


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        ("", {"sizes": "256 256 256"}, "the data ends after 512"),
        ("", {"sizes": f"{MAX_VOXELS} 1 2"}, "at most"),
        ("", {"sizes": "4 4 -4"}, "sizes"),
        ("", {"sizes": "4 4 3"}, "more data than its sizes say"),
        ("", {"dimension": "2"}, "sizes"),
        ("", {"type": "block"}, "the type 'block'"),
        ("", {"encoding": "bzip2"}, "encoding"),
        ("data file: /etc/passwd\n", {}, "another file"),
        ("Data File: /etc/passwd\n", {}, "another file"),
        ("DATAFILE: LIST\n/etc/passwd\n", {}, "NRRD"),
        ("byte skip: -1\n", {}, "another file or further on"),
        ("Sizes: 4 4 4\n", {}, "twice"),
        ("   \ndata file: /etc/passwd\n", {}, "header has the line"),
        ("a:=b\0: data file: x\n", {}, "header has the line"),
    ],
)
def test_hostile_volumes(tmp_path, lines, changes, message):
    path = nrrd(tmp_path / "ct.nrrd", lines, gzip.compress(bytes(512)), **changes)
    with pytest.raises(CaseError, match=rf"ct\.nrrd: .*{message}"):
        read_nrrd(path)


def test_a_volume_that_unpacks_to_far_more_is_refused_early(tmp_path):
    """A gigabyte in a megabyte."""
    bomb = gzip.compress(bytes(2**26), 9) * 16
    start = time.perf_counter()
    with pytest.raises(CaseError, match="more data than its sizes say"):
        read_nrrd(nrrd(tmp_path / "ct.nrrd", "", bomb))
    assert time.perf_counter() - start < 1


def test_what_was_read_is_what_was_written(tmp_path):
    """Raw and gzip, both byte orders."""
    values = np.arange(64, dtype=">f8").reshape(4, 4, 4)
    for encoding, pack in (("raw", bytes), ("gzip", gzip.compress)):
        for endian, data in (("big", values), ("little", values.astype("<f8"))):
            path = nrrd(tmp_path / "x.nrrd", "", pack(data.tobytes()), encoding=encoding, endian=endian)
            np.testing.assert_array_equal(read_nrrd(path)[0], values)


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


def test_models_from_strangers_run_no_code(tmp_path, tiny_model):
    trace, model = tmp_path / "trace", tmp_path / "m.safetensors"
    content = tiny_model.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    contract = json.loads(header["__metadata__"]["contract"])
    code = f"__import__('pathlib').Path({str(trace)!r}).write_text('run')"
    hostile = [pickle.dumps(Payload(trace))]
    torch.save({"weights": Payload(trace)}, model)
    hostile.append(model.read_bytes())
    for key in ("name", "architecture", "network", "channels"):
        header["__metadata__"]["contract"] = json.dumps(contract | {key: code})
        text = json.dumps(header).encode()
        hostile.append(len(text).to_bytes(8, "little") + text + content[8 + size :])
    for content in hostile:
        model.write_bytes(content)
        try:
            assert load_model(model).contract.name == code  # a name may be any words
        except ModelError as error:
            assert "m.safetensors" in str(error)
    assert not trace.exists()


@pytest.mark.parametrize("where", ["write_dose", "write_dvh", "write_report", "patient_page"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, tiny_model, case, monkeypatch, where):
    write_nrrd_case(tmp_path / "cohort" / "p", case)
    (source,) = find_cases([tmp_path / "cohort" / "p"])
    job = Job(source, tmp_path / "out" / "p")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"DeepDosePredictLib.app.prediction.{where}", full)
    monkeypatch.setattr(workers, "_worker_predictor", Settings(tiny_model, "cpu").predictor)
    assert workers._work(job) == f"{job.output}: No space left on device"
    assert not job.output.exists()


def test_the_tiny_case_reads_back(tmp_path):
    write_nrrd_case(tmp_path / "x", tiny_case())
    np.testing.assert_array_equal(read_nrrd_case(tmp_path / "x").dose, tiny_case().dose)
