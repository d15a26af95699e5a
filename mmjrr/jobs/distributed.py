"""Calls that the processes of a distributed run make together.

They wait for one another without a timeout: a fit on the main process can take longer than the
timeout of the process group that MMEngine opens, which is 10 minutes with NCCL. They therefore use
a separate group, which communicates on the CPU and ends at once if a process dies.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

Result = TypeVar('Result')

#: How long a process waits for the others.
TIMEOUT = timedelta(days=30)
#: The waiting group, and the process group of the run for which it was opened.
_opened: list[Any] = []


def on_main_process(function: Callable[[], Result]) -> Result:
    """Call a function on the main process, and return its result or raise its error on all.

    The other processes wait for the result or the error. At a barrier, an error on the main
    process would leave them waiting forever.
    """
    from mmengine.dist import get_world_size, is_main_process
    from torch.distributed import broadcast_object_list

    if get_world_size() == 1:
        return function()
    group = _waiting_group()
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome, group=group)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def on_all_processes(value: Result) -> list[Result]:
    """Return the values of all processes, in the order of their ranks."""
    from mmengine.dist import get_world_size
    from torch.distributed import all_gather_object

    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    all_gather_object(values, value, group=_waiting_group())
    return values


def wait_for_all() -> None:
    """Wait until all processes have called this function."""
    from mmengine.dist import get_world_size
    from torch.distributed import barrier

    if get_world_size() > 1:
        barrier(group=_waiting_group())


def leave_process_group() -> None:
    """Leave the group of distributed processes, if there is one.

    Call this function at the end of a command, when nothing refers to the runner or its model any
    more. PyTorch's wrapper of a distributed model keeps the group's threads alive. A process that
    ends while they run can abort (``terminate called without an active exception``, exit status
    -6), although its results are complete.
    """
    import torch.distributed

    _opened.clear()
    gc.collect()  # the runner and its hooks refer to each other
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _waiting_group() -> Any:
    """Return the group of all processes that waits; open it on the first call."""
    from torch.distributed import group, new_group

    if not _opened or _opened[0] is not group.WORLD:
        _opened[:] = [group.WORLD, new_group(backend='gloo', timeout=TIMEOUT)]
    return _opened[1]
