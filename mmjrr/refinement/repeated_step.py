"""Repetition of a step on a GPU, by replaying a CUDA graph.

An iteration of refinement launches several hundred kernels. Below some hundred frames, a GPU
computes them in less time than Python takes to launch them. A CUDA graph records the launches of
one iteration, and a single call repeats them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import torch

Step: TypeAlias = Callable[[], None]

#: Steps that run before one is recorded, so that libraries are loaded.
WARM_UP = 3
#: Smallest number of further steps for which it pays to record one.
WORTHWHILE = 5
#: Other threads, such as that of a data loader, may use the GPU while a step is recorded.
_ERRORS = 'thread_local'


class StepRecorder:
    """Recorder of steps on a GPU, which reuses the memory of the step that it recorded last.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        # Kept until the next step is recorded: the graph owns the memory that both share.
        self._graph: torch.cuda.CUDAGraph | None = None

    def record(self, step: Step) -> Step | None:
        """Return a function that replays the step on ``stream``; None if it cannot be recorded.

        Recording computes nothing. Tensors that the step reads or writes must stay in place.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            if self._graph is None:
                graph.capture_begin(capture_error_mode=_ERRORS)
            else:
                graph.capture_begin(pool=self._graph.pool(), capture_error_mode=_ERRORS)
            try:
                step()
            finally:
                graph.capture_end()
        except RuntimeError as error:
            _warn(str(error).splitlines()[0])
            return None
        self._graph = graph
        return graph.replay


def repeat_step(
    step: Step,
    count: int,
    before_step: Callable[[int], None],
    device: torch.device,
) -> None:
    """Call ``before_step(number)`` and ``step()`` ``count`` times; on a GPU, replay the step.

    Args:
        step: A step that reads and writes the same tensors each time, and does not wait for the
            device. One that cannot be recorded is called each time.
        count: Number of steps.
        before_step: A function that is called before each step. It may change the contents of
            tensors that the step reads.
        device: Device on which the step computes.
    """
    if device.type != 'cuda' or count < WARM_UP + WORTHWHILE:
        for number in range(count):
            before_step(number)
            step()
        return
    recorder = _recorder(device)
    recorder.stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(recorder.stream):
        for number in range(WARM_UP):
            before_step(number)
            step()
        repeat = recorder.record(step) or step
        for number in range(WARM_UP, count):
            before_step(number)
            repeat()
    torch.cuda.current_stream(device).wait_stream(recorder.stream)


@lru_cache
def _recorder(device: torch.device) -> StepRecorder:
    return StepRecorder(device)


@lru_cache
def _warn(reason: str) -> None:
    logging.getLogger(__name__).warning(
        'An iteration cannot be recorded as a CUDA graph, and takes longer without: %s', reason
    )
