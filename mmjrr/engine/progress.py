"""Saying how far long work is, and how long it still takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from mmengine.logging import print_log

Item = TypeVar('Item')

#: Seconds after which it is said first; then at intervals that double up to the second.
AFTER, EVERY = 5.0, 60.0


def log_line(line: str) -> None:
    """To the running experiment's logger, as MMEngine's own components do."""
    print_log(line, logger='current', level=logging.INFO)


class Progress:
    """Says now and then how far long work is: ``12 of 99 batches, 0:01:30 left``.

    Args:
        total: How much there is to do.
        what: What is counted.
        log: What takes the lines. Defaults to the running experiment's logger.
        start: When the work began, by ``time.monotonic()``. Defaults to now.
    """

    def __init__(
        self,
        total: int,
        what: str,
        log: Callable[[str], None] = log_line,
        start: float | None = None,
    ) -> None:
        self.total, self.what, self.log = total, what, log
        self.start = self.shown = time.monotonic() if start is None else start
        self.interval = AFTER

    def __call__(self, done: int) -> None:
        """So much is done."""
        now = time.monotonic()
        if now - self.shown < self.interval or not 0 < done < self.total:
            return
        left = timedelta(seconds=round((now - self.start) / done * (self.total - done)))
        self.log(f'{done} of {self.total} {self.what}, {left} left')
        self.shown, self.interval = now, min(2 * self.interval, EVERY)


def with_progress(
    items: Iterable[Item], total: int, what: str, log: Callable[[str], None] = log_line
) -> Iterator[Item]:
    """The items, with the lines of :class:`Progress`."""
    progress = Progress(total, what, log)
    for done, item in enumerate(items, start=1):
        yield item
        progress(done)
