"""Computations of frames whose digits do not depend on the other frames of the batch.

A library of linear algebra chooses the order of a product's sums by the sizes of the matrices, so
that the last digits of a frame's float32 result depend on the size of its batch. Adam divides a
gradient by its size, and enlarges the rounding of a gradient close to zero to a part of a step.
Therefore matrices are padded with zeros here on a CPU: MKL computes each row of a product in the
same way if the numbers of rows and columns are multiples of :data:`ROWS` and :data:`COLUMNS`.
``tests/test_frame_products.py`` checks that on the machine on which it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

#: Numbers of rows, columns and elements to whose multiples arguments are padded on a CPU. Elements
#: fill whole vectors of the widest instructions.
ROWS, COLUMNS, ELEMENTS = 8, 16, 64


def product(
    vectors: Tensor,  # (B, K)
    matrix: Tensor,  # (K', N), with rows of zeros after the first K
    bias: Tensor | None = None,  # (N,)
) -> Tensor:  # (B, N)
    """Return ``vectors @ matrix + bias``.

    Args:
        vectors: A row for each frame.
        matrix: The matrix, which :func:`padded_matrix` has padded once.
        bias: Summand. Default: None, zeros.
    """
    count = len(vectors)
    vectors = padded_rows(vectors, len(matrix))
    result = vectors @ matrix if bias is None else torch.addmm(bias, vectors, matrix)
    return result if len(result) == count else result[:count]


def linear(
    values: Tensor,  # (..., K), the axes before the last with a multiple of ROWS elements
    weight: Tensor,  # (N, K)
    bias: Tensor,  # (N,)
) -> Tensor:  # (..., N)
    """Compute what :func:`torch.nn.functional.linear` does."""
    if values.device.type != 'cpu':
        return torch.nn.functional.linear(values, weight, bias)
    count, depth = weight.shape
    rows, columns = (-n % COLUMNS if n < COLUMNS else 0 for n in (count, depth))
    if columns:
        values = pad(values, (0, columns))
    if rows or columns:
        weight, bias = pad(weight, (0, columns, 0, rows)), pad(bias, (0, rows))
    return torch.nn.functional.linear(values, weight, bias)[..., :count]


def padded_matrix(matrix: Tensor) -> Tensor:  # (K, N) -> (K', N)
    """Add rows of zeros to a matrix of few rows, for :func:`product` and its derivative."""
    missing = -len(matrix) % COLUMNS
    if matrix.device.type != 'cpu' or missing == 0 or len(matrix) > ELEMENTS:
        return matrix
    return pad(matrix, (0, 0, 0, missing))


def padded_rows(values: Tensor, width: int | None = None) -> Tensor:  # (B, K) -> (B', K')
    """Add rows of zeros up to a multiple of :data:`ROWS` on a CPU.

    Args:
        values: A row for each frame.
        width: K', the number of columns of the result. Default: None, K.
    """
    rows = -len(values) % ROWS if values.device.type == 'cpu' else 0
    columns = 0 if width is None else width - values.shape[1]
    return pad(values, (0, columns, 0, rows)) if rows or columns else values


def elementwise(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Apply a function of elements to tensors of one shape.

    On a CPU, PyTorch computes the elements that fill whole vectors by other instructions than the
    remaining ones, and results such as those of :func:`torch.sigmoid` and :func:`torch.atan2` then
    differ in the last digit. Here all elements are computed by the former.
    """
    missing = -values[0].numel() % ELEMENTS
    if values[0].device.type != 'cpu':
        return function(*values)
    if missing == 0:
        return function(*(value.contiguous() for value in values))
    filled = (pad(value.flatten(), (0, missing), value=1.0) for value in values)
    return function(*filled)[:-missing].view(values[0].shape)
