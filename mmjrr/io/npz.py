"""A reader of ``.npz`` files."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from mmjrr.errors import DataError
from mmjrr.io.input_files import FilePath, InputFile, open_input
from mmjrr.io.limits import check_unpacked_size, unpacked_limit
from mmjrr.io.mapped import MAPPED_FROM
from mmjrr.io.npy import START, read_npy_stream
from mmjrr.io.own_errors import own_errors

#: Bytes of a local header in a zip archive, before the name. Its last four bytes are the lengths of
#: name and extra field (APPNOTE.TXT 6.3.10, 4.3.7).
_LOCAL_HEADER = 30
_BLOCK = 1 << 24


def read_npz(
    path: FilePath,
    objects: bool = False,
    select: Callable[[str], bool] = lambda name: True,
    mapped: bool = False,
) -> dict[str, Any]:
    """Read the arrays of an npz file.

    Args:
        path: The file.
        objects: Whether to read Python objects, with :func:`~mmjrr.io.read_pickle`, or to refuse
            them. A single object, which NumPy wraps in an array without axes, is returned without
            its array.
        select: A function of a field's name that tells whether to read the field. Default: read
            all fields.
        mapped: Whether large arrays stay in the file (:mod:`mmjrr.io.mapped`); compressed ones are
            unpacked into a temporary file.

    Returns:
        Arrays and objects by field name.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: An object is not known to be harmless.
        DataError: The file is truncated, not an npz file, holds objects although ``objects`` is
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
                        if mapped and member.file_size >= MAPPED_FROM:
                            fields[name] = _mapped(where, file, member, content, objects)
                        else:
                            size = member.file_size
                            fields[name] = read_npy_stream(where, content, size, objects)
    return fields


def _mapped(
    where: str, file: InputFile, member: zipfile.ZipInfo, content: IO[bytes], objects: bool
) -> Any:
    """Map a member's array, after a pass over its bytes that compares their checksum."""
    size = member.file_size
    if member.compress_type != zipfile.ZIP_STORED:
        with tempfile.TemporaryFile(prefix='mmjrr_') as unpacked:
            shutil.copyfileobj(content, unpacked, _BLOCK)
            unpacked.seek(0)
            return read_npy_stream(where, unpacked, size, objects, (unpacked, 0))
    array = read_npy_stream(where, content, size, objects, (file.stream, _start(file, member)))
    while content.read(_BLOCK):
        pass
    return array


def _start(file: InputFile, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin: after its local header."""
    file.stream.seek(member.header_offset)
    header = file.stream.read(_LOCAL_HEADER)
    name, extra = struct.unpack('<HH', header[-4:])
    return member.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def npz_members(path: Path, archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """Return the members of an npz file that hold arrays, after checking their sizes.

    Args:
        path: The file, for messages.
        archive: The open archive.
        size: The file's length in bytes.

    Raises:
        DataError: The members would take too much memory, or two have the same name.
    """
    members = [member for member in archive.infolist() if member.filename.endswith('.npy')]
    if len({member.filename for member in members}) < len(members):
        raise DataError(f'{path}: found two arrays of one name')
    check_unpacked_size(
        str(path), sum(member.file_size for member in members), unpacked_limit(size)
    )
    return members
