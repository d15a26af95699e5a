"""The page of public names and the packages agree."""

from __future__ import annotations

import importlib
import re
from inspect import ismodule
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'public_interface.md'
SECTIONS = re.findall(
    r'^### `([\w.]+)`: [^\n]+\n\n(.*?)(?=^#|\Z)',
    PAGE.read_text(encoding='utf-8'),
    re.MULTILINE | re.DOTALL,
)


def test_every_public_name_exists_and_every_exported_name_is_on_the_page() -> None:
    assert len(SECTIONS) >= 10
    for name, text in SECTIONS:
        package = importlib.import_module(name)
        listed = re.findall(r'`(\w+)`', text)
        assert all(hasattr(package, one) for one in listed), name
        exported = set(package.__all__)
        if name == 'mmjrr':  # its subpackages have sections of their own
            exported = {one for one in exported if not ismodule(getattr(package, one))}
        assert sorted(listed) == sorted(exported), name


def test_public_classes_and_functions_have_docstrings() -> None:
    for name, text in SECTIONS:
        package = importlib.import_module(name)
        for one in re.findall(r'`(\w+)`', text):
            value = getattr(package, one)
            if callable(value):
                assert (value.__doc__ or '').strip(), f'{name}.{one}'
