"""One run at a time writes into an output folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import DeepDoseError

LOCK, HOLDER = ".deepdose.lock", ".deepdose.run"
"""Held by the run, and who that is; both are gone when it ends. The system frees the lock of a run that was killed."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make an output folder and keep it to this run; DeepDoseError says who else has it.

    A folder that was not there and stays empty goes again.
    """
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / LOCK, timeout=0), folder / HOLDER
    try:
        lock.acquire()
    except Timeout as error:
        words = holder.read_text(encoding="utf-8") if holder.is_file() else "another run"
        raise DeepDoseError(f"{folder}: {words} writes here; wait for it, or choose another output folder") from error
    except OSError as error:
        error.filename = str(folder)
        raise
    try:
        since = datetime.now().astimezone().isoformat(" ", timespec="seconds")
        holder.write_text(f"process {os.getpid()} on {platform.node()}, since {since},", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        removed = _removed(folder / LOCK)  # while it is held, so that it is nobody else's
        lock.release()
        if not removed:
            _removed(folder / LOCK)
        if not existed:
            with suppress(OSError):  # the results
                folder.rmdir()


def _removed(path: Path) -> bool:
    """Windows removes no open file."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True
