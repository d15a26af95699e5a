"""Streams that a file decompresses to, told by how it begins."""

from __future__ import annotations

import importlib
import io
import zlib
from typing import IO, Any

from mmjrr.errors import DataError
from mmjrr.io.limits import LimitedReader, unpacked_limit

#: How compressed files begin; joblib compresses with any of these.
_MODULES = {b'\x1f\x8b': 'gzip', b'BZh': 'bz2', b'\xfd7zXZ': 'lzma', b'\x5d\x00': 'lzma'}
_ZLIB = (b'\x78\x01', b'\x78\x5e', b'\x78\x9c', b'\x78\xda')
_LZ4 = b'\x04\x22\x4d\x18'


def open_decompressed(where: str, file: IO[bytes], size: int | None = None) -> io.BytesIO:
    """Return what is left in ``file``, decompressed if it is compressed.

    Args:
        where: the file, for messages.
        file: a binary file, at its position.
        size: bytes that it takes on the disk. Default: what is left in it.

    Raises:
        DataError: it is compressed with LZ4, or unpacks to more than the limit.
    """
    data = file.read()
    limit = unpacked_limit(len(data) if size is None else size)
    if data.startswith(_LZ4):
        raise DataError(
            f'{where}: compressed with LZ4, which is not read; decompress it (lz4 -d), or save it '
            'with gzip'
        )
    if data.startswith(_ZLIB):
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(data, limit + 1)
        if len(unpacked) > limit:
            LimitedReader(io.BytesIO(unpacked), limit, where).read()
        if not unpacker.eof:
            raise EOFError('the compressed data end too early')
        return io.BytesIO(unpacked)
    for start, module in _MODULES.items():
        if data.startswith(start):
            stream: Any = importlib.import_module(module).open(io.BytesIO(data))
            return io.BytesIO(LimitedReader(stream, limit, where).read())
    return io.BytesIO(data)
