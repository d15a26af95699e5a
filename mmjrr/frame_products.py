"""Computations of frames whose digits do not depend on the other frames of the batch.

A library of linear algebra chooses the order of a product's sums by the sizes of the matrices, so
that the last digits of a frame's float32 result depend on the size of its batch. Adam divides a
gradient by its size, and enlarges the rounding of a gradient close to zero to a part of a step.
Therefore a CPU multiplies blocks of :data:`ROWS` frames here, the last one filled with zeros, so
that all products have the same sizes. ``tests/test_frame_products.py`` checks on the machine on
which it runs that neither a frame's place in a block nor the number of threads matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

#: Number of frames that a CPU multiplies at once, and numbers of columns and elements to whose
#: multiples arguments are padded. With 16 frames, MKL computes each row of a block in the same way
#: on every processor, with 8 not on all. Elements fill whole vectors of the widest instructions.
ROWS, COLUMNS, ELEMENTS = 16, 16, 64


def product(
    vectors: Tensor,  # (B, K)
    matrix: Tensor,  # (K', N), with rows of zeros after the first K
    bias: Tensor | None = None,  # (N,)
) -> Tensor:  # (B, N)
    """Return ``vectors @ matrix + bias``, differentiable with respect to ``vectors`` alone.

    Args:
        vectors: A row for each frame.
        matrix: The matrix, which :func:`padded_matrix` has padded once.
        bias: Summand. Default: None, zeros.
    """
    if vectors.device.type != 'cpu':
        return vectors @ matrix if bias is None else torch.addmm(bias, vectors, matrix)
    count = len(vectors)
    vectors = padded_rows(vectors, len(matrix))
    result: Tensor = _BlockProduct.apply(vectors, matrix, bias, ROWS)  # type: ignore[no-untyped-call]
    return result if len(result) == count else result[:count]


def linear(
    values: Tensor,  # (B, ..., K), B a multiple of ROWS on a CPU
    weight: Tensor,  # (N, K)
    bias: Tensor,  # (N,)
) -> Tensor:  # (B, ..., N)
    """Compute what :func:`torch.nn.functional.linear` does, in blocks if the weight is constant."""
    if values.device.type != 'cpu' or weight.requires_grad:
        return torch.nn.functional.linear(values, weight, bias)
    count, depth = weight.shape
    rows, columns = (-n % COLUMNS if n < COLUMNS else 0 for n in (count, depth))
    if columns:
        values = pad(values, (0, columns))
    if rows or columns:
        weight, bias = pad(weight, (0, columns, 0, rows)), pad(bias, (0, rows))
    flat = values.flatten(0, -2)
    block = ROWS * len(flat) // max(len(values), 1)
    result: Tensor = _BlockProduct.apply(flat, weight.T, bias, block)  # type: ignore[no-untyped-call]
    return result.unflatten(0, values.shape[:-1])[..., :count]


class _BlockProduct(torch.autograd.Function):
    """Product with a constant matrix, a block of rows at a time."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, matrix: Tensor, bias: Tensor | None, block: int
    ) -> Tensor:
        ctx.save_for_backward(matrix)
        ctx.block = block
        return _multiply_blocks(vectors, matrix, bias, block)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (matrix,) = ctx.saved_tensors
        return _multiply_blocks(grad.contiguous(), matrix.T, None, ctx.block), None, None, None


def _multiply_blocks(vectors: Tensor, matrix: Tensor, bias: Tensor | None, block: int) -> Tensor:
    """Multiply in one thread: on some processors MKL orders sums by the number of threads."""
    result = vectors.new_empty(len(vectors), matrix.shape[1])
    with _one_thread():
        for start in range(0, len(vectors), block):
            rows = slice(start, start + block)
            if bias is None:
                torch.mm(vectors[rows], matrix, out=result[rows])
            else:
                torch.addmm(bias, vectors[rows], matrix, out=result[rows])
    return result


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    if not len(values):  # which PyTorch does not pad
        return values.new_zeros(0, values.shape[1] + columns)
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
