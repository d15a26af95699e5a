"""Samplers of refinement, which split each batch over processes and can skip finished batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmjrr.array_types import IndexArray
from mmjrr.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, whose order of all samples depends only on the seed.

    The arguments are those of ``DefaultSampler``.
    """

    def order(self) -> list[int]:
        """Return the indices of all samples, each once, in the order of a single process."""
        sampler = copy.copy(self)
        sampler.rank, sampler.world_size, sampler.total_size = 0, 1, len(self.dataset)
        return list(DefaultSampler.__iter__(sampler))


@DATA_SAMPLERS.register_module()
class FrameBatchSampler:
    """Batch sampler that splits each batch over the processes of a run.

    Batches follow from the seed and the batch size alone; a process takes a contiguous part of
    each. Any number of processes therefore refines the same batches, and the discriminators are
    trained on the same. A batch with fewer frames than processes leaves some of them without work.

    It is the batch sampler of :class:`~mmjrr.engine.RefinementLoop` unless the config names
    another. MMEngine passes the sampler and the batch size.

    Args:
        sampler: Sampler whose data set, seed, shuffling, rank and number of processes apply.
        batch_size: Largest number of frames in a batch, over all processes.
        drop_last: Must be False: refinement visits every frame. Default: False.

    Raises:
        ValueError: ``drop_last`` is set, or ``batch_size`` is below 1.
    """

    #: Number of batches to skip; set by :func:`skip_batches`.
    skip: int = 0

    def __init__(self, sampler: ResumableSampler, batch_size: int, drop_last: bool = False) -> None:
        name = type(self).__name__
        if drop_last:
            raise ValueError(f'{name}: drop_last: found True, expected False')
        if batch_size < 1:
            raise ValueError(f'{name}: batch_size: found {batch_size}, expected at least 1')
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self._batches = self._fill()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        parts = self.batches(self.sampler.rank)
        return (part for part in parts[self.skip :] if part)

    def batches(self, rank: int) -> list[list[int]]:
        """Return a process's part of each batch, including skipped batches and empty parts."""
        processes = self.sampler.world_size
        parts = []
        for groups in self._batches:
            ends = [len(groups) * end // processes for end in (rank, rank + 1)]
            parts.append([frame for group in groups[slice(*ends)] for frame in group])
        return parts

    def _fill(self) -> list[list[list[int]]]:
        """Return the batches as lists of groups of frames that stay in one process."""
        order, size = self.sampler.order(), self.batch_size
        return [
            [[frame] for frame in order[start : start + size]]
            for start in range(0, len(order), size)
        ]


@DATA_SAMPLERS.register_module()
class MomentBatchSampler(FrameBatchSampler):
    """Batch sampler that keeps the views of a moment in one batch and process.

    Moments are taken in a seeded order, and a batch is filled with whole moments up to
    ``batch_size`` frames; moments may have different numbers of views.

    Select it with ``train_dataloader=dict(batch_sampler=dict(type='MomentBatchSampler'))``.

    Args:
        sampler: As for :class:`FrameBatchSampler`. Its data set needs a method ``moments()``, which
            returns each frame's moment.
        batch_size: As for :class:`FrameBatchSampler`.
        drop_last: As for :class:`FrameBatchSampler`.

    Raises:
        ValueError: The data set has no moments, a moment has more frames than ``batch_size``, or
            ``drop_last`` is set.
    """

    def _fill(self) -> list[list[list[int]]]:
        """Fill batches with whole moments in the seeded order."""
        dataset, size = self.sampler.dataset, self.batch_size
        if not hasattr(dataset, 'moments'):
            raise ValueError(
                f'MomentBatchSampler: {type(dataset).__name__} has no moments(), which '
                'says which frames belong together; use H36MFitsDataset'
            )
        moments: IndexArray = np.asarray(dataset.moments())
        largest = int(np.bincount(moments).max(initial=0))
        if largest > size:
            raise ValueError(
                f'MomentBatchSampler: batch_size: found {size}, expected at least {largest}, the '
                'views of a moment'
            )
        frames = np.argsort(moments, kind='stable')
        starts = np.flatnonzero(np.diff(moments[frames], prepend=-1))
        views = [group.tolist() for group in np.split(frames, starts[1:])]
        order = np.arange(len(views))
        if self.sampler.shuffle:
            np.random.default_rng(self.sampler.seed).shuffle(order)
        batches: list[list[list[int]]] = [[]]
        count = 0
        for number in order:
            if count + len(views[number]) > size:
                batches.append([])
                count = 0
            batches[-1].append(views[number])
            count += len(views[number])
        return batches


def batch_sampler_of(loader: DataLoader[Any]) -> FrameBatchSampler:
    """Return the batch sampler of a data loader of refinement.

    Raises:
        ValueError: It or its sampler is of another type.
    """
    batches = loader.batch_sampler
    sampler: object = batches.sampler if isinstance(batches, FrameBatchSampler) else loader.sampler
    if not isinstance(sampler, ResumableSampler):
        raise ValueError(
            f'train_dataloader.sampler is {type(sampler).__name__}, expected ResumableSampler'
        )
    if not isinstance(batches, FrameBatchSampler):
        raise ValueError(
            f'train_dataloader.batch_sampler is {type(batches).__name__}, expected '
            'FrameBatchSampler or MomentBatchSampler'
        )
    return batches


def sampler_of(loader: DataLoader[Any]) -> ResumableSampler:
    """Return the sampler of a data loader of refinement.

    Raises:
        ValueError: As for :func:`batch_sampler_of`.
    """
    return batch_sampler_of(loader).sampler


def batches_of_process(loader: DataLoader[Any], rank: int) -> list[list[int]]:
    """Return a process's samples of each batch, including skipped batches and empty parts."""
    return batch_sampler_of(loader).batches(rank)


def skip_batches(loader: DataLoader[Any], count: int) -> None:
    """Have the loader start after its first ``count`` batches, without loading them."""
    batch_sampler_of(loader).skip = count
