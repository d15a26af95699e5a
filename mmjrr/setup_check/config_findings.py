"""Errors of a config's options, which building its components shows, as findings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from mmengine.registry import DefaultScope

from mmjrr.errors import DataError
from mmjrr.registry import BODY_MODELS, DATA_SAMPLERS, DATASETS, HOOKS, LOOPS, MODELS
from mmjrr.setup_check.finding import WRONG, Finding, one_line

#: Registries of the components that are built.
_REGISTRIES = (DATASETS, HOOKS, LOOPS, DATA_SAMPLERS, BODY_MODELS, MODELS)


@dataclass(frozen=True)
class ConfigFindings:
    """Builds components as a run does, and turns errors of their options into findings.

    Args:
        told: Returns a context that turns errors of a config into a ``ValueError`` that says where
            the config is wrong. Default: no such context.
        scope: The config's default scope. Default: None, that of each registry.
    """

    told: Callable[[], AbstractContextManager[None]] = nullcontext
    scope: str | None = None

    def built(self, name: str, build: Callable[[], Any]) -> Generator[Finding, None, Any]:
        """Build something and return it; yield a finding if its options are wrong.

        Files and packages that are missing or damaged have findings of their own: None is returned.
        """

        def build_from_options() -> Any:
            try:
                return build()
            except (OSError, ImportError, DataError):
                return None

        try:
            with DefaultScope.overwrite_default_scope(self.scope), self.told():
                return build_from_options()
        except Exception as error:  # an option may have any value
            yield _finding(name, error)
        return None

    def caught(self, name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """Yield the findings of a check, and its error as a finding."""
        try:
            with DefaultScope.overwrite_default_scope(self.scope), self.told():
                yield from findings
        except Exception as error:  # an option may have any value
            yield _finding(name, error)


def _finding(name: str, error: Exception) -> Finding:
    text = one_line(error, name)
    if not isinstance(error, ValueError):
        text = f'cannot be checked: {type(error).__name__}: {text}'
    return Finding(WRONG, 'config', name, text, _known_options(name, error))


def _known_options(name: str, error: Exception) -> str:
    """Return which options a component takes if it was given another; '' for other errors."""
    if not isinstance(error.__cause__, TypeError):
        return ''
    component = next(filter(None, (registry.get(name) for registry in _REGISTRIES)), None)
    if component is None:
        return ''
    options = [option for option in inspect.signature(component).parameters if option != 'self']
    return f'correct the config; {name} takes: {", ".join(options)}'
