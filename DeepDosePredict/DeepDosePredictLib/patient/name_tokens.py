"""A structure's name as a row of tokens: words, numbers with their units, dates, signs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .vocabulary import Vocabulary, Word, WordKind, plain_key, vocabulary, without_accents


@dataclass(frozen=True)
class Number:
    """A number with its unit: "gy", "cgy", "fx", "mm", "%" or "".

    Attributes:
        text: its digits as written, with "." for a decimal comma or p.
    """

    text: str
    unit: str = ""

    @property
    def value(self) -> float:
        return float(self.text)


@dataclass(frozen=True)
class Date:
    """A date, a year or a number that can only be one."""

    text: str


@dataclass(frozen=True)
class Sign:
    """A character that is neither letter nor digit; spaces are one sign."""

    text: str


@dataclass(frozen=True)
class EitherNumber:
    """A number that can be read in two ways, such as 50_4."""

    readings: tuple[Number, ...]


Token = Word | Number | EitherNumber | Date | Sign

SEPARATORS = (" ", "_", ".", ",", ":", ";", "(", ")", "[", "]", "{", "}", "/", "'", '"', "-")
"""Signs between the words of a name."""
_JOINTS = (" ", "_", ".", "-")
"""Signs that may stand between the words of a phrase."""
_LONGEST_PHRASE, _LONGEST_RUN, _MOST_PARTS = 4, 40, 4

_FRACTIONS = ("#", "fx", "frx", "fr", "fractions", "fraction", "frac", "f")
_UNITS = {
    "cgy": "cgy",
    "gy": "gy",
    "gray": "gy",
    "mm": "mm",
    "cm": "mm",
    "cc": "%",
    "ml": "%",
    "%": "%",
} | dict.fromkeys(_FRACTIONS, "fx")
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_DATE = rf"""(?<!\d)(?:
    {_DAY}(?P<sign_of_date>[./_-]){_DAY}(?P=sign_of_date)(?:(?:19|20)\d\d|[12]\d)
    | {_YEAR}[./_-]?{_MONTH}[./_-]?{_DAY}
    | {_YEAR}
    )(?![\d.,]|\s?c?gy)"""
_DECIMAL = r"\d+(?:[.,]\d{1,2}(?!\d)|(?<=\d)p\d{1,2}(?!\d))?"
_SCAN = re.compile(
    rf"""(?P<date>{_DATE})
    | (?P<number>{_DECIMAL})(?:[\s_]?(?P<unit>{"|".join(map(re.escape, _UNITS))})(?![a-z]))?
    | (?P<stage>[cpyr]{{0,2}}[tn][0-4][abc])(?![^\W_])
    | (?P<run>[^\W\d_]+)
    | (?P<space>\s+)
    | (?P<sign>.)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_PRODUCT = re.compile(rf"({_DECIMAL})\s?(?:gy)?\s?[x*]\s?({_DECIMAL})(?:\s?gy)?(?![a-z\d])", re.IGNORECASE)
"""Fractions and their dose, in either order."""
_PRODUCTS_GY = (20.0, 90.0)
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+")

_PTV = "ptv"
_RANKS = (WordKind.HIGH, WordKind.MID, WordKind.LOW)
_SHORT = (WordKind.SITE, *_RANKS)
"""Short words that a target's name may carry, as in PTVn."""
_TARGETS = (WordKind.PTV, WordKind.TUMOUR, WordKind.TARGET)
_CARRIERS = (*_TARGETS, WordKind.STRUCTURE, WordKind.ORGAN, WordKind.SITE_OR_ORGAN)
"""Words that others may be written together with, one on each side."""


def tokens_of(name: str) -> tuple[Token, ...]:
    """The tokens of a name; what words cannot be split into known ones stays one unknown word."""
    return _tokens(name.strip())


def is_set_apart(tokens: Sequence[Token]) -> bool:
    """TG-263's mark of what is not evaluated, or of a part: leading _, leading or trailing ~."""
    first, last = tokens[0], tokens[-1]
    return (isinstance(first, Sign) and first.text in "_~") or (isinstance(last, Sign) and last.text == "~")


@functools.lru_cache(maxsize=10_000)
def _tokens(name: str) -> tuple[Token, ...]:
    words = vocabulary()
    text = re.sub(r"\bw/o\b", "without", without_accents(name), flags=re.IGNORECASE)
    found: list[Token] = []
    start = 0
    while start < len(text):
        tokens, start = _scanned(text, start, words)
        found += tokens
    return tuple(_phrases(found, words))


