"""Checks of arrays that come from files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.limits import unpacked_limit
from mmjrr.io.mapped import pieces
from mmjrr.io.sparse import check_dense_size, dense


def as_text(where: str, array: Array) -> Array:
    """Decode an array of UTF-8 bytes to text; return any other array unchanged.

    Args:
        where: File and field, for messages.
        array: An array of any dtype.

    Raises:
        DataError: The bytes are not UTF-8, or the text holds lone surrogates or numbers that are
            no characters.
    """
    try:
        if array.dtype.kind == 'S':
            array = np.char.decode(array, 'utf-8')
        if array.dtype.kind == 'U' and array.size:
            flat = array.ravel()
            for piece in pieces(flat):
                _check_characters(flat[piece])
                ''.join(flat[piece].tolist()).encode()  # raises for lone surrogates
    except ValueError as error:
        raise DataError(f'{where}: not text ({error})') from error
    return array


def _check_characters(texts: Array) -> None:
    """Refuse numbers beyond Unicode's, of which NumPy makes strings that Python cannot decode."""
    if texts.dtype.itemsize:
        native = np.ascontiguousarray(texts).astype(texts.dtype.newbyteorder('='), copy=False)
        largest = int(native.view(np.uint32).max(initial=0))
        if largest > sys.maxunicode:
            raise ValueError(f'found the character number {largest:#x}')


def check_array(
    where: str,
    value: Any,
    shape: Sequence[int | str | None],
    kind: str = 'number',
    finite: bool = True,
    sizes: dict[str, int] | None = None,
    limit: int | None = None,
) -> Array:
    """Return a field of a file as a new array, after checking its shape, type and values.

    Args:
        where: File and field, for messages.
        value: What the file holds; lists of numbers and sparse matrices are converted.
        shape: The expected size of each axis. ``None`` admits any size; a name admits any size
            on its first use and only that size afterwards (see ``sizes``).
        kind: ``'number'`` (returned as float64), ``'integer'`` (as int64) or ``'text'``.
        finite: Whether to refuse NaN and infinity.
        sizes: Sizes by name, shared by the fields of a file. The first field that uses a name
            sets its size. Default: names are local to this array.
        limit: Bytes that the float64 or int64 array may take, usually
            :func:`~mmjrr.io.unpacked_limit` of the file's size. Default: None, no limit for
            arrays, and the limit of an empty file for sparse matrices.

    Raises:
        DataError: The value has another kind or shape, is not finite, or takes more than ``limit``
            bytes.

    >>> check_array('f.npz: betas', [[0, 1]], ('frames', 2)).tolist()
    [[0.0, 1.0]]
    >>> check_array('f.npz: betas', [[0, 1]], ('frames', 3))
    Traceback (most recent call last):
        ...
    mmjrr.errors.DataError: f.npz: betas: found shape (1, 2), expected (frames, 3)
    """
    is_sparse = hasattr(value, 'toarray')
    try:
        array = value if is_sparse else np.asarray(value)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f'{where}: not an array of {kind}s ({error})') from error
    if kind == 'text':
        array = as_text(where, array)
    if array.dtype.kind == 'O' and kind != 'text':
        try:  # numbers of different types
            array = np.asarray(array.tolist(), dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f'{where}: not an array of {kind}s ({error})') from error
    if array.dtype.kind not in _KINDS[kind]:
        raise DataError(f'{where}: found an array of {array.dtype}, expected {kind}s')
    sizes = {} if sizes is None else sizes
    known_sizes = dict(sizes)
    matches = array.ndim == len(shape) and all(
        expected is None
        or size == (sizes.setdefault(expected, size) if isinstance(expected, str) else expected)
        for size, expected in zip(array.shape, shape, strict=True)
    )
    if not matches:
        raise DataError(
            f'{where}: found shape {array.shape}, expected {_shape_text(shape, known_sizes)}'
        )
    if kind == 'text':
        return array
    dtype = np.int64 if kind == 'integer' else np.float64
    if is_sparse:
        array = dense(where, array, unpacked_limit(0) if limit is None else limit, dtype)
    elif limit is not None:
        check_dense_size(where, array.shape, limit)
    if finite and array.dtype.kind in 'fc' and not np.isfinite(array).all():
        raise DataError(f'{where}: found NaN or infinity, expected finite numbers')
    return array.astype(dtype, copy=not is_sparse)  # callers may write to it


_KINDS = {'number': 'fiub', 'integer': 'iu', 'text': 'U'}


def _shape_text(shape: Sequence[int | str | None], sizes: dict[str, int]) -> str:
    axes = []
    for expected in shape:
        if isinstance(expected, str) and expected in sizes:
            axes.append(f'{expected} = {sizes[expected]}')
        else:
            axes.append('any' if expected is None else str(expected))
    return f'({", ".join(axes)}{"," if len(axes) == 1 else ""})'
