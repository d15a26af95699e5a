"""Storages and tensors of ``torch.save`` files, read without PyTorch."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.pickle_stream import DescriptionUnpickler, Node

if TYPE_CHECKING:
    import torch

#: First bytes of the stream format: ``torch.save`` before PyTorch 1.6, and tensors in pickles.
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_LEGACY_PROTOCOL = 1001

#: NumPy's code and PyTorch's dtype of each type of storage. NumPy has no bfloat16: its bits, the
#: upper half of a float32, are read as uint16.
_STORAGES = {
    'FloatStorage': ('<f4', 'float32'),
    'DoubleStorage': ('<f8', 'float64'),
    'HalfStorage': ('<f2', 'float16'),
    'BFloat16Storage': ('<u2', 'bfloat16'),
    'LongStorage': ('<i8', 'int64'),
    'IntStorage': ('<i4', 'int32'),
    'ShortStorage': ('<i2', 'int16'),
    'CharStorage': ('<i1', 'int8'),
    'ByteStorage': ('<u1', 'uint8'),
    'BoolStorage': ('<b1', 'bool'),
    'UntypedStorage': ('<u1', 'uint8'),
}


@dataclass
class Storage:
    """The elements of one tensor, or of several tensors that share them.

    Args:
        dtype: PyTorch's name of the elements' dtype, such as ``'float32'``.
        data: The elements ``(K,)``; bfloat16 as uint16.
    """

    dtype: str
    data: Array
    _torch: Any = field(default=None, repr=False)

    def to_torch(self) -> torch.Tensor:
        """Return the elements as a flat tensor, the same object at every call."""
        import torch

        if self._torch is None:
            if self.dtype == 'bfloat16':
                self._torch = torch.from_numpy(self.data.view('<i2')).view(torch.bfloat16)
            else:
                self._torch = torch.from_numpy(self.data)
        return self._torch


@dataclass(frozen=True)
class Tensor:
    """A view of a storage.

    Args:
        storage: The elements.
        offset: Index of the tensor's first element in the storage.
        shape: The size of each axis.
        stride: For each axis, the distance between neighbors, in elements.

    Raises:
        DataError: Offset or strides are not integers from 0, or the tensor reaches outside the
            storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.stride)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers) or len(
            self.stride
        ) != len(self.shape):
            raise DataError(
                f'a tensor of shape {self.shape}: found offset and strides {numbers!r:.120}'
            )
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        count = len(self.storage.data)
        if 0 not in self.shape and last >= count:
            raise DataError(
                f'a tensor of shape {self.shape} reaches element {last} of a storage of {count}'
            )

    @property
    def nbytes(self) -> int:
        """Size of the tensor in bytes if every element is stored (bfloat16 as float32)."""
        return int(np.prod([int(n) for n in self.shape], dtype=object)) * max(
            self.storage.data.itemsize, 4 if self.storage.dtype == 'bfloat16' else 1
        )

    def to_torch(self) -> torch.Tensor:
        """Return a PyTorch tensor that shares memory with the other tensors of its storage."""
        import torch

        if 0 in self.shape:
            return torch.empty(self.shape, dtype=getattr(torch, self.storage.dtype))
        return torch.as_strided(self.storage.to_torch(), self.shape, self.stride, self.offset)

    def to_numpy(self) -> Array:
        """Return a copy as an array; bfloat16 as float32."""
        data = self.storage.data
        if self.storage.dtype == 'bfloat16':
            data = (data.astype(np.uint32) << 16).view(np.float32)
        if 0 in self.shape:
            return np.empty(self.shape, data.dtype)
        steps = tuple(step * data.itemsize for step in self.stride)
        view = np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, steps)
        return np.array(view, order='C')


def storage_dtype(kind: Any) -> tuple[np.dtype[Any], str]:
    """Return NumPy's dtype of a storage's elements and the name of PyTorch's dtype.

    Args:
        kind: The inert class that stands for the storage's type.

    Raises:
        DataError: PyTorch has no such type of storage.
    """
    name = kind.name[1] if isinstance(kind, type) and issubclass(kind, Node) else str(kind)
    if name not in _STORAGES:
        raise DataError(f'a tensor has the storage type {name!r:.80}')
    code, dtype = _STORAGES[name]
    return np.dtype(code), dtype


def storage_from(kind: Any, content: bytes, count: int) -> Storage:
    """Build a storage from its bytes.

    Args:
        kind: As for :func:`storage_dtype`.
        content: The elements' bytes, little-endian.
        count: The number of elements.

    Raises:
        DataError: ``content`` does not have the size of ``count`` elements.
    """
    dtype, name = storage_dtype(kind)
    if not isinstance(count, int) or len(content) != count * dtype.itemsize:
        raise DataError(
            f'a storage of {count!r:.40} elements of {name}: found {len(content)} bytes'
        )
    data = np.frombuffer(bytearray(content), np.uint8 if name == 'bool' else dtype)
    return Storage(name, data != 0 if name == 'bool' else data)


def read_legacy_stream(
    file: BinaryIO, unpickler: Callable[[BinaryIO], DescriptionUnpickler]
) -> tuple[Any, dict[str, Storage]]:
    """Read the format of ``torch.save`` before PyTorch 1.6: five pickles, then the storages.

    Args:
        file: The file, at its start.
        unpickler: A function that returns an unpickler of a file.

    Returns:
        The description of the object, and the storages by key.

    Raises:
        DataError: The file has another version or byte order, or is damaged.
        struct.error: The file ends before the length of a storage.
    """
    start = file.read(len(LEGACY_START))
    if start != LEGACY_START:
        raise DataError('does not begin as files of torch.save do')
    version = unpickler(file).load()
    machine = unpickler(file).load()
    if version != _LEGACY_PROTOCOL or not isinstance(machine, dict):
        raise DataError(f'found version {version!r:.40} of the format, expected {_LEGACY_PROTOCOL}')
    if machine.get('little_endian') is not True:
        raise DataError('written on a big-endian machine, which is not read')
    reader = unpickler(file)
    references: dict[str, Any] = {}
    described = reader.load()
    for reference in reader.references:
        kind, key = legacy_reference(reference.description)
        references[key] = kind
    keys = unpickler(file).load()
    if not isinstance(keys, list) or len(set(map(str, keys))) != len(keys):
        raise DataError('found no list of storages behind the object')
    storages = {}
    for key in map(str, keys):
        if key not in references:
            raise DataError(f'holds the storage {key!r:.40}, which nothing refers to')
        (count,) = struct.unpack('<q', file.read(8))
        size = count * storage_dtype(references[key])[0].itemsize
        storages[key] = storage_from(references[key], file.read(size) if size > 0 else b'', count)
    return described, storages


def legacy_reference(description: Any) -> tuple[Any, str]:
    """Return the type and the key of a storage from a persistent id.

    Raises:
        DataError: The persistent id does not refer to a storage.
    """
    if not isinstance(description, tuple) or len(description) < 5 or description[0] != 'storage':
        raise DataError(f'found the reference {description!r:.80}, expected one to a storage')
    if len(description) > 5 and description[5] is not None:
        raise DataError('written by PyTorch 0.3 or older, whose views of storages are not read')
    return description[1], str(description[2])
