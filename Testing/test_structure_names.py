"""Structure names: TG-263, OpenKBP and clinical names find their outcome; what is uncertain is asked."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.roles import read_roles
from DeepDosePredictLib.io.site_names import remember_name
from DeepDosePredictLib.patient import site_names
from DeepDosePredictLib.patient.assignment import Assignment
from DeepDosePredictLib.patient.name_tokens import tokens_of
from DeepDosePredictLib.patient.outcome import Outcome
from DeepDosePredictLib.patient.rois import DOSE_MASK, EXTERNAL, OARS, PTVS
from DeepDosePredictLib.patient.roles import (
    answers_for,
    assign,
    check_answers,
    roles_from_json,
    roles_of,
    roles_to_json,
)
from DeepDosePredictLib.patient.stated_levels import stated_levels
from DeepDosePredictLib.patient.structure_names import (
    Decision,
    Evidence,
    decisions,
    is_help_structure,
    match_structures,
    read_name,
)
from DeepDosePredictLib.patient.vocabulary import WORDS, plain_key

ROLE_NAMES = (*OARS, *PTVS, EXTERNAL, DOSE_MASK)
ENTRIES = ("names", "short", "related")
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
def no_site_names(monkeypatch) -> None:
    """The user's own file must not decide tests."""
    monkeypatch.setattr(site_names, "SITE_FILE", Path("no", "such", "StructureNames.json"))


@pytest.fixture
def site_file(monkeypatch, tmp_path) -> Path:
    """Where a site's own names would be; there is no file yet."""
    path = tmp_path / "site" / "StructureNames.json"
    monkeypatch.setattr(site_names, "SITE_FILE", path)
    return path


def roles(*names: str) -> dict[str, tuple[str, ...]]:
    return roles_of(match_structures({name: name for name in names}))


def test_every_name_of_the_table_has_its_outcome():
    found = [(name, kind, outcome(name, kind), expected) for name, kind, expected in table()]
    assert [f"{name} {kind}: {got}, not {expected}" for name, kind, got, expected in found if got != expected] == []


def test_the_table_holds_no_name_twice_and_enough():
    names = [(name, kind) for name, kind, _ in table()]
    assert sorted(names) == sorted(set(names)) and len(names) > 500


def test_no_word_has_two_meanings():
    content = json.loads(WORDS.read_text(encoding="utf-8"))
    structures = content["structures"].values()
    lists = [*content["words"].values(), *(entry.get(part, []) for entry in structures for part in ENTRIES)]
    meanings = Counter(word for texts in lists for word in set(map(plain_key, texts)))
    assert [word for word, n in meanings.items() if n > 1] == []


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


# Names alone: what may not change an outcome

_WORDS = st.sampled_from(["L", "R", "Lt", "Rt", "left", "neck", "LN", "nodes", "T", "elective", "Tonsil", "li", "re"])
_LEVELS = st.sampled_from(["70", "7000", "66Gy", "59.4", "54 Gy", "5040", "63", "69.96", "60"])


@given(st.lists(_WORDS, max_size=3, unique=True), _LEVELS, st.integers(0, 3), st.sampled_from([" ", "_", " - ", "-"]))
def test_a_target_is_one_wherever_its_words_stand(words_, level, place, separator):
    parts = [*words_[:place], "PTV", *words_[place:]]
    expected = read_name(f"PTV {level}").levels
    place = parts.index("PTV") + 1
    for order in ([*parts, level], [*parts[:place], level, *parts[place:]]):
        name = separator.join(order)
        for written in (name, name.upper(), name.lower()):
            found = read_name(written)
            assert (found.outcome, found.levels) == (Outcome.TARGET, expected), written


@given(st.text("abeloprtvxzLNT", max_size=4), st.text("abdeloprtvxLNT 7 05_-+", max_size=6))
def test_a_name_with_ptv_is_never_passed_over(before, after):
    for name in (f"{before}PTV{after}", f"{before} ptv {after}", f"{before}_Ptv{after}"):
        assert read_name(name).outcome in (Outcome.TARGET, Outcome.POSSIBLE_TARGET, Outcome.HELP), name


_ORGANS = {
    "left": ["Parotid_L", "Lt Parotid", "parotis li", "Parotide gauche", "Parotide sx", "Parotida izq", "ParotidL"],
    "right": ["Parotid_R", "Rt Parotid", "parotis re", "Parotide droite", "Parotide dx", "Parotida der", "ParotidR"],
}


