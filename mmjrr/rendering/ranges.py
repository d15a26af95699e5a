"""Expansion of integer ranges to their values, and indices of set flags, with or without host sync.

The contour renderer expands edges to rows and rows to pixels; the tiled rasterizer expands faces to
tiles. The total length is known only on the device: pass ``capacity`` to avoid a host sync and
check ``overflow`` afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ExpandedRanges(NamedTuple):
    """Concatenated ranges; with a capacity, padded at the end.

    In the padding, ``range_index`` holds arbitrary valid indices and ``value`` is zero.
    """

    range_index: Tensor  # (M,) int64, the range that a value belongs to
    value: Tensor  # (M,) int64
    padding: Tensor | None = None  # (M,) bool; None without a capacity
    overflow: Tensor | None = None  # () bool, whether the capacity is too small


class NonzeroIndices(NamedTuple):
    """Indices of set flags, padded at the end with arbitrary valid indices."""

    indices: Tensor  # (M,) int64
    padding: Tensor  # (M,) bool
    overflow: Tensor  # () bool, whether the capacity is too small


def expand_ranges(first: Tensor, last: Tensor, capacity: int | None = None) -> ExpandedRanges:
    """Expand ranges ``[first[i], last[i]]`` into (range index, value) pairs.

    Args:
        first: (N,) first values, integers in any dtype.
        last: (N,) last values, included; a range with ``last < first`` is empty.
        capacity: Number of pairs to return. If there are more, the rest is dropped and
            ``overflow`` is set; if there are fewer, ``padding`` fills the end. Default: None,
            which returns all pairs and makes the host wait for the device.

    >>> ranges = expand_ranges(torch.tensor([5, 7, 2]), torch.tensor([6, 6, 4]))
    >>> ranges.range_index.tolist(), ranges.value.tolist()
    ([0, 0, 2, 2, 2], [5, 6, 2, 3, 4])
    >>> expand_ranges(torch.tensor([5, 7, 2]), torch.tensor([6, 6, 4]), capacity=7).value.tolist()
    [5, 6, 2, 3, 4, 0, 0]
    """
    first = first.long()
    count = (last.long() - first).add_(1).clamp_(min=0)
    ends = count.cumsum(0)
    padding = overflow = None
    if capacity is None:
        total = int(ends[-1]) if len(ends) else 0
        index = torch.repeat_interleave(count, output_size=total)
    else:
        total = capacity
        index, padding, overflow = _slots(ends, capacity)
    value = (first - ends).add_(count).index_select(0, index)
    value.add_(torch.arange(total, device=first.device))
    if padding is not None:
        value.masked_fill_(padding, 0)
    return ExpandedRanges(index, value, padding, overflow)


def nonzero_indices(flags: Tensor, capacity: int) -> NonzeroIndices:
    """Return the indices of set flags in order, without a host sync.

    Args:
        flags: (N,) bool.
        capacity: Number of indices to return, as in :func:`expand_ranges`.
    """
    return _slots(flags.cumsum(0, dtype=torch.int32), capacity)


def _slots(ends: Tensor, capacity: int) -> NonzeroIndices:
    """Return for each slot the first i with ``slot < ends[i]``; slots beyond the last are padding.

    Padding cycles through all indices: if it were a single index, adding the padding's zeros there
    would serialize the device's atomic additions.
    """
    slot = torch.arange(capacity, device=ends.device, dtype=ends.dtype)
    padding = slot >= ends[-1]
    index = torch.where(padding, slot % len(ends), torch.searchsorted(ends, slot, right=True))
    return NonzeroIndices(index, padding, ends[-1] > capacity)
