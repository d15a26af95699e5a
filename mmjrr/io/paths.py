"""Checks of paths: of files to write, and of file names that come from other files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from mmjrr.errors import DataError


def is_inside(name: str) -> bool:
    r"""Tell whether a relative name, joined to a folder, stays inside that folder.

    Backslashes count as separators, so that a name means the same on every system. Symbolic links
    are trusted: only the folder's owner can make them.

    >>> [is_inside(name) for name in ('S1/a.jpg', './a.jpg', '../a.jpg', '/a.jpg', r'C:\a.jpg', '')]
    [True, True, False, False, False, False]
    """
    parts = name.replace('\\', '/').split('/')
    return (
        bool(name)
        and parts[0] != ''
        and not re.match('[A-Za-z]:', name)
        and ('..' not in parts and '\0' not in name)
    )


def check_inside(where: str, names: Iterable[str]) -> None:
    """Refuse names that lead out of the folder to which they are joined.

    Args:
        where: File and field, for the message.
        names: One name per row.

    Raises:
        DataError: A name is absolute, empty, or contains ``..``; the message states its row.
    """
    for row, name in enumerate(names):
        if not is_inside(name):
            raise DataError(
                f'{where}: row {row}: found {name!r:.200}, expected a path inside the folder of '
                'images: relative, without ..'
            )


def check_suffix(path: str | PathLike[str], *suffixes: str, option: str = '') -> Path:
    """Return the path of a file to write, after checking how it ends.

    Args:
        path: The path.
        suffixes: The suffixes that are allowed. Upper and lower case differ, since readers and
            writers choose a format by the exact suffix.
        option: Option that names the path, for the message.

    Raises:
        ValueError: The path has another suffix.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        *first, last = suffixes
        expected = f'{", ".join(first)} or {last}' if first else last
        if path.suffix.lower() in suffixes:
            expected += ', in lower case'
        where = f'{option}: {path}' if option else str(path)
        raise ValueError(f'{where}: expected a path ending in {expected}')
    return path


def check_writable(path: str | PathLike[str], option: str = '') -> Path:
    """Return the path of a file to write, after checking that it can be written.

    Folders that do not exist are not made.

    Args:
        path: The path.
        option: Option that names the path, for the message.

    Raises:
        ValueError: The path is a folder, or a file cannot be made in its folder or, if that does
            not exist, in the nearest one above it.
    """
    path = Path(path)
    where = f'{option}: {path}' if option else str(path)
    if path.is_dir():
        raise ValueError(f'{where}: found a folder, expected the path of a file to write')
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise ValueError(
            f'{where}: cannot be written, since {above} is no folder in which files can be made '
            f'({error.strerror})'
        ) from error
    return path
