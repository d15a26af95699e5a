"""Expanded ranges against a loop over their values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmjrr.rendering.ranges import expand_ranges, nonzero_indices


def expand_in_a_loop(first: Tensor, last: Tensor) -> list[tuple[int, int]]:
    return [
        (i, value)
        for i, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True))
        for value in range(int(low), int(high) + 1)
    ]


def random_ranges(seed: int, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(-5, 20, (count,), generator=generator)
    return first, first + torch.randint(-3, 6, (count,), generator=generator)


@pytest.mark.parametrize('count', [1, 2, 50])
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('dtype', [torch.int64, torch.float32])
def test_ranges_are_those_of_a_loop(seed, count, dtype):
    first, last = (numbers.to(dtype) for numbers in random_ranges(seed, count))
    before = first.clone(), last.clone()
    expanded = expand_ranges(first, last)
    assert torch.equal(first, before[0]) and torch.equal(last, before[1])
    expected = expand_in_a_loop(first, last)
    assert (
        list(zip(expanded.range_index.tolist(), expanded.value.tolist(), strict=True)) == expected
    )
    assert expanded.padding is None and expanded.overflow is None


@pytest.mark.parametrize('spare', [0, 1, 30])
@pytest.mark.parametrize('seed', range(3))
def test_padding_follows_the_values_and_holds_valid_indices(seed, spare):
    first, last = random_ranges(seed, 50)
    expected = expand_in_a_loop(first, last)
    expanded = expand_ranges(first, last, capacity=len(expected) + spare)
    pairs = list(zip(expanded.range_index.tolist(), expanded.value.tolist(), strict=True))
    assert pairs[: len(expected)] == expected
    rest = expanded.range_index[len(expected) :]
    assert ((rest >= 0) & (rest < 50)).all() and not expanded.value[len(expected) :].any()
    assert len(set(rest.tolist())) == spare  # all different
    assert expanded.padding.tolist() == [False] * len(expected) + [True] * spare
    assert not expanded.overflow


def test_a_capacity_that_is_too_small_drops_the_rest_and_sets_overflow():
    first, last = random_ranges(0, 50)
    expected = expand_in_a_loop(first, last)
    expanded = expand_ranges(first, last, capacity=len(expected) - 1)
    assert (
        list(zip(expanded.range_index.tolist(), expanded.value.tolist(), strict=True))
        == expected[:-1]
    )
    assert expanded.overflow and not expanded.padding.any()


def test_empty_ranges():
    empty = torch.zeros(3, dtype=torch.int64)
    assert len(expand_ranges(empty, empty - 1).range_index) == 0
    assert expand_ranges(empty, empty - 1, capacity=2).padding.all()
    assert len(expand_ranges(empty[:0], empty[:0]).range_index) == 0


@pytest.mark.parametrize('density', [0.0, 0.2, 1.0])
def test_nonzero_indices_are_those_of_nonzero(density):
    flags = torch.rand(100, generator=torch.Generator().manual_seed(0)) < density
    expected = torch.nonzero(flags)[:, 0]
    expanded = nonzero_indices(flags, len(expected) + 5)
    assert torch.equal(expanded.indices[~expanded.padding], expected) and not expanded.overflow
    assert expanded.padding.sum() == 5
    if len(expected):
        assert nonzero_indices(flags, len(expected) - 1).overflow
