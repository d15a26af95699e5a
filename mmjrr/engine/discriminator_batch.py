"""The batch of fits on which the discriminators are trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.jobs import on_all_processes
from mmjrr.refinement.regressor_fit import PARAMETERS

#: Fits by their name in the batch, and the prefix of their names in the store.
_FITS = {'fits_init': 'init_', 'fits_refined': ''}


def fits_of_all_processes(
    arrays: Mapping[str, Array], device: torch.device
) -> dict[str, dict[str, Tensor]]:
    """Return the initial and the refined fits of a batch, with the parts of all processes joined.

    All processes train the discriminators on the same fits in the same order, so that their number
    does not change the discriminators.

    Args:
        arrays: Refined frames of this process, as the store has them; empty if it has none.
        device: Device of the fits.

    Returns:
        Parameters by the name of the fits, ``fits_init`` and ``fits_refined``. Empty if no process
        has a refined frame.
    """
    names = [f'{prefix}{parameter}' for prefix in _FITS.values() for parameter in PARAMETERS]
    part = {name: np.ascontiguousarray(arrays[name]) for name in names} if arrays else {}
    parts = [part for part in on_all_processes(part) if part and len(part['betas'])]
    if not parts:
        return {}
    return {
        fits: {
            parameter: torch.from_numpy(
                np.concatenate([part[f'{prefix}{parameter}'] for part in parts])
            ).to(device)
            for parameter in PARAMETERS
        }
        for fits, prefix in _FITS.items()
    }
