"""Long work beside a window: it runs in a thread while the window is told how far it may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from math import exp
from threading import Event
from typing import TypeVar

from .translation import tr as _

Progress = Callable[[float, str], None]
"""Called with the part done (0 to 1) and what is being done; may raise to stop."""
Interrupt = Callable[[], None]
"""Called by long work between its steps; raises where nobody waits for the work any more."""

INTERVAL_S = 0.1
EXPECTED_S = 6.0
"""Work of this length is shown as two thirds done at its end; longer work goes on ever more slowly."""

Result = TypeVar("Result")
_abandoned: list[Future] = []


class Abandoned(Exception):
    """Stops work that nobody waits for."""


def silently(done: float, what: str) -> None:
    """Progress that nobody is told."""


def unasked() -> None:
    """The interrupt of work that is never abandoned."""


def beside(
    progress: Progress | None, between: tuple[float, float], what: str, work: Callable[[Interrupt], Result]
) -> Result:
    """The result of `work`, which must not touch a scene and is given an interrupt to call between its steps.

    Without `progress` it is simply called. What `progress` raises is raised at once; the work then ends, unseen, at its
    next step, and the next work waits for that.

    Args:
        between: part done at its beginning and at its end.
    """
    if progress is None:
        return work(unasked)
    while _abandoned:
        _report(progress, between[:1] * 2, _("Stopping what was cancelled"), _abandoned[-1])
        _abandoned.pop()
    is_abandoned = Event()

    def interrupt() -> None:
        if is_abandoned.is_set():
            raise Abandoned

    executor = ThreadPoolExecutor(1)
    future = executor.submit(work, interrupt)
    executor.shutdown(wait=False)
    try:
        _report(progress, between, what, future)
    except BaseException:
        is_abandoned.set()
        _abandoned.append(future)
        raise
    return future.result()


def _report(progress: Progress, between: tuple[float, float], what: str, future: Future) -> None:
    first, last = between
    start = time.perf_counter()
    progress(first, what)
    while wait([future], INTERVAL_S).not_done:
        seconds = time.perf_counter() - start
        progress(first + (last - first) * (1 - exp(-seconds / EXPECTED_S)), f"{what} ({seconds:.0f} s)")
