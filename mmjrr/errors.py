"""Errors that say which file and field is wrong, what was found, and what was expected.

Every reader of a file follows the same rules:

- It raises ``FileNotFoundError`` if the file does not exist, and :class:`DataError` for any defect
  of its content.
- It executes nothing that the file holds.
- It takes memory and time in proportion to the file's size, whatever sizes the file states.
"""

from __future__ import annotations


class DataError(ValueError):
    """A data file is broken or does not fit the others. The message names file and field."""


class LockedError(RuntimeError):
    """Another run holds the work directory."""
