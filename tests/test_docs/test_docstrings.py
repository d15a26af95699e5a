"""Docstrings state defaults and the conditions of errors in one way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / 'mmjrr'
#: A default that is not written as ``Default: VALUE``.
OTHER_PATTERN = re.compile(r"\bDefaults to\b|\bDefault\s+(?=[('`0-9]|True|False|None)")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def test_defaults_are_written_as_default_colon_value() -> None:
    places = [
        f'{path.relative_to(PACKAGE)}:{line}'
        for path in sorted(PACKAGE.rglob('*.py'))
        for line, text in docstrings(path.read_text(encoding='utf-8'))
        if OTHER_PATTERN.search(text)
    ]
    assert places == []


def test_conditions_of_errors_begin_without_if() -> None:
    places = [
        f'{path.relative_to(PACKAGE)}:{line}'
        for path in sorted(PACKAGE.rglob('*.py'))
        for line, text in docstrings(path.read_text(encoding='utf-8'))
        if re.search(r'^\s+\w*Error: If ', text, re.MULTILINE)
    ]
    assert places == []


def test_the_patterns_find_the_other_spellings() -> None:
    for text in ('Defaults to None.', 'Default (224, 224).', 'Default True.', "Default\n    'm'."):
        assert OTHER_PATTERN.search(text), text
    assert not OTHER_PATTERN.search('Default: None, the same.')
