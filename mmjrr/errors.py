"""Errors that say which file and field is wrong, what was found, and what was expected."""

from __future__ import annotations


class DataError(ValueError):
    """A data file is broken or does not fit the others. The message names file and field."""
