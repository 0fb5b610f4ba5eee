"""Which contoured structure feeds which input of a model: TG-263 names, OpenKBP names and common synonyms.

What a name does not settle is left to the user: nothing is taken on a guess. Names and synonyms stand in
Resources/StructureNames.json; targets follow TG-263's PTV rule (AAPM TG-263 report, 2018).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeepDoseError
from .rois import DOSE_MASK, OARS, prescription

EXTERNAL = "External"
Roles = dict[str, tuple[str, ...]]
"""Role -> IDs of the segments that are united for it. Roles are "PTV70" and the like, OARS, EXTERNAL, DOSE_MASK."""

LEVELS_GY = (20.0, 90.0)
_RANKED = {"high": 70.0, "mid": 63.0, "low": 56.0}
# Help structures: optimisation (z..., _...), partial (~), margins, rings, evaluation copies; then differences (A-B).
_HELP = re.compile(r"^[z_~]|~$|prv|ring|avoid|crop|couch|_eval|(?<![a-z])opt|\bno\b", re.IGNORECASE)
_DIFFERENCE = re.compile(r"(?<=[a-z0-9)])\s*[-\\!]\s*[a-z(]", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+(?:[.p]\d+)?)\s*(cgy|gy|fx|f\b|mm)?", re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """What was found for one role.

    Attributes:
        role: see `Roles`; of a target without a stated level, the level that its rank suggests.
        segments: IDs that certainly are this structure; several are united.
        candidates: IDs that may be it; the user must be asked.
        note: why it must be asked, or what was done, in words.
    """

    role: str
    segments: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    note: str = ""


def match_structures(names: Mapping[str, str]) -> list[Match]:
    """Match segments, given as {ID: name}, to roles: targets from the highest level down, OARs, the body contour.

    Every OAR and the body contour get a row, found or not; a dose mask only if there is one.
    """
    usable = {segment: name for segment, name in names.items() if not is_help_structure(name)}
    matches = [_match(role, usable) for role in (*OARS, EXTERNAL, DOSE_MASK)]
    return [*_targets(usable), *(match for match in matches if match.role != DOSE_MASK or match.segments)]


def is_help_structure(name: str) -> bool:
    """Whether a name is that of a structure made for planning only: never used, whatever else it is called."""
    known = any(normalised(name) in exact for exact, _ in structure_names().values())
    return bool(_HELP.search(name.strip())) or (not known and bool(_DIFFERENCE.search(name)))


def _match(role: str, names: Mapping[str, str]) -> Match:
    exact, related = structure_names()[role]
    found = tuple(segment for segment, name in names.items() if normalised(name) in exact)
    if len(found) == 1:
        return Match(role, found)
    if found:
        return Match(role, (), found, f"{' and '.join(names[s] for s in found)} may both be this structure")
    near = {segment: related[normalised(name)] for segment, name in names.items() if normalised(name) in related}
    note = "; ".join(f"{names[segment]}: {words}" for segment, words in near.items())
    return Match(role, (), tuple(near), note)


def _targets(names: Mapping[str, str]) -> list[Match]:
    certain: dict[float, list[str]] = {}
    asked: dict[float, list[str]] = {}
    notes: dict[float, str] = {}
    for segment, name in names.items():
        if not name.strip().lower().startswith("ptv"):
            continue
        levels = stated_levels(name)
        if len(levels) == 1:
            certain.setdefault(levels[0], []).append(segment)
            continue
        rank = next((level for word, level in _RANKED.items() if word in name.lower()), max(_RANKED.values()))
        level = levels[0] if levels else rank
        asked.setdefault(level, []).append(segment)
        notes[level] = f"{name}: its name states {'several doses' if levels else 'no dose'}; enter its prescription"
    rows = []
    for level in sorted({*certain, *asked}, reverse=True):
        if level in certain:
            together = " and ".join(names[s] for s in certain[level])
            rows.append(
                Match(
                    f"PTV{level:g}",
                    tuple(certain[level]),
                    (),
                    f"{together} are united" if len(certain[level]) > 1 else "",
                )
            )
        rows += [Match(f"PTV{level:g}", (), (segment,), notes[level]) for segment in asked.get(level, [])]
    return rows


def stated_levels(name: str) -> list[float]:
    """Prescriptions in Gy that a target's name may state: "PTV_7000" and "PTV70" give [70], "PTV_High" gives [].

    A number with a unit wins, then four digits (cGy), then two digits (Gy).
    """
    found: dict[str, set[float]] = {"unit": set(), "cGy": set(), "Gy": set()}
    for text, unit in _NUMBER.findall(name.strip()[3:]):
        number, unit = float(text.lower().replace("p", ".")), unit.lower()
        if unit in ("gy", "cgy"):
            found["unit"].add(number / (100 if unit == "cgy" else 1))
        elif not unit and re.fullmatch(r"\d{4}", text):
            found["cGy"].add(number / 100)
        elif not unit and re.fullmatch(r"\d{2}(?:[.p]\d+)?", text, re.IGNORECASE):
            found["Gy"].add(number)
    low, high = LEVELS_GY
    for levels in found.values():
        if plausible := sorted(level for level in levels if low <= level <= high):
            return plausible
    return []


def normalised(name: str) -> str:
    """A name without case, spaces and the characters _ - . for comparison."""
    return re.sub(r"[\s_\-.]", "", name).lower()


def target_level(role: str) -> float | None:
    """Prescription in Gy of a target's role, None for other roles."""
    return prescription(role)


