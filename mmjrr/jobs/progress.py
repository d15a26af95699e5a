"""A display of the progress of long work: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

Item = TypeVar('Item')

#: Seconds until progress is first displayed, and the longest interval between lines. The first
#: interval is ``AFTER``; each further interval is twice the previous one.
AFTER, LONGEST_INTERVAL = 5.0, 60.0


def log_line(line: str) -> None:
    """Write a line to the running experiment's logger, as MMEngine's components do."""
    from mmengine.logging import print_log

    print_log(line, logger='current', level=logging.INFO)


class Progress:
    """A display of how much work is done and how much time the rest takes.

    On a terminal it is a bar, which disappears when the work ends. Elsewhere it logs lines such as
    ``12 of 99 batches, 0:01:30 left``. Work that takes less than :data:`AFTER` seconds displays
    nothing.

    Args:
        total: The number of items to process.
        unit: What an item is, in the plural.
        log: A function that writes a line. Default: the running experiment's logger.
        start: When the work began, by ``time.monotonic()``. Default: the time of the call.
        show: Whether to display anything. Default: True.
        terminal: Whether to draw a bar on stderr. Default: None, draw it if stderr is a
            terminal.

    Example:
        >>> with Progress(3, 'letters') as progress:
        ...     for done, letter in enumerate('abc', start=1):
        ...         progress(done)
    """

    def __init__(
        self,
        total: int,
        unit: str,
        log: Callable[[str], None] = log_line,
        start: float | None = None,
        *,
        show: bool = True,
        terminal: bool | None = None,
    ) -> None:
        self.total, self.unit, self.log, self.show = total, unit, log, show
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.start = self.shown = time.monotonic() if start is None else start
        self.interval = AFTER
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, done: int) -> None:
        """Display that ``done`` of the items are processed."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            if done >= self.total:
                self.close()
            return
        now = time.monotonic()
        if not self.show or now - self.shown < self.interval or not 0 < done < self.total:
            return
        if self.terminal:
            self._open_bar(done)
            return
        left = timedelta(seconds=round((now - self.start) / done * (self.total - done)))
        self.log(f'{done} of {self.total} {self.unit}, {left} left')
        self.shown, self.interval = now, min(2 * self.interval, LONGEST_INTERVAL)

    def close(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar is not None:
            self._bar.stop()
            atexit.unregister(self._bar.stop)
            self._bar = None

    def _open_bar(self, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=True),
            transient=True,
        )
        atexit.register(self._bar.stop)  # shows the cursor again if an error skips close()
        self._bar.start()
        self._task = self._bar.add_task(self.unit, total=self.total, completed=done)


def with_progress(
    items: Iterable[Item],
    total: int,
    unit: str,
    log: Callable[[str], None] = log_line,
    *,
    show: bool = True,
) -> Iterator[Item]:
    """Yield the items while displaying progress; arguments as for :class:`Progress`."""
    with Progress(total, unit, log, show=show) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress(done)
