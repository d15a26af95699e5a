"""A pool of worker processes for independent tasks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from typing import Any

from mmjrr.jobs.progress import Progress


class TaskPool:
    """A pool of worker processes; with one worker, tasks run in this process.

    Each task computes with one thread, so that results do not depend on the number of workers.
    Workers end when their parent ends, also if it is killed.

    Args:
        workers: The number of processes.

    Raises:
        ValueError: ``workers`` is less than 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f'workers: found {workers}, expected at least 1')
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self._executor = ProcessPoolExecutor(
                workers, get_context('spawn'), initializer=_end_with_parent
            )

    def __enter__(self) -> TaskPool:
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        unit: str,
        *,
        show_progress: bool = True,
    ) -> list[Any]:
        """Call ``function(*task)`` for each task and return the results in the tasks' order.

        The first error of a task is raised, and the remaining tasks are abandoned.

        Args:
            function: A function that can be pickled.
            tasks: The function's arguments, a tuple per task.
            unit: What a task is, in the plural, for the progress display.
            show_progress: Whether to display progress. Default: True.
        """
        with Progress(len(tasks), unit, show=show_progress) as progress:
            if self._executor is None:
                results = []
                for done, task in enumerate(tasks, start=1):
                    results.append(single_threaded(function, *task))
                    progress(done)
                return results
            futures = [self._executor.submit(single_threaded, function, *task) for task in tasks]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                progress(done)
            return [future.result() for future in futures]


def single_threaded(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function with one thread in PyTorch and OpenCV, then restore their thread counts.

    The last digits of a sum depend on the number of threads that compute it.
    """
    import cv2
    import torch

    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return function(*args)
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)


def _end_with_parent() -> None:
    """Start a thread that ends this process when its parent ends."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