def _scanned(text: str, start: int, words: Vocabulary) -> tuple[list[Token], int]:
    """The tokens at a place of a name, and where the next ones begin."""
    if (product := _PRODUCT.match(text, start)) is not None:
        dose = round(_number(product[1]).value * _number(product[2]).value, 2)
        dose = dose / 100 if dose > 1000 else dose  # fractions in cGy
        if _PRODUCTS_GY[0] <= dose <= _PRODUCTS_GY[1]:
            return [Number(f"{dose:g}", "gy")], product.end()
    match = _SCAN.match(text, start)
    assert match is not None, "every character is a sign at least"
    if match["date"]:
        return [Date(match["date"])], match.end()
    if match["number"]:
        return [_number(match["number"], _UNITS.get((match["unit"] or "").lower(), ""))], match.end()
    if match["stage"]:  # of TNM: N2b
        return [Word(plain_key(match["stage"]), WordKind.SITE)], match.end()
    if match["run"]:
        return [*_split(match["run"], words)], match.end()
    return [Sign(" " if match["space"] else match["sign"])], match.end()


def _number(text: str, unit: str = "") -> Number:
    return Number(re.sub("[,pP]", ".", text), unit)


def _split(run: str, words: Vocabulary) -> list[Word]:
    """A run of letters as known words: by the vocabulary, around PTV, or by capitals."""
    if parts := _known_parts(run.lower(), words):
        return list(parts)
    if _PTV in run.lower():
        before, _, after = re.split(f"({_PTV})", run, maxsplit=1, flags=re.IGNORECASE)
        return [*_prefix(before, words), words.word(_PTV), *(_split(after, words) if after else ())]
    pieces = _CAMEL.findall(run)
    if len(pieces) < 2 or "".join(pieces) != run:
        return [words.word(run.lower())]
    split = (_known_parts(piece.lower(), words) or (words.word(piece.lower()),) for piece in pieces)
    return [word for part in split for word in part]


def _prefix(run: str, words: Vocabulary) -> list[Word]:
    """What stands before PTV without a space; a single letter there is a side or z, or not understood."""
    if len(run) == 1 and not _fits((words.word(run.lower()),), 0, 1):
        return [Word(run.lower(), WordKind.UNKNOWN)]
    return _split(run, words) if run else []


def _known_parts(run: str, words: Vocabulary) -> tuple[Word, ...]:
    """The fewest known words that a run is made of; () if there are none."""
    key = plain_key(run)
    if key in words.words or len(run) > _LONGEST_RUN:
        return (words.words[key],) if key in words.words else ()

    def splits(rest: str, parts: tuple[Word, ...]) -> Iterator[tuple[Word, ...]]:
        if not rest:
            yield parts
        elif len(parts) < _MOST_PARTS:
            for end in range(len(rest), 0, -1):
                if (word := words.words.get(rest[:end])) is not None:
                    yield from splits(rest[end:], (*parts, word))

    return min(filter(_is_plausible, splits(key, ())), key=len, default=())


def _is_plausible(parts: tuple[Word, ...]) -> bool:
    """Whether words are written together as clinics do: PTVn, PTVpL, RPTV, ParotidL, zPTV, PTVeval, CordPRV.

    Any word could be cut into some short ones, and "primair" into "prim" and "air".
    """
    carriers = [n for n, word in enumerate(parts) if word.kind in _CARRIERS and not word.short and _is_long(word)]
    if not carriers or any(word.kind is WordKind.WITH for word in parts):
        return False
    last = max(n for n, word in enumerate(parts) if len(word.text) > 2)
    beside = {place for n in carriers for place in (n - 1, n, n + 1)}
    return all(n in beside if len(word.text) > 2 else _fits(parts, n, last) for n, word in enumerate(parts))


def _is_long(word: Word) -> bool:
    return len(word.text) > 3 or (len(word.text) > 2 and word.kind in (*_TARGETS, WordKind.STRUCTURE))


def _fits(parts: tuple[Word, ...], n: int, last: int) -> bool:
    """Whether a short word may stand at place n, where the last longer word has place `last`."""
    word, is_side = parts[n], parts[n].kind in (WordKind.LEFT, WordKind.RIGHT)
    if n == 0:
        is_rank = word.kind in _RANKS and len(parts) > 1 and parts[1].kind in _TARGETS
        return is_side or is_rank or word.text == "z"
    of_target = parts[last].kind in _TARGETS and n == last + 1 and word.kind in _SHORT
    return n > last and ((is_side and n == len(parts) - 1) or of_target)


def _phrases(tokens: list[Token], words: Vocabulary) -> list[Token]:
    """Neighbouring words that are known together, such as "spinal cord", become one."""
    found: list[Token] = []
    start = 0
    while start < len(tokens):
        phrase, end = _phrase(tokens, start, words)
        found.append(phrase)
        start = end
    return found


def _phrase(tokens: list[Token], start: int, words: Vocabulary) -> tuple[Token, int]:
    best, text, n, position = (tokens[start], start + 1), "", 0, start
    while position < len(tokens) and n < _LONGEST_PHRASE:
        token = tokens[position]
        if isinstance(token, Sign) and token.text in _JOINTS and n:
            position += 1
            continue
        if not isinstance(token, Word):
            break
        text, n, position = text + token.text, n + 1, position + 1
        if n > 1 and text in words.words and (len(text) > n or text == _PTV):  # L_R is no "LR"
            best = (words.words[text], position)
    return best
