"""What a command shows on the screen: quiet unless asked, one line for each thing said."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from functools import partial
from typing import TextIO

from tqdm import tqdm

LIBRARY = __name__.partition(".")[0]
OTHERS = ("lightning", "lightning.fabric", "lightning.pytorch", "matplotlib", "pydicom")
"""Loggers with levels or screens of their own."""

progress_bar = partial(tqdm, disable=None)
"""A bar on a terminal; nothing in a log file, which it would fill."""

_verbose = False


def is_verbose() -> bool:
    return _verbose


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line, by default to stdout, without what a terminal obeys: names of files and structures hold it."""
    tqdm.write("".join(c if c.isprintable() else " " for c in text), file=stream or sys.stdout)


def set_up_console(verbose: bool) -> None:
    """This program's warnings and all errors go to stderr; with `verbose` also what libraries warn and tell of."""
    global _verbose
    _verbose = verbose
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where a terminal has no letters for a name
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="deepdose: %(message)s")
    logging.getLogger(LIBRARY).setLevel(logging.INFO if verbose else logging.WARNING)
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    if verbose:
        # pydicom says the same once as a warning, once to its logger.
        logging.getLogger("pydicom").setLevel(logging.ERROR)
        warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {' '.join(str(message).split())}"
        logging.captureWarnings(True)
    elif not sys.warnoptions:  # python -W says otherwise
        warnings.simplefilter("ignore")
