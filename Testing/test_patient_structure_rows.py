"""Rows of the structure table: what was matched, overlaid with the user's answers. No Qt."""

from __future__ import annotations

from DeepDosePredictLib.io.site_names import remember_name
from DeepDosePredictLib.patient import site_names
from DeepDosePredictLib.patient.roles import NOT_TARGETS, assign, roles_from_json, roles_to_json
from DeepDosePredictLib.patient.structure_names import match_structures
from DeepDosePredictLib.patient.structure_rows import (
    State,
    add_target,
    answers_of_rows,
    choose,
    known_edits,
    learnable,
    roles_of_rows,
    set_level,
    structure_rows,
    to_add,
)


def rows_of(names: list[str], edits: dict | None = None):
    return structure_rows(match_structures({name: name for name in names}), edits or {})


def row(rows, role: str, candidate: str | None = None):
    return next(r for r in rows if r.role == role and (candidate is None or candidate in r.candidates))


def test_without_answers_rows_are_the_matches():
    rows = rows_of(["PTV56", "PTV70", "Brainstem", "Larynx_SG"])
    assert [r.role for r in rows[:2]] == ["PTV70", "PTV56"]
    assert row(rows, "Brainstem").state is State.MATCHED
    assert row(rows, "Larynx").state is State.CONFIRM
    assert row(rows, "Mandible").state is State.MISSING
    assert roles_of_rows(rows) == {"PTV70": ("PTV70",), "PTV56": ("PTV56",), "Brainstem": ("Brainstem",)}


def test_a_question_about_a_taken_level_is_united_or_ruled_out():
    names = ["PTV70", "PTV_High"]
    rows = rows_of(names)
    asked = row(rows, "PTV70", "PTV_High")
    assert asked.state is State.CONFIRM and row(rows, "PTV70").segments == ("PTV70",)
    united = choose(rows, {}, asked, ("PTV_High",))
    assert roles_of_rows(rows_of(names, united)) == {"PTV70": ("PTV70", "PTV_High")}
    assert len([r for r in rows_of(names, united) if r.level]) == 1
    ruled_out = choose(rows, {}, asked, ())
    assert row(rows_of(names, ruled_out), "PTV70", "PTV_High").state is State.MISSING
    assert roles_of_rows(rows_of(names, ruled_out)) == {"PTV70": ("PTV70",)}
    rows = rows_of(names, ruled_out)
    taken_back = set_level(rows, ruled_out, row(rows, "PTV70", "PTV_High"), 66)
    assert roles_of_rows(rows_of(names, taken_back)) == {"PTV70": ("PTV70",), "PTV66": ("PTV_High",)}


def test_a_prescription_moves_there_and_back():
    names = ["PTV70", "PTV56"]
    rows = rows_of(names)
    edits = set_level(rows, {}, row(rows, "PTV56"), 54.12)
    moved = rows_of(names, edits)
    assert roles_of_rows(moved) == {"PTV70": ("PTV70",), "PTV54.12": ("PTV56",)}
    assert [r.role for r in moved if r.level] == ["PTV70", "PTV54.12"]
    back = rows_of(names, set_level(moved, edits, row(moved, "PTV54.12"), 56))
    assert roles_of_rows(back) == roles_of_rows(rows)
    assert [r.role for r in back if r.level] == ["PTV70", "PTV56"]


def test_a_matched_target_can_be_left_out_after_another_choice():
    names = ["PTV70", "PTV56", "other"]
    rows = rows_of(names)
    edits = choose(rows, {}, row(rows, "PTV56"), ("other",))
    rows = rows_of(names, edits)
    assert roles_of_rows(rows)["PTV56"] == ("other",)
    rows = rows_of(names, choose(rows, edits, row(rows, "PTV56"), ()))
    assert row(rows, "PTV56").state is State.MISSING
    assert roles_of_rows(rows) == {"PTV70": ("PTV70",)}


def test_targets_are_added_at_free_levels_and_go_when_left_empty():
    rows = rows_of(["PTV70"])
    edits = add_target(rows, {})
    rows = rows_of(["PTV70"], edits)
    assert row(rows, "PTV63").state is State.MISSING
    assert choose(rows, edits, row(rows, "PTV63"), ()) == {}


