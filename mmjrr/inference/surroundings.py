"""Checks of the machine that an inferencer runs on: its devices and its display."""

from __future__ import annotations

import torch

#: Backends of matplotlib that open no window.
_WITHOUT_WINDOW = ('agg', 'cairo', 'pdf', 'pgf', 'ps', 'svg', 'template')


def check_device(device: str | torch.device | None) -> None:
    """Check that PyTorch has a device; None stands for MMEngine's choice.

    Raises:
        ValueError: It does not.
    """
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # what PyTorch raises depends on the device
        count = torch.cuda.device_count()
        raise ValueError(
            f"device: found {str(device)!r}, expected 'cpu' or another device of this machine, on "
            f'which PyTorch finds {count} GPUs (cuda:0, ...)'
        ) from error


def check_display() -> None:
    """Check that matplotlib can show a picture; without a window it waits forever.

    Raises:
        ValueError: Its backend opens no window.
    """
    import matplotlib.pyplot as plt

    backend = plt.get_backend()
    if backend.lower() in _WITHOUT_WINDOW:
        raise ValueError(
            f'show: found no display (matplotlib takes {backend!r}); write pictures into files '
            'instead, with vis_out_dir'
        )
