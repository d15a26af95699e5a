"""The free body, which ships with the package and needs no registration."""

from __future__ import annotations

from pathlib import Path

import torch

from mmjrr.body_models.smpl import SMPL
from mmjrr.registry import BODY_MODELS

#: The body's file in SMPL's format, which ``tools/build_free_body.py`` builds from MakeHuman's
#: assets (CC0).
FREE_BODY_FILE = Path(__file__).parent / 'data' / 'free_body.npz'


@BODY_MODELS.register_module('FreeBody')
def free_body(num_betas: int = 10, dtype: torch.dtype = torch.float32) -> SMPL:
    """Load the free body, which has SMPL's joints, kinematic tree and number of vertices and faces.

    Its vertices are *not* in SMPL's order, so a regressor for SMPL gives meaningless joints on it.

    Args:
        num_betas: Number of shape coefficients, at most 10. Default: 10.
        dtype: Type of buffers and outputs. Default: ``torch.float32``.

    Raises:
        ValueError: ``num_betas`` is not between 1 and 10.

    >>> body = free_body()
    >>> body(betas=torch.zeros(2, 10)).vertices.shape
    torch.Size([2, 6890, 3])
    """
    body = SMPL(FREE_BODY_FILE, num_betas=num_betas, dtype=dtype)
    body.name = 'free_body'
    return body
