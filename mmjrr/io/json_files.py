"""JSON files."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated, no JSON text, or has a name twice in an object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not readable as JSON, truncated perhaps ({error})') from error


def read_note(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a record left by an earlier run; an empty one if it is unreadable."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f'{twice!r} is there twice')
    return found
