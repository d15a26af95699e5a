"""Arrays that stay in files: large arrays of results files, and large working arrays.

Pages of a mapped array count as memory of this process once they are read or written.
:func:`release` gives them back, so that work piece by piece takes the memory of one piece only.
"""

from __future__ import annotations

import math
import mmap
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from mmjrr.array_types import Array

#: Smallest size in bytes of an array that stays in its file, and of a working array in a file.
MAPPED_FROM = 16 << 20
#: Bytes of a piece of :func:`pieces`.
PIECE = 16 << 20
#: Rows of a piece of :func:`take`.
_TAKEN = 256


def map_array(
    file: IO[bytes], offset: int, dtype: np.dtype[Any], shape: Sequence[int], fortran: bool = False
) -> Array:
    """Map an array of an open file, which may be closed afterwards.

    Args:
        file: The file.
        offset: Position of the array's first byte in the file.
        dtype: The array's dtype.
        shape: The array's shape.
        fortran: Whether the array is stored in Fortran's order.

    Returns:
        The array, read-only. If another process shortens the file, reading it ends this process.
    """
    order = 'F' if fortran else 'C'
    return np.memmap(file, dtype, 'r', offset, tuple(shape), order)  # type: ignore[call-overload]


def working_array(shape: Sequence[int], dtype: Any = np.float64) -> Array:
    """Return an array of zeros; a large one lies in a file that is deleted with the array.

    The file is in Python's folder of temporary files, which ``TMPDIR`` names.
    """
    dtype = np.dtype(dtype)
    if math.prod(shape) * dtype.itemsize < MAPPED_FROM:
        return np.zeros(tuple(shape), dtype)
    with tempfile.TemporaryFile(prefix='mmjrr_') as file:
        return np.memmap(file, dtype, 'w+', 0, tuple(shape))


def release(*arrays: Array | JoinedRows | None) -> None:
    """Give the memory of mapped arrays back to the system; their values stay in their files.

    Arrays that are not mapped stay as they are; :class:`JoinedRows` releases its own.
    """
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, 'MADV_DONTNEED'):
            base.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: Array) -> bool:
    """Return whether an array, or the array of which it is a view, lies in a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def pieces(*arrays: Array | JoinedRows, multiple: int = 1) -> Iterator[slice]:
    """Yield consecutive slices of the arrays' first axis; release the arrays after each slice.

    Args:
        arrays: Arrays of equal length.
        multiple: Number that divides the length of every slice except the last.

    >>> list(pieces(np.zeros(5)))
    [slice(0, 5, None)]
    """
    count = len(arrays[0])
    bytes_of_row = sum(array.nbytes for array in arrays) // max(count, 1)
    step = max(PIECE // max(bytes_of_row, 1), 1)
    step = -(-step // multiple) * multiple
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
        release(*arrays)


def converted(array: Array, dtype: Any) -> Array:
    """Convert an array to a dtype; a mapped array piece by piece, into a working array."""
    if array.dtype == dtype or not is_mapped(array):
        return array.astype(dtype, copy=False)
    result = working_array(array.shape, dtype)
    for piece in pieces(array, result):
        result[piece] = array[piece]
    return result


class JoinedRows:
    """Arrays one after another along the first axis, which are read in place.

    Rows are read by the same indices as those of a NumPy array. What is read is a copy, and the
    memory of mapped parts is released after each reading.

    Args:
        parts: The arrays, each of a row at least. Only the lengths of their first axes differ.

    >>> rows = JoinedRows([np.zeros((2, 3)), np.ones((4, 3))])
    >>> rows.shape, rows[np.array([5, 0])].tolist()
    ((6, 3), [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """

    def __init__(self, parts: Sequence[Array | JoinedRows]) -> None:
        lengths = [len(part) for part in parts]
        self._parts = parts
        self._part_of = np.repeat(np.arange(len(parts)), lengths)
        self._row_in_part = np.concatenate([np.arange(length) for length in lengths])
        self.shape: tuple[int, ...] = (sum(lengths), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = np.result_type(*(part.dtype for part in parts))
        self._layout = parts[0][np.array([0, 0])]
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, rows: int | slice | Array) -> Array:
        part_of, row_in_part = self._part_of[rows], self._row_in_part[rows]
        # The last digits of sums depend on the order in memory, which is that of the parts.
        shape = (*np.shape(part_of), *self.shape[1:])
        values = np.empty_like(self._layout, self.dtype, shape=shape)
        for number in np.unique(part_of):
            chosen = part_of == number
            values[chosen] = self._parts[number][row_in_part[chosen]]
            release(self._parts[number])
        return values


def joined(parts: Sequence[Array], dtype: Any) -> Array:
    """Concatenate arrays along the last axis, piece by piece, into a working array."""
    width = sum(part.shape[-1] for part in parts)
    result = working_array((*parts[0].shape[:-1], width), dtype)
    for piece in pieces(*parts, result):
        result[piece] = np.concatenate([part[piece] for part in parts], axis=-1)
    return result


def all_finite(array: Array) -> bool:
    """Return whether all values are finite; the array is read piece by piece."""
    return all(bool(np.isfinite(array[piece]).all()) for piece in pieces(array))


def as_list(array: Array) -> list[Any]:
    """Convert an array to a list; the array is read piece by piece."""
    items: list[Any] = []
    for piece in pieces(array):
        items += array[piece].tolist()
    return items


def take(array: Array, rows: Array) -> Array:
    """Select rows of an array; those of a mapped array piece by piece, into a working array.

    The system reads ahead. If all rows were read at once, scattered rows would take the memory of
    the rows around them, too.
    """
    if not is_mapped(array):
        return array[rows]
    selected = working_array((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), _TAKEN):
        piece = slice(start, start + _TAKEN)
        selected[piece] = array[rows[piece]]
        release(array, selected)
    return selected


def save_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write the same bytes as ``numpy.savez``; mapped arrays are read piece by piece."""
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                if not (is_mapped(array) and array.flags.c_contiguous):
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
                    continue
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(member, header)
                for piece in pieces(array):
                    member.write(array[piece].tobytes())
