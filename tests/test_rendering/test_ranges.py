"""Runs of numbers against a loop that writes them down one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmjrr.rendering.ranges import compact, spread


def one_by_one(first: Tensor, last: Tensor) -> list[tuple[int, int]]:
    return [
        (i, value)
        for i, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True))
        for value in range(int(low), int(high) + 1)
    ]


def runs(seed: int, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(-5, 20, (count,), generator=generator)
    return first, first + torch.randint(-3, 6, (count,), generator=generator)


@pytest.mark.parametrize('count', [1, 2, 50])
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('dtype', [torch.int64, torch.float32])
def test_runs_are_those_written_down_one_by_one(seed, count, dtype):
    first, last = (numbers.to(dtype) for numbers in runs(seed, count))
    before = first.clone(), last.clone()
    found = spread(first, last)
    assert torch.equal(first, before[0]) and torch.equal(last, before[1])
    expected = one_by_one(first, last)
    assert list(zip(found.owner.tolist(), found.value.tolist(), strict=True)) == expected
    assert found.empty is None and found.lacking is None


@pytest.mark.parametrize('spare', [0, 1, 30])
@pytest.mark.parametrize('seed', range(3))
def test_with_places_the_runs_come_first_and_the_rest_can_serve_as_an_index(seed, spare):
    first, last = runs(seed, 50)
    expected = one_by_one(first, last)
    found = spread(first, last, places=len(expected) + spare)
    pairs = list(zip(found.owner.tolist(), found.value.tolist(), strict=True))
    assert pairs[: len(expected)] == expected
    rest = found.owner[len(expected) :]
    assert ((0 <= rest) & (rest < 50)).all() and not found.value[len(expected) :].any()
    assert len(set(rest.tolist())) == spare  # no two name the same
    assert found.empty.tolist() == [False] * len(expected) + [True] * spare
    assert not found.lacking


def test_too_few_places_hold_what_they_can_and_say_so():
    first, last = runs(0, 50)
    expected = one_by_one(first, last)
    found = spread(first, last, places=len(expected) - 1)
    assert list(zip(found.owner.tolist(), found.value.tolist(), strict=True)) == expected[:-1]
    assert found.lacking and not found.empty.any()


def test_no_runs_at_all():
    nothing = torch.zeros(3, dtype=torch.int64)
    assert len(spread(nothing, nothing - 1).owner) == 0
    assert spread(nothing, nothing - 1, places=2).empty.all()
    assert len(spread(nothing[:0], nothing[:0]).owner) == 0


@pytest.mark.parametrize('density', [0.0, 0.2, 1.0])
def test_compact_is_nonzero(density):
    flags = torch.rand(100, generator=torch.Generator().manual_seed(0)) < density
    expected = torch.nonzero(flags)[:, 0]
    found = compact(flags, len(expected) + 5)
    assert torch.equal(found.owner[~found.empty], expected) and not found.lacking
    assert found.empty.sum() == 5
    if len(expected):
        assert compact(flags, len(expected) - 1).lacking
