"""What each contour of a patient is: target, organ, help structure or a question, by its name and what else is known.

Names follow TG-263 (AAPM report, 2018), OpenKBP and clinics' habits; the words stand in Resources/StructureNames.json.
What a name does not settle is left to the user: nothing is taken on a guess, and nothing that could be a target is
passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .name_tokens import tokens_of
from .organ_names import read_organ
from .outcome import NameReading, Outcome
from .rois import DOSE_MASK, EXTERNAL, OARS, target_prescription
from .site_names import SiteNames, read_site_names
from .stated_levels import SURE_GY, stated_levels
from .target_names import read_possible_target, read_target
from .vocabulary import Word, vocabulary

BY_NAME, BY_USER, BY_SITE, BY_TYPE = "name", "user", "site's names", "RT ROI interpreted type"
BY_PLAN, BY_PLAN_SITE, BY_DOSE = "RTPLAN dose reference", "RTPLAN dose reference without contour", "reference dose"
NOT_FOR_TARGETS = ("AVOIDANCE", "CONTROL", "BOLUS", "SUPPORT", "DOSE_REGION")
_TARGETS = (Outcome.TARGET, Outcome.POSSIBLE_TARGET)
_RANKED_GY = {"high": 70.0, "mid": 63.0, "low": 56.0}


@dataclass(frozen=True)
class Evidence:
    """What is known of contours beside their names.

    Attributes:
        types: {ID: RT ROI interpreted type}.
        planned: {ID: prescription in Gy that an RTPLAN's dose reference gives it}.
        dose_level: prescription in Gy that the reference dose suggests for an ID, or None where it suggests none.
        sites: prescriptions in Gy that an RTPLAN gives to no contour.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    planned: Mapping[str, float] = field(default_factory=dict)
    dose_level: Callable[[str], float | None] = lambda segment: None
    sites: tuple[float, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What a contour is taken for.

    Attributes:
        roles: the role of TARGET and ORGAN; of the possible ones, what is suggested ("PTV70"; both sides of an organ).
        source: of role and prescription, in words: `BY_NAME` and the like.
        note: why it is asked, not used, or to be confirmed; "" where nothing is to be said.
    """

    outcome: Outcome
    roles: tuple[str, ...] = ()
    source: str = BY_NAME
    note: str = ""


@dataclass(frozen=True)
class Match:
    """What was found for one role.

    Attributes:
        role: "PTV70" and the like, an organ, EXTERNAL or DOSE_MASK; of a target without a sure level, a suggestion.
        segments: IDs that certainly are this structure; several are united.
        candidates: IDs that may be it; the user must be asked.
        note: why it must be asked, or what was done, in words.
    """

    role: str
    segments: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    note: str = ""


def read_name(name: str, site: SiteNames | None = None) -> NameReading:
    """What a name alone says; the site's own names come first."""
    tokens = tokens_of(name)
    if site is not None and (said := site.reading(name, stated_levels(tokens).levels)) is not None:
        return said
    if not tokens:
        return NameReading(Outcome.OTHER)
    if (target := read_target(tokens)) is not None:
        return target
    organ = read_organ(tokens)
    if organ.outcome in (Outcome.ORGAN, Outcome.HELP):
        return organ
    return read_possible_target(tokens) or organ


def is_help_structure(name: str) -> bool:
    """Whether a name is that of a structure made for planning only."""
    return read_name(name, read_site_names()).outcome is Outcome.HELP


def decisions(names: Mapping[str, str], evidence: Evidence | None = None) -> dict[str, Decision]:
    """What each contour, given as {ID: name}, is taken for."""
    evidence, site = evidence or Evidence(), read_site_names()
    readings = {segment: read_name(name, site) for segment, name in names.items()}
    of_sites = _levels_of_sites(names, readings, evidence)
    evidence = replace(evidence, planned={**of_sites, **evidence.planned})
    found = {segment: _decision(segment, reading, evidence) for segment, reading in readings.items()}
    for segment, level in of_sites.items():
        note = f"the RTPLAN prescribes {level:g} Gy to no contour; it was taken for this target: confirm it"
        if found[segment].outcome is Outcome.TARGET:
            found[segment] = replace(found[segment], source=BY_PLAN_SITE, note=note)
    for segment, name in names.items():
        if site.meaning(name) and found[segment].source == BY_NAME:
            found[segment] = replace(found[segment], source=BY_SITE)
    _ask_about_other_days(found, readings)
    _ask_for_missing_levels(found, _levels_of_others(readings, evidence))
    _ask_about_twins(found, names)
    _take_external_by_type(found, evidence)
    return found


def match_structures(names: Mapping[str, str], evidence: Evidence | None = None) -> list[Match]:
    """Match contours, given as {ID: name}, to roles: targets from the highest level down, OARs, the body contour.

    Every OAR and the body contour get a row, found or not; a dose mask only if there is one.
    """
    found = decisions(names, evidence)
    others = [_organ_match(role, found, names) for role in (*OARS, EXTERNAL, DOSE_MASK)]
    return [*_target_matches(found, names), *(match for match in others if match.role != DOSE_MASK or match.segments)]


def tg263_name(role: str) -> str:
    """TG-263 primary name of an organ or the body contour; the role itself where there is none."""
    return vocabulary().tg263.get(role, role)


def suggested_level(levels: Iterable[float], name: str) -> float:
    """Prescription to offer for a target: what its name may state, else by its rank, else the highest."""
    return next(iter(levels), None) or _RANKED_GY[rank_of(name) or "high"]


def _levels_of_sites(
    names: Mapping[str, str], readings: Mapping[str, NameReading], evidence: Evidence
) -> dict[str, float]:
    """{ID: level in Gy} where a plan's prescriptions to no contour can be those of these targets only.

    That is where one target without a level and one prescription are left, or as many of both, told apart by ranks.
    """
    named = [one.levels[0] for one in readings.values() if one.outcome is Outcome.TARGET]
    named += evidence.planned.values()
    left = sorted({x for x in evidence.sites if not any(_same_dose(x, level) for level in named)}, reverse=True)
    is_open = [s for s, one in readings.items() if one.no_level and one.outcome is Outcome.POSSIBLE_TARGET]
    is_open = [segment for segment in is_open if segment not in evidence.planned]
    ranks = {segment: rank_of(names[segment]) for segment in is_open}
    if len(left) != len(is_open) or (len(left) > 1 and ("" in ranks.values() or len(set(ranks.values())) < len(left))):
        return {}
    matched = zip(
        sorted(is_open, key=lambda segment: list(_RANKED_GY).index(ranks[segment] or "high")), left, strict=True
    )
    return {s: level for s, level in matched if not readings[s].levels or level in readings[s].levels}


def rank_of(name: str) -> str:
    """ "high", "mid" or "low" where a name says one of these, else ""."""
    ranks = {token.kind.value for token in tokens_of(name) if isinstance(token, Word)} & set(_RANKED_GY)
    return ranks.pop() if len(ranks) == 1 else ""


def _decision(segment: str, reading: NameReading, evidence: Evidence) -> Decision:
    kind, planned = evidence.types.get(segment, "").upper(), evidence.planned.get(segment)
    targets = tuple(f"PTV{level:g}" for level in reading.levels)
    if reading.outcome is Outcome.TARGET:
        if kind in NOT_FOR_TARGETS:
            return Decision(Outcome.POSSIBLE_TARGET, targets, note=f"a target by its name, but of type {kind}")
        note, level = "", reading.levels[0]
        if planned is not None and not _same_dose(planned, level):
            note = f"the RTPLAN prescribes {planned:g} Gy to it, its name states {level:g} Gy, which was taken"
        return Decision(Outcome.TARGET, targets, note=note)
    if reading.outcome is Outcome.POSSIBLE_TARGET and planned is not None:
        return _planned_target(reading, planned, evidence.dose_level(segment))
    if reading.outcome is Outcome.POSSIBLE_TARGET:
        return _open_target(segment, reading, targets, evidence)
    if kind == "PTV" and reading.outcome is not Outcome.HELP:
        unnamed = NameReading(Outcome.POSSIBLE_TARGET, note="of type PTV, but its name does not say so")
        return replace(_open_target(segment, unnamed, (), evidence), source=BY_TYPE)
    return Decision(reading.outcome, reading.roles, note=reading.note)


def _planned_target(reading: NameReading, planned: float, of_dose: float | None) -> Decision:
    """A target with the RTPLAN's prescription, a question where name or reference dose say otherwise."""
    role = (f"PTV{planned:g}",)
    if reading.levels and not any(_same_dose(planned, level) for level in reading.levels):
        stated = ", ".join(f"{level:g}" for level in reading.levels)
        note = f"the RTPLAN prescribes {planned:g} Gy to it, its name states {stated} Gy"
        return Decision(Outcome.POSSIBLE_TARGET, role, BY_PLAN, note)
    if of_dose is not None and not _same_dose(planned, of_dose, 0.05):
        note = f"the RTPLAN prescribes {planned:g} Gy to it, the reference dose suggests {of_dose:g} Gy"
        return Decision(Outcome.POSSIBLE_TARGET, role, BY_PLAN, note)
    low = planned < SURE_GY[0]
    note = "the RTPLAN's prescription, which was taken, may be that of one phase: confirm it" if low else ""
    return Decision(Outcome.TARGET, role, BY_PLAN, note)


def _same_dose(one: float, other: float, apart: float = 0.01) -> bool:
    return abs(one - other) <= apart * max(one, other)


def _open_target(segment: str, reading: NameReading, targets: tuple[str, ...], evidence: Evidence) -> Decision:
    """A target where only its prescription is open and the reference dose tells it; else a question.

    What may be a target and states no prescription is asked with the one that the reference dose suggests.
    """
    level = evidence.dose_level(segment) if reading.no_level else None
    if level is not None and (not targets or f"PTV{level:g}" in targets):
        note = f"{reading.note}; {_suggested(level)}, which was taken: confirm it"
        return Decision(Outcome.TARGET, (f"PTV{level:g}",), BY_DOSE, note)
    if not targets and (level := level or evidence.dose_level(segment)) is not None:
        return Decision(Outcome.POSSIBLE_TARGET, (f"PTV{level:g}",), note=f"{reading.note}; {_suggested(level)}")
    return Decision(Outcome.POSSIBLE_TARGET, targets, note=reading.note)


def _suggested(level: float) -> str:
    return f"the reference dose suggests {level:g} Gy"


def _ask_about_other_days(found: dict[str, Decision], readings: Mapping[str, NameReading]) -> None:
    """Of targets of one level, those with a date in their names may be versions."""
    for segment in (segment for segment, reading in readings.items() if reading.dated):
        same = [s for s, d in found.items() if d.outcome is Outcome.TARGET and d.roles == found[segment].roles]
        if segment in same and len(same) > 1:
            note = "its name has a date, and there is another target of its prescription"
            found[segment] = Decision(Outcome.POSSIBLE_TARGET, found[segment].roles, note=note)


def _levels_of_others(readings: Mapping[str, NameReading], evidence: Evidence) -> dict[str, tuple[float, str]]:
    """{ID: (level in Gy, why)} of contours that no name makes a target, but that may be all that there is of a level.

    That is a target changed for planning (PTV54_opt, PTV54-PTV70), and what an RTPLAN prescribes a dose to.
    """
    derived = {
        segment: (reading.levels[0], reading.note)
        for segment, reading in readings.items()
        if reading.outcome is Outcome.HELP and reading.derived and reading.levels
    }
    planned = {s: (level, "the RTPLAN prescribes a dose to it") for s, level in evidence.planned.items()}
    return {segment: one for segment, one in (derived | planned).items() if segment in readings}


def _ask_for_missing_levels(found: dict[str, Decision], levels: Mapping[str, tuple[float, str]]) -> None:
    taken = {role for decision in found.values() if decision.outcome in _TARGETS for role in decision.roles}
    for segment, (level, why) in levels.items():
        role = f"PTV{level:g}"
        if found[segment].outcome not in _TARGETS and role not in taken:
            note = f"{why}, but there is no other target of {level:g} Gy"
            found[segment] = Decision(Outcome.POSSIBLE_TARGET, (role,), note=note)


def _ask_about_twins(found: dict[str, Decision], names: Mapping[str, str]) -> None:
    """Two contours that a name makes the same organ are both asked."""
    for role in (*OARS, EXTERNAL, DOSE_MASK):
        same = [segment for segment, one in found.items() if one.outcome is Outcome.ORGAN and one.roles == (role,)]
        if len(same) > 1:
            note = f"{' and '.join(names[segment] for segment in same)} may both be this structure"
            found |= {segment: Decision(Outcome.POSSIBLE_ORGAN, (role,), note=note) for segment in same}


def _take_external_by_type(found: dict[str, Decision], evidence: Evidence) -> None:
    bodies = [segment for segment, kind in evidence.types.items() if kind.upper() == "EXTERNAL" and segment in found]
    named = any(EXTERNAL in one.roles and one.outcome is Outcome.ORGAN for one in found.values())
    if len(bodies) == 1 and not named and found[bodies[0]].outcome not in _TARGETS:
        found[bodies[0]] = Decision(Outcome.ORGAN, (EXTERNAL,), BY_TYPE)


def _organ_match(role: str, found: Mapping[str, Decision], names: Mapping[str, str]) -> Match:
    sure = tuple(s for s, one in found.items() if one.outcome is Outcome.ORGAN and role in one.roles)
    if sure:
        return Match(role, sure)
    asked = tuple(s for s, one in found.items() if one.outcome is Outcome.POSSIBLE_ORGAN and role in one.roles)
    notes = dict.fromkeys(f"{names[s]}: {found[s].note}" for s in asked)
    return Match(role, (), asked, "; ".join(notes))


def _target_matches(found: Mapping[str, Decision], names: Mapping[str, str]) -> list[Match]:
    certain: dict[float, list[str]] = {}
    asked: dict[float, list[str]] = {}
    for segment, one in found.items():
        if one.outcome is Outcome.TARGET:
            certain.setdefault(target_prescription(one.roles[0]), []).append(segment)
        elif one.outcome is Outcome.POSSIBLE_TARGET:
            level = suggested_level(map(target_prescription, one.roles), names[segment])
            asked.setdefault(level, []).append(segment)
    rows = []
    for level in sorted({*certain, *asked}, reverse=True):
        role = f"PTV{level:g}"
        if level in certain:
            notes = [found[segment].note for segment in certain[level] if found[segment].note]
            together = " and ".join(names[segment] for segment in certain[level])
            notes += [f"{together} are united"] if len(certain[level]) > 1 else []
            rows.append(Match(role, tuple(certain[level]), (), "; ".join(notes)))
        rows += [Match(role, (), (s,), f"{names[s]}: {found[s].note}") for s in asked.get(level, [])]
    return rows
