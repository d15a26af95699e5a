"""The body model under NumPy poses, and the orientations of its joints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL

Array = NDArray[np.float64]
_NUM_JOINTS = len(SMPL_JOINTS)


def pose_body(body: SMPL, betas: Array, pose: Array) -> Array:
    """Vertices of a posed body, its pelvis where the shape puts it.

    Args:
        body: the body model.
        betas: (10,) or (N, 10).
        pose: (N, 24, 3) axis-angle, the global orientation first.

    Returns:
        (N, V, 3) metres.
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


def rest_body(body: SMPL, betas: Array) -> tuple[Array, Array]:
    """Vertices (N, V, 3) and SMPL joints (N, 24, 3) of the rest pose, metres, by (N, 10) shapes."""
    with torch.no_grad():
        out = body(betas=torch.from_numpy(betas.copy()).to(float_type(body)))
    return out.vertices.double().numpy(), out.joints[:, :_NUM_JOINTS].double().numpy()


def global_rotations(pose: Array) -> Array:
    """Orientation of every joint in the pose's frame: (N, 24, 3) axis-angle to (N, 24, 3, 3)."""
    local = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(-1, _NUM_JOINTS, 3, 3)
    bones = local.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            bones[:, joint] = bones[:, parent] @ local[:, joint]
    return bones


def local_pose(bones: Array) -> Array:
    """The inverse of :func:`global_rotations`: (N, 24, 3, 3) to (N, 24, 3)."""
    local = bones.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(bones[:, parent], -1, -2) @ bones[:, joint]
    return Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(-1, _NUM_JOINTS, 3)


def float_type(body: SMPL) -> torch.dtype:
    """The floating-point type of the body's buffers."""
    return next(tensor.dtype for tensor in body.buffers() if tensor.is_floating_point())
