"""Limits on the memory that a file may make its reader allocate.

A number in a file (a shape, a length, a repetition) never decides how much memory is allocated.
The content of a file may unpack to at most ``ALLOWANCE + EXPANSION * (size of the file)`` bytes,
and at most to half of this machine's memory or the size of the file, whichever is larger.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjrr.errors import DataError

#: Bytes to which any file may unpack.
ALLOWANCE = 256 << 20
#: Bytes to which each byte of a file may unpack, on top of :data:`ALLOWANCE`.
EXPANSION = 32
#: Rows that an array without elements may have: an empty array needs no bytes in the file, but
#: each of its rows costs memory as soon as someone loops over it.
MAX_EMPTY_ROWS = 1_000_000


def unpacked_limit(file_size: int) -> int:
    """Return the number of bytes to which a file of ``file_size`` bytes may unpack."""
    ceiling = max(memory_size() // 2, file_size)
    return min(ALLOWANCE + EXPANSION * file_size, ceiling)


def memory_size() -> int:
    """Return this machine's memory in bytes; 1 TiB where the system does not report it."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # not on every system
        return 1 << 40


def check_unpacked_size(where: str, size: int, limit: int) -> None:
    """Refuse content that takes more than ``limit`` bytes once unpacked.

    Args:
        where: The file, or file and field, for messages.
        size: Bytes of the unpacked content.
        limit: Bytes that are allowed.

    Raises:
        DataError: ``size`` is larger than ``limit``.
    """
    if size > limit:
        raise DataError(
            f'{where}: found contents of {size} bytes once unpacked, expected at most {limit} for '
            'a file of this size; it is damaged, or made to exhaust memory'
        )


def check_shape(where: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """Return a shape read from a file as a tuple of integers, after checking its entries.

    Raises:
        DataError: An entry is not an integer or negative, there are more than 32 axes, or the
            array has no elements and more than :data:`MAX_EMPTY_ROWS` rows.
    """
    sizes = tuple(shape)
    if len(sizes) > 32 or any(
        isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0
        for size in sizes
    ):
        raise DataError(f'{where}: found the shape {sizes!r:.80}, expected non-negative integers')
    rows = math.prod(size for size in sizes if size)
    if 0 in sizes and rows > MAX_EMPTY_ROWS:
        raise DataError(
            f'{where}: found the shape {sizes!r:.80} without elements, expected at most '
            f'{MAX_EMPTY_ROWS} rows in an empty array'
        )
    return tuple(int(size) for size in sizes)


class LimitedReader:
    """A binary file that raises an error once more than ``limit`` bytes in all are read from it.

    It guards streams to which a small file decompresses.

    Args:
        file: The binary file to read from.
        limit: Bytes that may be read.
        where: The file's name, for messages.
    """

    def __init__(self, file: Any, limit: int, where: str) -> None:
        self.file, self.remaining, self.limit, self.where = file, limit, limit, where

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; by default, to the end.

        Raises:
            DataError: The file holds more than the limit.
        """
        most = self.remaining + 1
        return self._count(self.file.read(most if size < 0 else min(size, most)))

    def readline(self) -> bytes:
        """Read up to the next newline.

        Raises:
            DataError: The file holds more than the limit.
        """
        return self._count(self.file.readline(self.remaining + 1))

    def _count(self, data: bytes) -> bytes:
        self.remaining -= len(data)
        if self.remaining < 0:
            check_unpacked_size(self.where, self.limit + 1, self.limit)
        return data

    def __enter__(self) -> LimitedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
