"""JSON files: strict reading of input, lenient reading of earlier runs' records, writing."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io.atomic import atomic_write
from mmjrr.io.input_files import FilePath, open_input


def read_json(path: FilePath) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated, not JSON, or repeats a name within an object.
    """
    with open_input(path) as file:
        content = file.stream.read()
    try:
        return json.loads(content, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f'{file.path}: not readable as JSON, truncated perhaps ({error})'
        ) from error


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, indented by two spaces, and replace an existing file in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


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
        raise DataError(f'found the name {repeated!r} twice')
    return members
