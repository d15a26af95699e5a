"""Errors that say which file, field or argument is wrong, what was found, and what was expected.

Every reader of a file follows the same rules:

- It raises ``FileNotFoundError`` if the file does not exist, and :class:`DataError` for any defect
  of its content.
- It executes nothing that the file holds.
- It takes memory and time in proportion to the file's size, whatever sizes the file states.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any


class DataError(ValueError):
    """A data file is broken or does not fit the others. The message names file and field."""


class LockedError(RuntimeError):
    """Another run holds the work directory."""


def check_count(name: str, value: Any) -> None:
    """Check that an argument is a positive integer.

    Args:
        name: The argument's name, for the message.
        value: Its value.

    Raises:
        ValueError: It is a fraction or another type, or below 1.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f'{name}: found {value!r}, expected an integer of at least 1')
