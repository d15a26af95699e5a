"""Processes that convert takes side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from typing import Any

from mmjrr.jobs.progress import Progress


class Workers:
    """Processes, or none: one worker does all here."""

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            spawn = get_context('spawn')
            self._pool = ProcessPoolExecutor(count, spawn, initializer=_end_with_parent)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def all(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], what: str
    ) -> list[Any]:
        """``function(*task)`` of all, in their order; the first that fails ends it."""
        progress = Progress(len(tasks), what)
        if self._pool is None:
            results = []
            for done, task in enumerate(tasks, start=1):
                results.append(function(*task))
                progress(done)
            return results
        futures = [self._pool.submit(function, *task) for task in tasks]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done)
        return [future.result() for future in futures]


def _end_with_parent() -> None:
    """Let this process not outlive a killed parent, from which no more work comes."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
