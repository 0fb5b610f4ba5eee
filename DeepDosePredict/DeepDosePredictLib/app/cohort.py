"""Predicting a cohort: in parallel, resumable, with a summary table and a report over all patients."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

from .. import __version__
from ..device import keep_freed_memory
from ..errors import DeepDoseError
from ..io.atomic import atomic_write, remove_leftovers
from ..model.installed import open_model
from ..model.model_file import Model
from ..model.predictor import Predictor
from ..report.html import PAGE, cohort_page
from ..report.result import Result, read_result
from .outputs import write_prediction, write_table
from .sources import CaseSource

SUMMARY = "summary.csv"
COLUMNS = ("patient", "status", "dose_error_gy", "dvh_error_gy", "seconds", "device", "warnings", "error")
BYTES_PER_JOB = 3 * 2**30
CRASHED = "the process that predicted it ended unexpectedly: out of memory, or a damaged file"
_SECONDS_TO_END = 10


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        model: name of an installed model or path of a model file; None takes the default.
        device, single_pass, gantry_angles: see `Predictor`.
        roles: {role: structure name or names}, see `CaseSource.read`.
    """

    model: str | Path | None = None
    device: str = "auto"
    single_pass: bool | None = None
    gantry_angles: tuple[float, ...] | None = None
    roles: Mapping | None = None

    def predictor(self) -> Predictor:
        return Predictor(open_model(self.model), self.device, self.single_pass, self.gantry_angles)


@dataclass(frozen=True)
class Job:
    """A patient to predict into a folder; see `write_prediction` for `key`."""

    source: CaseSource
    output: Path
    key: str = ""


@dataclass(frozen=True)
class Cohort:
    """What a run over a cohort left: results in the order of the input, of which `n_kept` are earlier ones."""

    results: Mapping[str, Result]
    failures: Mapping[str, str]
    n_kept: int


def predict_patient(
    job: Job,
    predictor: Predictor,
    roles: Mapping | None = None,
    reference: Path | None = None,
    *,
    in_cohort: bool = False,
) -> Result:
    """Read a patient, predict and write its folder; DeepDoseError or OSError leave the folder as it was."""
    case = job.source.read(roles, reference)
    prediction = predictor.predict(case, any_prescription=job.source.kind in ("scene", "dicom"))
    return write_prediction(
        job.output,
        case,
        prediction,
        predictor.model,
        openkbp=job.source.kind == "openkbp",
        key=job.key,
        in_cohort=in_cohort,
    )


def predict_cohort(
    sources: Sequence[CaseSource],
    folder: Path,
    settings: Settings,
    *,
    title: str,
    n_workers: int | None = None,
    overwrite: bool = False,
    report: Callable[[str, str | None], None] = lambda patient, error: None,
) -> Cohort:
    """Predict every patient into a folder of its own below `folder`; a bad one is skipped.

    A patient whose folder holds a complete result of the same model, inputs and settings is kept. `folder` gets
    summary.csv, which grows during the run, and report.html.

    Args:
        title: name of the cohort.
        n_workers: processes; None takes what suits device, cores and memory.
        overwrite: predict again what is finished.
        report: called with patient and error (or None) for each patient when it is done.
    """
    outputs = [folder / source.name for source in sources]
    check_outputs(sources, outputs)
    predictor = settings.predictor()  # tells here, once, of a model or device that cannot be used
    jobs = [
        Job(source, output, result_key(source, predictor, settings.roles))
        for source, output in zip(sources, outputs, strict=True)
    ]
    n_workers = n_workers or default_workers(len(jobs), predictor.device)
    settings = replace(settings, model=predictor.model.path.resolve())
    del predictor
    for path in (folder / SUMMARY, folder / PAGE, *outputs):
        remove_leftovers(path)
    outcomes: dict[str, Result | str] = {}
    if not overwrite:
        outcomes = {job.source.name: result for job in jobs if (result := _finished(job))}
    n_kept = len(outcomes)
    for name in outcomes:
        report(name, None)
    write_summary(folder, jobs, outcomes)
    for job, outcome in _outcomes([job for job in jobs if job.source.name not in outcomes], settings, n_workers):
        outcomes[job.source.name] = outcome
        report(job.source.name, outcome if isinstance(outcome, str) else None)
        write_summary(folder, jobs, outcomes)
    ordered = {source.name: outcomes[source.name] for source in sources}
    cohort = Cohort(
        {name: outcome for name, outcome in ordered.items() if isinstance(outcome, Result)},
        {name: outcome for name, outcome in ordered.items() if isinstance(outcome, str)},
        n_kept,
    )
    with atomic_write(folder / PAGE) as file:
        file.write(cohort_page(title, cohort.results, cohort.failures).encode())
    return cohort


def check_outputs(sources: Sequence[CaseSource], outputs: Sequence[Path]) -> None:
    """Nothing that was read may be overwritten, and no two patients may share an output folder."""
    inputs = {source.folder.resolve() for source in sources}
    seen: dict[Path, Path] = {}
    for source, output in zip(sources, outputs, strict=True):
        if output.resolve() in inputs:
            raise DeepDoseError(f"{output}: this is a patient's own folder; choose another output folder")
        if output in seen:
            raise DeepDoseError(
                f"{source.folder} and {seen[output]} have patients of the same name; predict them into separate folders"
            )
        if not source.name or source.name in (SUMMARY, PAGE):
            raise DeepDoseError(f"{source.folder}: a patient cannot have the name {source.name!r}; rename the folder")
        if output.exists() and not output.is_dir():
            raise DeepDoseError(f"{output}: this is a file; give a folder")
        seen[output] = source.folder


