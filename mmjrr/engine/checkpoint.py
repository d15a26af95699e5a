"""Letting PyTorch's safe loader read the checkpoints that MMEngine writes."""

from __future__ import annotations

import numpy as np
import torch


def allow_mmengine_checkpoints() -> None:
    """Name the harmless types of an MMEngine checkpoint to ``torch.load(weights_only=True)``.

    That is the default from PyTorch 2.6 on, and MMEngine 0.10.7's checkpoints hold its message
    hub (``HistoryBuffer`` objects over NumPy arrays), which PyTorch does not know.
    """
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    from mmengine.logging import HistoryBuffer

    core = getattr(np, '_core', None) or np.core  # renamed in NumPy 2
    multiarray = core.multiarray
    dtypes = [type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8', 'i4', 'b1')]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            multiarray._reconstruct,
            multiarray.scalar,
            np.ndarray,
            np.dtype,
            *dtypes,
        ]
    )
