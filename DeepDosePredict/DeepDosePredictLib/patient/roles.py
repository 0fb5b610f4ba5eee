"""Roles of contours: the user's answers on top of what names and plan say, to the account of a case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DeepDoseError
from .assignment import Assignment, ContourUse, Roles
from .outcome import Outcome
from .rois import DOSE_MASK, EXTERNAL, OARS, PRESCRIPTIONS_GY, is_target, prescription
from .structure_names import BY_USER, Decision, Evidence, Match, decisions

NOT_TARGETS, IF_PRESENT, PATIENTS, REFERENCE_DOSE = "not_targets", "if_present", "patients", "reference_dose"
"""Beside the roles: contours that are no targets; names that a patient need not have; answers for single patients; the
reference among several doses."""
_UNUSED = "no input of the model"


@dataclass(frozen=True)
class Answers:
    """What the user says, by IDs.

    Attributes:
        roles: () where a role is to be left out.
        not_targets: contours that are none.
        missing: names that were given but that this patient does not have, which was allowed, as {name: role}.
    """

    roles: Roles
    not_targets: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def answers_for(patient: str, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Of answers that may speak for a cohort, those for one patient; None where there are none.

    {"patients": {"p1": {"PTV70": "boost"}}, "PTV54": "PTV_JD"}: what stands beside "patients" holds for every patient
    that has such a contour, and a patient's own answers go before it.
    """
    if not given or PATIENTS not in given:
        return dict(given) if given else None
    common = {role: names for role, names in given.items() if role != PATIENTS}
    own = given[PATIENTS].get(patient, {})
    merged = {**common, **own, NOT_TARGETS: [*_texts(common.get(NOT_TARGETS)), *_texts(own.get(NOT_TARGETS))]}
    merged[IF_PRESENT] = [text for names in common.values() for text in _texts(names)]
    return merged if any(merged.values()) else None


@dataclass(frozen=True)
class DoseAnswer:
    """Which of several doses the user means: file name, ID, description, or a pattern of these.

    Attributes:
        for_cohort: whether it is a pattern or was said of a cohort: this patient may have one dose under another name.
    """

    text: str
    for_cohort: bool = False


def dose_answer(given: Mapping[str, Any] | None) -> DoseAnswer | None:
    """What answers, see `answers_for`, say under "reference_dose"; None for nothing, DeepDoseError for several."""
    texts = _texts((given or {}).get(REFERENCE_DOSE))
    if len(texts) > 1:
        raise DeepDoseError(f"{REFERENCE_DOSE}: {', '.join(texts)} cannot all be the reference; give one dose")
    common = (*_texts((given or {}).get(IF_PRESENT)), *(text for text in texts if set(text) & set("*?[")))
    return DoseAnswer(texts[0], texts[0] in common) if texts else None


