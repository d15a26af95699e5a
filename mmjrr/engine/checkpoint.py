"""Letting PyTorch's safe loader read the checkpoints that MMEngine writes."""

from __future__ import annotations

from importlib import import_module
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch.torch_version import TorchVersion


def allow_mmengine_checkpoints() -> None:
    """Name the harmless types of an MMEngine checkpoint to ``torch.load(weights_only=True)``.

    That is the default from PyTorch 2.6 on, and MMEngine 0.10.7's checkpoints hold its message
    hub (``HistoryBuffer`` objects over NumPy arrays), which PyTorch does not know.
    """
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    if TorchVersion(torch.__version__) < '2.6':  # not the default yet, and takes no names
        return
    from mmengine.logging import HistoryBuffer

    # Renamed in NumPy 2; 1.26 has a numpy._core too, but without what pickles of its arrays name.
    old = np.lib.NumpyVersion(np.__version__) < '2.0.0'
    multiarray = import_module(f'numpy.{"core" if old else "_core"}.multiarray')
    dtypes = [type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8', 'i4', 'b1')]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            *[(_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')],
            multiarray._reconstruct,
            multiarray.scalar,
            np.ndarray,
            np.dtype,
            *dtypes,
        ]
    )


def _statistic(owner: type, name: str) -> Any:
    """Stands in for ``getattr``, by which a ``HistoryBuffer`` names its own statistics."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'attribute {name!r} of {owner!r} is not one of a message hub')
    return getattr(HistoryBuffer, name)
