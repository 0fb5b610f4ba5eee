"""Rows of the structure table: what was matched by name, overlaid with what the user answered. No Qt."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .assignment import Roles
from .outcome import Outcome
from .rois import EXTERNAL, prescription
from .roles import NOT_TARGETS
from .site_names import NOT_USED, TARGET, read_site_names
from .structure_names import Match, read_name

Edits = Roles
"""The user's answers: role -> segment IDs, () for "leave out"; IGNORED -> candidates for a target that are none."""

IGNORED = "ignored"
USUAL_LEVELS_GY = (70.0, 63.0, 56.0, 66.0, 60.0, 54.0, 50.0, 45.0)


class State(enum.Enum):
    """How sure a row is."""

    MATCHED = "matched"
    CHOSEN = "chosen"
    CONFIRM = "confirm"
    MISSING = "missing"


@dataclass(frozen=True)
class StructureRow:
    """One model input.

    Attributes:
        role: see patient.assignment.Roles.
        segments: IDs that are united for it; () for none.
        candidates: IDs that the user is asked about (and was asked about, where they are left out).
        state: CONFIRM while the user must still answer.
        note: in words, for the tool tip.
        matched: IDs that its name gave, whatever the user answered.
    """

    role: str
    segments: tuple[str, ...]
    candidates: tuple[str, ...]
    state: State
    note: str = ""
    matched: tuple[str, ...] = ()

    @property
    def level(self) -> float | None:
        """Prescription of a target in Gy, None for other structures."""
        return prescription(self.role)


def known_edits(edits: Edits, segments: Sequence[str]) -> Edits:
    """The answers whose segments still exist; a role that lost one of its segments is matched by name again."""
    return {role: ids for role, ids in edits.items() if set(ids) <= set(segments)}


def structure_rows(matches: Sequence[Match], edits: Edits) -> list[StructureRow]:
    """Rows in panel order: targets by falling level, then the others as matched."""
    targets = [_matched_row(match, edits) for match in matches if prescription(match.role) is not None]
    certain = {match.role for match in matches if match.segments}
    targets += [
        StructureRow(role, ids, (), State.CHOSEN if ids else State.MISSING)
        for role, ids in edits.items()
        if prescription(role) is not None and role not in certain
    ]
    targets = [row for row in targets if not _is_moved(row, edits)]
    others = [_matched_row(match, edits) for match in matches if prescription(match.role) is None]
    return [*sorted(targets, key=lambda row: -(row.level or 0)), *others]


def _matched_row(match: Match, edits: Edits) -> StructureRow:
    is_question = prescription(match.role) is not None and not match.segments
    if is_question:
        ruled_out = set(match.candidates) <= set(edits.get(IGNORED, ()))
        return StructureRow(match.role, (), match.candidates, State.MISSING if ruled_out else State.CONFIRM, match.note)
    if match.role in edits:
        ids = edits[match.role]
        state = State.CHOSEN if ids else State.MISSING
        return StructureRow(match.role, ids, match.candidates, state, match.note, match.segments)
    if match.segments:
        return StructureRow(match.role, match.segments, (), State.MATCHED, match.note, match.segments)
    return StructureRow(
        match.role, (), match.candidates, State.CONFIRM if match.candidates else State.MISSING, match.note
    )


def _is_moved(row: StructureRow, edits: Edits) -> bool:
    """Whether the segments of an empty target row now stand in the row of another prescription."""
    if row.segments:
        return False
    elsewhere = {s for role, ids in edits.items() if prescription(role) is not None for s in ids}
    own = set(row.candidates or row.matched)
    return bool(own) and own <= elsewhere


def roles_of_rows(rows: Sequence[StructureRow]) -> Roles:
    """What the model is fed with; unanswered questions are left out."""
    return {row.role: row.segments for row in rows if row.segments}


