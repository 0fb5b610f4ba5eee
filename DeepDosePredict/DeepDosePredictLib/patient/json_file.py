"""JSON files that users write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import DeepDoseError

MAX_BYTES = 2**20


def read_json_object(path: Path, what: str, advice: str = "") -> dict[str, Any]:
    """The object in a JSON file; DeepDoseError names the file and what is wrong with it.

    Args:
        what: the file ought to hold, with an example, for messages.
        advice: what to do, at the end of messages.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DeepDoseError(f"{path}: too large for {what}{advice}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DeepDoseError(f"{path}: this is no JSON file ({error}){advice}") from error
    except OSError as error:
        raise DeepDoseError(f"{path}: cannot be read ({error.strerror}){advice}") from error
    if not isinstance(content, dict):
        raise DeepDoseError(f"{path}: expected {what}{advice}")
    return content
