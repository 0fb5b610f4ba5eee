"""Below the page: what went in as what and why, what was left out and why, and warnings that found no room on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..patient.assignment import Assignment, ContourUse
from .page import ALARM, DPI, FAINT, HEIGHT, INK, WIDTH, add_text, drawable, short_names, wrapped

ROW_PX, TOP_PX = 24, 30
_COLUMNS = (48, 480, 700, 1110)
"""Left edges of contour, role, source and note."""
_NAME_LENGTH, _NOTE_EM, _LINE_EM = 36, 54.0, 114.0
_SIZE, _TITLE_SIZE = 9.5, 11.5
_ROWS_OF_PAGE = (HEIGHT - 2 * TOP_PX) // ROW_PX


@dataclass(frozen=True)
class _Row:
    """Text at each of `_COLUMNS`, or from the first one on."""

    cells: tuple[str, ...]
    colour: str = INK
    title: bool = False


def draw_account(account: Assignment, warnings: Sequence[str] = ()) -> Iterator[tuple[Figure, int]]:
    """Figures as large as the page with the account of all contours, and how many pixels of each are used.

    As many as it takes; none where there is nothing to tell.

    Args:
        warnings: lines to put first.
    """
    rows = [_Row((line,), ALARM) for line in warnings]
    rows += [_Row(("",))] * bool(rows) + list(_rows(account))
    for start in range(0, len(rows), _ROWS_OF_PAGE):
        figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        part = rows[start : start + _ROWS_OF_PAGE]
        for n, row in enumerate(part):
            size, weight = (_TITLE_SIZE, "bold") if row.title else (_SIZE, "normal")
            for x, cell in zip(_COLUMNS, row.cells, strict=False):
                add_text(figure, x, TOP_PX + n * ROW_PX, cell, size, color=row.colour, weight=weight)
        yield figure, 2 * TOP_PX + len(part) * ROW_PX


def _rows(account: Assignment) -> Iterator[_Row]:
    if account.used:
        yield _Row(("Contour", "used as", "from", "to be confirmed"), title=True)
    names = short_names([use.contour for use in account.used], _NAME_LENGTH)
    for name, use in zip(names, account.used, strict=True):
        yield from _used(name, use)
    if account.left_out:
        yield _Row(("",))
        yield _Row(("Left out",), title=True)
    for note, uses in account.left_out_by_reason().items():
        whole = (drawable(use.contour).replace(" ", "\xa0") for use in uses)  # wrapped between names only
        lines = wrapped(f"{note or 'no reason recorded'}: {', '.join(whole)}", _LINE_EM)
        yield from (_Row((line,), ALARM if uses[0].doubted else FAINT) for line in lines)


def _used(name: str, use: ContourUse) -> Iterator[_Row]:
    level = use.prescription_gy
    role = use.role if level is None else f"{use.role} ({level:g} Gy)"
    notes = wrapped(use.note, _NOTE_EM) if use.doubted else []
    colour = ALARM if use.doubted else INK
    yield _Row((name, role, use.source or "script", *notes[:1]), colour)
    yield from (_Row(("", "", "", line), colour) for line in notes[1:])
