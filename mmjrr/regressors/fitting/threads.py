"""Limit on PyTorch's threads for small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mmjrr.array_types import FloatArray


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with ``count`` PyTorch threads, then restore the former number.

    The matrices of the simplex QP are so small that several threads are up to ten times slower than
    one on a busy machine. Changing the number takes milliseconds, so use one block for a whole
    solve.
    """
    original = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(original)


def matmul(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``a @ b``, computed by PyTorch, since :func:`torch_threads` does not limit NumPy."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
