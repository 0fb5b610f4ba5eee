"""Cohorts: resumed after Ctrl-C and SIGKILL, crashes that stay with their patient, what counts as finished."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from DeepDosePredictLib.app import cohort as cohort_module
from DeepDosePredictLib.app import prediction, workers
from DeepDosePredictLib.app.cohort import LOST, CohortSettings, check_outputs, finished_result, predict_cohort
from DeepDosePredictLib.app.output_lock import HOLDER, LOCK, locked
from DeepDosePredictLib.app.prediction import Job, Settings, result_key
from DeepDosePredictLib.app.sources import COMPACT, CaseSource, find_cases
from DeepDosePredictLib.errors import CaseError, DeepDoseError
from DeepDosePredictLib.io.atomic import staged_files
from DeepDosePredictLib.io.nrrd_case import write_nrrd_case
from DeepDosePredictLib.model.contract import ChannelSpec
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.report.result import RESULT, Result, read_result
from synthetic import make_case, make_model

LIBRARY = Path(workers.__file__).parents[2]
FILES = ["dose.nrrd", "dvh.csv", "metrics.csv", "report.html", "report.png", "result.json"]


@pytest.fixture(scope="module")
def compact(tmp_path_factory) -> Path:
    """A patient in the compact form: the quickest to read. Its few structures are quick to draw."""
    case = make_case()
    folder = tmp_path_factory.mktemp("compact") / "patient"
    write_nrrd_case(folder, replace(case, rois=RoiMask.encode({"PTV70": case.rois["PTV70"]})))
    return folder


def cohort_of(compact: Path, folder: Path, names: list[str]) -> Path:
    for name in names:
        shutil.copytree(compact, folder / name)
    return folder


def start(cohort: Path, out: Path, model: Path) -> subprocess.Popen:
    """The command in a process group of its own, as a terminal starts it.

    Ctrl-C must reach it even where the tests run with it ignored, as a shell's background jobs do.
    """
    arguments = ["predict", cohort, "-o", out, "--model", model, "--device", "cpu", "--jobs", 2]
    return subprocess.Popen(
        [sys.executable, "-m", "DeepDosePredictLib.app.cli", *map(str, arguments)],
        cwd=LIBRARY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(out: Path) -> dict[str, int]:
    """{patient: when its result was written}."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{RESULT}")}


def wait_for(out: Path, number: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 300
    while len(finished(out)) < number:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.02)


