"""Decompression of files, whose format is recognized by their first bytes."""

from __future__ import annotations

import importlib
import io
import zlib
from typing import IO, Any

from mmjrr.errors import DataError
from mmjrr.io.limits import LimitedReader, unpacked_limit

#: First bytes of compressed files and the module that reads them; joblib writes any of these.
_MODULES = {b'\x1f\x8b': 'gzip', b'BZh': 'bz2', b'\xfd7zXZ': 'lzma', b'\x5d\x00': 'lzma'}
_ZLIB = (b'\x78\x01', b'\x78\x5e', b'\x78\x9c', b'\x78\xda')
_LZ4 = b'\x04\x22\x4d\x18'


def open_decompressed(where: str, file: IO[bytes], size: int | None = None) -> io.BytesIO:
    """Read ``file`` from its position to its end, and decompress it if it is compressed.

    Args:
        where: The file, for messages.
        file: A binary file.
        size: Bytes that the file takes on the disk. Default: the bytes from its position on.

    Raises:
        DataError: The file is compressed with LZ4, or unpacks to more than
            :func:`~mmjrr.io.unpacked_limit` bytes.
        EOFError: The compressed data are truncated.
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
