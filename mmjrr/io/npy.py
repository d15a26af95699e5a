"""A reader of ``.npy`` files and streams."""

from __future__ import annotations

import math
from typing import IO, Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io.input_files import FilePath, open_input
from mmjrr.io.limits import check_shape
from mmjrr.io.mapped import MAPPED_FROM, map_array
from mmjrr.io.own_errors import own_errors
from mmjrr.io.pickles import read_pickle

START = b'\x93NUMPY'
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(path: FilePath, objects: bool = False, mapped: bool = False) -> Any:
    """Read the array of a ``.npy`` file.

    Args:
        path: The file.
        objects: Whether to read Python objects, with :func:`~mmjrr.io.read_pickle`, or to refuse
            them. A single object, which ``numpy.save`` wraps in an array without axes, is
            returned without its array.
        mapped: Whether a large array stays in the file (:mod:`mmjrr.io.mapped`).

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: An object is not known to be harmless.
        DataError: The file is truncated, not a ``.npy`` file, or holds objects although
            ``objects`` is false.
    """
    with open_input(path) as file, own_errors(str(file.path), 'a .npy file'):
        origin = (file.stream, 0) if mapped else None
        return read_npy_stream(str(file.path), file.stream, file.size, objects, origin)


def read_npy_stream(
    where: str,
    file: IO[bytes],
    size: int,
    objects: bool = False,
    origin: tuple[IO[bytes], int] | None = None,
) -> Any:
    """Read an array from a stream that holds one ``.npy`` file of ``size`` bytes.

    The header is checked against ``size`` before memory is allocated.

    Args:
        where: File and field, for messages.
        file: The stream, at its start.
        size: The stream's length in bytes.
        objects: As in :func:`read_npy`.
        origin: An open file that holds the stream's bytes, and the position at which they begin. A
            large array of numbers or text stays in that file. Default: None, every array is read
            into memory.

    Raises:
        UnsafePickleError: As in :func:`read_npy`.
        DataError: As in :func:`read_npy`.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DataError(f'{where}: found .npy version {version}, expected 1 or 2')
    shape, fortran, dtype = _HEADERS[version](file)  # type: ignore[no-untyped-call]
    check_shape(where, shape)
    content = size - file.tell()
    if dtype.hasobject:
        if not objects:
            raise DataError(f'{where}: not readable: holds Python objects')
        value = read_pickle(where, file, size=size)
        is_single = isinstance(value, np.ndarray) and value.shape == ()
        return value.item() if is_single else value
    if dtype.kind == 'V':
        raise DataError(f'{where}: found the dtype {dtype!s:.80}, expected numbers or text')
    count = math.prod(shape)
    if count * dtype.itemsize != content or (count and not dtype.itemsize):
        raise DataError(
            f'{where}: not readable, truncated perhaps: found {content} bytes, expected '
            f'{count * dtype.itemsize} for {dtype} of shape {shape}'
        )
    if origin is not None and shape and content >= MAPPED_FROM and dtype.kind in 'fiuUS':
        return map_array(origin[0], origin[1] + file.tell(), dtype, shape, fortran)
    data = bytearray(content)
    view = memoryview(data)
    filled = 0
    while filled < content:
        read = file.readinto(view[filled : filled + (1 << 26)])  # type: ignore[attr-defined]
        if not read:
            raise DataError(f'{where}: truncated: {filled} of {content} bytes')
        filled += read
    if not count:
        return np.empty(shape, dtype)
    array = np.frombuffer(data, dtype)
    if dtype.kind == 'b':
        array = array.view(np.uint8) != 0
    return array.reshape(shape, order='F' if fortran else 'C')
