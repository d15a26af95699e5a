"""Registry of checks by the type of a config's component."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmjrr.setup_check.finding import Finding

#: Checks by the name of a component's class; each takes the component's config.
CHECKS: dict[str, Callable[[Mapping[str, Any]], Iterator[Finding]]] = {}


def register_check(name: str) -> Callable[..., Any]:
    """Return a decorator that registers a check for components of the type ``name``."""

    def add(check: Callable[..., Any]) -> Callable[..., Any]:
        CHECKS[name] = check
        return check

    return add


def short_name(name: str) -> str:
    """Return a type's name without its scope, such as ``SPIN`` for ``mmjrr.SPIN``."""
    return name.rsplit('.', 1)[-1]
