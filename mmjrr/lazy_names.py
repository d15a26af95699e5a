"""Packages that import their public names when they are first used (PEP 562).

A package states its names as imports for type checkers and looks them up lazily::

    if TYPE_CHECKING:
        from mmjrr.rendering.silhouette_renderer import SilhouetteRenderer

    __all__ = ['SilhouetteRenderer']

    __getattr__, __dir__ = lazy_names(__name__)

A name must differ from the package's modules: importing the module would replace it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import resolve_name
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a package from its ``if TYPE_CHECKING`` imports."""
    module = sys.modules[package]
    sources = _type_checking_imports(package)

    def get_attribute(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        source, attribute = sources[name]
        if source == package:
            return import_module(f'{package}.{attribute}')
        value = getattr(import_module(source), attribute)
        setattr(module, name, value)  # later uses find it without this function
        return value

    def list_attributes() -> list[str]:
        return sorted({*vars(module), *sources})

    return get_attribute, list_attributes


def _type_checking_imports(package: str) -> dict[str, tuple[str, str]]:
    """Return for each imported name the module and the attribute that it comes from."""
    spec = sys.modules[package].__spec__
    source = spec.loader.get_source(package)  # type: ignore[union-attr]
    return {
        alias.asname or alias.name: (
            resolve_name('.' * statement.level + (statement.module or ''), package),
            alias.name,
        )
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == 'TYPE_CHECKING'
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
