"""Conversion of tensors that users pass to NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mmjrr.array_types import Array


def as_array(value: Any) -> Array:
    """Return a tensor on any device, an array or nested lists as an array."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.is_floating_point() and value.element_size() < 4:  # NumPy lacks bfloat16
        value = value.float()
    array: Array = value.numpy()
    return array


def with_arrays(tree: Any) -> Any:
    """Return nested dicts, lists and tuples with arrays in place of tensors."""
    if isinstance(tree, Tensor):
        return as_array(tree)
    if isinstance(tree, Mapping):
        return {key: with_arrays(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [with_arrays(value) for value in tree]
    return tree
