"""Batches of refinement: a fixed order, shared by processes, that can start in the middle."""

from __future__ import annotations

import pytest
from mmengine.dataset import DefaultSampler

from mmjrr.engine import FrameBatchSampler, MomentBatchSampler, ResumableSampler
from mmjrr.registry import DATA_SAMPLERS


def make(count: int = 10, batch_size: int = 4, **options) -> FrameBatchSampler:
    sampler = DATA_SAMPLERS.build(
        dict(type='ResumableSampler', dataset=range(count), seed=4, **options)
    )
    config = dict(type='FrameBatchSampler')
    return DATA_SAMPLERS.build(config, default_args=dict(sampler=sampler, batch_size=batch_size))


def as_process(rank: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, count))


@pytest.mark.parametrize('skip', [0, 1, 3, 5])
def test_a_resumed_order_is_the_rest_of_the_whole_one(skip: int) -> None:
    whole = list(make())
    assert [len(batch) for batch in whole] == [4, 4, 2]
    assert sorted(sum(whole, [])) == list(range(10)) != sum(whole, [])
    resumed = make()
    resumed.skip = skip
    assert list(resumed) == whole[skip:]


def test_the_order_is_that_of_mmengines_sampler() -> None:
    assert sum(make(), []) == list(DefaultSampler(range(10), seed=4))
    assert sum(make(shuffle=False), []) == list(range(10))


@pytest.mark.parametrize('processes', [2, 3, 4])
@pytest.mark.parametrize('count', [8, 9, 10, 13])
def test_processes_share_each_batch_in_the_order_of_a_single_process(
    processes: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(count).batches(0)
    parts = []
    for rank in range(processes):
        as_process(rank, processes, monkeypatch)
        sampler = make(count)
        assert len(sampler) == len(whole)
        parts.append(sampler.batches(rank))
        assert list(sampler) == [part for part in parts[-1] if part]
        sampler.skip = 2
        assert list(sampler) == [part for part in parts[-1][2:] if part]
    for number, batch in enumerate(whole):
        shares = [of_process[number] for of_process in parts]
        assert sum(shares, []) == batch
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_wrong_batches_are_refused() -> None:
    with pytest.raises(ValueError, match='batch_size: found 0'):
        make(batch_size=0)
    with pytest.raises(ValueError, match='FrameBatchSampler: drop_last'):
        FrameBatchSampler(ResumableSampler(range(3)), 4, drop_last=True)


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


def test_processes_share_the_moments_of_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = by_moment().batches(0), []
    for rank in range(2):
        as_process(rank, 2, monkeypatch)
        parts.append(by_moment().batches(rank))
    for batch, one, two in zip(whole, *parts, strict=True):
        assert one + two == batch
        assert {MOMENTS[frame] for frame in one}.isdisjoint(MOMENTS[frame] for frame in two)


def test_batches_that_cannot_hold_a_moment_are_refused() -> None:
    with pytest.raises(ValueError, match='batch_size: found 3, expected at least 4'):
        by_moment(batch_size=3)
    with pytest.raises(ValueError, match=r'range has no moments\(\)'):
        MomentBatchSampler(ResumableSampler(range(3)), 4)
    with pytest.raises(ValueError, match='drop_last'):
        MomentBatchSampler(ResumableSampler(Views(MOMENTS)), 4, drop_last=True)
