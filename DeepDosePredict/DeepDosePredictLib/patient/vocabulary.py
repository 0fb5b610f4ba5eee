"""The words of structure names, from Resources/StructureNames.json, and how words are compared."""

from __future__ import annotations

import enum
import functools
import json
import re
import unicodedata
from dataclasses import dataclass

from ..errors import DeepDoseError
from ..resources import RESOURCES

WORDS = RESOURCES / "StructureNames.json"
_NO_ACCENTS = str.maketrans(
    {
        "ß": "ss",
        "ł": "l",
        "Ł": "L",
        "ø": "o",
        "Ø": "O",
        "ı": "i",
        "đ": "d",
        "Đ": "D",
        "œ": "oe",
        "Œ": "OE",
        "æ": "ae",
        "Æ": "AE",
    }
)
_SIGNS = str.maketrans({"‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-", "×": "x", "∩": "&", "·": "."})


class WordKind(enum.Enum):
    """What a word says of a structure; the values are the lists of the JSON file, but for STRUCTURE and UNKNOWN."""

    PTV = "ptv"
    TUMOUR = "tumour"  # CTV and GTV: no PTV
    TARGET = "target"  # may stand for a PTV
    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"
    HIGH = "high"
    MID = "mid"
    LOW = "low"
    SITE = "site"  # tells which target
    UNIT = "unit"
    FILLER = "filler"  # says nothing more of an organ
    SITE_OR_ORGAN = "site_or_organ"  # site of a target, or an organ that targets are cut back from
    ORGAN = "organ"  # one without a role
    DERIVED = "derived"  # a target changed for planning
    HELP = "help"  # no target, whatever else
    HELP_OR_TARGET = "help_or_target"  # help beside an organ, a question beside PTV: dose, margin
    VERSION = "version"  # there may be another one of this name
    WITHOUT = "without"
    WITH = "with"
    STRUCTURE = "structure"  # one with a role
    UNKNOWN = "unknown"


PLANNING = (WordKind.HELP, WordKind.DERIVED, WordKind.HELP_OR_TARGET)
"""Words that beside an organ, or alone, are those of a help structure."""


@dataclass(frozen=True)
class Word:
    """A known word or phrase, or an unknown one.

    Attributes:
        text: as in `plain_key`.
        structure: of STRUCTURE, its key in the JSON file, such as "Parotid".
        only: what a related structure is, in words; "" for the structure itself.
        short: whether it stands for the structure only as the whole name.
    """

    text: str
    kind: WordKind
    structure: str = ""
    only: str = ""
    short: bool = False


@dataclass(frozen=True)
class Structure:
    """A structure with a role, or one with two sides and a role for each.

    Attributes:
        roles: {"": role}, or {"left": role, "right": role}.
        letters: {word: {letter: side}}: sides as one letter, which differ between languages.
    """

    roles: dict[str, str]
    letters: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Vocabulary:
    """All known words by their `plain_key`, and the structures with roles."""

    words: dict[str, Word]
    structures: dict[str, Structure]
    tg263: dict[str, str]

    def word(self, text: str) -> Word:
        return self.words.get(text) or Word(text, WordKind.UNKNOWN)


def without_accents(name: str) -> str:
    """A name in plain letters, dashes and signs as ASCII; upper case is kept."""
    decomposed = unicodedata.normalize("NFKD", name.translate(_NO_ACCENTS).translate(_SIGNS))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def plain_key(name: str) -> str:
    """A name without accents, case, spaces and the characters _ - . for comparison."""
    return re.sub(r"[\s_\-.]", "", without_accents(name)).lower()


@functools.cache
def vocabulary() -> Vocabulary:
    """DeepDoseError if the file that ships cannot be read."""
    try:
        content = json.loads(WORDS.read_text(encoding="utf-8"))
        structures = content["structures"]
        return Vocabulary(
            _words(content["words"], structures),
            {name: _structure(name, entry) for name, entry in structures.items()},
            content["tg263"],
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DeepDoseError(f"{WORDS}: the table of structure names cannot be read ({error}); install again") from error


def _words(lists: dict[str, list[str]], structures: dict[str, dict]) -> dict[str, Word]:
    found: dict[str, Word] = {}
    for name, entry in structures.items():
        for short in (False, True):
            for key in map(plain_key, entry.get("short", ()) if short else entry["names"]):
                found[key] = Word(key, WordKind.STRUCTURE, name, short=short)
        for text, only in entry["related"].items():
            key = plain_key(text)
            found[key] = Word(key, WordKind.STRUCTURE, name, only)
    for kind, texts in lists.items():
        found |= {plain_key(text): Word(plain_key(text), WordKind(kind)) for text in texts}
    return found


def _structure(name: str, entry: dict) -> Structure:
    roles = {side: entry[side] for side in ("left", "right") if side in entry} or {"": name}
    return Structure(roles, {plain_key(word): sides for word, sides in entry.get("letters", {}).items()})
