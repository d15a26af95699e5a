"""A sampler that can start in the middle."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import DefaultSampler

from mmjrr.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` that can leave out what an earlier run has done.

    The order depends on the seed alone, so a run that starts at sample ``n`` sees exactly what an
    uninterrupted one sees from there on, without loading what comes before.

    Args: as ``DefaultSampler``.
    """

    #: Samples of this process to leave out at the start; set by :class:`RefinementLoop`.
    skip: int = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skip, None)

    def order(self, rank: int) -> list[int]:
        """Return the samples of a process, those left out included."""
        sampler = copy.copy(self)
        sampler.rank = rank
        return list(DefaultSampler.__iter__(sampler))
