"""A reader of ``.npz`` files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io.limits import check_unpacked_size, unpacked_limit
from mmjrr.io.npy import START, read_npy_stream
from mmjrr.io.own_errors import own_errors


def read_npz(
    path: str | os.PathLike[str],
    objects: bool = False,
    select: Callable[[str], bool] = lambda name: True,
) -> dict[str, Any]:
    """Read the arrays of an npz file.

    Args:
        path: the file.
        objects: whether to read Python objects, with :func:`~mmjrr.io.read_pickle`, or to refuse
            them. A single object, which NumPy wraps in an array without axes, is returned without
            its array.
        select: a function of a field's name that tells whether to read the field. Default: read
            all fields.

    Returns:
        Arrays and objects by field name.

    Raises:
        FileNotFoundError: the file does not exist.
        UnsafePickleError: an object is not known to be harmless.
        DataError: the file is truncated, not an npz file, holds objects although ``objects`` is
            false, or would take too much memory. The message names the field where possible.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    fields: dict[str, Any] = {}
    with own_errors(str(path), 'an npz file'):
        with open(path, 'rb') as file:
            if file.read(len(START)) == START:
                raise DataError(f'{path}: found a single array, expected an npz file')
        with zipfile.ZipFile(path) as archive:
            for member in npz_members(path, archive):
                name = member.filename.removesuffix('.npy')
                if select(name):
                    where = f'{path}: {name}'
                    with own_errors(where, 'an array'), archive.open(member) as content:
                        fields[name] = read_npy_stream(where, content, member.file_size, objects)
    return fields


def npz_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members of an npz file that hold arrays, after checking their sizes.

    Raises:
        DataError: the members would take too much memory, or two have the same name.
    """
    members = [member for member in archive.infolist() if member.filename.endswith('.npy')]
    if len({member.filename for member in members}) < len(members):
        raise DataError(f'{path}: found two arrays of one name')
    size = path.stat().st_size
    check_unpacked_size(
        str(path), sum(member.file_size for member in members), unpacked_limit(size)
    )
    return members
