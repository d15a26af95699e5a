"""The store of refined fits: a shard per batch, and the merge of all shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.mapped import converted, release, working_array
from mmjrr.jobs import ShardFolder


class PseudoGTStore:
    """The refined fits of a run, one shard per batch and process.

    Args:
        shards: The folder of shards.
    """

    def __init__(self, shards: ShardFolder) -> None:
        self.shards = shards

    def put(self, batch_idx: int, arrays: dict[str, Array], rank: int = 0) -> None:
        """Store a batch.

        Args:
            batch_idx: The batch's number.
            arrays: Arrays by name, with the batch as first axis. ``sample_idx`` is required.
            rank: The rank of the process that refined the batch. Default: 0.

        Raises:
            ValueError: ``sample_idx`` is missing, or the arrays differ in length.
        """
        lengths = {name: len(array) for name, array in arrays.items()}
        if 'sample_idx' not in lengths or len(set(lengths.values())) != 1:
            raise ValueError(f'put: found {lengths}, expected sample_idx and arrays of one length')
        self.shards.put(batch_idx, arrays, rank)

    def get(
        self, batch_idx: int, sample_idx: Sequence[int], rank: int = 0
    ) -> dict[str, Array] | None:
        """Return a stored batch; None if it is not stored.

        Args:
            batch_idx: The batch's number.
            sample_idx: The samples that the batch must hold, in order.
            rank: The rank of the process that refined the batch. Default: 0.

        Raises:
            DataError: The shard is broken, of another run, or holds other samples.
        """
        if not self.shards.path(batch_idx, rank).is_file():
            return None
        arrays = self.shards.get(batch_idx, rank)
        self._layout(batch_idx, rank, arrays)
        stored = arrays['sample_idx'].tolist()
        if stored != list(sample_idx):
            raise DataError(
                f'{self.shards.path(batch_idx, rank)}: sample_idx: found {stored}, expected '
                f'{list(sample_idx)}; remove the shard, and resume the run'
            )
        return arrays

    def load(self, expected: Mapping[tuple[int, int], Sequence[int]]) -> dict[str, Array]:
        """Return all samples, each once, sorted by ``sample_idx``.

        Shards are read one after another; large arrays are in files (:mod:`mmjrr.io.mapped`).

        Args:
            expected: The samples of each batch of the run, by batch number and rank.

        Raises:
            DataError: A shard is missing, broken, of another run, or holds other samples; or the
                run has no batches.
        """
        self.shards.check(expected)
        if not expected:
            raise DataError(f'{self.shards.folder}: the run has no batches')
        # With several processes the sampler repeats samples to fill the last batches.
        order = np.unique(np.concatenate([np.asarray(batch) for batch in expected.values()]))
        is_filled = np.zeros(len(order), bool)
        merged: dict[str, Array] = {}
        first_layout = None
        for (batch_idx, rank), sample_idx in expected.items():
            part = self.get(batch_idx, sample_idx, rank)
            assert part is not None
            layout = self._layout(batch_idx, rank, part)
            first_layout = first_layout or layout
            if layout != first_layout:
                raise DataError(
                    f'{self.shards.path(batch_idx, rank)}: found {layout}, expected the layout of '
                    f'the first shard: {first_layout}'
                )
            rows, places = np.unique(np.searchsorted(order, sample_idx), return_index=True)
            rows, places = rows[~is_filled[rows]], places[~is_filled[rows]]
            is_filled[rows] = True
            for name, values in part.items():
                array = merged.get(name)
                if array is None:
                    array = working_array((len(order), *values.shape[1:]), values.dtype)
                elif array.dtype.itemsize < values.dtype.itemsize:  # longer texts
                    array = converted(array, values.dtype)
                array[rows] = values[places]
                release(array)
                merged[name] = array
        return merged

    def _layout(
        self, batch_idx: int, rank: int, part: dict[str, Array]
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the dtype's kind and the shape of a row, by array name.

        Raises:
            DataError: ``sample_idx`` is missing, or the arrays differ in length.
        """
        lengths = {name: array.shape[:1] for name, array in part.items()}
        index = part.get('sample_idx')
        if index is None or index.ndim != 1 or len(set(lengths.values())) != 1:
            raise DataError(
                f'{self.shards.path(batch_idx, rank)}: found {lengths}, expected sample_idx and '
                'arrays of one length'
            )
        return {name: (array.dtype.kind, array.shape[1:]) for name, array in part.items()}


def batches_of(arrays: dict[str, Array], size: int) -> Iterator[dict[str, Array]]:
    """Yield batches of at most ``size`` rows of arrays that have the same length.

    The memory of arrays in files is given back after each batch.
    """
    for start in range(0, len(next(iter(arrays.values()))), size):
        yield {name: array[start : start + size] for name, array in arrays.items()}
        release(*arrays.values())
