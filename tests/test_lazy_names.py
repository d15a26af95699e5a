"""Packages that import their names lazily offer exactly the names that they state."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import mmjrr

ROOT = Path(mmjrr.__file__).parents[1]
PACKAGES = sorted(
    '.'.join(path.parent.relative_to(ROOT).parts)
    for path in ROOT.glob('mmjrr/**/__init__.py')
    if 'lazy_names(__name__)' in path.read_text(encoding='utf-8')
)


@pytest.mark.parametrize('name', PACKAGES)
def test_every_public_name_is_found_and_listed(name: str) -> None:
    package = import_module(name)
    assert set(package.__all__) <= set(dir(package))
    for attribute in package.__all__:
        assert getattr(package, attribute) is getattr(package, attribute)


@pytest.mark.parametrize('name', PACKAGES)
def test_no_function_or_class_is_named_as_a_module_of_its_package(name: str) -> None:
    """Importing the module would replace the function as the package's attribute."""
    package = import_module(name)
    modules = {module.name for module in iter_modules(package.__path__)}
    for attribute in modules & set(package.__all__):
        assert getattr(package, attribute) is import_module(f'{name}.{attribute}')


def test_an_unknown_name_raises_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'mmjrr' has no attribute 'evalaute'"):
        mmjrr.evalaute  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'JointRegresor'"):
        from mmjrr.regressors import JointRegresor  # noqa: F401
