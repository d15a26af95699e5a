"""The sampler that starts in the middle."""

from __future__ import annotations

import pytest

from mmjrr.engine import ResumableSampler
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
