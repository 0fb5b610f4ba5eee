"""What a user wishes of an explored dose, as written on the command line. Nothing here needs PyTorch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..dvh.metrics import OAR_METRICS
from ..errors import CaseError, DeepDoseError
from ..report.result import RESULT, read_result

_PRIORITY = re.compile(r"\s*(?P<structure>\S+?)\s*=\s*(?P<steps>[-+]?\d+(\.\d+)?)\s*")
_WANTED = re.compile(r"\s*(?P<structure>\S+?)\s*(=|\s)\s*(mean\s+)?(?P<gray>\d+(\.\d+)?)\s*(Gy)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Wishes:
    """What is to be explored.

    Attributes:
        priorities: {structure: steps}.
        wanted: {organ: mean dose in Gy}.
        curves: (organ, "mean" or "D0.1cc") of each.
        gantry_angles: of the explored dose, in degrees; None takes the prediction's.
        pyradplan: whether to write what a plan with pyRadPlan needs.
    """

    priorities: dict[str, float] = field(default_factory=dict)
    wanted: dict[str, float] = field(default_factory=dict)
    curves: tuple[tuple[str, str], ...] = ()
    gantry_angles: tuple[float, ...] | None = None
    pyradplan: bool = False


def parse_priorities(texts: Sequence[str]) -> dict[str, float]:
    """{structure: steps} from texts such as "LeftParotid=2"; DeepDoseError for others."""
    found: dict[str, float] = {}
    for text in texts:
        match = _PRIORITY.fullmatch(text)
        if not match:
            raise DeepDoseError(f"--spare {text!r}: write a structure and its steps of priority, such as LeftParotid=2")
        _once(found, match["structure"], "--spare")
        found[match["structure"]] = float(match["steps"])
    return found


def parse_wanted(texts: Sequence[str]) -> dict[str, float]:
    """{organ: Gy} from texts such as "RightParotid mean 20" or "RightParotid=20"; DeepDoseError for others."""
    found: dict[str, float] = {}
    for text in texts:
        match = _WANTED.fullmatch(text)
        if not match:
            raise DeepDoseError(
                f'--want {text!r}: write an organ and its mean dose in Gy, such as "RightParotid mean 20"'
            )
        _once(found, match["structure"], "--want")
        found[match["structure"]] = float(match["gray"])
    return found


def _once(found: dict[str, float], structure: str, option: str) -> None:
    if structure in found:
        raise DeepDoseError(f"{option}: {structure} is given twice")


def parse_curves(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(organ, metric) from texts such as "LeftParotid" or "SpinalCord D0.1cc"."""
    curves = []
    for text in texts:
        structure, _, metric = text.strip().partition(" ")
        known = {name.lower(): name for name in OAR_METRICS.values()}
        if not structure or (metric := metric.strip() or "mean").lower() not in known:
            raise DeepDoseError(f"--curve {text!r}: write an organ, and mean or D0.1cc if you like")
        curves.append((structure, known[metric.lower()]))
    return tuple(dict.fromkeys(curves))


def check_explorable(folder: Path) -> None:
    """An explored dose must not take the place of a predicted one."""
    if not (folder / RESULT).exists():
        return
    try:
        explored = read_result(folder).explored
    except CaseError:
        return
    if explored is None:
        raise DeepDoseError(f"{folder}: a predicted dose lies here; give the explored one another folder")
