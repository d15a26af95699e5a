"""Configs and tools that come with the package."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

#: Folder that contains ``configs`` and ``tools``: the checkout, or ``.mim`` in an installed wheel.
ROOT = _PACKAGE.parent if (_PACKAGE.parent / 'configs').is_dir() else _PACKAGE / '.mim'


def config_file(name: str) -> str:
    """Find a config: a file, or the name of one that comes with the package.

    Args:
        name: A path; or a name such as ``contour_100it_h36m``, ``refinement/contour_100it_h36m.py``
            or ``mmjrr::refinement/contour_100it_h36m.py``. Folder, prefix and suffix are optional.

    Returns:
        The path; the name itself if there is no such config.

    Raises:
        argparse.ArgumentTypeError: Several configs have this name.
    """
    if Path(name).is_file():
        return name
    config_name = name.removeprefix('mmjrr::').removeprefix('mmjrr/').removesuffix('.py')
    paths = [path for path in shipped_configs() if config_name in _names_of(path)]
    if len(paths) > 1:
        candidates = ', '.join(_names_of(path)[1] for path in paths)
        raise argparse.ArgumentTypeError(f'{name}: several configs have this name: {candidates}')
    return str(paths[0]) if paths else name


def shipped_configs() -> list[Path]:
    """Return the configs that come with the package and can be run."""
    paths = (ROOT / 'configs').glob('*/*.py')
    return sorted(path for path in paths if path.parent.name != '_base_')


def no_such_config(name: str) -> str:
    """Return the message for a config that is neither a file nor a name, with similar names."""
    names = [_names_of(path)[0] for path in shipped_configs()]
    config_name = Path(name).name.removesuffix('.py')
    similar = get_close_matches(config_name, names, n=3, cutoff=0.7)
    return f'{name}: no such file' + (f'; similar names: {", ".join(similar)}' if similar else '')


def _names_of(path: Path) -> tuple[str, str]:
    return path.stem, f'{path.parent.name}/{path.stem}'