@given(
    st.sampled_from(sorted(_ORGANS)), st.integers(0, 6), st.sampled_from("_ -."), st.sampled_from(["", "(OAR)", "OAR"])
)
def test_sides_never_swap(side, which, separator, more):
    name = _ORGANS[side][which]
    role = {"left": "LeftParotid", "right": "RightParotid"}[side]
    for written in (name, name.upper(), name.lower()):
        whole = separator.join(filter(None, [*written.replace("_", " ").split(), more]))
        assert (read_name(whole).outcome, read_name(whole).roles) == (Outcome.ORGAN, (role,)), whole
    flipped = " ".join(reversed(name.replace("_", " ").split()))
    assert read_name(flipped).roles == (role,)


@given(
    st.sampled_from([name for name, _, kind in table() if kind in OARS]),
    st.sampled_from(["PTV", "PRV", "crop", "old", "opt", "+3mm", "ring", "avoid", "- PTV70"]),
)
def test_an_organ_with_a_word_of_planning_is_no_organ(name, word):
    for written in (f"{name} {word}", f"{name}_{word}"):
        assert read_name(written).outcome is not Outcome.ORGAN and not roles(written)


@given(st.sampled_from([name for name, _, kind in table() if kind.startswith("PTV")]), st.data())
def test_a_target_less_a_structure_is_never_taken(name, data):
    organ = data.draw(st.sampled_from(["cord", "PTV63", "CTV", "Parotid_L", "skin", "larynx", "GTV70", "Hirnstamm"]))
    word = data.draw(st.sampled_from([" - ", "-", " minus ", " ohne ", "\\", " and ", " + ", "+"]))
    assert read_name(f"{name}{word}{organ}").outcome is not Outcome.TARGET


# Roles: names, plan and user together

NAMES = {"1": "PTV70", "2": "PTV_5600", "3": "Larynx", "4": "Larynx_SG", "5": "CTV70", "6": "boost"}


def used(*arguments, **more) -> dict[str, tuple[str, ...]]:
    return assign(*arguments, "study", **more).roles


def test_a_possible_target_stops_the_run_with_its_name_until_the_user_answers():
    for given_roles in (None, {}, {"Larynx": "Larynx"}, {"PTV56": "PTV_5600"}):
        with pytest.raises(DeepDoseError, match=r"study: boost: its name may be a target's.*not_targets"):
            assign(NAMES, given_roles, "study")
    assert used(NAMES, {"PTV66": "boost"}) == {"PTV70": ("1",), "PTV66": ("6",), "PTV56": ("2",), "Larynx": ("3",)}
    assert used(NAMES, {"not_targets": "boost"}) == {"PTV70": ("1",), "PTV56": ("2",), "Larynx": ("3",)}


def test_all_possible_targets_are_named_at_once():
    with pytest.raises(DeepDoseError, match=r"PTV_High.*PTV54 new.*Boost"):
        assign({name: name for name in ("PTV70", "PTV_High", "PTV54 new", "Boost")}, None, "study")


def test_roles_add_to_what_names_say():
    names = {"1": "PTV70_cf", "2": "PTV56", "3": "Brainstem", "4": "Parotid_L"}
    account = assign(names, {"PTV70": "PTV70_cf"}, "study")
    assert account.roles == {"PTV70": ("1",), "PTV56": ("2",), "Brainstem": ("3",), "LeftParotid": ("4",)}
    assert [use.source for use in account.used] == ["user", "name", "name", "name"]


def test_a_role_can_be_moved_replaced_and_left_out():
    names = {"1": "PTV70", "2": "PTV56", "3": "Larynx", "4": "Kehlkopf gesamt", "5": "Mandible"}
    given_roles = {"PTV54.12": "PTV56", "Larynx": "Kehlkopf gesamt", "Mandible": None}
    account = assign(names, given_roles, "study")
    assert account.roles == {"PTV70": ("1",), "PTV54.12": ("2",), "Larynx": ("4",)}
    assert {use.contour: use.note for use in account.left_out}["Larynx"] == "the user chose otherwise"
    assert used(names, {"PTV56": None}) == {"PTV70": ("1",), "Larynx": ("3",), "Mandible": ("5",)}


def test_several_contours_of_one_role_are_united_and_said():
    account = assign({"1": "PTV70", "2": "nodes li", "3": "nodes re"}, {"PTV54": ["nodes li", "nodes re"]}, "study")
    assert account.roles["PTV54"] == ("2", "3")
    assert "nodes li and nodes re are united to PTV54" in account.warnings()


