"""A reader of ``.npz`` files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io.input_files import FilePath, open_input
from mmjrr.io.limits import check_unpacked_size, unpacked_limit
from mmjrr.io.npy import START, read_npy_stream
from mmjrr.io.own_errors import own_errors


def read_npz(
    path: FilePath,
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
    fields: dict[str, Any] = {}
    with open_input(path) as file, own_errors(str(file.path), 'an npz file'):
        if file.start(len(START)) == START:
            raise DataError(f'{file.path}: found a single array, expected an npz file')
        with zipfile.ZipFile(file.stream) as archive:
            for member in npz_members(file.path, archive, file.size):
                name = member.filename.removesuffix('.npy')
                if select(name):
                    where = f'{file.path}: {name}'
                    with own_errors(where, 'an array'), archive.open(member) as content:
                        fields[name] = read_npy_stream(where, content, member.file_size, objects)
    return fields


def npz_members(path: Path, archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """Return the members of an npz file that hold arrays, after checking their sizes.

    Args:
        path: the file, for messages.
        archive: the open archive.
        size: the file's length in bytes.

    Raises:
        DataError: the members would take too much memory, or two have the same name.
    """
    members = [member for member in archive.infolist() if member.filename.endswith('.npy')]
    if len({member.filename for member in members}) < len(members):
        raise DataError(f'{path}: found two arrays of one name')
    check_unpacked_size(
        str(path), sum(member.file_size for member in members), unpacked_limit(size)
    )
    return members
