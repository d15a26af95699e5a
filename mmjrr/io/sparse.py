"""Sparse matrices from files: checked first, since SciPy's compiled code trusts their indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.limits import check_shape

#: Bytes of a number in a dense array: float64 or int64.
_ITEM_BYTES = 8


def sparse_matrix(where: str, kind: str, fields: dict[str, Any]) -> Any:
    """Build a SciPy sparse matrix from the arrays that a file holds, after checking them.

    Args:
        where: File and field, for messages.
        kind: ``'csc'``, ``'csr'`` or ``'coo'``.
        fields: ``data`` (K,) and ``shape`` (rows, columns), with ``indices`` (K,) and ``indptr``
            for ``'csc'`` and ``'csr'``, or ``row`` (K,) and ``col`` (K,) for ``'coo'``.

    Returns:
        A ``scipy.sparse`` matrix.

    Raises:
        DataError: A field is missing, has another type or length, or an index lies outside the
            shape.
    """
    import scipy.sparse

    names = ('data', 'row', 'col') if kind == 'coo' else ('data', 'indices', 'indptr')
    missing = [name for name in (*names, 'shape') if fields.get(name) is None]
    if missing:
        raise DataError(f'{where} sparse matrix: found {sorted(fields)}, expected also {missing}')
    shape = _matrix_shape(where, fields['shape'])
    data = np.asarray(fields['data'])
    if data.dtype.kind not in 'biuf' or data.ndim != 1:
        raise DataError(
            f'{where} sparse matrix: data: found {data.dtype} of shape {data.shape}, expected a '
            'list of numbers'
        )
    if kind == 'coo':
        row = _indices(where, 'row', fields['row'], len(data), shape[0])
        column = _indices(where, 'col', fields['col'], len(data), shape[1])
        return scipy.sparse.coo_matrix((data, (row, column)), shape)
    major, minor = shape if kind == 'csr' else shape[::-1]
    indices = _indices(where, 'indices', fields['indices'], len(data), minor)
    starts = _indices(where, 'indptr', fields['indptr'], major + 1, len(data) + 1)
    if starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
        raise DataError(
            f'{where} sparse matrix: indptr: found numbers from {starts[0]} to {starts[-1]}, '
            f'expected them to rise from 0 to {len(data)}'
        )
    build = scipy.sparse.csr_matrix if kind == 'csr' else scipy.sparse.csc_matrix
    return build((data, indices, starts), shape)


def dense(where: str, matrix: Any, limit: int, dtype: type = np.float64) -> Array:
    """Convert a sparse matrix that :func:`sparse_matrix` has checked to an array.

    Args:
        where: File and field, for messages.
        matrix: A ``scipy.sparse`` matrix.
        limit: Bytes that the array may take.
        dtype: The array's type, ``np.float64`` or ``np.int64``.

    Raises:
        DataError: The array would take more than ``limit`` bytes.
    """
    check_dense_size(where, matrix.shape, limit)
    return matrix.astype(dtype).toarray()


def check_dense_size(where: str, shape: Sequence[int], limit: int) -> None:
    """Refuse a shape for which a float64 or int64 array takes more than ``limit`` bytes.

    The file's own type does not count: one byte in the file becomes eight in the array.

    Args:
        where: File and field, for messages.
        shape: The array's shape.
        limit: Bytes that the array may take.

    Raises:
        DataError: The array is larger, or has no elements and very many rows.
    """
    sizes = check_shape(where, shape)
    size = _ITEM_BYTES * math.prod(sizes)
    if size > limit:
        raise DataError(
            f'{where}: found shape {sizes}, an array of {size} bytes, expected at most {limit} '
            'bytes for a file of this size'
        )


def _matrix_shape(where: str, shape: Any) -> tuple[int, int]:
    values = np.asarray(shape)
    if values.shape != (2,) or values.dtype.kind not in 'iu' or (values < 0).any():
        raise DataError(f'{where} sparse matrix: shape: found {shape!r:.80}, expected two sizes')
    return int(values[0]), int(values[1])


def _indices(where: str, name: str, values: Any, count: int, limit: int) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in 'iu' or array.shape != (count,):
        raise DataError(
            f'{where} sparse matrix: {name}: found {array.dtype} of shape {array.shape}, '
            f'expected {count} integers'
        )
    if count and (int(array.min()) < 0 or int(array.max()) >= limit):
        raise DataError(
            f'{where} sparse matrix: {name}: found numbers from {array.min()} to {array.max()}, '
            f'expected them in [0, {limit})'
        )
    return array
