"""Whether a name is that of a target: the planning target volume, not one that was made from it for planning.

A target's name is PTV with a level and words that tell which: side, site, risk. A word that is not understood, another
version, or an organ beside it make it a question. Words of planning, and an organ or a target after a sign or word that
takes away or joins, make it a help structure. So a hyphen before a structure takes it away (PTV70-PTV63, PTV-cord) and
before a side or site (PTV54-L, PTV60-OP) only separates.
"""

from __future__ import annotations

from collections.abc import Sequence

from .name_tokens import SEPARATORS, Date, Number, Sign, Token, is_set_apart
from .outcome import NameReading, Outcome
from .rois import EXTERNAL
from .stated_levels import LEVELS_GY, SURE_GY, stated_levels, with_decimals
from .vocabulary import PLANNING, Word, WordKind

_RANKS = (WordKind.HIGH, WordKind.MID, WordKind.LOW)
_SIDES = (WordKind.LEFT, WordKind.RIGHT, WordKind.BOTH)
_TELLS_WHICH = frozenset((*_RANKS, *_SIDES, WordKind.SITE, WordKind.UNIT, WordKind.TARGET))
_ANATOMY = (WordKind.STRUCTURE, WordKind.ORGAN, WordKind.SITE_OR_ORGAN, WordKind.TUMOUR)
_SITES = ("Larynx", "Mandible", "Esophagus")
"""Structures with a role that are sites of tumours, too."""
_LOWEST_HIGH_GY = 66.0
"""A target of low risk has less."""
_HIGHEST_LOW_GY = 56.0
"""A target of high risk has more; PTV54-HR may be PTV54 less that one."""
_HYPHEN, _AWAY, _JOINED = "-", "away", "joined"


def read_target(tokens: Sequence[Token]) -> NameReading | None:
    """What a name with PTV in it says; None for any other name."""
    if not any(isinstance(token, Word) and token.kind is WordKind.PTV for token in tokens):
        return None
    tokens = with_decimals(tokens)
    found, stated = _Findings(tokens), stated_levels(tokens)
    dated = any(isinstance(token, Date) for token in tokens)
    if found.planning:
        return NameReading(Outcome.HELP, stated.levels, note=found.planning[0], derived=found.derived, dated=dated)
    doubts = [*found.doubts, *(_level_doubts(tokens, stated.levels[0]) if not stated.doubt else ())]
    notes = (*doubts, *filter(None, [stated.doubt]))
    outcome = Outcome.POSSIBLE_TARGET if notes else Outcome.TARGET
    return NameReading(outcome, stated.levels, note="; ".join(notes), no_level=not doubts, dated=dated)


def read_possible_target(tokens: Sequence[Token]) -> NameReading | None:
    """A question where a name without PTV could be that of a target: "Boost 70", "Nodes 54 Gy", "High Risk", "66Gy"."""
    words = [token for token in tokens if isinstance(token, Word)]
    kinds = {word.kind for word in words}
    if kinds & {WordKind.TUMOUR, WordKind.WITHOUT, WordKind.ORGAN, *PLANNING}:
        return None
    if any(word.kind is WordKind.STRUCTURE and word.structure not in _SITES for word in words):
        return None
    stated = stated_levels(tokens)
    has_unit = any(isinstance(token, Number) and token.unit in ("gy", "cgy") for token in tokens)
    sites = _TELLS_WHICH | {WordKind.SITE_OR_ORGAN, WordKind.STRUCTURE}
    if WordKind.TARGET in kinds:
        note = "its name may be a target's"
    elif stated.levels and stated.levels[0] >= SURE_GY[0] and (has_unit or kinds <= sites):
        note = "its name states a dose"
    elif words and stated.levels and not stated.doubt and kinds <= sites | {WordKind.UNKNOWN, WordKind.WITH}:
        note = "the number in its name may be a dose"
    elif any("risk" in word.text.replace("risi", "ris") for word in words):
        note = "its name states a risk"
    else:
        return None
    return NameReading(Outcome.POSSIBLE_TARGET, stated.levels, note=note)


