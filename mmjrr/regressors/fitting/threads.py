"""PyTorch's threads while a small problem is solved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run the block with ``count`` PyTorch threads, then restore their number.

    The matrices of the simplex QP are so small that threads wait for each other longer than they
    compute: up to ten times slower on a busy machine. Changing the number takes milliseconds, so a
    whole solve is one block.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matmul(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``a @ b``, computed by PyTorch, since :func:`torch_threads` does not limit NumPy."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
