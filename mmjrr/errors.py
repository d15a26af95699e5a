"""Errors that say which file and field is wrong, what was found, and what was expected.

The rule for everything that reads a file, whoever made it and whatever it holds:

- ``FileNotFoundError`` where there is none, :class:`DataError` for all that is wrong with it;
- nothing in it is run;
- memory and time are in proportion to its size: what it claims is not believed before it is there.
"""

from __future__ import annotations


class DataError(ValueError):
    """A data file is broken or does not fit the others. The message names file and field."""


class LockedError(RuntimeError):
    """Another run holds the work directory."""
