"""The map of the code shows what is there."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]


def listed() -> set[str]:
    """Paths of the page's tree: what stands left of two blanks, indented by two for a folder."""
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    tree = re.search(r'^```\n(mmjrr/\n.*?)^```$', page, re.MULTILINE | re.DOTALL)
    assert tree is not None
    folders: list[str] = []
    paths: set[str] = set()
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.findall(r'[\w./]+?(?:\.py|/)(?=,|\s|$)', line.strip().split('  ')[0]):
            path = str(PurePosixPath(*folders[:depth], name))
            if name.endswith('/'):
                folders[depth:] = [name]
                paths.add(path + '/')
            else:
                paths.add(path)
    return paths


def test_everything_listed_exists() -> None:
    paths = listed()
    assert len(paths) > 50
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_module_is_listed_by_itself_or_by_a_folder_that_lists_nothing_else() -> None:
    paths = listed()
    files = [path for path in paths if path.endswith('.py')]
    whole = {
        path for path in paths if path.endswith('/') and not any(f.startswith(path) for f in files)
    }
    modules = (ROOT / 'mmjrr').rglob('*.py')
    names = [str(PurePosixPath(path.relative_to(ROOT))) for path in modules]
    missing = [
        name
        for name in sorted(names)
        if name not in paths
        and not name.endswith('/__init__.py')
        and not name.startswith('mmjrr/.mim/')
        and not any(name.startswith(folder) for folder in whole)
    ]
    assert missing == []
