"""A site's own structure names, in ~/.DeepDosePredict/StructureNames.json.

    {"names": {"Kehlkopf gesamt": "Larynx", "PTV Sonntag": "target"},
     "patterns": {"*_JD": "not used", "Par * re": "RightParotid"}}

Names are compared without case, accents, spaces and the characters _ - . and patterns likewise, with * for anything and
? for one character. Names go before patterns, patterns in their order, and both before what the program knows.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DeepDoseError
from .json_file import read_json_object
from .outcome import NameReading, Outcome
from .rois import DOSE_MASK, EXTERNAL, OARS, prescription
from .vocabulary import plain_key

SITE_FILE = Path.home() / ".DeepDosePredict" / "StructureNames.json"
TARGET, NOT_USED = "target", "not used"
NAMES, PATTERNS = "names", "patterns"
_EXAMPLE = '{"names": {"Kehlkopf gesamt": "Larynx"}, "patterns": {"*_JD": "not used"}}'
_WHAT, _ADVICE = f"structure names and patterns, such as {_EXAMPLE}", "; correct or remove it"


@dataclass(frozen=True)
class SiteNames:
    """What a site's names mean: {name or pattern: role, "target" or "not used"}, keys as in `plain_key`."""

    names: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)

    def meaning(self, name: str) -> str:
        """Role, "target" (its name states the level), "not used", or "" where the site says nothing."""
        key = plain_key(name)
        if key in self.names:
            return self.names[key]
        return next((role for pattern, role in self.patterns.items() if fnmatch.fnmatchcase(key, pattern)), "")

    def reading(self, name: str, levels: tuple[float, ...]) -> NameReading | None:
        """What the site says of a name; `levels` are those that it states. None where the site says nothing."""
        meaning = self.meaning(name)
        if not meaning:
            return None
        if meaning == NOT_USED:
            return NameReading(Outcome.HELP, note="not used by the site's names")
        if (level := prescription(meaning)) is not None:
            return NameReading(Outcome.TARGET, (level,))
        if meaning != TARGET:
            return NameReading(Outcome.ORGAN, roles=(meaning,))
        if len(levels) == 1:
            return NameReading(Outcome.TARGET, levels)
        note = "a target by the site's names, which states no dose or several"
        return NameReading(Outcome.POSSIBLE_TARGET, levels, note=note, no_level=True)


def read_site_names(path: Path | None = None) -> SiteNames:
    """The site's names, none where there is no such file; DeepDoseError says what is wrong in it and what to do."""
    path = path or SITE_FILE
    try:
        if not path.exists():
            return SiteNames()
    except OSError as error:
        raise DeepDoseError(f"{path}: cannot be read ({error.strerror}){_ADVICE}") from error
    content = read_json_object(path, _WHAT, _ADVICE)
    if set(content) - {NAMES, PATTERNS}:
        raise DeepDoseError(f"{path}: expected {_WHAT}{_ADVICE}")
    return SiteNames(*(_checked(content.get(part, {}), part, path) for part in (NAMES, PATTERNS)))


def check_meaning(name: str, meaning: object, where: str) -> None:
    """DeepDoseError if a name cannot have this meaning."""
    known = (*OARS, EXTERNAL, DOSE_MASK, TARGET, NOT_USED)
    if not isinstance(meaning, str) or (meaning not in known and prescription(meaning) is None):
        raise DeepDoseError(
            f"{where}: {name!r} is {meaning!r}, which is no role; known are PTV with its level (PTV70),"
            f" {', '.join(known)}"
        )
    if not plain_key(name):
        raise DeepDoseError(f"{where}: {name!r} is no name; give one with letters or digits")


def _checked(part: object, what: str, path: Path) -> dict[str, str]:
    if not isinstance(part, dict):
        raise DeepDoseError(f"{path}: {what} must be names with roles, such as {_EXAMPLE}{_ADVICE}")
    for name, meaning in part.items():
        check_meaning(name, meaning, f"{path}, {what}")
    return {plain_key(name): meaning for name, meaning in part.items()}