def test_a_named_target_beside_a_given_one_of_its_level_is_asked():
    with pytest.raises(DeepDoseError, match="PTV70: a target of 70 Gy like what was given"):
        assign({"1": "PTV70", "2": "PTV70_cf"}, {"PTV70": "PTV70_cf"}, "study")
    assert used({"1": "PTV70", "2": "PTV70_cf"}, {"PTV70": ["PTV70", "PTV70_cf"]}) == {"PTV70": ("1", "2")}


def test_without_any_target_there_is_nothing_to_predict():
    for given_roles in (None, {"PTV70": None}):
        with pytest.raises(DeepDoseError, match=r'no segment is a PTV.*roles={"PTV70": "CTV70"}'):
            assign({"1": "Larynx", "2": "CTV70"}, given_roles, "study")


def test_two_contours_that_may_be_one_organ_are_asked_and_one_is_said():
    with pytest.raises(DeepDoseError, match="Larynx may be Larynx_SG, Glottis"):
        assign({"1": "PTV70", "2": "Larynx_SG", "3": "Glottis"}, None, "study")
    account = assign({"1": "PTV70", "2": "Larynx_SG"}, None, "study")
    assert account.warnings() == ("Larynx_SG was not used: not taken for Larynx: only the supraglottic larynx",)


def test_evidence_beside_names():
    names = {"1": "PTV70", "2": "PTV_Low", "3": "Region", "4": "K", "5": "CTV54"}
    evidence = Evidence({"3": "ORGAN", "4": "EXTERNAL"}, {"2": 54.0}, lambda segment: 56.0)
    account = assign(names, None, "study", evidence)
    assert account.roles == {"PTV70": ("1",), "PTV54": ("2",), "External": ("4",)}
    assert {use.contour: use.source for use in account.used} == {
        "PTV70": "name",
        "PTV_Low": "RTPLAN dose reference",
        "K": "RT ROI interpreted type",
    }
    by_dose = assign(names, None, "study", Evidence(dose_level=lambda segment: 56.0))
    assert by_dose.roles["PTV56"] == ("2",) and any("56 Gy" in words for words in by_dose.warnings())
    with pytest.raises(DeepDoseError, match="CTV54: the RTPLAN prescribes"):
        assign(names, None, "study", Evidence(planned={"2": 56.0, "5": 54.0}))


@pytest.mark.parametrize(
    ("name", "planned", "of_dose", "expected"),
    [
        ("PTV_High", 66.0, None, "PTV66"),
        ("PTV_High", 66.0, 66.0, "PTV66"),
        ("PTV_High", 50.0, 70.0, "ask PTV50"),
        ("PTV70 new", 70.0, None, "PTV70"),
        ("PTV70 new", 50.0, None, "ask PTV50"),
        ("PTV60/54", 54.0, None, "PTV54"),
        ("PTV70", 50.0, None, "PTV70"),
        ("Region", 54.0, None, "ask PTV54"),
        ("PTV54_opt", 54.0, None, "ask PTV54"),
        ("PTV_Low", None, 54.0, "PTV54"),
        ("PTV60/54", None, 54.0, "PTV54"),
        ("PTV60/54", None, 70.0, "ask PTV60"),
        ("PTV54 new", None, 54.0, "ask PTV54"),
        ("Larynx", None, 70.0, "Larynx"),
    ],
)
def test_plan_and_dose_settle_what_a_name_leaves_open(name, planned, of_dose, expected):
    evidence = Evidence(planned={} if planned is None else {"1": planned}, dose_level=lambda segment: of_dose)
    assert words(decisions({"1": name}, evidence)["1"]) == expected


@pytest.mark.parametrize(
    ("names", "sites", "of_dose", "expected"),
    [
        (["PTV"], (66.0,), None, ["PTV66"]),
        (["PTV", "PTV54"], (66.0, 54.0), None, ["PTV66", "PTV54"]),
        (["PTV"], (66.0, 54.0), None, ["ask"]),
        (["PTV_Low", "PTV_High"], (66.0, 54.0), None, ["PTV54", "PTV66"]),
        (["PTVp", "PTVn"], (66.0, 54.0), None, ["ask", "ask"]),
        (["PTV_Low", "PTV_High"], (66.0,), None, ["ask", "ask"]),
        (["PTV60/54"], (54.0,), None, ["PTV54"]),
        (["PTV60/54"], (70.0,), None, ["ask PTV60"]),
        (["PTV"], (50.0,), 70.0, ["ask PTV50"]),
        (["PTV new"], (66.0,), None, ["ask"]),
        (["Boost"], (), 66.0, ["ask PTV66"]),
    ],
)
def test_prescriptions_to_no_contour_settle_what_only_one_target_leaves_open(names, sites, of_dose, expected):
    evidence = Evidence(dose_level=lambda segment: of_dose, sites=sites)
    found = decisions({name: name for name in names}, evidence)
    assert [words(found[name]) for name in names] == expected
    taken = [one for name, one in found.items() if one.outcome is Outcome.TARGET and name != "PTV54"]
    assert all(one.source == "RTPLAN dose reference without contour" and "confirm" in one.note for one in taken)


