"""Which organ or body contour a name without PTV stands for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from .name_tokens import SEPARATORS, Date, Number, Sign, Token, is_set_apart
from .outcome import NameReading, Outcome
from .vocabulary import PLANNING, Word, WordKind, vocabulary

_OTHER = NameReading(Outcome.OTHER)
_ANATOMY = (WordKind.ORGAN, WordKind.SITE_OR_ORGAN, WordKind.TUMOUR, WordKind.PTV, WordKind.TARGET)
_SIMILAR = 0.83
_BOTH = "both sides"
"""Of a related structure: an organ of one side only where its name states that side."""


def read_organ(tokens: Sequence[Token]) -> NameReading:
    """An organ where a name says that and nothing else, a question where it says more, a help structure or OTHER."""
    words = [token for token in tokens if isinstance(token, Word)]
    if note := _planning(tokens, words):
        return NameReading(Outcome.HELP, note=note)
    if shortened := _shortened(words):
        single = len(words) - len(_sides(words)) == 1
        doubts = [f"its name may be short for {shortened.text!r}"] * single
        doubts += _doubts(tokens, [shortened], shortened)
        return _with_side(shortened, [shortened, *_sides(words)], doubts)
    named = [word for word in words if word.kind is WordKind.STRUCTURE] or _misspelt(words)
    if len({word.structure for word in named}) != 1 or any(word.kind in _ANATOMY for word in words):
        return _OTHER
    organ = named[0]
    if organ.short and (len(words) > 1 or any(not isinstance(token, Word | Sign) for token in tokens)):
        return _OTHER
    return _with_side(organ, words, _doubts(tokens, words, organ))


def _planning(tokens: Sequence[Token], words: Sequence[Word]) -> str:
    """Why a name is that of a help structure: a word of planning, a margin, an organ less another; "" if it is not."""
    if made := [word for word in words if word.kind in PLANNING]:
        return f"made for planning by its name ({made[0].text})"
    if is_set_apart(tokens):
        return "its name begins or ends with _ or ~"
    signs = [token.text for token in tokens if isinstance(token, Sign)]
    anatomy = [word for word in words if word.kind in (*_ANATOMY, WordKind.STRUCTURE)]
    is_organ = any(word.kind is WordKind.STRUCTURE for word in anatomy)
    if is_organ and any(isinstance(token, Number) and token.unit == "mm" for token in tokens):
        return "its name has a margin"
    if is_organ and "+" in signs and any(isinstance(token, Number) for token in tokens):
        return "its name has a margin"
    takes_away = {"-", "\\", "!"} & set(signs) or any(word.kind is WordKind.WITHOUT for word in words)
    return "an organ less another by its name" if is_organ and len(anatomy) > 1 and takes_away else ""


def _sides(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if word.kind in (WordKind.LEFT, WordKind.RIGHT, WordKind.BOTH)]


def _shortened(words: Sequence[Word]) -> Word | None:
    """The structure with a role that alone has a name beginning like this one: "Tronco enc.", "Unterk."."""
    rest = [word for word in words if word.kind is not WordKind.FILLER and word not in _sides(words)]
    if not any(word.kind is WordKind.UNKNOWN for word in rest):
        return None
    key = "".join(word.text for word in rest)
    begun = [word for text, word in vocabulary().words.items() if text.startswith(key)] if len(key) > 4 else []
    same = {(word.kind, word.structure, word.only) for word in begun}
    return begun[0] if len(same) == 1 and begun[0].kind is WordKind.STRUCTURE else None


def _misspelt(words: Sequence[Word]) -> list[Word]:
    """The structure whose name one unknown word, or all words together, nearly are."""
    unknown = [word for word in words if word.kind is WordKind.UNKNOWN]
    rest = [word for word in words if word.kind is not WordKind.FILLER and word not in _sides(words)]
    spelt = {"".join(word.text for word in part) for part in (rest, unknown[:1] if len(unknown) == 1 else [])}
    known = {key: word for key, word in vocabulary().words.items() if len(key) > 4}
    for text in sorted(text for text in spelt if unknown and len(text) > 4):
        near = difflib.get_close_matches(text, known, 1, _SIMILAR)
        if near and known[near[0]].kind is WordKind.STRUCTURE:
            return [known[near[0]]]
    return []


def _doubts(tokens: Sequence[Token], words: Sequence[Word], organ: Word) -> list[str]:
    doubts = [organ.only] if organ.only else []
    if organ not in words:
        doubts.append(f"its name is nearly {organ.text!r}")
    letters = vocabulary().structures[organ.structure].letters.get(organ.text, {})
    understood = (WordKind.STRUCTURE, WordKind.FILLER, WordKind.LEFT, WordKind.RIGHT, WordKind.BOTH)
    doubts += [
        f"{word.text!r} in its name is not understood"
        for word in words
        if word.kind not in understood and word.text not in letters and organ in words
    ]
    if isinstance(tokens[-1], Sign) and tokens[-1].text == "-":
        doubts.append("its name ends with -")
    if any(isinstance(token, Number | Date) for token in tokens):
        doubts.append("its name has a number")
    doubts += [f"its name has a {t.text!r}" for t in tokens if isinstance(t, Sign) and t.text not in SEPARATORS]
    return doubts


def _with_side(organ: Word, words: Sequence[Word], doubts: list[str]) -> NameReading:
    structure = vocabulary().structures[organ.structure]
    letters = structure.letters.get(organ.text, {})
    kinds = {WordKind.LEFT: "left", WordKind.RIGHT: "right"}
    sides = {kinds[word.kind] for word in words if word.kind in kinds and word.text not in letters}
    sides |= {letters[word.text] for word in words if word.text in letters}
    is_both = organ.only == _BOTH and not sides
    has_both = len(sides) > 1 or any(word.kind is WordKind.BOTH for word in words)
    if is_both or (has_both and "" not in structure.roles):
        return NameReading(Outcome.OTHER, note="both sides")
    roles: tuple[str, ...]
    if "" in structure.roles:
        roles = (structure.roles[""],)
        doubts += [f"only its {side} half by its name" for side in sides if not has_both]
        doubts += ["both its halves by its name"] * has_both
    elif sides:
        roles = (structure.roles[sides.pop()],)
    else:
        roles = tuple(structure.roles.values())
        doubts.append("its name states no side")
    return NameReading(Outcome.POSSIBLE_ORGAN if doubts else Outcome.ORGAN, roles=roles, note="; ".join(doubts))
