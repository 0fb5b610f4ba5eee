"""The roles file of the command line: which contour plays which role, of one patient or of a cohort.

{"PTV70": "boost", "Larynx": ["Larynx_SG"], "Mandible": null, "not_targets": ["PTV60 old"]}
{"patients": {"p1": {"PTV70": "boost"}, "p2": {"not_targets": ["PTV60 old"]}}, "PTV54": ["PTV_JD", "PTV_KM"]}
{"reference_dose": "*sum*", "patients": {"p3": {"reference_dose": "RD.phase1.dcm"}}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DeepDoseError
from ..patient.json_file import read_json_object
from ..patient.roles import PATIENTS

_EXAMPLE = '{"PTV70": "PTV_7000", "not_targets": ["PTV60 old"]}'


def read_roles(path: str | Path) -> dict[str, Any]:
    """The answers in a JSON file, see `patient.roles.answers_for`; DeepDoseError names the file and what is wrong."""
    path = Path(path)
    roles = read_json_object(path, f"roles with contour names, such as {_EXAMPLE}")
    patients = roles.get(PATIENTS, {})
    if not isinstance(patients, dict):
        raise DeepDoseError(f'{path}: expected {PATIENTS} with roles of each, such as {{"p1": {_EXAMPLE}}}')
    _check({role: names for role, names in roles.items() if role != PATIENTS}, str(path))
    for patient, own in patients.items():
        _check(own, f"{path}, {patient}")
    return roles


def _check(roles: object, where: str) -> None:
    if not isinstance(roles, dict) or not all(map(_is_name_or_names, roles.values())):
        raise DeepDoseError(f"{where}: expected roles with contour names, such as {_EXAMPLE}")


def _is_name_or_names(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return value is None or isinstance(value, str)
