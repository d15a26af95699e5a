"""The sampler that starts in the middle."""

from __future__ import annotations

import pytest

from mmjrr.engine import MomentBatchSampler, ResumableSampler
from mmjrr.registry import DATA_SAMPLERS


def make(count: int = 10, **options) -> ResumableSampler:
    config = dict(type='ResumableSampler', dataset=range(count), seed=4, **options)
    return DATA_SAMPLERS.build(config)


@pytest.mark.parametrize('skip', [0, 1, 7, 10, 12])
def test_a_resumed_order_is_the_rest_of_the_whole_one(skip: int) -> None:
    whole = list(make())
    assert sorted(whole) == list(range(10)) != whole
    resumed = make()
    resumed.skip = skip
    assert list(resumed) == whole[skip:]


def test_without_shuffling_the_order_is_the_data_sets() -> None:
    assert list(make(shuffle=False)) == list(range(10))


def test_processes_share_the_samples_and_skip_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = make()
        share = list(sampler)
        sampler.skip = 2
        assert list(sampler) == share[2:]
        shares += share
    assert sorted(shares) == list(range(10))


class Views:
    """A data set of moments with one to four views, whose frames are not in order."""

    def __init__(self, moments: list[int]) -> None:
        self._moments = moments

    def __len__(self) -> int:
        return len(self._moments)

    def moments(self) -> list[int]:
        return self._moments


MOMENTS = [0, 1, 2, 0, 1, 3, 4, 0, 4, 4, 4, 1, 5, 5, 0]


def by_moment(batch_size: int = 6, seed: int = 4, **options) -> MomentBatchSampler:
    sampler = ResumableSampler(Views(MOMENTS), seed=seed, **options)
    config = dict(type='MomentBatchSampler')
    return DATA_SAMPLERS.build(config, default_args=dict(sampler=sampler, batch_size=batch_size))


@pytest.mark.parametrize('batch_size', [4, 6, 100])
def test_views_of_a_moment_are_in_one_batch(batch_size: int) -> None:
    batches = list(by_moment(batch_size))
    assert sorted(sum(batches, [])) == list(range(len(MOMENTS)))
    assert all(len(batch) <= batch_size for batch in batches)
    of_moment = [{number for number, batch in enumerate(batches) if i in batch} for i in range(15)]
    for moment in range(6):
        places = set().union(*(of_moment[i] for i in range(15) if MOMENTS[i] == moment))
        assert len(places) == 1


def test_batches_by_moment_depend_on_the_seed_and_resume() -> None:
    whole = list(by_moment())
    assert list(by_moment()) == whole != list(by_moment(seed=5))
    resumed = by_moment()
    resumed.skip = 2
    assert list(resumed) == whole[2:]
    assert by_moment(shuffle=False).batches(0)[0] == [0, 3, 7, 14]


def test_processes_take_batches_of_moments_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, shares = list(by_moment()), []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = by_moment()
        assert sampler.batches(rank) == list(sampler)
        assert len(list(sampler)) == len(sampler) == -(-len(whole) // 2)
        shares += list(sampler)
    assert all(batch in shares for batch in whole)


def test_batches_that_cannot_hold_a_moment_are_refused() -> None:
    with pytest.raises(ValueError, match='batch_size=3, expected at least 4'):
        by_moment(batch_size=3)
    with pytest.raises(ValueError, match=r'range has no moments\(\)'):
        MomentBatchSampler(ResumableSampler(range(3)), 4)
    with pytest.raises(ValueError, match='drop_last'):
        MomentBatchSampler(ResumableSampler(Views(MOMENTS)), 4, drop_last=True)
