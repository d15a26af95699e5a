"""Readers of JSON files: strict for input, lenient for records of earlier runs."""

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
        FileNotFoundError: the file does not exist.
        DataError: the file is truncated, not JSON, or repeats a name within an object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not readable as JSON, truncated perhaps ({error})') from error


def read_note(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a record left by an earlier run; return ``{}`` if there is none or it is unreadable."""
    try:
        record = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f'{repeated!r} is there twice')
    return members
