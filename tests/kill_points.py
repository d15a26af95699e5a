"""Deaths of a job at a chosen call, in tests of what resumes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class Kill(BaseException):
    """Stands for a signal: nothing catches it."""


def killed_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls another that many times, and then raises :class:`Kill`."""
    left = iter(range(calls))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise Kill
        return function(*arguments, **options)

    return call


def os_killed_after(calls: int, name: str) -> SimpleNamespace:
    """Return a copy of ``os`` one function of which is :func:`killed_after` that many calls."""
    return SimpleNamespace(**{**vars(os), name: killed_after(calls, getattr(os, name))})
