"""Names of organs and examinations that are none of the head and neck."""

from __future__ import annotations

import pytest

from DeepDosePredictLib.patient.body_sites import is_elsewhere, organs_elsewhere


@pytest.mark.parametrize("part", ["", "HEADNECK", "HEAD AND NECK", "Neck", "SKULL", "WHOLEBODY"])
def test_head_and_neck_is_known_by_many_names(part):
    assert not is_elsewhere(part)


def test_organs_of_other_parts_of_the_body_are_known_by_their_names():
    elsewhere = "Heart|Lt Lung|LungL|RLung|LUNGS|Bladder|RECTUM|FemoralHead_R|PTV_Prostate|Lunge li|Poumon G|Bowel_Bag"
    neck = "Bestrahlung|Zunge|Schlund|Parotid_L|Ösophagus|Cochlea_L|Brachial_Plexus|SpinalCord|PTV hals re|A_Carotid_L"
    assert organs_elsewhere([*elsewhere.split("|"), *neck.split("|")]) == elsewhere.split("|")
