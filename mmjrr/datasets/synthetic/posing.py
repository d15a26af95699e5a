"""Posed bodies as NumPy arrays, and the orientations of their joints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmjrr.array_types import FloatArray
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

if TYPE_CHECKING:
    from mmjrr.body_models import SkinnedBody

_NUM_JOINTS = len(SMPL_JOINTS)


def pose_body(body: SkinnedBody, betas: FloatArray, pose: FloatArray) -> FloatArray:
    """Pose a body without translation.

    Args:
        body: The body model.
        betas: (10,) or (N, 10) shape, or as many coefficients as the body has.
        pose: (N, 24, 3) axis-angle, global orientation first.

    Returns:
        (N, V, 3) vertices, meters.
    """
    dtype = float_type(body)
    betas = np.broadcast_to(betas, (len(pose), betas.shape[-1]))
    with torch.no_grad():
        out = body(
            betas=torch.from_numpy(betas.copy()).to(dtype),
            body_pose=torch.from_numpy(pose[:, 1:].copy()).to(dtype),
            global_orient=torch.from_numpy(pose[:, 0].copy()).to(dtype),
        )
    return out.vertices.double().numpy()


def rest_body(body: SkinnedBody, betas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return vertices (N, V, 3) and SMPL joints (N, 24, 3) of the rest pose, meters.

    Args:
        body: The body model.
        betas: (N, 10) shapes, or as many coefficients as the body has.
    """
    with torch.no_grad():
        out = body(betas=torch.from_numpy(betas.copy()).to(float_type(body)))
    return out.vertices.double().numpy(), out.joints[:, :_NUM_JOINTS].double().numpy()


def global_rotations(pose: FloatArray) -> FloatArray:
    """Convert axis-angle poses (N, 24, 3) to orientations (N, 24, 3, 3) in one frame."""
    local = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(-1, _NUM_JOINTS, 3, 3)
    bones = local.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            bones[:, joint] = bones[:, parent] @ local[:, joint]
    return bones


def local_pose(bones: FloatArray) -> FloatArray:
    """Convert orientations (N, 24, 3, 3) to axis-angle poses (N, 24, 3)."""
    local = bones.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(bones[:, parent], -1, -2) @ bones[:, joint]
    return Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(-1, _NUM_JOINTS, 3)


def float_type(body: SkinnedBody) -> torch.dtype:
    """Return the floating-point type of a body's buffers."""
    return next(tensor.dtype for tensor in body.buffers() if tensor.is_floating_point())
