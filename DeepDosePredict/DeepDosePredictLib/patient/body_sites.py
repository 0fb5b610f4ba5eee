"""Which part of the body names speak of: organs and examinations that are none of the head and neck."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

_ORGANS = re.compile(
    # English
    "heart|lung|bladder|rectum|prostate|femur|femoral|bowel|kidney|liver|stomach|spleen|uterus|vagina|breast|pancreas"
    "|duodenum|sigmoid|colon|penilebulb|seminalvesicle|chestwall|ovary|testis|anus|analcanal|rib|hip|pelvis"
    # German
    "|herz|lunge|harnblase|blase|rektum|enddarm|darm|niere|leber|magen|milz|brust|mamma|femurkopf|hueftkopf|huftkopf"
    # French, Spanish, Italian
    "|coeur|poumon|vessie|foie|estomac|prostata|recto|corazon|pulmon|vejiga|higado|estomago|rinon|mama"
    "|cuore|polmone|vescica|retto|fegato|stomaco|milza|mammella"
)
_HEAD_AND_NECK = re.compile(
    "HEAD|NECK|SKULL|BRAIN|FACE|FACIAL|JAW|MANDIB|MAXILL|LARYN|PHARYN|TONGUE|ORAL|MOUTH|NOSE|NASAL|NASO|SINUS|ORBIT"
    "|THYROID|PAROTID|SALIVARY|TONSIL|CSPINE|CERVICAL|KOPF|HALS|SCHAEDEL|TETE|COU$|CABEZA|CUELLO|TESTA|COLLO|^HN|^H$"
)
_ANYWHERE = frozenset(("", "WHOLEBODY", "BODY", "TBODY", "OTHER", "UNKNOWN", "NONE", "NA", "PLANNING", "RT"))


def organs_elsewhere(names: Iterable[str]) -> list[str]:
    """The names that speak of organs of chest, abdomen or pelvis, which no neck has."""
    return [name for name in names if any(map(_ORGANS.fullmatch, _words(name)))]


def is_elsewhere(body_part: str) -> bool:
    """Whether a DICOM BodyPartExamined is another part of the body; what says nothing is none."""
    plain = re.sub("[^A-Z]", "", _without_accents(body_part).upper())
    return plain not in _ANYWHERE and not _HEAD_AND_NECK.search(plain)


def _words(name: str) -> set[str]:
    """Words of a name in lower case, also without a side or plural at their ends, and neighbours joined."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _without_accents(name))
    words = re.findall("[a-z]+", parted.lower())
    words += [first + second for first, second in itertools.pairwise(words)]
    shorter = [re.sub("^[lr]t?(?=.{4})", "", word) for word in words]
    bare = [re.sub("(?<=.{4})([lr]t?|s|es)$", "", word) for word in (*words, *shorter)]
    return {*words, *shorter, *bare}


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
