"""Patients in processes side by side; a crashed process fails only its own patient."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from ..device import keep_freed_memory
from ..errors import DeepDoseError
from ..report.result import Result
from .console import is_verbose, set_up_console
from .prediction import Job, Settings, predict_patient

if TYPE_CHECKING:
    import torch

    from ..model.predictor import Predictor

BYTES_PER_JOB = 3 * 2**30
CRASHED = "the process that predicted it ended unexpectedly: out of memory, or a damaged file"
_SECONDS_TO_END = 10


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


def outcomes_of(
    jobs: Sequence[Job], settings: Settings, n_workers: int
) -> Generator[tuple[Job, Result | str], None, None]:
    """Each job with its result, or in words why there is none, as they come; closing it ends the processes.

    A crash ends all processes of a pool and does not tell whose patient it was; where there were several, each is
    predicted again alone.
    """
    waiting, suspects = deque(jobs), deque[Job]()
    while waiting or suspects:
        lost = []
        with contextlib.closing(_run(suspects or waiting, settings, 1 if suspects else n_workers)) as outcomes:
            for job, outcome in outcomes:
                if outcome is None:
                    lost.append(job)
                else:
                    yield job, outcome
        if len(lost) == 1:
            yield lost[0], CRASHED
        else:
            suspects.extend(lost)


def _run(
    queue: deque[Job], settings: Settings, n_workers: int
) -> Generator[tuple[Job, Result | str | None], None, None]:
    """Outcomes of the jobs taken from `queue`, until it is empty or the pool breaks; None for jobs that broke it."""
    import torch

    others: set[BaseProcess] = set(multiprocessing.active_children())
    threads = max(1, torch.get_num_threads() // n_workers)
    pool = ProcessPoolExecutor(
        n_workers, multiprocessing.get_context("spawn"), _start_worker, (settings, threads, is_verbose())
    )
    running: dict[Future[Result | str], Job] = {}
    broken = False
    try:
        while running or (queue and not broken):
            while queue and not broken and len(running) < n_workers:
                job = queue.popleft()
                try:
                    with _without_interrupts():
                        running[pool.submit(_work, job)] = job
                except BrokenProcessPool:
                    queue.appendleft(job)
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield job, future.result()
                except BrokenProcessPool:
                    broken = True
                    yield job, None
    except BaseException:
        _end(pool, others)
        raise
    pool.shutdown()


def _end(pool: ProcessPoolExecutor, others: set[BaseProcess]) -> None:
    """Stop a pool now; a process that moves finished files into place still moves them all."""
    pool.shutdown(wait=False, cancel_futures=True)
    processes = set(multiprocessing.active_children()) - others
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_SECONDS_TO_END)
        process.kill()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that start here never see Ctrl-C, which reaches all of them: the first one ends the others.

    Ignoring it when they have started would be too late: they import for seconds first. Here it comes afterwards.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(settings: Settings, n_threads: int, verbose: bool) -> None:
    import torch

    global _settings
    _settings = settings
    set_up_console(verbose)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    keep_freed_memory()


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


_settings = Settings()


@cache
def _worker_predictor() -> Predictor:
    return _settings.predictor()


def _work(job: Job) -> Result | str:
    """The result, or in words why there is none; nothing that one patient does stops the others."""
    try:
        return predict_patient(job, _worker_predictor(), _settings.roles)
    except DeepDoseError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return f"{error.filename or job.output}: {error.strerror or error}"
    except MemoryError as error:
        return f"not enough memory {error}".rstrip()
    except Exception as error:  # a fault of the program: told, but the other patients go on
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
