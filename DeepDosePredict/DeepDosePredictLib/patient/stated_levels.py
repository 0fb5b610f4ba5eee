"""Prescriptions that a target's name states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .name_tokens import EitherNumber, Number, Sign, Token

LEVELS_GY = (20.0, 90.0)
SURE_GY = (40.0, 80.0)
"""Between these a number of two digits is a prescription; below it may be a number of fractions, say."""

# Doses that head-and-neck targets are prescribed: whole ones, and what 25 to 40 fractions of 1.6 to 2.25 Gy give.
USUAL_WHOLE = frozenset((*range(20, 59, 2), 45, 51, 55, 57, *range(60, 81, 2), 63, 65, 75))
_USUAL_TENTHS = """
    42.5 46.2 46.8 48.6 49.2 49.5 50.4 51.2 51.8 52.2 52.5 52.8 54.4 54.6 55.2 55.5 55.8 56.1 56.7 57.4 57.5 57.6 58.1
    58.8 59.2 59.4 59.5 60.8 61.2 61.6 62.5 62.7 63.6 64.4 64.8 65.1 66.5 66.6 67.2 67.5 68.2 68.4 68.8 69.3 69.6 71.4
    72.6"""
_USUAL_HUNDREDTHS = """
    40.05 42.56 50.25 51.15 52.25 52.92 53.76 54.12 54.25 54.45 56.25 56.43 57.12 57.75 59.36 59.73 59.92 60.06 61.05
    61.25 61.38 62.04 63.25 63.36 64.02 65.25 66.33 66.96 67.65 67.98 68.25 68.75 69.75 69.96"""
USUAL_DECIMAL = frozenset(map(float, f"{_USUAL_TENTHS} {_USUAL_HUNDREDTHS}".split()))


_COMMON_GY = (45.0, 50.0, 50.4, 54.0, 56.0, 57.0, 59.4, 60.0, 63.0, 64.0, 65.0, 66.0, 68.0, 70.0, 72.0)
_D95_OF_LEVEL, _APART = 0.98, 0.04
"""D95 of a planned target in units of its prescription, and how far from that it may be."""


@dataclass(frozen=True)
class StatedLevels:
    """Prescriptions in Gy that a name may state, the likeliest first, and why it must be asked, "" for a sure one."""

    levels: tuple[float, ...]
    doubt: str = ""


@dataclass(frozen=True)
class _Candidate:
    level: float
    sure: bool = True


def stated_levels(tokens: Sequence[Token]) -> StatedLevels:
    """The prescription of a name such as PTV70, PTV_7000, PTV 59,4, PTV69_96, PTV 33x2.12, PTV_60_2019 or PTV 70Gy/35.

    A number is read by its unit, by how many digits it has and by whether such a dose is usual.
    """
    found = list(_candidates(with_decimals(tokens)))
    if any(one.level >= SURE_GY[0] for one in found):  # then smaller numbers are fractions, days or years
        found = [one for one in found if one.level >= SURE_GY[0]]
    levels = tuple(dict.fromkeys(one.level for one in sorted(found, key=lambda one: not one.sure)))
    if not levels:
        return StatedLevels((), "its name states no dose")
    if len(levels) > 1:
        return StatedLevels(levels, f"its name states several doses ({', '.join(f'{x:g}' for x in levels)} Gy)")
    return StatedLevels(levels, "" if any(one.sure for one in found) else f"its name may state {levels[0]:g} Gy")


def likely_level(d95: float) -> float | None:
    """The common prescription in Gy that a target's D95 in Gy suggests; None if none is near."""
    level = min(_COMMON_GY, key=lambda level: abs(d95 / level - _D95_OF_LEVEL))
    return level if abs(d95 / level - _D95_OF_LEVEL) <= _APART else None


def with_decimals(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, numbers joined where the sign between them may be a decimal point."""
    found: list[Token] = []
    position = 0
    while position < len(tokens):
        token, sign, after = (*tokens[position : position + 3], None, None)[:3]
        readings: tuple[Number, ...] = ()
        if isinstance(token, Number) and isinstance(sign, Sign) and isinstance(after, Number):
            readings = _joined(token, sign.text, after)
        if readings:
            found.append(readings[0] if len(readings) == 1 else EitherNumber(readings))
        elif token is not None:
            found.append(token)
        position += 3 if readings else 1
    return found


def _joined(whole: Number, sign: str, part: Number) -> tuple[Number, ...]:
    """What "69_96" may be: the decimal, both, or () where the two are no decimal."""
    if (
        sign not in ("_", " ", "-")
        or whole.unit
        or part.unit not in ("", "gy")
        or not (whole.text.isdigit() and part.text.isdigit())
    ):
        return ()
    is_usual = whole.value in USUAL_WHOLE
    if len(whole.text) != 2 or len(part.text) > (1 if sign == "-" and is_usual else 2):
        return ()
    decimal = Number(f"{whole.text}.{part.text}", part.unit)
    if decimal.value not in USUAL_DECIMAL:
        return ()
    if not is_usual and sign != "-":
        return (decimal,)
    if is_usual and part.text in ("1", "2", "3"):
        return ()
    return (decimal, whole)


def _candidates(tokens: Iterable[Token]) -> Iterator[_Candidate]:
    for token in tokens:
        if isinstance(token, EitherNumber):
            yield from (_Candidate(one.value, False) for one in token.readings)
        elif isinstance(token, Number):
            one = _candidate(token)
            if one is not None and LEVELS_GY[0] <= one.level <= LEVELS_GY[1]:
                if not one.sure and re.fullmatch(r"\d\d\.[1-3]", token.text) and int(token.value) in USUAL_WHOLE:
                    yield _Candidate(float(int(token.value)), False)  # PTV70.1 is the first of several, rather
                yield one


def _candidate(number: Number) -> _Candidate | None:
    value, high = number.value, LEVELS_GY[1]
    if number.unit == "gy":
        return _Candidate(value) if value <= high else _Candidate(value / 100, False)
    if number.unit == "cgy":
        return _Candidate(value / 100) if value > high else _Candidate(value, False)
    if number.unit:
        return None
    if not number.text.isdigit():
        return _Candidate(value, value in USUAL_DECIMAL or value.is_integer() or int(value) not in USUAL_WHOLE)
    if len(number.text) == 2:  # 59 may be short for 59.4
        return _Candidate(value, SURE_GY[0] <= value <= SURE_GY[1] and value in USUAL_WHOLE)
    if len(number.text) == 3:
        return _Candidate(value / 10, False) if value / 10 in USUAL_DECIMAL | USUAL_WHOLE else None
    if len(number.text) == 4:  # below 32 Gy it may be a day with a month
        return _Candidate(value / 100, value >= 3200 or value % 100 == 0)
    return None