def test_the_account_survives_json_and_prints_every_contour():
    account = assign({**NAMES, "7": "PTV70_opt"}, {"PTV66": "boost", "Mandible": None}, "study")
    assert Assignment.from_json(json.loads(json.dumps(account.to_json()))) == account
    printed = "\n".join(account.lines())
    assert all(name in printed for name in [*NAMES.values(), "PTV70_opt"]) and "boost -> PTV66 (from user)" in printed
    for damaged in ([{"contour": "a"}], [3], [{"contour": 1, "segment": "1"}]):
        with pytest.raises((TypeError, ValueError)):
            Assignment.from_json(damaged)


def test_what_is_left_out_is_told_by_reason_what_is_doubted_first():
    names = ("PTV70", "Ring 1", "Eye_L", "Ring 2", "Larynx_SG", "Eye_R")
    last = assign({name: name for name in names}, None, "study").lines()[-1]
    assert last == (
        "left out: Larynx_SG (not taken for Larynx: only the supraglottic larynx);"
        " Ring 1, Ring 2 (made for planning by its name (ring)); Eye_L, Eye_R (no input of the model)"
    )


# The site's own names


def test_a_remembered_name_is_known_from_then_on(site_file):
    names = {"1": "PTV70", "2": "Struktur 7", "3": "PTV Sonntag 54", "4": "Kehlkopf ges.", "5": "PTV54_JD"}
    with pytest.raises(DeepDoseError, match="PTV Sonntag 54"):
        assign(names, None, "study")
    remember_name("PTV Sonntag 54", "target")
    remember_name("Struktur 7", "PTV63")
    remember_name("Kehlkopf_ges", "Larynx")
    remember_name("PTV54_JD", "not used")
    account = assign(names, None, "study")
    assert account.roles == {"PTV70": ("1",), "PTV63": ("2",), "PTV54": ("3",), "Larynx": ("4",)}
    assert {use.source for use in account.used} == {"name", "site's names"}
    remember_name("struktur-7", "PTV60")
    assert assign(names, None, "study").roles["PTV60"] == ("2",)
    assert len(json.loads(site_file.read_text())["names"]) == 4


def test_a_site_has_patterns_too(site_file):
    site_file.parent.mkdir()
    patterns = {"*_JD": "not used", "Par ? gesamt": "RightParotid", "PTV*extra*": "target"}
    site_file.write_text(json.dumps({"patterns": patterns}))
    found = roles("PTV70", "PTV70_JD", "Par_R_gesamt", "PTV 60 extra Feld")
    assert found == {"PTV70": ("PTV70",), "PTV60": ("PTV 60 extra Feld",), "RightParotid": ("Par_R_gesamt",)}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"names": []}', '{"names": {"a": "Liver"}}', '{"names": {"a": 3}}', '{"more": {}}']
)
def test_a_damaged_file_of_the_site_is_named_and_kept(site_file, content):
    site_file.parent.mkdir()
    site_file.write_text(content)
    with pytest.raises(DeepDoseError, match=r"StructureNames\.json"):
        roles("PTV70")
    with pytest.raises(DeepDoseError, match=r"StructureNames\.json"):
        remember_name("a", "Larynx")
    assert site_file.read_text() == content


@pytest.mark.parametrize(("name", "meaning"), [("a", "Liver"), ("a", "PTV"), ("", "Larynx"), ("_ -", "Larynx")])
def test_only_names_with_a_meaning_are_remembered(site_file, name, meaning):
    with pytest.raises(DeepDoseError, match=r"no role|no name"):
        remember_name(name, meaning)
    assert not site_file.exists()


# Roles files


