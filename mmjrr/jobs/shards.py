"""Shards: the finished parts of a job, each in a file that is written whole or not at all."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json, read_npz

#: A shard's name holds its number and, if each process writes its own shards, the process's rank.
_NAME = re.compile(r'(?P<stem>[a-z]+)_(?P<number>\d{7,})(_rank_(?P<rank>\d{3,}))?')

#: Shards of one process that a folder holds at most: the first stay in the job's folder, the others
#: are in folders such as ``from_0001000``. Some file systems are slow in folders of 100,000 files.
PER_FOLDER = 1000

Key = tuple[int, int | None]


class ShardFolder:
    """A folder of numbered shards of one run.

    A shard contains its run, number and rank, so that :meth:`get` refuses a file that was renamed
    or copied from another run. Writing the same content again gives the same bytes.

    Args:
        folder: The folder; :meth:`put` creates it if it is missing.
        run: The run's :attr:`~mmjrr.jobs.Identity.digest`.
        suffix: ``'.npz'`` for dicts of arrays, ``'.json'`` for dicts of JSON values.
        stem: The first part of the files' names, in lower case. Default: ``'shard'``.

    Raises:
        ValueError: ``suffix`` is neither.
    """

    def __init__(self, folder: str | Path, run: str, suffix: str, stem: str = 'shard') -> None:
        if suffix not in ('.npz', '.json'):
            raise ValueError(f"suffix: found {suffix!r}, expected '.npz' or '.json'")
        self.folder, self.run, self.suffix, self.stem = Path(folder), run, suffix, stem

    def path(self, number: int, rank: int | None = None) -> Path:
        """Return the file of a shard."""
        process = '' if rank is None else f'_rank_{rank:03d}'
        first = number - number % PER_FOLDER
        folder = self.folder / f'from_{first:07d}' if first else self.folder
        return folder / f'{self.stem}_{number:07d}{process}{self.suffix}'

    def folders(self) -> list[Path]:
        """List the existing folders that hold shards."""
        return [self.folder, *sorted(self.folder.glob('from_*'))]

    def keys(self) -> list[Key]:
        """List number and rank of the existing shards, in order; the rank may be None."""
        keys = []
        pattern = f'{self.stem}_*{self.suffix}'
        for path in (path for folder in self.folders() for path in folder.glob(pattern)):
            name = _NAME.fullmatch(path.stem)
            if name is not None and name['stem'] == self.stem:
                rank = None if name['rank'] is None else int(name['rank'])
                key = (int(name['number']), rank)
                if path == self.path(*key):
                    keys.append(key)
        return sorted(keys, key=lambda key: (key[0], -1 if key[1] is None else key[1]))

    def missing(self, count: int) -> list[int]:
        """List which of the shards 0 to ``count`` - 1 do not exist."""
        present = {number for number, _ in self.keys()}
        return [number for number in range(count) if number not in present]

    def put(self, number: int, content: dict[str, Any], rank: int | None = None) -> Path:
        """Write a shard and return its file.

        Args:
            number: The shard's number.
            content: A dict of arrays or of JSON values, without the key ``'shard'``.
            rank: The process that made it, if each process writes its own shards.
        """
        path = self.path(number, rank)
        label = {'run': self.run, 'number': number, 'rank': rank}
        with atomic_write(path) as temporary:
            if self.suffix == '.json':
                temporary.write_text(json.dumps({'shard': label, **content}, sort_keys=True))
            else:
                with open(temporary, 'wb') as file:
                    np.savez(file, shard=np.array(json.dumps(label)), **content)
        return path

    def get(self, number: int, rank: int | None = None) -> dict[str, Any]:
        """Read a shard.

        Raises:
            DataError: The file is missing or unreadable, or holds another shard or one of another
                run.
        """
        path = self.path(number, rank)
        remedy = 'remove it, and give the same command again'
        try:
            content = read_json(path) if self.suffix == '.json' else read_npz(path)
            label = content.pop('shard', None)
            if isinstance(label, np.ndarray):
                label = json.loads(str(label.item()))
        except FileNotFoundError as error:
            raise DataError(f'{path}: missing; give the same command again to make it') from error
        except (DataError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f'{path}: not a readable shard ({error}); {remedy}') from error
        expected = {'run': self.run, 'number': number, 'rank': rank}
        if label == expected:
            return content
        if not isinstance(label, dict) or label.get('run') != self.run:
            raise DataError(f'{path}: belongs to another run; {remedy}')
        raise DataError(
            f'{path}: found shard {label.get("number")} of process {label.get("rank")}, expected '
            f'shard {number} of process {rank}; {remedy}'
        )

    def check(self, keys: Iterable[Key]) -> None:
        """Check by name that exactly the shards of a run exist.

        Args:
            keys: Number and rank of each shard of the run.

        Raises:
            DataError: A shard is missing, or the folder holds a shard that is not in ``keys``.
        """
        expected, present = set(keys), set(self.keys())
        missing = sorted(expected - present, key=str)
        if missing:
            raise DataError(
                f'{self.path(*missing[0])}: missing, as are {len(missing) - 1} more of '
                f'{len(expected)} shards; give the same command again to make them'
                if len(missing) > 1
                else f'{self.path(*missing[0])}: missing; give the same command again to make it'
            )
        foreign = sorted(present - expected, key=str)
        if foreign:
            raise DataError(
                f'{self.path(*foreign[0])}: not a shard of this run, which has {len(expected)}; '
                'remove it, and give the same command again'
            )

    def read_all(self, keys: Iterable[Key]) -> Iterator[dict[str, Any]]:
        """Check that exactly these shards exist, then yield their contents one by one.

        Raises:
            DataError: As in :meth:`check` and :meth:`get`.
        """
        keys = list(keys)
        self.check(keys)
        for number, rank in keys:
            yield self.get(number, rank)
