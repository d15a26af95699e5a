"""Limits on what a file may make us allocate."""

from __future__ import annotations

import os
from typing import Any

from mmjrr.errors import DataError

#: How many times its size a compressed file may become. The best that deflate can do is 1032.
MOST_EXPANSION = 1100


class LimitedReader:
    """A file that refuses to give more than ``most`` bytes: for what a small file unpacks to."""

    def __init__(self, file: Any, most: int, where: str) -> None:
        self.file, self.left, self.most, self.where = file, most, most, where

    def read(self, size: int = -1) -> bytes:
        most = self.left + 1
        return self._counted(self.file.read(most if size < 0 else min(size, most)))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(self.left + 1))

    def _counted(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f'{self.where}: unpacks to more than {self.most} bytes')
        return data

    def __enter__(self) -> LimitedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def memory_size() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # not on every system
        return 1 << 40
