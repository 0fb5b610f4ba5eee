"""Structure names: TG-263, OpenKBP and clinical names find their outcome; what is uncertain is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.patient import site_names
from DeepDosePredictLib.patient.name_tokens import tokens_of
from DeepDosePredictLib.patient.outcome import Outcome
from DeepDosePredictLib.patient.rois import DOSE_MASK, EXTERNAL, OARS, PTVS
from DeepDosePredictLib.patient.roles import check_answers, roles_from_json, roles_of, roles_to_json
from DeepDosePredictLib.patient.stated_levels import stated_levels
from DeepDosePredictLib.patient.structure_names import (
    Decision,
    Evidence,
    decisions,
    is_help_structure,
    match_structures,
    read_name,
)

ROLE_NAMES = (*OARS, *PTVS, EXTERNAL, DOSE_MASK)
TABLE = Path(__file__).with_name("structure_names.md")


def table() -> list[tuple[str, str, str]]:
    """(name, type, outcome) of the rows of the table."""
    rows = re.findall(r"^\| (.+?) \| *(\w*) *\| ([\w ./]+?) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return [row for row in rows if row != ("name", "type", "outcome")]


def words(decision: Decision) -> str:
    """A decision as the table has it."""
    role = "/".join(decision.roles[:1] if decision.outcome is Outcome.POSSIBLE_TARGET else decision.roles)
    return {
        Outcome.TARGET: role,
        Outcome.ORGAN: role,
        Outcome.POSSIBLE_TARGET: f"ask {role}".strip(),
        Outcome.POSSIBLE_ORGAN: f"ask {role}",
        Outcome.HELP: "help",
        Outcome.OTHER: "other",
    }[decision.outcome]


def outcome(name: str, kind: str = "") -> str:
    """What becomes of a name; one made for planning stands beside targets of its levels, else these would be missed."""
    levels = stated_levels(tokens_of(name)).levels if is_help_structure(name) else ()
    others = {f"other {level:g}": f"PTV {level:g} Gy" for level in levels}
    return words(decisions({**others, "this": name}, Evidence({"this": kind} if kind else {}))["this"])


@pytest.fixture(autouse=True)
def no_site_names(monkeypatch, tmp_path) -> Path:
    """The user's own file must not decide tests."""
    path = tmp_path / "site" / "StructureNames.json"
    monkeypatch.setattr(site_names, "SITE_FILE", path)
    return path


def roles(*names: str) -> dict[str, tuple[str, ...]]:
    return roles_of(match_structures({name: name for name in names}))


@pytest.mark.parametrize(("name", "kind", "expected"), table())
def test_every_name_of_the_table_has_its_outcome(name, kind, expected):
    assert outcome(name, kind) == expected


def test_the_table_holds_no_name_twice_and_enough():
    names = [(name, kind) for name, kind, _ in table()]
    assert sorted(names) == sorted(set(names)) and len(names) > 500


def test_openkbp_names_are_all_known():
    assert roles(*ROLE_NAMES) == {name: (name,) for name in ROLE_NAMES}


def test_two_segments_for_one_organ_are_asked_and_two_targets_of_one_level_united():
    matches = match_structures({"1": "Parotid_L", "2": "LeftParotid", "3": "PTVp_7000", "4": "PTVn_7000"})
    left = next(match for match in matches if match.role == "LeftParotid")
    assert left.segments == () and left.candidates == ("1", "2") and "Parotid_L" in left.note
    assert roles_of(matches) == {"PTV70": ("3", "4")}


def test_targets_come_first_and_from_the_highest_level_down():
    rows = [match.role for match in match_structures({n: n for n in ("Larynx", "PTV54", "PTV66", "PTV_6000")})]
    assert rows == ["PTV66", "PTV60", "PTV54", *OARS, EXTERNAL]


@pytest.mark.parametrize("name", ["PTV54_opt", "PTV54-PTV70", "zPTV54", "PTV54 old", "PTV 54 minus cord"])
def test_a_level_that_only_a_help_structure_has_is_asked(name):
    """Clinics also draw the low target only as what the high one leaves; without it there would be no dose."""
    asked = decisions({"1": "PTV70", "2": name})["2"]
    assert asked.outcome is Outcome.POSSIBLE_TARGET and asked.roles == ("PTV54",)
    assert decisions({"1": "PTV70", "2": name, "3": "PTV_5400"})["2"].outcome is Outcome.HELP
    assert decisions({"1": "PTV70", "2": "Ring PTV54"})["2"].outcome is Outcome.HELP


def test_one_of_two_targets_with_a_date_is_asked():
    found = decisions({"1": "PTV70", "2": "PTV70_20240312"})
    assert found["1"].outcome is Outcome.TARGET and found["2"].outcome is Outcome.POSSIBLE_TARGET


def test_roles_from_a_script_are_checked():
    names = {"s1": "PTV_7000", "s2": "Larynx", "s3": "twin", "s4": "twin"}
    answers = check_answers({"PTV70": "PTV_7000", "Larynx": ["s2"], "Mandible": None, "not_targets": ["s3"]}, names)
    assert answers.roles == {"PTV70": ("s1",), "Larynx": ("s2",), "Mandible": ()} and answers.not_targets == ("s3",)
    for given_roles, problem in (
        ({"Liver": "s2"}, "no role"),
        ({"Larynx": "liver"}, "no segment named 'liver'"),
        ({"not_targets": ["liver"]}, "no segment named 'liver'"),
        ({"Larynx": "twin"}, "several segments"),
        ({"Larynx": "s2", "Mandible": "Larynx"}, "given for two roles"),
        ({"PTV70": "s1", "not_targets": "s1"}, "given for two roles"),
    ):
        with pytest.raises(DeepDoseError, match=problem):
            check_answers(given_roles, names)


@given(st.dictionaries(st.sampled_from(ROLE_NAMES), st.lists(st.text(max_size=8), max_size=3).map(tuple)))
def test_roles_survive_json(given_roles):
    assert roles_from_json(roles_to_json(given_roles)) == given_roles


@pytest.mark.parametrize("text", ["{", "[]", '{"PTV70": 3}'])
def test_damaged_roles_are_an_error(text):
    with pytest.raises(DeepDoseError, match="damaged"):
        roles_from_json(text)


@given(st.text(max_size=20) | st.from_regex(r"[PTVptvLRzx0-9 _.+-]{0,12}", fullmatch=True))
def test_any_name_is_read_without_error(name):
    found = read_name(name)
    assert (found.outcome is Outcome.TARGET) <= (len(found.levels) == 1)
    claimed = [match.role for match in match_structures({"1": name}) if "1" in match.segments + match.candidates]
    assert len(claimed) <= 2 and bool(claimed) <= (found.outcome is not Outcome.OTHER)
