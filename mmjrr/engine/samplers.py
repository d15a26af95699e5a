"""Samplers of refinement, which can skip the samples that an earlier run processed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmjrr.array_types import IndexArray
from mmjrr.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` with a number of samples to skip.

    The order depends only on the seed. A run that skips ``n`` samples therefore sees the same
    samples as an uninterrupted run after its first ``n``, without loading those.

    The arguments are those of ``DefaultSampler``.
    """

    #: Number of this process's samples to skip; set by :func:`skip_batches`.
    skip: int = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skip, None)

    def order(self, rank: int) -> list[int]:
        """Return the indices of all samples of a process, including skipped ones."""
        sampler = copy.copy(self)
        sampler.rank = rank
        return list(DefaultSampler.__iter__(sampler))


@DATA_SAMPLERS.register_module()
class MomentBatchSampler:
    """Batch sampler that keeps the views of a moment in one batch, for several cameras.

    Moments are taken in a seeded order, and a batch is filled with whole moments up to
    ``batch_size`` frames; moments may have different numbers of views. In a distributed run the
    processes take the batches in turn. The last batches are repeated until all processes have the
    same number.

    Select it with ``train_dataloader=dict(batch_sampler=dict(type='MomentBatchSampler'))``.
    MMEngine passes the sampler and the batch size.

    Args:
        sampler: Sampler whose data set, seed, shuffling, rank and number of processes apply. The
            data set needs a method ``moments()``, which returns each frame's moment.
        batch_size: Largest number of frames in a batch.
        drop_last: Must be False: refinement visits every frame. Defaults to False.

    Raises:
        ValueError: The data set has no moments, a moment has more frames than ``batch_size``, or
            ``drop_last`` is set.
    """

    #: Number of this process's batches to skip; set by :func:`skip_batches`.
    skip: int = 0

    def __init__(self, sampler: ResumableSampler, batch_size: int, drop_last: bool = False) -> None:
        if drop_last:
            raise ValueError('MomentBatchSampler: drop_last: found True, expected False')
        if not hasattr(sampler.dataset, 'moments'):
            raise ValueError(
                f'MomentBatchSampler: {type(sampler.dataset).__name__} has no moments(), which '
                'says which frames belong together; use H36MFitsDataset'
            )
        moments = np.asarray(sampler.dataset.moments())
        largest = int(np.bincount(moments).max(initial=0))
        if largest > batch_size:
            raise ValueError(
                f'MomentBatchSampler: batch_size={batch_size}, expected at least {largest}, the '
                'views of a moment'
            )
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self._batches = self._fill(moments)

    def __len__(self) -> int:
        return -(-len(self._batches) // self.sampler.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.sampler.rank)[self.skip :])

    def batches(self, rank: int) -> list[list[int]]:
        """Return the batches of a process, including skipped ones."""
        count, processes = len(self._batches), self.sampler.world_size
        return [self._batches[(i * processes + rank) % count] for i in range(len(self))]

    def _fill(self, moments: IndexArray) -> list[list[int]]:
        """Fill batches with whole moments in the seeded order."""
        frames = np.argsort(moments, kind='stable')
        starts = np.flatnonzero(np.diff(moments[frames], prepend=-1))
        views = [group.tolist() for group in np.split(frames, starts[1:])]
        order = np.arange(len(views))
        if self.sampler.shuffle:
            np.random.default_rng(self.sampler.seed).shuffle(order)
        batches: list[list[int]] = [[]]
        for number in order:
            if len(batches[-1]) + len(views[number]) > self.batch_size:
                batches.append([])
            batches[-1] += views[number]
        return batches


def sampler_of(loader: DataLoader[Any]) -> ResumableSampler:
    """Return the sampler of a data loader of refinement.

    Raises:
        ValueError: It is of another type, or the loader has neither a batch size nor a
            :class:`MomentBatchSampler`.
    """
    sampler: object = loader.sampler
    by_moment = False
    if isinstance(loader.batch_sampler, MomentBatchSampler):
        sampler, by_moment = loader.batch_sampler.sampler, True
    if not isinstance(sampler, ResumableSampler):
        raise ValueError(
            f'train_dataloader.sampler is {type(sampler).__name__}, expected ResumableSampler'
        )
    if loader.batch_size is None and not by_moment:
        raise ValueError('train_dataloader needs a batch_size')
    return sampler


def check_moments(loader: DataLoader[Any]) -> None:
    """Check that the views of a moment are in one batch.

    Raises:
        ValueError: They may be in different batches.
    """
    if not isinstance(loader.batch_sampler, MomentBatchSampler):
        raise ValueError(
            "share: pose='moment' needs all views of a moment in one batch: set "
            "train_dataloader=dict(batch_sampler=dict(type='MomentBatchSampler'))"
        )


def batch_size_of(loader: DataLoader[Any]) -> int:
    """Return the largest number of frames in a batch."""
    batch_sampler = loader.batch_sampler
    if isinstance(batch_sampler, MomentBatchSampler):
        return batch_sampler.batch_size
    assert loader.batch_size is not None
    return loader.batch_size


def batches_of_process(loader: DataLoader[Any], rank: int) -> list[list[int]]:
    """Return the indices of the samples of each batch of a process, including skipped ones."""
    if isinstance(loader.batch_sampler, MomentBatchSampler):
        return loader.batch_sampler.batches(rank)
    order, size = sampler_of(loader).order(rank), batch_size_of(loader)
    return [order[start : start + size] for start in range(0, len(order), size)]


def skip_batches(loader: DataLoader[Any], count: int) -> None:
    """Have the loader start after its first ``count`` batches, without loading them."""
    if isinstance(loader.batch_sampler, MomentBatchSampler):
        loader.batch_sampler.skip = count
    else:
        sampler_of(loader).skip = count * batch_size_of(loader)