def roles_of(matches: Iterable[Match]) -> Roles:
    """The matches that are certain."""
    return {match.role: match.segments for match in matches if match.segments}


def check_roles(roles: Mapping[str, Any], names: Mapping[str, str]) -> Roles:
    """Roles as a script may give them, {role: ID or name or list of these}, as `Roles`.

    DeepDoseError names an unknown role, a missing or twice-named segment, or a segment used for two roles.
    """
    result: Roles = {}
    for role, given in roles.items():
        if role not in (*OARS, EXTERNAL, DOSE_MASK) and target_level(role) is None:
            raise DeepDoseError(
                f"{role!r} is no role; known are PTV with its level (PTV70), {', '.join(OARS)},"
                f" {EXTERNAL} and {DOSE_MASK}"
            )
        segments: tuple = (given,) if isinstance(given, str) else tuple(given or ())
        if segments:
            result[role] = tuple(_segment(text, names, role) for text in segments)
    used = [segment for segments in result.values() for segment in segments]
    if twice := sorted({names[segment] for segment in used if used.count(segment) > 1}):
        raise DeepDoseError(f"{', '.join(twice)}: given for two roles; each structure can have only one")
    return result


def resolved_roles(
    names: Mapping[str, str], roles: Mapping[str, object] | None, where: str
) -> tuple[Roles, tuple[str, ...]]:
    """Checked roles, matched by names if none are given, and in words what remained open.

    DeepDoseError where a name does not settle which structure is a target or an organ, or where no target is left.

    Args:
        names: {ID: name}.
        where: what the structures come from, for messages.
    """
    if not names:
        raise DeepDoseError(f"{where}: it has no segments; contour the PTVs and organs first")
    warnings: list[str] = []
    if roles is None:
        matches = match_structures(names)
        for match in matches:
            named = ", ".join(names[segment] for segment in match.candidates)
            if match.candidates and prescription(match.role) is not None:
                raise DeepDoseError(f"{match.note}; give its role, for instance roles={{'{match.role}': '{named}'}}")
            if len(match.candidates) > 1:
                raise DeepDoseError(f"{where}: {match.role} may be {named}; give roles={{'{match.role}': ...}}")
            if match.candidates:
                warnings.append(f"{match.role}: {named} was not taken for it ({match.note})")
            elif match.note:
                warnings.append(match.note)
        roles = roles_of(matches)
    roles = check_roles(roles, names)
    if not any(prescription(role) is not None for role in roles):
        raise DeepDoseError(f"{where}: no segment is a PTV; give the PTVs with their prescriptions")
    return roles, tuple(warnings)


def _segment(text: str, names: Mapping[str, str], role: str) -> str:
    if text in names:
        return text
    found = [segment for segment, name in names.items() if name == text]
    if len(found) != 1:
        problem = "there are several segments" if found else "there is no segment"
        raise DeepDoseError(f"{role}: {problem} named {text!r}; the segments are {', '.join(names.values()) or 'none'}")
    return found[0]


def roles_to_json(roles: Mapping[str, Iterable[str]]) -> str:
    return json.dumps({role: list(segments) for role, segments in roles.items()})


def roles_from_json(text: str) -> Roles:
    """DeepDoseError if the text is not what `roles_to_json` writes."""
    try:
        content = json.loads(text) if text else {}
        return {str(role): tuple(map(str, segments)) for role, segments in content.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DeepDoseError(f"the structure roles are damaged ({error}); match the structures again") from error


def tg263_name(role: str) -> str:
    """TG-263 primary name of an organ or the body contour; the role itself where there is none."""
    return _table()[role]["tg263"] or role


@functools.cache
def structure_names() -> dict[str, tuple[frozenset[str], dict[str, str]]]:
    """{role: (normalised names, {normalised related name: what it is})}."""
    return {
        role: (
            frozenset(map(normalised, (role, entry["tg263"] or role, *entry["names"]))),
            {normalised(name): words for name, words in entry["related"].items()},
        )
        for role, entry in _table().items()
    }


@functools.cache
def _table() -> dict[str, dict]:
    here = Path(__file__).resolve()
    folders = (here.parents[1] / "Resources", here.parents[2] / "Resources")
    path = next((f / "StructureNames.json" for f in folders if (f / "StructureNames.json").is_file()), folders[1])
    try:
        return json.loads(path.read_text(encoding="utf-8"))["structures"]
    except (OSError, ValueError, KeyError) as error:
        raise DeepDoseError(f"{path}: the table of structure names cannot be read ({error}); install again") from error
