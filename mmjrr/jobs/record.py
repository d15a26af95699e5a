"""A record beside something that was made: with which settings, and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io import read_json, write_json
from mmjrr.jobs.identity import Identity

#: The record's key for results.
_RESULTS = 'results'


class Record:
    """A JSON file that holds the identity of a piece of work and its results.

    It is written whole or not at all. A :class:`~mmjrr.jobs.Job` refuses to continue what a record
    with other settings describes; smaller pieces of work, such as a video of many, are made again.

    Args:
        path: The file.
        identity: The identity of the work, as of this run.
    """

    def __init__(self, path: str | Path, identity: Identity) -> None:
        self.path, self.identity = Path(path), identity

    def read(self) -> dict[str, Any] | None:
        """Return the file's content, identity and results; None without a file.

        Raises:
            DataError: The file is unreadable.
        """
        try:
            content = read_json(self.path)
        except FileNotFoundError:
            return None
        if not isinstance(content, dict):
            raise DataError(f'{self.path}: found no dict of settings')
        return content

    def results(self) -> dict[str, Any]:
        """Return the recorded results by name, of any settings; {} without a file.

        Raises:
            DataError: The file is unreadable.
        """
        results = (self.read() or {}).get(_RESULTS, {})
        return results if isinstance(results, dict) else {}

    def results_of_same_settings(self) -> dict[str, Any] | None:
        """Return the recorded results, {} of work that is begun and not finished.

        None stands for a file that is missing, unreadable, or has other settings.
        """
        try:
            content = self.read()
        except DataError:
            return None
        if content is None or self.identity.differences(content):
            return None
        return self.results()

    def write(self, results: dict[str, Any] | None = None) -> None:
        """Write this run's identity and the results by name, JSON values."""
        write_json(
            self.path, {**self.identity.as_dict(), **({_RESULTS: results} if results else {})}
        )
