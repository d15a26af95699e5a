"""Arrays from ``.npz`` files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io.limits import MOST_EXPANSION, memory_size
from mmjrr.io.npy import check_npy_header


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an npz file; pickled objects in it are refused.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated or no npz file; the field is named where one can be.
    """
    return read_npz_with_objects(path, None)


def read_npz_with_objects(
    path: str | os.PathLike[str],
    read_object: Callable[[str, Any], Any] | None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> dict[str, Any]:
    """Fields of an npz file in which there may be pickles.

    Python values that NumPy has wrapped in an array without axes come back as themselves.

    Args:
        path: the file.
        read_object: reads a field that is a pickle, from its name for messages and the open file.
            None: such fields are refused.
        wanted: which fields to read.

    Raises:
        FileNotFoundError, DataError: as :func:`read_npz`, or what ``read_object`` raises.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    fields: dict[str, Any] = {}
    name = ''
    try:
        with open(path, 'rb') as file:
            if file.read(6) == b'\x93NUMPY':
                raise DataError(f'{path}: found a single array, expected an npz file')
        with zipfile.ZipFile(path) as archive:
            for member in npz_members(path, archive):
                name = member.filename.removesuffix('.npy')
                if not wanted(name):
                    continue
                where = f'{path}: {name}'
                with archive.open(member) as content:
                    if check_npy_header(where, content, member.file_size).hasobject:
                        if read_object is None:
                            raise DataError(f'{where}: not readable: holds Python objects')
                        value = read_object(where, content)
                        alone = isinstance(value, np.ndarray) and value.shape == ()
                        fields[name] = value.item() if alone else value
                        continue
                with archive.open(member) as content:
                    fields[name] = np.lib.format.read_array(content, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:  # NumPy parses headers as Python: a broken one raises anything
        where = f'{path}: {name}' if name else f'{path}'
        raise DataError(
            f'{where}: not readable; truncated, or holds more than arrays '
            f'({type(error).__name__}: {error})'
        ) from error
    return fields


def npz_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The arrays in an npz file, no larger than it and this machine can hold.

    Raises:
        DataError: it claims more, or has two arrays of one name.
    """
    members = [member for member in archive.infolist() if member.filename.endswith('.npy')]
    if len({member.filename for member in members}) < len(members):
        raise DataError(f'{path}: found two arrays of one name')
    claimed = sum(member.file_size for member in members)
    most = min(path.stat().st_size * MOST_EXPANSION, memory_size())
    if claimed > most:
        raise DataError(f'{path}: its arrays claim {claimed} bytes, expected at most {most}')
    return members