def _texts(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def check_answers(given: Mapping[str, Any], names: Mapping[str, str]) -> Answers:
    """Answers as a script may give them: {role: ID or name or list of these or None, "not_targets": [...]}.

    Names under "if_present" may be missing; "reference_dose" is for those who read doses, see `dose_answer`.

    DeepDoseError names an unknown role, a missing or twice-named contour, or a contour used for two roles.
    """
    roles: Roles = {}
    missing: dict[str, str] = {}
    may_miss = {text for text in _texts(given.get(IF_PRESENT)) if text not in names and text not in names.values()}
    for role, value in given.items():
        if role in (IF_PRESENT, REFERENCE_DOSE):
            continue
        level, (low, high) = prescription(role), PRESCRIPTIONS_GY
        if level is not None and not low <= level <= high:
            raise DeepDoseError(f"{role[:40]}: a prescription lies between {low:g} and {high:g} Gy; give it in Gy")
        if role not in (*OARS, EXTERNAL, DOSE_MASK, NOT_TARGETS) and level is None:
            raise DeepDoseError(
                f"{role!r} is no role; known are PTV with its level (PTV70), {', '.join(OARS)}, {EXTERNAL},"
                f" {DOSE_MASK}, and {NOT_TARGETS} for contours that are none"
            )
        missing |= {text: role for text in _texts(value) if text in may_miss}
        present = [text for text in _texts(value) if text not in may_miss]
        if present or not _texts(value):
            same = _standard(role)
            roles[same] = (*roles.get(same, ()), *(_segment(text, names, role) for text in present))
    used = [segment for segments in roles.values() for segment in segments]
    if twice := sorted({names[segment] for segment in used if used.count(segment) > 1}):
        raise DeepDoseError(f"{', '.join(twice)}: given for two roles; each structure can have only one")
    not_targets = roles.pop(NOT_TARGETS, ())
    return Answers(roles, not_targets, missing)


def _standard(role: str) -> str:
    """One name for one role: PTV_70 and PTV70.0 are PTV70."""
    level = prescription(role)
    return role if level is None else f"PTV{level:g}"


def assign(
    names: Mapping[str, str], given: Mapping[str, Any] | None, where: str, evidence: Evidence | None = None
) -> Assignment:
    """Which contour, given as {ID: name}, is used as what; the user's answers add to what names and plan say.

    A role that is given replaces what was found for an organ, and is added to the other targets.

    Args:
        given: see `check_answers`; None where the user said nothing.
        where: what the contours come from, for messages.

    Raises:
        DeepDoseError: names every contour that could be a target and was neither taken nor said to be none, organs
            that could be several contours, or says that no target is left.
    """
    if not names:
        raise DeepDoseError(f"{where}: it has no segments; contour the PTVs and organs first")
    answers = check_answers(given or {}, names)
    uses = _with_answers(decisions(names, _about_others(evidence or Evidence(), answers)), answers)
    if questions := _questions(uses, names):
        raise DeepDoseError(f"{where}: {questions}")
    if not any(is_target(role) for decision in uses.values() for role in _taken(decision)):
        unknown = [names[segment] for segment, one in uses.items() if one.outcome is Outcome.OTHER]
        example = json.dumps({"PTV70": (unknown or list(names.values()))[0]}, ensure_ascii=False)
        raise DeepDoseError(
            f"{where}: no segment is a PTV by its name; give the PTVs with their prescriptions, for instance"
            f" roles={example}; there are {', '.join(names.values())}"
        )
    taken = {role for decision in uses.values() for role in _taken(decision)}
    account = [_use(segment, names[segment], decision, taken) for segment, decision in uses.items()]
    account += [
        ContourUse(name, name, "", BY_USER, f"given for {role}, but there is no such contour", role != NOT_TARGETS)
        for name, role in answers.missing.items()
    ]
    return Assignment(tuple(account)).ordered()


def _about_others(evidence: Evidence, answers: Answers) -> Evidence:
    """The evidence without the slow look at the dose of contours of which the user spoke."""
    answered = {segment for segments in answers.roles.values() for segment in segments} | set(answers.not_targets)
    return replace(evidence, dose_level=lambda s: None if s in answered else evidence.dose_level(s))


def _with_answers(found: Mapping[str, Decision], answers: Answers) -> dict[str, Decision]:
    decided = dict(found)
    given = {segment: role for role, segments in answers.roles.items() for segment in segments}
    for segment, decision in found.items():
        if segment in given:
            role = given[segment]
            outcome = Outcome.TARGET if is_target(role) else Outcome.ORGAN
            decided[segment] = Decision(outcome, (role,), BY_USER)
        elif segment in answers.not_targets:
            decided[segment] = Decision(Outcome.OTHER, source=BY_USER, note="no target, says the user")
        else:
            decided[segment] = _beside_answers(decision, answers)
    return decided


def _beside_answers(decision: Decision, answers: Answers) -> Decision:
    """What becomes of a contour of which the user said nothing, beside what the user said of its role."""
    if decision.outcome is Outcome.TARGET:
        role = decision.roles[0]
        if role in answers.roles and not answers.roles[role]:
            return Decision(Outcome.OTHER, source=BY_USER, note=f"{role} is left out, says the user")
        if role in answers.roles:
            note = f"a target of {role[3:]} Gy like what was given for {role}; give it with {role} or as {NOT_TARGETS}"
            return Decision(Outcome.POSSIBLE_TARGET, (role,), note=note)
    elif decision.outcome in (Outcome.ORGAN, Outcome.POSSIBLE_ORGAN):
        left = tuple(role for role in decision.roles if role not in answers.roles)
        if not left:
            return Decision(Outcome.OTHER, source=BY_USER, note="the user chose otherwise")
        return Decision(decision.outcome, left, decision.source, decision.note)
    return decision


def _taken(decision: Decision) -> tuple[str, ...]:
    return decision.roles if decision.outcome in (Outcome.TARGET, Outcome.ORGAN) else ()


def _questions(uses: Mapping[str, Decision], names: Mapping[str, str]) -> str:
    """What must be answered first, in words; "" if nothing."""
    asked = {segment: one for segment, one in uses.items() if one.outcome is Outcome.POSSIBLE_TARGET}
    if asked:
        listed = "; ".join(f"{names[segment]}: {one.note}" for segment, one in asked.items())
        first = names[next(iter(asked))]
        level = next((one.roles[0] for one in asked.values() if one.roles), "PTV70")
        return (
            f"{listed}. Say of each whether it is a target and of which prescription, for instance"
            f" roles={json.dumps({level: first}, ensure_ascii=False)} or"
            f" {json.dumps({NOT_TARGETS: [first]}, ensure_ascii=False)}"
        )
    for role in (*OARS, EXTERNAL, DOSE_MASK):
        taken = any(role in _taken(one) for one in uses.values())
        maybe = [s for s, one in uses.items() if one.outcome is Outcome.POSSIBLE_ORGAN and one.roles == (role,)]
        if len(maybe) > 1 and not taken:
            named = ", ".join(names[segment] for segment in maybe)
            return f"{role} may be {named}; give roles={{'{role}': ...}}, or null to leave it out"
    return ""


def _use(segment: str, name: str, decision: Decision, all_taken: set[str]) -> ContourUse:
    if taken := _taken(decision):
        return ContourUse(name, segment, taken[0], decision.source, decision.note, bool(decision.note))
    if decision.outcome is Outcome.POSSIBLE_ORGAN:
        note = f"not taken for {' or '.join(decision.roles)}: {decision.note}"
        return ContourUse(name, segment, "", "", note, not set(decision.roles) <= all_taken)
    source = decision.source if decision.source == BY_USER else ""
    return ContourUse(name, segment, "", source, decision.note or _UNUSED)


def _segment(text: str, names: Mapping[str, str], role: str) -> str:
    found = [segment for segment, name in names.items() if text in (segment, name)]
    if len(found) != 1:
        problem = "there are several segments" if found else "there is no segment"
        raise DeepDoseError(f"{role}: {problem} named {text!r}; the segments are {', '.join(names.values()) or 'none'}")
    return found[0]


def roles_of(matches: Iterable[Match]) -> Roles:
    """The matches that are certain."""
    return {match.role: match.segments for match in matches if match.segments}


def roles_to_json(roles: Mapping[str, Iterable[str]]) -> str:
    return json.dumps({role: list(segments) for role, segments in roles.items()})


def roles_from_json(text: str) -> Roles:
    """DeepDoseError if the text is not what `roles_to_json` writes."""
    try:
        content = json.loads(text) if text else {}
        return {str(role): tuple(map(str, segments)) for role, segments in content.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DeepDoseError(f"the structure roles are damaged ({error}); match the structures again") from error
