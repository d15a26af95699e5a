"""Sampler that can skip the samples that an earlier run processed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import DefaultSampler

from mmjrr.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` with a number of samples to skip.

    The order depends only on the seed. A run that skips ``n`` samples therefore sees the same
    samples as an uninterrupted run after its first ``n``, without loading those.

    The arguments are those of ``DefaultSampler``.
    """

    #: Number of this process's samples to skip; set by :class:`RefinementLoop`.
    skip: int = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skip, None)

    def order(self, rank: int) -> list[int]:
        """Return the indices of all samples of a process, including skipped ones."""
        sampler = copy.copy(self)
        sampler.rank = rank
        return list(DefaultSampler.__iter__(sampler))
