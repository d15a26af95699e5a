"""Processes that make sequences side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import cv2
import torch

if TYPE_CHECKING:
    pass


class Pool:
    """Processes, or none: with one worker everything runs here."""

    def __init__(self, workers: int) -> None:
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self._executor = ProcessPoolExecutor(workers, mp_context=get_context('spawn'))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """A call that gives the result, when asked."""
        if self._executor is None:
            return lambda: single_threaded(function, *args)
        future: Future[Any] = self._executor.submit(single_threaded, function, *args)
        return future.result


def single_threaded(function: Callable[..., Any], *args: Any) -> Any:
    """Sums must not depend on how many threads share them."""
    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return function(*args)
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)