def test_answers_survive_being_stored():
    rows = rows_of(["PTV70", "PTV_High", "Brainstem"])
    edits = choose(rows, choose(rows, {}, row(rows, "Brainstem"), ()), row(rows, "PTV70", "PTV_High"), ())
    assert roles_from_json(roles_to_json(edits)) == edits


def test_answers_about_segments_that_are_gone_are_dropped():
    edits = {"Brainstem": ("gone",), "Mandible": (), "Larynx": ("Larynx_SG",)}
    assert known_edits(edits, ["Larynx_SG"]) == {"Mandible": (), "Larynx": ("Larynx_SG",)}


def test_the_answers_for_a_prediction_say_what_is_left_out_too():
    names = ["PTV70", "PTV_High", "PTV56", "Larynx", "Mandible"]
    rows = rows_of(names)
    edits = choose(rows, {}, row(rows, "PTV70", "PTV_High"), ())
    edits = choose(rows_of(names, edits), edits, row(rows, "Larynx"), ())
    edits = choose(rows_of(names, edits), edits, row(rows, "PTV56"), ("PTV70",))
    answers = answers_of_rows(rows_of(names, edits))
    assert answers["Larynx"] == () and answers["PTV56"] == ("PTV70",)
    assert "Mandible" not in answers, "what its name says is no answer of the user"
    assert set(answers[NOT_TARGETS]) == {"PTV_High", "PTV56"}
    only = choose(rows, choose(rows, {}, row(rows, "PTV70", "PTV_High"), ()), row(rows, "Larynx"), ())
    account = assign({name: name for name in names}, answers_of_rows(rows_of(names, only)), "study")
    assert account.roles == {"PTV70": ("PTV70",), "PTV56": ("PTV56",), "Mandible": ("Mandible",)}


def test_contours_can_be_added_to_a_role_unless_another_has_them():
    names = ["SpinalCord", "Cord lower part", "Brainstem", "PTV70"]
    rows = rows_of(names)
    cord = row(rows, "SpinalCord")
    assert to_add(rows, cord, names) == [("SpinalCord", "Cord lower part")]
    both = choose(rows, {}, cord, ("SpinalCord", "Cord lower part"))
    assert roles_of_rows(rows_of(names, both))["SpinalCord"] == ("SpinalCord", "Cord lower part")
    account = assign({name: name for name in names}, answers_of_rows(rows_of(names, both)), "study")
    assert account.roles["SpinalCord"] == ("SpinalCord", "Cord lower part")
    assert to_add(rows, row(rows, "Mandible"), names) == [], "nothing is there to add to"


def test_of_several_that_are_asked_all_can_be_chosen():
    names = ["PTV70", "Larynx", "larynx (OAR)"]
    asked = row(rows_of(names), "Larynx")
    assert asked.state is State.CONFIRM and to_add(rows_of(names), asked, names) == [("Larynx", "larynx (OAR)")]


def test_answers_are_learnt_without_the_prescriptions_and_only_where_they_say_something_new(monkeypatch, tmp_path):
    monkeypatch.setattr(site_names, "SITE_FILE", tmp_path / "StructureNames.json")
    names = ["PTV70", "PTV54", "PTV_High", "PTV_Mid", "Larynx_SG", "Kiefer ganz", "Brainstem"]
    as_names = {name: name for name in names}
    rows = rows_of(names)
    assert learnable(rows, as_names) == {}
    edits = choose(rows, {}, row(rows, "PTV70", "PTV_High"), ())
    edits = choose(rows_of(names, edits), edits, row(rows, "PTV63", "PTV_Mid"), ("PTV_Mid",))
    edits = choose(rows_of(names, edits), edits, row(rows, "Larynx"), ())
    edits = choose(rows_of(names, edits), edits, row(rows, "Mandible"), ("Kiefer ganz",))
    edits = choose(rows_of(names, edits), edits, row(rows, "Brainstem"), ())
    edits = set_level(rows_of(names, edits), edits, row(rows_of(names, edits), "PTV54"), 56)
    rows = rows_of(names, edits)
    learnt = {"PTV_High": "not used", "PTV_Mid": "target", "Larynx_SG": "not used", "Kiefer ganz": "Mandible"}
    assert learnable(rows, as_names) == learnt
    for name, meaning in learnt.items():
        remember_name(name, meaning)
    assert learnable(rows, as_names) == {}
    assert row(rows_of(names), "Mandible").segments == ("Kiefer ganz",)
