"""What one process of a distributed run does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar('Result')


def on_main_process(function: Callable[[], Result]) -> Result:
    """Call a function on the main process, and return its result or raise its error on all.

    The other processes wait. An error does not leave them waiting, as it would at a barrier.
    """
    from mmengine.dist import broadcast_object_list, get_world_size, is_main_process

    if get_world_size() == 1:
        return function()
    outcome: list = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
