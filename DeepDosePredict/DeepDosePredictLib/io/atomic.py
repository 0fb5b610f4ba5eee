"""Writing files and folders so that a crash or a full disk leaves either the old one or the new one."""

from __future__ import annotations

import csv
import errno
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import printable

STAGE = ".writing-"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix); what was written there takes its place when the block succeeds."""
    path = Path(path)
    temporary = _temporary(path)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        _name(error, temporary, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A new, empty file beside `path`; an error names `path` itself, which the user knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(handle)
    return Path(name)


def check_writable(path: Path) -> None:
    """OSError where a file could not be written: better before a long run than after it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _temporary(path).unlink()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block succeeds."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table in one step."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> str:
    """A cell on one line that no spreadsheet runs: text like "=cmd" or "@sum" gets an apostrophe, numbers stay."""
    text = printable(str(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(text) else text


@contextmanager
def staged_files(folder: str | Path, last: str = "", own: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block succeeds; other files there stay as they are.

    But where the old `last` is there, files of names in `own` that are not written anew go: they belong to it.

    Of a file named `last` the old one goes before anything else moves and the new one comes after all others: while it
    is there, the others are complete and belong together. Ctrl-C and a request to end wait until all have moved.
    """
    folder = Path(folder)
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=folder))
    except OSError as error:
        error.filename = str(folder)
        raise
    try:
        yield stage
        with _undisturbed():
            if last and (folder / last).exists():
                for name in own:
                    if not (stage / name).exists() and name != last:
                        (folder / name).unlink(missing_ok=True)
                (folder / last).unlink()
            for file in sorted(stage.iterdir(), key=lambda file: (file.name == last, file.name)):
                file.replace(folder / file.name)
    except OSError as error:
        _name(error, stage, folder)
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if not existed:
            with suppress(OSError):  # other files came into it
                folder.rmdir()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM that come meanwhile are raised afterwards. Python handles signals in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # None: a handler that Python did not install and could not put back.
    before = {n: handler for n in (signal.SIGINT, signal.SIGTERM) if (handler := signal.getsignal(n)) is not None}
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in came:
            signal.raise_signal(missed)


def _name(error: OSError, temporary: Path, path: Path) -> None:
    """Let an error name the path that the user knows: a full disk names none, or the temporary one."""
    if error.errno is not None:
        error.filename = str(error.filename or path).replace(str(temporary), str(path))


def remove_leftovers(path: Path) -> None:
    """Remove what a killed `staged_files` left in a folder, or a killed `atomic_path` beside a file."""
    if path.is_dir():
        for stage in path.glob(f"{STAGE}*"):
            shutil.rmtree(stage, ignore_errors=True)
    else:
        for temporary in path.parent.glob(f".{path.stem}-*{path.suffix}"):
            temporary.unlink(missing_ok=True)
