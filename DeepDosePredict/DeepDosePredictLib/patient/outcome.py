"""What a structure's name, and what else is known of the structure, say that it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """The first word of what a name says; `POSSIBLE_...` must be asked."""

    TARGET = "target"
    POSSIBLE_TARGET = "possible target"
    HELP = "help structure"
    ORGAN = "organ"
    POSSIBLE_ORGAN = "possible organ"
    OTHER = "other"


@dataclass(frozen=True)
class NameReading:
    """What a name says.

    Attributes:
        levels: prescriptions in Gy that it may state, the likeliest first; exactly one for TARGET.
        roles: of ORGAN and POSSIBLE_ORGAN; several where the side is open.
        note: why it is asked or no target, in words.
        no_level: whether nothing but the prescription is open.
        derived: of HELP, whether it is a target changed for planning, which could stand for the target itself.
        dated: whether it has a date, so that there may be another one of another day.
    """

    outcome: Outcome
    levels: tuple[float, ...] = ()
    roles: tuple[str, ...] = ()
    note: str = ""
    no_level: bool = False
    derived: bool = False
    dated: bool = False
