"""A call that the main process of a distributed run makes for all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar('Result')


def on_main_process(function: Callable[[], Result]) -> Result:
    """Call a function on the main process, and return its result or raise its error on all.

    The other processes wait for the result or the error. At a barrier, an error on the main
    process would leave them waiting forever.
    """
    from mmengine.dist import broadcast_object_list, get_world_size, is_main_process

    if get_world_size() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