def all_gone(group: int) -> bool:
    """Whether no process of a group is left; waits a little for them to end."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_cohort_survives_ctrl_c_and_sigkill(tmp_path, compact, tiny_model):
    """Seven patients, stopped by Ctrl-C, killed half-way, and run to the end: each is predicted exactly once."""
    cohort, out = cohort_of(compact, tmp_path / "cohort", [f"pt_{n}" for n in range(7)]), tmp_path / "out"

    process = start(cohort, out, tiny_model)
    wait_for(out, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "what is finished is kept" in output and "Traceback" not in output
    assert all_gone(process.pid)
    left = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in out.iterdir() if folder.is_dir()}
    assert left == dict.fromkeys(left, FILES)
    stopped = finished(out)
    with (out / "summary.csv").open() as file:
        assert {row["patient"] for row in csv.DictReader(file)} <= stopped.keys()

    process = start(cohort, out, tiny_model)
    wait_for(out, 4, process)
    process.kill()
    process.wait()
    assert all_gone(process.pid), "workers outlive the killed command"
    killed = finished(out)
    assert 4 <= len(killed) < 7 and killed.items() >= stopped.items()
    for folder in out.iterdir():
        if folder.is_dir() and folder.name in killed:
            assert not set(FILES) - {path.name for path in folder.iterdir()}

    process = start(cohort, out, tiny_model)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and f"7 of 7 patients predicted ({len(killed)} of them earlier)" in output
    assert finished(out).items() >= killed.items() and len(finished(out)) == 7
    assert {path.name for path in out.iterdir()} == {*(f"pt_{n}" for n in range(7)), "summary.csv", "report.html"}
    assert all(sorted(path.name for path in (out / f"pt_{n}").iterdir()) == FILES for n in range(7))
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == [f"pt_{n}" for n in range(7)]
    assert {row["status"] for row in rows} == {"predicted"}


class Crashing(CaseSource):
    """Ends its process as a fault in compiled code does."""

    def read(self, *_):
        os.abort()


class Greedy(CaseSource):
    def read(self, *_):
        raise MemoryError


class Wrong(CaseSource):
    def read(self, *_):
        raise RuntimeError("a fault\nof the program")


@pytest.mark.slow
def test_what_goes_wrong_stays_with_its_patient(tmp_path, compact, tiny_model, capfd):
    names = {"a": CaseSource, "b": Crashing, "c": Greedy, "d": Wrong, "e": CaseSource}
    cohort_of(compact, tmp_path / "cohort", list(names))
    sources = [kind(name, tmp_path / "cohort" / name, COMPACT) for name, kind in names.items()]
    told = []
    settings = CohortSettings("t", Settings(tiny_model, "cpu"), n_workers=2)
    cohort = predict_cohort(
        sources, tmp_path / "out", settings, lambda patient, error: told.append((patient, bool(error)))
    )
    assert list(cohort.results) == ["a", "e"] and cohort.n_kept == 0
    assert cohort.failures == {
        "b": workers.CRASHED,
        "c": "not enough memory",
        "d": "unexpected RuntimeError: a fault of the program",
    }
    assert sorted(told) == [("a", False), ("b", True), ("c", True), ("d", True), ("e", False)]
    page = (tmp_path / "out" / "report.html").read_text()
    assert workers.CRASHED in page and 'href="./a/report.html"' in page
    capfd.readouterr()


def result_of(folder: Path, key: str) -> Path:
    """A made-up result."""
    folder.mkdir(parents=True)
    (folder / "dose.nrrd").write_bytes(b"dose")
    result = Result("p", key, "m 1", "0" * 64, "0", "now", 1.0, "cpu", (), None, None, (), {"dose.nrrd": 4})
    (folder / RESULT).write_bytes(result.to_json())
    return folder


def test_what_counts_as_finished(tmp_path, compact, tiny_model, monkeypatch):
    source = find_cases([cohort_of(compact, tmp_path / "cohort", ["p", "q"])])[0]
    predictor = Settings(tiny_model, "cpu").predictor()
    key = result_key(source, predictor)
    job = Job(source, result_of(tmp_path / "out", key), key)
    assert finished_result(job) and result_key(source, predictor) == key
    other_model = make_model(tmp_path / "tiny.safetensors", seed=1)
    changed = [
        result_key(source, Settings(other_model, "cpu").predictor()),
        result_key(source, Settings(tiny_model, "cpu", single_pass=False).predictor()),
        result_key(source, predictor, {"PTV70": "boost"}),
    ]
    (source.folder / "notes.txt").write_text("no input")
    assert result_key(source, predictor) == key
    with monkeypatch.context() as changing:
        changing.setattr(prediction, "__version__", "0.0.1")
        changed.append(result_key(source, predictor))
    os.utime(source.folder / "ct.nrrd", (1, 1))
    changed.append(result_key(source, predictor))
    assert len({key, *changed}) == 6
    assert not any(finished_result(replace(job, key=other)) for other in changed)
    (job.output / "dose.nrrd").write_bytes(b"dos")
    assert not finished_result(job)
    with pytest.raises(CaseError, match=r"dose\.nrrd changed since"):
        read_result(job.output)
    (job.output / "dose.nrrd").unlink()
    assert not finished_result(job)


def test_sizes_and_gantry_angles_are_part_of_what_was_predicted(tmp_path, compact, tiny_model):
    """A file of another size at the same time is another input, and other beams make another dose."""
    source = find_cases([cohort_of(compact, tmp_path / "cohort", ["p", "q"])])[0]
    predictor = Settings(tiny_model, "cpu").predictor()
    ct, key = source.folder / "ct.nrrd", result_key(source, predictor)
    when = ct.stat().st_mtime_ns
    with ct.open("ab") as file:
        file.write(b"x")
    os.utime(ct, ns=(when, when))
    assert result_key(source, predictor) != key
    spec = ChannelSpec(("ct", "plan_dose", "ptv/PTV70"), gantry_angles=(0, 120, 240))
    model = make_model(tmp_path / "beams.safetensors", spec=spec)
    keys = [
        result_key(source, Settings(model, "cpu", gantry_angles=angles).predictor())
        for angles in (None, (0.0, 120.0, 240.0), (0.0, 90.0, 240.0))
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"[" * 100_000, b'{"patient": 3}', b"\xff\xfe"])
def test_damaged_results_are_predicted_again(tmp_path, content):
    folder = result_of(tmp_path / "out", "k")
    good = json.loads((folder / RESULT).read_bytes())
    for damaged in (
        content,
        json.dumps(good | {"metrics": [3]}).encode(),
        json.dumps(good | {"files": []}).encode(),
        json.dumps(good | {"seconds": "1"}).encode(),
        json.dumps(good | {"key": None}).encode(),
    ):
        (folder / RESULT).write_bytes(damaged)
        with pytest.raises(CaseError, match=r"result\.json: not a finished result"):
            read_result(folder)


@pytest.mark.slow
def test_a_finished_cohort_is_kept_until_told_otherwise(tmp_path, compact, tiny_model):
    sources = find_cases([cohort_of(compact, tmp_path / "cohort", ["p"])])
    out, settings = tmp_path / "out", CohortSettings("t", Settings(tiny_model, "cpu"), n_workers=1)
    predict_cohort(sources, out, settings)
    before = finished(out)
    assert predict_cohort(sources, out, settings).n_kept == 1 and finished(out) == before
    again = predict_cohort(sources, out, replace(settings, overwrite=True))
    assert again.n_kept == 0 and all(finished(out)[name] > when for name, when in before.items())


def test_one_run_at_a_time(tmp_path):
    """A second run into a folder is refused before it touches anything, and told whose the folder is."""
    out = tmp_path / "out"
    with locked(out):
        stage = out / ".writing-x"
        stage.mkdir()
        with (
            pytest.raises(DeepDoseError, match=rf"out: process {os.getpid()} on .*, since 20.*, writes here"),
            locked(out),
        ):
            raise AssertionError
        assert stage.is_dir() and {path.name for path in out.iterdir()} == {LOCK, HOLDER, stage.name}
        stage.rmdir()
    assert not out.exists()
    with locked(out):
        (out / "result").touch()
    assert [path.name for path in out.iterdir()] == ["result"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_frees_its_folder(tmp_path):
    words = "import sys, time; from pathlib import Path; from DeepDosePredictLib.app.output_lock import locked"
    program = f"{words}\nwith locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "out"], cwd=LIBRARY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(DeepDoseError, match=f"process {process.pid} on"), locked(tmp_path / "out"):
        raise AssertionError
    process.kill()
    process.communicate()
    with locked(tmp_path / "out"):
        pass
    assert not [*(tmp_path / "out").iterdir()]


def test_results_that_vanish_meanwhile_are_no_results(tmp_path, compact, tiny_model, monkeypatch):
    """Whoever clears the output folder during a run is told which patients are gone."""
    sources = find_cases([cohort_of(compact, tmp_path / "cohort", ["a", "b"])])
    out = tmp_path / "out"

    def outcomes(jobs, *_):
        for job in jobs:
            yield job, read_result(result_of(job.output, job.key))
        shutil.rmtree(out / "a")

    monkeypatch.setattr(cohort_module, "outcomes_of", outcomes)
    cohort = predict_cohort(sources, out, CohortSettings("t", Settings(tiny_model, "cpu"), n_workers=1))
    assert list(cohort.results) == ["b"] and cohort.failures == {"a": LOST}
    with (out / "summary.csv").open() as file:
        assert [(row["patient"], row["status"]) for row in csv.DictReader(file)] == [
            ("a", "failed"),
            ("b", "predicted"),
        ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_files_move_together_whatever_comes(tmp_path, monkeypatch, number):
    """A signal amid the files of a result waits until all are in their places, and is then obeyed."""
    moved = []
    usual = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        moved.append(path.name)
        os.kill(os.getpid(), number)
        return usual(path, target)

    def stop(*_):
        raise KeyboardInterrupt

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt), staged_files(tmp_path / "out", last="z") as stage:
            for name in ("a", "z", "b"):
                (stage / name).touch()
            monkeypatch.setattr(Path, "replace", interrupted)
        assert {signal.getsignal(n) for n in before} == {stop}
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert moved == ["a", "b", "z"] and sorted(path.name for path in (tmp_path / "out").iterdir()) == moved


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_processes_start_deaf_to_ctrl_c():
    """It reaches them while they import, seconds before they could ignore it."""
    words = "import signal, sys; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    with workers._without_interrupts():
        deaf = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    hearing = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert (deaf.stdout, hearing.stdout) == ("True\n", "False\n")


def test_names_that_would_collide(tmp_path, tiny_model):
    for name in ("summary.csv", "report.html", ""):
        with pytest.raises(DeepDoseError, match="cannot have the name"):
            check_outputs([CaseSource(name, tmp_path / "a", None)], [tmp_path / "out" / (name or "x")])


def test_clearing_up_after_stopped_processes(tmp_path):
    """What they were writing goes, with folders that it leaves empty; results stay."""
    jobs = [Job(CaseSource(name, tmp_path / name, COMPACT), tmp_path / "out" / name) for name in "abc"]
    (jobs[0].output / ".writing-x").mkdir(parents=True)
    result_of(jobs[1].output, "k")
    (jobs[1].output / ".writing-y").mkdir()
    cohort_module._clear(jobs)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert sorted(path.name for path in jobs[1].output.iterdir()) == ["dose.nrrd", RESULT]


def test_number_of_workers(monkeypatch):
    import torch

    cpu = torch.device("cpu")
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(16), raising=False)
    monkeypatch.setattr(workers, "_free_bytes", lambda: 100 * workers.BYTES_PER_JOB)
    assert workers.default_workers(100, cpu) == 8 and workers.default_workers(3, cpu) == 3
    assert workers.default_workers(100, torch.device("cuda")) == 1
    monkeypatch.setattr(workers, "_free_bytes", lambda: workers.BYTES_PER_JOB // 2)
    assert workers.default_workers(100, cpu) == 1
