"""Masks on their way into one file: shards that a killed run finds again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.run_length import encode_levels, encode_rle
from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json

#: What becomes of an image: one of these, each by image name.
PARTS = ('masks', 'without_person', 'excluded')
Shard = dict[str, dict[str, Any]]


class MaskShards:
    """Shards in a folder, and the file that they become.

    A shard holds the results of a fixed set of images, and is written whole or not at all, so a run
    that was killed and goes on writes the same bytes as one that was not.

    Args:
        out: The file. Its format is that of :class:`~mmjrr.datasets.masks.Masks`, with ``info``
            last.
        folder: Where shards are kept until then.
        identity: What the results depend on, by name; goes into ``info``.
    """

    def __init__(self, out: str | Path, folder: str | Path, identity: dict[str, Any]) -> None:
        self.out, self.folder = Path(out), Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self._identity_file = self.folder / 'identity.json'

    @property
    def finished(self) -> bool:
        """Whether the file is there."""
        return self.out.exists()

    def check(self) -> None:
        """Refuse to go on from what was made otherwise.

        Raises:
            DataError: the file or the shards come from other data, settings or weights.
        """
        if self.out.exists():
            try:
                found = read_json(self.out)['info']['identity']
            except (DataError, KeyError, TypeError, IndexError):
                found = {}
            self._compare(self.out, found)
        elif any(self.folder.glob('shard_*.json')):
            known = self._identity_file.is_file()
            self._compare(self.folder, read_json(self._identity_file) if known else {})

    def _compare(self, path: Path, found: Any) -> None:
        found = found if isinstance(found, dict) else {}
        others = [name for name, value in self.identity.items() if found.get(name) != value]
        if others:
            raise DataError(
                f'{path}: holds masks of other {", ".join(others)}: choose another place, or start '
                'anew with --overwrite'
            )

    def prepare(self, overwrite: bool = False) -> None:
        """Leave what this run can go on from, and nothing else."""
        if overwrite:
            self.out.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder, start in ((self.out.parent, f'.{self.out.stem}.'), (self.folder, '.')):
            for path in folder.glob('.*'):  # what a killed run was writing
                if path.name.startswith(start) and path.is_file():
                    path.unlink()
        if self.finished:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        with atomic_write(self._identity_file) as temporary:
            temporary.write_text(json.dumps(self.identity, indent=2) + '\n')

    def path(self, number: int) -> Path:
        return self.folder / f'shard_{number:07d}.json'

    def todo(self, count: int) -> list[int]:
        """Which of shards 0 to ``count`` - 1 are not there."""
        return [number for number in range(count) if not self.path(number).is_file()]

    def put(self, number: int, shard: Shard) -> None:
        with atomic_write(self.path(number)) as temporary:
            temporary.write_text(json.dumps(shard, sort_keys=True))

    def merge(self, count: int) -> dict[str, int]:
        """Write the file of all shards, and remove them. No more than a shard is in memory.

        Returns:
            How many images have a mask, have no person, and are excluded.

        Raises:
            DataError: a shard is broken, or no image has a mask.
        """
        counts = dict.fromkeys(PARTS, 0)
        with atomic_write(self.out) as temporary, open(temporary, 'w') as file:
            file.write('{')
            for part in PARTS:
                file.write(f'"{part}": {{')
                for name, entry in self._entries(part, count):
                    file.write(', ' * (counts[part] > 0))
                    file.write(f'{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}')
                    counts[part] += 1
                file.write('}, ')
            info = {'counts': counts, 'identity': self.identity}
            file.write(f'"info": {json.dumps(info, sort_keys=True)}}}\n')
            file.flush()
            if not counts['masks']:
                _, reason = next(
                    entry for part in PARTS[1:] for entry in self._entries(part, count)
                )
                raise DataError(f'none of {sum(counts.values())} images has a mask: {reason}')
        shutil.rmtree(self.folder)
        return counts

    def _entries(self, part: str, count: int) -> Iterator[tuple[str, Any]]:
        for number in range(count):
            path = self.path(number)
            try:
                yield from read_json(path)[part].items()
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise DataError(
                    f'{path}: not a readable shard ({error}): remove it, and give the same command '
                    'again'
                ) from error


def mask_entry(
    mask: np.ndarray,  # (h, w) uint8, 0 to 255
    score: float,
    box: np.ndarray,  # (4,): x0, y0, x1, y1, pixels
    overlap: float,
    soft: bool = False,
) -> dict[str, Any]:
    """What a file says of one mask."""
    entry: dict[str, Any] = {
        'size': list(mask.shape),
        'counts': encode_rle(mask >= 128).decode('ascii'),
        'score': round(float(score), 6),
        'box': [round(float(value), 2) for value in box],
        'overlap': round(float(overlap), 4),
    }
    if soft:
        entry['levels'] = [code.decode('ascii') for code in encode_levels(mask)]
    return entry