def result_key(source: CaseSource, predictor: Predictor, roles: Mapping | None = None) -> str:
    """Hash of everything that decides a prediction: model, options, and names, sizes and times of the input files."""
    if source.study:
        files = [*filter(None, (source.study.structures,)), *source.study.ct, *source.study.doses]
    else:
        files = [path for path in source.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    content = {
        "version": __version__,
        "model": _identity(predictor.model),
        "single_pass": predictor.single_pass,
        "gantry_angles": predictor.channels.gantry_angles,
        "patient": source.name,
        "kind": source.kind,
        "roles": {role: [names] if isinstance(names, str) else list(names) for role, names in (roles or {}).items()},
        "files": [
            (str(path.relative_to(source.folder)), path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(files)
        ],
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _identity(model: Model) -> tuple[str, str, str]:
    return model.contract.name, model.contract.version, model.sha256


def default_workers(n_patients: int, device: torch.device) -> int:
    """One on a GPU; on the CPU half of the cores, as far as memory goes: reading and drawing use one core each."""
    if device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(n_patients, cores // 2, _free_bytes() // BYTES_PER_JOB))


def _free_bytes() -> int:
    """Memory that is free, or what there is at all where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2 * BYTES_PER_JOB


def _finished(job: Job) -> Result | None:
    """The result of an earlier run that this one would repeat."""
    try:
        result = read_result(job.output)
    except DeepDoseError:
        return None
    return result if result.key == job.key else None


def write_summary(folder: Path, jobs: Sequence[Job], outcomes: Mapping[str, Result | str]) -> None:
    """summary.csv with a row for each patient that is done, in the order of the input."""
    write_table(
        folder / SUMMARY,
        COLUMNS,
        (_summary_row(job.source.name, outcomes[job.source.name]) for job in jobs if job.source.name in outcomes),
    )


def _summary_row(patient: str, outcome: Result | str) -> list[str]:
    row = {"patient": patient, "status": "failed"}
    if isinstance(outcome, str):
        row["error"] = outcome
    else:
        row |= {
            "status": "predicted",
            "seconds": f"{outcome.seconds:.3f}",
            "device": outcome.device,
            "warnings": "; ".join(outcome.warnings),
        }
        if outcome.dose_error is not None:
            row |= {"dose_error_gy": f"{outcome.dose_error:.4f}", "dvh_error_gy": f"{outcome.dvh_error:.4f}"}
    return [row.get(column, "") for column in COLUMNS]


def _outcomes(jobs: Sequence[Job], settings: Settings, n_workers: int) -> Iterator[tuple[Job, Result | str]]:
    """Results or errors as they come. A crashed process fails only its own patient.

    A crash ends all processes of a pool and does not tell whose patient it was; where there were several, each is
    predicted again alone.
    """
    waiting, suspects = deque(jobs), deque[Job]()
    while waiting or suspects:
        lost = []
        for job, outcome in _run(suspects or waiting, settings, 1 if suspects else n_workers):
            if outcome is None:
                lost.append(job)
            else:
                yield job, outcome
        if len(lost) == 1:
            yield lost[0], CRASHED
        else:
            suspects.extend(lost)


def _run(queue: deque[Job], settings: Settings, n_workers: int) -> Iterator[tuple[Job, Result | str | None]]:
    """Outcomes of the jobs taken from `queue`, until it is empty or the pool breaks; None for jobs that broke it."""
    others = set(multiprocessing.active_children())
    threads = max(1, torch.get_num_threads() // n_workers)
    pool = ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _start_worker, (settings, threads))
    running: dict[Future, Job] = {}
    broken = False
    try:
        while running or (queue and not broken):
            while queue and not broken and len(running) < n_workers:
                job = queue.popleft()
                try:
                    running[pool.submit(_work, job)] = job
                except BrokenProcessPool:
                    queue.appendleft(job)
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome, broken = None, True
                yield job, outcome
    except BaseException:
        _end(pool, others)
        raise
    pool.shutdown()


def _end(pool: ProcessPoolExecutor, others: set) -> None:
    """Stop a pool now; each process still removes what it was writing."""
    pool.shutdown(wait=False, cancel_futures=True)
    processes = set(multiprocessing.active_children()) - others
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_SECONDS_TO_END)
        process.kill()


def _start_worker(settings: Settings, n_threads: int) -> None:
    global _settings
    _settings = settings
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    keep_freed_memory()


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


_settings = Settings()


@cache
def _worker_predictor() -> Predictor:
    return _settings.predictor()


def _work(job: Job) -> Result | str:
    """The result, or in words why there is none; nothing that one patient does stops the others."""
    try:
        return predict_patient(job, _worker_predictor(), _settings.roles, in_cohort=True)
    except DeepDoseError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return f"{error.filename or job.output}: {error.strerror or error}"
    except MemoryError as error:
        return f"not enough memory {error}".rstrip()
    except Exception as error:  # a fault of the program: told, but the other patients go on
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