def answers_of_rows(rows: Sequence[StructureRow]) -> Roles:
    """What the user said beyond names: roles, () for an organ left out, and under NOT_TARGETS what is no target."""
    used = {segment for row in rows for segment in row.segments}
    asked = {segment for row in rows if row.level is not None for segment in (*row.candidates, *row.matched)}
    said = [row for row in rows if row.state is not State.MATCHED and (row.segments or row.level is None)]
    return {**{row.role: row.segments for row in said}, NOT_TARGETS: tuple(sorted(asked - used))}


def to_add(rows: Sequence[StructureRow], row: StructureRow, segments: Iterable[str]) -> list[tuple[str, ...]]:
    """Choices of a row that unite several contours: what it has, or what it is asked about, with one more."""
    used = {segment for other in rows for segment in other.segments}
    if row.segments:
        return [(*row.segments, segment) for segment in segments if segment not in used]
    return [row.candidates] if len(row.candidates) > 1 else []


def learnable(rows: Sequence[StructureRow], names: Mapping[str, str]) -> dict[str, str]:
    """What a site may remember of the user's answers: {name: role, "target" or "not used"}.

    A target's prescription is none of it: it is the patient's, not the name's.
    """
    site = read_site_names()
    learnt: dict[str, str] = {}
    for row in rows:
        if row.state is State.MISSING:
            learnt |= dict.fromkeys(row.candidates, NOT_USED)
    for row in rows:
        learnt |= {s: row.role if row.level is None else TARGET for s in row.segments if s not in row.matched}
    readings = {segment: read_name(names[segment], site) for segment in learnt}
    known = {s for s, one in readings.items() if one.outcome is Outcome.TARGET and learnt[s] == TARGET}
    known |= {s for s in learnt if site.meaning(names[s]) == learnt[s]}
    return {names[segment]: meaning for segment, meaning in learnt.items() if segment not in known}


def choose(rows: Sequence[StructureRow], edits: Edits, row: StructureRow, segments: tuple[str, ...]) -> Edits:
    """Answers after the user chose the segments of a row, () to leave it out."""
    if row.level is None:
        return {**edits, row.role: segments}
    if row.candidates:
        ignored = set(edits.get(IGNORED, ())) - set(segments)
        if not segments:
            return {**edits, IGNORED: tuple(sorted(ignored | set(row.candidates)))}
        return {**edits, IGNORED: tuple(sorted(ignored)), row.role: _united(rows, row.role, segments)}
    if not segments and not row.matched:
        return {role: ids for role, ids in edits.items() if role != row.role}
    return {**edits, row.role: segments}


def set_level(rows: Sequence[StructureRow], edits: Edits, row: StructureRow, level: float) -> Edits:
    """Answers after the user entered the prescription of a target in Gy; equal prescriptions are united."""
    role = f"PTV{level:g}"
    segments = row.segments or row.candidates
    if role == row.role and row.segments:
        return edits
    changed = {**edits, role: _united(rows, role, segments)}
    if row.candidates:
        changed[IGNORED] = tuple(s for s in edits.get(IGNORED, ()) if s not in segments)
    elif role != row.role and row.matched:
        changed[row.role] = ()
    elif role != row.role:
        changed.pop(row.role, None)
    return changed


def add_target(rows: Sequence[StructureRow], edits: Edits) -> Edits:
    """Answers with one more target, of the first usual prescription that is free."""
    taken = {row.level for row in rows} | {prescription(role) for role in edits}  # an answer may hide its row
    level = next((level for level in USUAL_LEVELS_GY if level not in taken), max(USUAL_LEVELS_GY) + len(taken))
    return {**edits, f"PTV{level:g}": ()}


def _united(rows: Sequence[StructureRow], role: str, segments: tuple[str, ...]) -> tuple[str, ...]:
    present = next((row.segments for row in rows if row.role == role and row.segments), ())
    return tuple(dict.fromkeys((*present, *segments)))


def is_automatic(row: StructureRow) -> bool:
    """Whether nothing needs to be chosen because the program finds it: the body in the CT."""
    return row.role == EXTERNAL