def test_a_roles_file_speaks_for_a_cohort_or_a_patient(tmp_path):
    path = tmp_path / "roles.json"
    content = {
        "PTV54": ["PTV_JD", "PTV_KM"],
        "not_targets": ["PTV old"],
        "patients": {"p1": {"PTV70": "boost"}, "p2": {"PTV54": None, "not_targets": ["PTV_JD"]}},
    }
    path.write_text(json.dumps(content))
    read = read_roles(path)
    names = {"1": "PTV60", "2": "PTV_JD", "3": "boost"}
    account = assign(names, answers_for("p1", read), "study")
    assert account.roles == {"PTV70": ("3",), "PTV60": ("1",), "PTV54": ("2",)}
    assert {use.contour for use in account.left_out} == {"PTV_KM", "PTV old"}
    second = assign({"1": "PTV60", "2": "PTV_JD"}, answers_for("p2", read), "study")
    assert second.roles == {"PTV60": ("1",)}
    with pytest.raises(DeepDoseError, match="no segment named 'boost'"):
        assign({"1": "PTV60", "2": "PTV_JD"}, answers_for("p1", read), "study")
    assert answers_for("p3", {"patients": {"p1": {"PTV70": "boost"}}}) is None
    assert answers_for("p3", {"PTV70": "boost"}) == {"PTV70": "boost"}


@pytest.mark.parametrize(
    "content", ['{"patients": []}', '{"patients": {"a": 3}}', '{"PTV70": 3}', "[]", '{"PTV70": [3]}']
)
def test_a_roles_file_that_cannot_be_is_named(tmp_path, content):
    path = tmp_path / "roles.json"
    path.write_text(content)
    with pytest.raises(DeepDoseError, match=r"roles\.json"):
        read_roles(path)


@pytest.mark.parametrize("role", ["PTV0", "PTV1000000000000", "PTV4.9", "PTV" + "9" * 400])
def test_a_role_of_a_level_that_nobody_prescribes_is_no_target(role):
    """A level of so many digits was no target any more, and the contour given for it vanished."""
    with pytest.raises(DeepDoseError, match=f"{role[:20]}.*: a prescription lies between 5 and 100 Gy"):
        assign({"1": "PTV_70"}, {role: "PTV_70"}, "file")


def test_roles_from_a_script_are_checked():
    names = {"s1": "PTV_7000", "s2": "Larynx", "s3": "twin", "s4": "twin", "s5": "a", "s6": "s5"}
    answers = check_answers({"PTV70": "PTV_7000", "Larynx": ["s2"], "Mandible": None, "not_targets": ["s3"]}, names)
    assert answers.roles == {"PTV70": ("s1",), "Larynx": ("s2",), "Mandible": ()} and answers.not_targets == ("s3",)
    assert check_answers({"PTV_70": "s1", "PTV70.0": "a"}, names).roles == {"PTV70": ("s1", "s5")}
    for given_roles, problem in (
        ({"Liver": "s2"}, "no role"),
        ({"Larynx": "liver"}, "no segment named 'liver'"),
        ({"not_targets": ["liver"]}, "no segment named 'liver'"),
        ({"Larynx": "twin"}, "several segments"),
        ({"Larynx": "s2", "Mandible": "Larynx"}, "given for two roles"),
        ({"PTV70": "s1", "not_targets": "s1"}, "given for two roles"),
        ({"PTV70": "s5"}, "several segments named 's5'"),
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


def test_what_may_be_a_dose_makes_a_question_of_any_name_that_means_nothing_else():
    assert all(read_name(name).outcome is Outcome.POSSIBLE_TARGET for name in ("Wurzel 66 Gy", "Wurzel 66", "BST_7000"))
    for name in ("Wurzel 23", "Wurzel 5", "Zahn 46", "Retina 66", "CTV 66", "Ring 66", "Wurzel 66%"):
        assert read_name(name).outcome is not Outcome.POSSIBLE_TARGET, name


def test_files_of_roles_that_are_far_too_large(tmp_path):
    path = tmp_path / "roles.json"
    for size, fits in ((2**20, True), (2**20 + 1, False)):
        path.write_text('{"PTV70": "boost"}'.ljust(size))
        if fits:
            assert read_roles(path) == {"PTV70": "boost"}
        else:
            with pytest.raises(DeepDoseError, match=r"roles\.json"):
                read_roles(path)


def test_prescriptions_of_two_digits_are_sure_from_40_to_80_gy():
    assert [read_name(f"PTV {level}").outcome is Outcome.TARGET for level in (36, 40, 80, 84)] == [
        False,
        True,
        True,
        False,
    ]