def _level_doubts(tokens: Sequence[Token], level: float) -> list[str]:
    words = [token for token in tokens if isinstance(token, Word)]
    doubts = []
    if level < SURE_GY[0] and any(word.text in ("boost", "sib") for word in words):
        doubts.append("its dose may be that of the boost alone")
    if level >= _LOWEST_HIGH_GY and any(word.kind is WordKind.LOW for word in words):
        doubts.append("its name says low of a high dose")
    if level <= _HIGHEST_LOW_GY and any(word.kind is WordKind.HIGH and word.text != "h" for word in words):
        doubts.append("its name says high of a low dose")
    return doubts


def _is_level(number: Number) -> bool:
    """Whether a number of two or four digits without a unit, or one in Gy, is a prescription by its size."""
    value = number.value / 100 if number.value > 1000 else number.value
    return number.unit in ("", "gy", "cgy") and SURE_GY[0] <= value <= SURE_GY[1]


def _is_minus(space: Token, hyphen: Token, number: Token) -> bool:
    """Whether a hyphen is written as a minus: "PTV70 -2", other than PTV70-2 and PTV 70 - 2."""
    signs = (space, hyphen) == (Sign(" "), Sign("-"))
    return signs and isinstance(number, Number) and len(number.text) == 1 and not number.unit


