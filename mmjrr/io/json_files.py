"""JSON files: strict reading of input, lenient reading of earlier runs' records, writing."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io.atomic import atomic_write
from mmjrr.io.input_files import FilePath, open_input
from mmjrr.io.limits import check_unpacked_size, unpacked_limit

#: Most bytes of memory that go with a character of JSON: a list, an object, a member of an object,
#: a value, and half a string, each with its place in the list or object that holds it.
_BYTES = {b'[': 104, b'{': 80, b':': 170, b',': 40, b'"': 25}


def read_json(path: FilePath) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated, not JSON, repeats a name within an object, or would take
            more memory than any file of its size may.
    """
    with open_input(path) as file:
        content = file.stream.read()
    check_unpacked_size(str(file.path), most_memory(content), unpacked_limit(len(content)))
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


def json_number(value: Any) -> Any:
    """Return None for NaN and infinity, which JSON does not have; other values as they are.

    >>> json_number(float('nan')) is None, json_number(0.5)
    (True, 0.5)
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_note(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a record left by an earlier run; return ``{}`` if there is none or it is unreadable."""
    try:
        content = Path(path).read_bytes()
        check_unpacked_size(str(path), most_memory(content), unpacked_limit(len(content)))
        record = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def most_memory(content: bytes) -> int:
    """Return an upper bound for the memory that JSON takes once it is read.

    Nested lists take up to 52 times their size in the file, which is more than the limit allows
    large files.
    """
    text = len(content) * (2 if content.isascii() else 5)  # the bytes, and their characters
    return text + sum(content.count(character) * size for character, size in _BYTES.items())


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f'found the name {repeated!r} twice')
    return members
