"""Body by ``smplx.lbs``, for comparison, called on a file's arrays as ``smplx.SMPL`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from smplx import lbs
from torch import Tensor

from mmjrr.body_models import FREE_BODY_FILE, load_smpl_file
from mmjrr.io import atomic_write, read_npz


class SmplxBody:
    """Body model that computes vertices by ``smplx.lbs.lbs`` from rotation matrices."""

    def __init__(self, path: Path, num_betas: int = 10, device: str = 'cpu') -> None:
        data = load_smpl_file(path)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.tensor(array, dtype=torch.float32, device=device)

        self.v_template = tensor(data['v_template'])
        self.shapedirs = tensor(data['shapedirs'][..., :num_betas])
        self.posedirs = tensor(data['posedirs'].reshape(-1, data['posedirs'].shape[-1]).T)
        self.regressor = tensor(data['J_regressor'])
        self.weights = tensor(data['weights'])
        self.parents = torch.tensor(data['parents'], device=device)
        self.faces = data['f']

    def __call__(self, rotations: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Return vertices (B, V, 3) of rotations (B, 24, 3, 3), betas (B, 10) and transl (B, 3)."""
        vertices, _ = lbs.lbs(
            betas,
            rotations,
            self.v_template,
            self.shapedirs,
            self.posedirs,
            self.regressor,
            self.parents,
            self.weights,
            pose2rot=False,
        )
        return vertices + transl[:, None]


def body_file(folder: Path, pose_blend_shapes: bool, seed: int = 0) -> Path:
    """Return the free body's file, or write a copy with pose blend shapes of micrometers.

    The free body has no pose blend shapes, and mmjrr skips their computation if all are zero. The
    copy costs as much as SMPL. Its blend shapes are small, so that the surface stays smooth.
    """
    if not pose_blend_shapes:
        return FREE_BODY_FILE
    path = folder / 'with_pose_blend_shapes.npz'
    arrays = read_npz(FREE_BODY_FILE)
    shape = arrays['posedirs'].shape
    arrays['posedirs'] = 1e-6 * np.random.default_rng(seed).normal(size=shape)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)
    return path
