"""Structure names: TG-263, OpenKBP and clinical names find their role; what is uncertain is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.patient.rois import DOSE_MASK, OARS, PTVS
from DeepDosePredictLib.patient.structure_names import (
    EXTERNAL,
    check_roles,
    is_help_structure,
    match_structures,
    roles_from_json,
    roles_of,
    roles_to_json,
    stated_levels,
)

ROLE_NAMES = (*OARS, *PTVS, EXTERNAL, DOSE_MASK)


def roles(*names: str) -> dict[str, tuple[str, ...]]:
    return roles_of(match_structures({name: name for name in names}))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("brain stem", "Brainstem"),
        ("BS", "Brainstem"),
        ("Tronc_Cerebral", "Brainstem"),
        ("Spinal Cord", "SpinalCord"),
        ("Cord", "SpinalCord"),
        ("Parotid_R", "RightParotid"),
        ("Rt_Parotid", "RightParotid"),
        ("Right parotid", "RightParotid"),
        ("Parotide_D", "RightParotid"),
        ("PAROTID-L", "LeftParotid"),
        ("Parotide_G", "LeftParotid"),
        ("parotid_gland_left", "LeftParotid"),
        ("Oesophagus", "Esophagus"),
        ("Bone_Mandible", "Mandible"),
        ("Jaw", "Mandible"),
        ("BODY", "External"),
        ("Skin", "External"),
        ("PTV_7000", "PTV70"),
        ("PTV70Gy", "PTV70"),
        ("PTVp_7000", "PTV70"),
        ("PTVn2_5600", "PTV56"),
        ("ptv 63", "PTV63"),
        ("PTV_54.12", "PTV54.12"),
        ("PTV_59p4", "PTV59.4"),
        ("PTV_6600cGy", "PTV66"),
        ("PTV_7000-03", "PTV70"),
    ],
)
def test_names_find_their_role(name, role):
    assert roles(name) == {role: (name,)}


def test_openkbp_names_are_all_known():
    assert roles(*ROLE_NAMES) == {name: (name,) for name in ROLE_NAMES}


@pytest.mark.parametrize(
    "name",
    [
        "Brainstem_PRV03",
        "z_Parotid_L",
        "_Larynx",
        "PTV_7000_Eval",
        "Ring_PTV70",
        "Parotid_L-PTV",
        "PTV70-Parotid",
        "PTV70_opt",
        "Brainstem~",
        "avoid_cord",
        "Larynx crop",
        "PTV70 no skin",
        "CordPRV",
        "Optic_Nrv_L",
        "CTV_7000",
        "GTVp",
        "Chiasm",
        "Submandibular",
        "Parotids",
        "Brain",
    ],
)
def test_help_structures_and_other_organs_are_never_taken(name):
    matches = match_structures({"1": name})
    assert not roles_of(matches) and not any(match.candidates for match in matches)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Larynx_SG", "Larynx"),
        ("Glottis", "Larynx"),
        ("Esophagus_S", "Esophagus"),
        ("Spinal Canal", "SpinalCord"),
        ("PTV_High", "PTV70"),
        ("PTV1", "PTV70"),
        ("PTV_Low", "PTV56"),
        ("PTV 60/54", "PTV54"),
    ],
)
def test_what_is_near_is_asked(name, role):
    match = next(match for match in match_structures({"1": name}) if match.candidates)
    assert (match.role, match.segments, match.candidates) == (role, (), ("1",)) and match.note


def test_two_segments_for_one_organ_are_asked_and_two_targets_of_one_level_united():
    matches = match_structures({"1": "Parotid_L", "2": "LeftParotid", "3": "PTVp_7000", "4": "PTVn_7000"})
    left = next(match for match in matches if match.role == "LeftParotid")
    assert left.segments == () and left.candidates == ("1", "2") and "Parotid_L" in left.note
    assert roles_of(matches) == {"PTV70": ("3", "4")}


def test_targets_come_first_and_from_the_highest_level_down():
    rows = [match.role for match in match_structures({n: n for n in ("Larynx", "PTV54", "PTV66", "PTV_6000")})]
    assert rows == ["PTV66", "PTV60", "PTV54", *OARS, EXTERNAL]


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("PTV70_35fx", [70.0]),
        ("PTV2", []),
        ("PTV_7000_66Gy", [66.0]),
        ("PTV 5mm 63", [63.0]),
        ("PTV_9999", []),
        ("PTV", []),
    ],
)
def test_numbers_in_target_names(name, levels):
    assert stated_levels(name) == levels


def test_roles_from_a_script_are_checked():
    names = {"s1": "PTV_7000", "s2": "Larynx", "s3": "twin", "s4": "twin"}
    assert check_roles({"PTV70": "PTV_7000", "Larynx": ["s2"], "Mandible": None}, names) == {
        "PTV70": ("s1",),
        "Larynx": ("s2",),
    }
    for given_roles, words in (
        ({"Liver": "s2"}, "no role"),
        ({"Larynx": "liver"}, "no segment named 'liver'"),
        ({"Larynx": "twin"}, "several segments"),
        ({"Larynx": "s2", "Mandible": "Larynx"}, "given for two roles"),
    ):
        with pytest.raises(DeepDoseError, match=words):
            check_roles(given_roles, names)


@given(st.dictionaries(st.sampled_from(ROLE_NAMES), st.lists(st.text(max_size=8), max_size=3).map(tuple)))
def test_roles_survive_json(given_roles):
    assert roles_from_json(roles_to_json(given_roles)) == given_roles


@pytest.mark.parametrize("text", ["{", "[]", '{"PTV70": 3}'])
def test_damaged_roles_are_an_error(text):
    with pytest.raises(DeepDoseError, match="damaged"):
        roles_from_json(text)


@given(st.text(max_size=20))
def test_any_name_is_taken_without_error(name):
    matches = match_structures({"1": name})
    claimed = [match for match in matches if "1" in match.segments + match.candidates]
    assert len(claimed) <= 1 and not (claimed and is_help_structure(name))
