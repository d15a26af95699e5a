"""Runs of whole numbers end to end: edges over rows, rows over pixels, faces over tiles.

How many there are in all is known to the device alone. Either the host waits for it, or it gives a
number of places that should do, and what was right is known later.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Spread(NamedTuple):
    """What :func:`spread` and :func:`compact` give.

    ``empty`` and ``lacking`` are there where places were given. At empty places ``owner`` is any
    one and ``value`` zero, both of which can serve as an index.
    """

    owner: Tensor  # (M,) int64
    value: Tensor  # (M,) int64
    empty: Tensor | None = None  # (M,) bool, places that nothing is in
    lacking: Tensor | None = None  # () bool, whether there were too few


def spread(first: Tensor, last: Tensor, places: int | None = None) -> Spread:
    """i once for each of ``first[i], first[i] + 1, ..., last[i]``, and beside it that number.

    Args:
        first, last: (N,) whole numbers in any dtype; none of them where ``last < first``.
        places: how many results there are: what does not fit is left out, and ``lacking`` set; what
            is left over is ``empty``. Default None: as many as needed, whose number is waited for.

    >>> found = spread(torch.tensor([5, 7, 2]), torch.tensor([6, 6, 4]))
    >>> found.owner.tolist(), found.value.tolist()
    ([0, 0, 2, 2, 2], [5, 6, 2, 3, 4])
    >>> spread(torch.tensor([5, 7, 2]), torch.tensor([6, 6, 4]), places=7).value.tolist()
    [5, 6, 2, 3, 4, 0, 0]
    """
    first = first.long()
    count = (last.long() - first).add_(1).clamp_(min=0)
    ends = count.cumsum(0)
    empty = lacking = None
    if places is None:
        total = int(ends[-1]) if len(ends) else 0
        owner = torch.repeat_interleave(count, output_size=total)
    else:
        total = places
        owner, empty, lacking = _owners(ends, places)
    value = (first - ends).add_(count).index_select(0, owner)
    value.add_(torch.arange(total, device=first.device))
    if empty is not None:
        value.masked_fill_(empty, 0)
    return Spread(owner, value, empty, lacking)


def compact(flags: Tensor, places: int) -> Spread:
    """Where the flags (N,) bool are set, in order, as ``owner``: ``nonzero`` without waiting."""
    owner, empty, lacking = _owners(flags.cumsum(0, dtype=torch.int32), places)
    return Spread(owner, torch.zeros_like(owner), empty, lacking)


def _owners(ends: Tensor, places: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each place the first i with ``place < ends[i]``; whether there is none; and whether there
    were too few places."""
    place = torch.arange(places, device=ends.device, dtype=ends.dtype)
    empty = place >= ends[-1]
    # Empty places go to all in turn: sums of them (zeros) into one place would wait for each other.
    owner = torch.where(empty, place % len(ends), torch.searchsorted(ends, place, right=True))
    return owner, empty, ends[-1] > places