class _Findings:
    """What speaks against a target in a name, read from left to right.

    Attributes:
        planning: why it was made for planning, in words.
        doubts: why it must be asked, in words.
        derived: whether all of `planning` leaves it a changed target; a ring, say, is none.
    """

    def __init__(self, tokens: Sequence[Token]):
        self.planning: list[str] = []
        self.doubts: list[str] = []
        self.derived = True
        self._sign = ""  # what takes away or joins, and waits for its structure
        self._depth = self._n_targets = 0
        self._organ: Word | None = None  # before the target
        self._number: Number | None = None  # the last token but for separators
        self._states_level = False  # up to here
        self._has_percent = any(getattr(token, "unit", "") == "%" or token == Sign("%") for token in tokens)
        self._has_margin = any(isinstance(token, Number) and token.unit == "mm" for token in tokens)
        if any(_is_minus(*tokens[n : n + 3]) for n in range(len(tokens) - 2)):
            self.doubts.append("its name may have a margin")
        if is_set_apart(tokens):
            self.planning.append("its name begins or ends with _ or ~")
        for before, token in zip((None, *tokens), tokens, strict=False):
            self._read(token)
            if isinstance(before, Word) and isinstance(token, Number) and before.kind in _SIDES and not self._n_targets:
                self.doubts.append(f"{before.text}{token.text} in its name is not understood")  # R1: right or ring
        if self._sign in (_AWAY, _JOINED):
            self._leaves_open()
        if len({token.kind for token in tokens if isinstance(token, Word) and token.kind in _RANKS}) > 1:
            self.doubts.append("its name has two ranks")

    def _read(self, token: Token) -> None:
        if isinstance(token, Sign):
            self._read_sign(token.text)
            return
        if isinstance(token, Number):
            self._read_number(token)
        elif isinstance(token, Word) and token.kind is WordKind.PTV:
            self._read_ptv()
        elif isinstance(token, Word):
            self._read_word(token)
        self._number = token if isinstance(token, Number) else None

    def _read_sign(self, sign: str) -> None:
        self._depth += (sign in "([{") - (sign in ")]}")
        if sign == "-":
            self._sign = self._sign or _HYPHEN
        elif sign == "\\":
            self._sign = _AWAY
        elif sign in ("+", "&"):
            self._sign = _JOINED
        elif sign not in (*SEPARATORS, "~"):
            self.doubts.append(f"its name has a {sign!r}")

    def _read_number(self, number: Number) -> None:
        is_digit, value = len(number.text) == 1, number.value
        if number.unit == "mm":
            of_target = self._sign and self._n_targets and not self._depth
            (self.planning if of_target else self.doubts).append(f"its name has a margin ({number.text} mm)")
            self._sign = self._sign if self._n_targets else ""  # "CTV + 5mm PTV" says how the target was made
        elif self._sign == _AWAY and self._states_level and _is_level(number):
            self.planning.append(f"made for planning by its name (less {number.text})")
            self._sign = ""
        elif number.unit == "%":
            self.doubts.append(f"its name has {number.text} % or cc")
        elif not number.unit and is_digit and (self._sign == _JOINED or self._is_margin(value)):
            self.doubts.append("its name may have a margin")
        elif not number.unit and is_digit and self._depth:
            self.doubts.append("its name may be a copy's")
        elif not number.unit and ((SURE_GY[1] < value < 1000) or (not number.text.isdigit() and value < LEVELS_GY[0])):
            self.doubts.append(f"{number.text} in its name is not understood")
        self._states_level |= _is_level(number)
        is_count = number.unit == "fx" or (not number.unit and SURE_GY[0] > value > 9)
        self._sign = "" if self._sign == _JOINED and is_count else self._sign  # "in 35 fractions"

    def _is_margin(self, value: float) -> bool:
        """Whether a digit may be a margin in mm rather than count targets: PTV60-3 or PTV60 5, but levels 2-4."""
        before = self._number
        is_range = before is not None and len(before.text) == 1
        return (before is not None and value > 4) or (
            self._sign == _HYPHEN and self._states_level and value > 2 and not is_range
        )

    def _read_ptv(self) -> None:
        self._n_targets += 1
        if self._n_targets > 1:
            (self.planning if self._sign else self.doubts).append("its name has two targets")
        elif self._organ is not None:
            self._read_organ(self._organ)
        elif self._sign in (_AWAY, _JOINED):
            self._leaves_open()
        self._sign = ""

    def _read_word(self, word: Word) -> None:
        if word.kind in (WordKind.WITHOUT, WordKind.WITH):
            self._sign = _AWAY if word.kind is WordKind.WITHOUT else _JOINED
        elif word.kind is WordKind.TARGET and self._sign and self._states_level:  # PTV54-Boost
            why = f"its name may take {word.text} away"
            (self.planning if self._sign == _AWAY else self.doubts).append(why)
            self._sign = ""
        elif word.kind in _ANATOMY:
            if self._n_targets:
                self._read_organ(word)
            else:
                self._organ = word
            self._sign = ""
        else:
            self._sign = "" if self._sign == _JOINED else self._sign
            self._read_other(word)

    def _read_other(self, word: Word) -> None:
        if word.kind in (WordKind.HELP, WordKind.DERIVED):
            self.planning.append(f"made for planning by its name ({word.text})")
            self.derived &= word.kind is WordKind.DERIVED
        elif word.kind is WordKind.HELP_OR_TARGET:
            planned = self._sign in (_AWAY, _JOINED) or self._has_percent
            (self.planning if planned else self.doubts).append(f"its name has {word.text!r}")
        elif word.kind is WordKind.VERSION:
            self.doubts.append(f"{word.text!r}: there may be another version, or it may unite others")
        elif word.kind not in _TELLS_WHICH:
            self.doubts.append(f"{word.text!r} in its name is not understood")

    def _read_organ(self, word: Word) -> None:
        """A target with an organ or CTV beside it: a help structure where something takes it away or joins it."""
        is_site = word.kind is WordKind.SITE_OR_ORGAN or word.structure in _SITES or word.short
        is_cropped = word.structure == EXTERNAL and self._has_margin  # PTV70_skin3mm
        of_tumour = word.kind is WordKind.TUMOUR and not self._states_level and self._sign != _AWAY  # PTV-GTVnx 70
        is_open = of_tumour or (is_site and self._sign == _HYPHEN)
        if is_cropped or (self._sign and not self._depth and not is_open):
            self.planning.append(f"made for planning by its name (with {word.text})")
        else:
            self.doubts.append(f"its name has {word.text!r}, a site or what is taken away from it")

    def _leaves_open(self) -> None:
        self.doubts.append("its name leaves open what is added or taken away")
