"""Whether a name is that of a target: the planning target volume, not one that was made from it for planning.

A target's name is PTV with a level and words that tell which: side, site, risk. A word that is not understood, another
version, or an organ beside it make it a question. Words of planning, and an organ or a target after a sign or word that
takes away or joins, make it a help structure. So a hyphen before a structure takes it away (PTV70-PTV63, PTV-cord) and
before a side or site (PTV54-L, PTV60-OP) only separates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .name_tokens import SEPARATORS, Date, Number, Sign, Token, is_set_apart
from .outcome import NameReading, Outcome
from .stated_levels import SURE_GY, stated_levels
from .vocabulary import Word, WordKind

_TELLS_WHICH = frozenset(
    (
        WordKind.LEFT,
        WordKind.RIGHT,
        WordKind.BOTH,
        WordKind.HIGH,
        WordKind.MID,
        WordKind.LOW,
        WordKind.SITE,
        WordKind.UNIT,
        WordKind.TARGET,
    )
)
_SITES = ("Larynx", "Mandible", "Esophagus")
"""Structures with a role that are sites of tumours, too."""
_HYPHEN, _AWAY, _JOINED = "-", "away", "joined"


@dataclass
class _Findings:
    planning: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    derived: bool = True


def read_target(tokens: Sequence[Token]) -> NameReading | None:
    """What a name with PTV in it says; None for any other name."""
    if not any(isinstance(token, Word) and token.kind is WordKind.PTV for token in tokens):
        return None
    findings = _findings(tokens)
    stated = stated_levels(tokens)
    dated = any(isinstance(token, Date) for token in tokens)
    if findings.planning:
        return NameReading(
            Outcome.HELP, stated.levels, note=findings.planning[0], derived=findings.derived, dated=dated
        )
    if _is_boost(tokens) and not stated.doubt and stated.levels[0] < SURE_GY[0]:
        findings.doubts.append("its dose may be that of the boost alone")
    doubts = (*findings.doubts, *filter(None, [stated.doubt]))
    outcome = Outcome.POSSIBLE_TARGET if doubts else Outcome.TARGET
    return NameReading(outcome, stated.levels, note="; ".join(doubts), no_level=not findings.doubts, dated=dated)


def read_possible_target(tokens: Sequence[Token]) -> NameReading | None:
    """A question where a name without PTV could be that of a target: "Boost 70", "Nodes 54 Gy", "High Risk", "66Gy"."""
    kinds = {token.kind for token in tokens if isinstance(token, Word)}
    if kinds & {WordKind.TUMOUR, WordKind.HELP, WordKind.DERIVED, WordKind.WITHOUT, WordKind.ORGAN}:
        return None
    if any(isinstance(t, Word) and t.kind is WordKind.STRUCTURE and t.structure not in _SITES for t in tokens):
        return None
    stated = stated_levels(tokens)
    has_unit = any(isinstance(token, Number) and token.unit in ("gy", "cgy") for token in tokens)
    sites = _TELLS_WHICH | {WordKind.SITE_OR_ORGAN, WordKind.STRUCTURE}
    is_level = bool(stated.levels) and stated.levels[0] >= SURE_GY[0] and (has_unit or kinds <= sites)
    if WordKind.TARGET in kinds:
        note = "its name may be a target's"
    elif is_level:
        note = "its name states a dose"
    elif any(isinstance(token, Word) and "risk" in token.text.replace("risi", "ris") for token in tokens):
        note = "its name states a risk"
    else:
        return None
    return NameReading(Outcome.POSSIBLE_TARGET, stated.levels, note=note)


def _is_boost(tokens: Sequence[Token]) -> bool:
    return any(isinstance(token, Word) and token.text in ("boost", "sib") for token in tokens)


def _findings(tokens: Sequence[Token]) -> _Findings:
    """Goes through a name from left to right; `sign` is what takes away or joins and waits for its structure."""
    found = _Findings()
    sign, inside, n_targets, organ_before = "", 0, 0, None
    if is_set_apart(tokens):
        found.planning.append("its name begins or ends with _ or ~")
    for token in tokens:
        if isinstance(token, Sign):
            inside += (token.text in "([{") - (token.text in ")]}")
            sign = _sign(token, sign, found)
        elif isinstance(token, Number):
            _read_number(token, sign, found)
            sign = "" if sign == _JOINED else sign  # "in 35 fractions"
        elif isinstance(token, Word) and token.kind is WordKind.PTV:
            n_targets += 1
            if n_targets > 1:
                (found.planning if sign else found.doubts).append("its name has two targets")
            elif organ_before is not None:
                _read_organ(organ_before, sign, bool(inside), found)
            elif sign in (_AWAY, _JOINED):
                found.doubts.append("its name leaves open what is added or taken away")
            sign = ""
        elif isinstance(token, Word) and token.kind in (WordKind.WITHOUT, WordKind.WITH):
            sign = _AWAY if token.kind is WordKind.WITHOUT else _JOINED
        elif isinstance(token, Word):
            anatomy = _read_word(token, found)
            if anatomy and not n_targets:
                organ_before = token
            elif anatomy:
                _read_organ(token, sign, bool(inside), found)
            if anatomy or sign == _JOINED:
                sign = ""
    if sign in (_AWAY, _JOINED):
        found.doubts.append("its name leaves open what is added or taken away")
    return found


def _sign(token: Sign, before: str, found: _Findings) -> str:
    if token.text == "-":
        return before or _HYPHEN
    if token.text == "\\":
        return _AWAY
    if token.text in ("+", "&"):
        return _JOINED
    if token.text not in (*SEPARATORS, "~"):
        found.doubts.append(f"its name has a {token.text!r}")
    return before


def _read_number(number: Number, sign: str, found: _Findings) -> None:
    if number.unit == "mm":
        (found.planning if sign else found.doubts).append(f"its name has a margin ({number.text} mm)")
    elif number.unit == "%":
        found.doubts.append(f"its name has {number.text} % or cc")
    elif sign == _JOINED and len(number.text) == 1 and not number.unit:
        found.doubts.append("its name may have a margin")


def _read_word(word: Word, found: _Findings) -> bool:
    """Whether a word is a structure's that the target may be cut back from; others are noted at once."""
    if word.kind in (WordKind.STRUCTURE, WordKind.ORGAN, WordKind.SITE_OR_ORGAN, WordKind.TUMOUR):
        return True
    if word.kind in (WordKind.HELP, WordKind.DERIVED):
        found.planning.append(f"made for planning by its name ({word.text})")
        found.derived &= word.kind is WordKind.DERIVED
    elif word.kind is WordKind.VERSION:
        found.doubts.append(f"{word.text!r}: there may be another version, or it may unite others")
    elif word.kind not in _TELLS_WHICH:
        found.doubts.append(f"{word.text!r} in its name is not understood")
    return False


def _read_organ(word: Word, sign: str, inside: bool, found: _Findings) -> None:
    """A target with an organ or CTV beside it: a help structure where something takes it away or joins it."""
    is_site = word.kind is WordKind.SITE_OR_ORGAN or word.structure in _SITES or word.short
    if sign and not inside and not (is_site and sign == _HYPHEN):
        found.planning.append(f"made for planning by its name (with {word.text})")
    else:
        found.doubts.append(f"its name has {word.text!r}, a site or what is taken away from it")
