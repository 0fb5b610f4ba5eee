"""The roles file of the command line: which structure of a segmentation plays which role."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import DeepDoseError

MAX_BYTES = 2**20


def read_roles(path: str | Path) -> dict[str, str | list[str]]:
    """{role: structure name or list of names} from a JSON file; DeepDoseError names the file and what is wrong."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DeepDoseError(f"{path}: too large for a file of roles")
        roles = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DeepDoseError(f"{path}: this is no JSON file ({error})") from error
    except OSError as error:
        raise DeepDoseError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(roles, dict) or not all(map(_is_name_or_names, roles.values())):
        raise DeepDoseError(f'{path}: expected roles with segment names, such as {{"PTV70": "PTV_7000"}}')
    return roles


def _is_name_or_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))
