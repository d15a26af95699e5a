"""The other side's body: ``smplx.lbs`` on a file's arrays, as ``smplx.SMPL`` calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from smplx import lbs
from torch import Tensor

from mmjrr.body_models import FREE_BODY_FILE, load_smpl_file
from mmjrr.io import atomic_write, read_npz


class SmplxBody:
    """Vertices by ``smplx.lbs.lbs``, from rotation matrices."""

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
        """(B, 24, 3, 3), (B, 10), (B, 3) -> (B, V, 3)."""
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
    """The free body's file, or a copy with pose blend shapes, micrometres large.

    The free body has none, and our side leaves them out where all are zero. SMPL has them, so the
    copy costs what SMPL costs; they are small so that the surface, and its outline, stay smooth.
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
