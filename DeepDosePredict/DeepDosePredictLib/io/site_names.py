"""Adding to the site's own structure names."""

from __future__ import annotations

import json
from pathlib import Path

from ..patient import site_names
from ..patient.site_names import NAMES, check_meaning, read_site_names
from ..patient.vocabulary import plain_key
from .atomic import atomic_write


def remember_name(name: str, meaning: str, path: Path | None = None) -> None:
    """Let a structure's name have a meaning from now on: a role, "target" or "not used"; an earlier one is replaced.

    DeepDoseError if the meaning is no role, or if the file that is there cannot be read; it then stays as it is.
    """
    path = path or site_names.SITE_FILE
    check_meaning(name, meaning, "remember")
    read_site_names(path)
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = {known: what for known, what in content.get(NAMES, {}).items() if plain_key(known) != plain_key(name)}
    content[NAMES] = {**kept, name: meaning}
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
