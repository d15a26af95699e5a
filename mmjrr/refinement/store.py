"""Where refined fits are kept, batch by batch, until they become one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_npz


class PseudoGTStore:
    """A folder of shards, one per refined batch and process.

    A shard is written whole or not at all, and its name is the batch's number: a batch that is
    refined again after a kill replaces its own shard with the same bytes.

    Args:
        root: The folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def put(self, batch_idx: int, arrays: dict[str, np.ndarray], rank: int = 0) -> Path:
        """Store a batch. ``arrays`` all have the batch as first axis and hold ``sample_idx``."""
        lengths = {name: len(array) for name, array in arrays.items()}
        if 'sample_idx' not in lengths or len(set(lengths.values())) != 1:
            raise ValueError(f'put: expected sample_idx and arrays of one length, found {lengths}')
        path = self.root / f'batch_{batch_idx:07d}_rank_{rank:03d}.npz'
        with atomic_write(path) as temporary:
            np.savez(temporary, **arrays)
        return path

    def shards(self) -> list[Path]:
        """Paths of all shards, in order."""
        return sorted(self.root.glob('batch_*_rank_*.npz'))

    def drop_from(self, batch_idx: int) -> int:
        """Remove the shards of this batch and later ones; return how many there were."""
        dropped = [p for p in self.shards() if int(p.name.split('_')[1]) >= batch_idx]
        for path in dropped:
            path.unlink()
        return len(dropped)

    def load(self) -> dict[str, np.ndarray]:
        """All samples, each once, sorted by ``sample_idx``.

        Raises:
            FileNotFoundError: If there is no shard.
            DataError: If a shard cannot be read, or differs from the others; it is named.
        """
        parts: list[dict[str, np.ndarray]] = []
        for path in self.shards():
            part = read_npz(path)
            layout = _layout(path, part)
            if parts and layout != _layout(path, parts[0]):
                raise DataError(
                    f'{path}: found {layout}, expected what the first shard has: '
                    f'{_layout(path, parts[0])}'
                )
            parts.append(part)
        if not parts:
            raise FileNotFoundError(f'{self.root}: no refined fits (batch_*.npz) found')
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        # With several processes the sampler repeats samples to fill the last batches.
        _, first = np.unique(merged['sample_idx'], return_index=True)
        return {name: array[first] for name, array in merged.items()}

    def batches(
        self, arrays: dict[str, np.ndarray], batch_size: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Cut what :meth:`load` returned into batches."""
        for start in range(0, len(arrays['sample_idx']), batch_size):
            yield {name: array[start : start + batch_size] for name, array in arrays.items()}


def _layout(path: Path, part: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of a row of each array.

    Raises:
        DataError: the arrays differ in length, or do not say which samples they are of.
    """
    lengths = {name: array.shape[:1] for name, array in part.items()}
    index = part.get('sample_idx')
    if index is None or index.ndim != 1 or len(set(lengths.values())) != 1:
        raise DataError(f'{path}: expected sample_idx and arrays of one length, found {lengths}')
    return {name: (array.dtype.kind, array.shape[1:]) for name, array in part.items()}
