"""Initial fits without an estimator: bodies fitted to annotated 3D joints.

Seventeen joints do not determine a body: they leave the turn of limbs about their own axes, hands,
feet and most of the shape open. Joint limits, and weak pulls to the rest pose and the mean shape,
determine these. Several starts guard against local minima; the best one is kept for each frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmjrr.body_models import SMPL
from mmjrr.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from mmjrr.joints import TRUNK_JOINTS
from mmjrr.refinement.terms.joint_limits import (
    JOINT_LIMITS,
    joint_limits_energy,
    limits_of_joints,
)
from mmjrr.regressors import JointRegressor

#: Number of labeled joints of the trunk that a start needs.
MIN_TRUNK_JOINTS = 3
#: Weights of the squares of joint errors in units of 1 cm, of angles beyond the limits and of all
#: angles (radians), and of betas.
_JOINTS, _LIMITS, _POSE, _BETAS = 1.0, 10.0, 0.02, 0.02
_UNIT = 0.01
#: Standard deviation of the other starts' rotation vectors, radians.
_START_STD = 0.3


def fit_to_joints(
    body: SMPL,
    regressor: JointRegressor,
    joints: Tensor,  # (B, J, 3), meters, camera frame
    weight: Tensor | None = None,  # (B, J)
    *,
    num_iters: int = 150,
    lr: float = 0.05,
    num_starts: int = 3,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Fit SMPL bodies to 3D joints by Adam on 6D rotations, shape and translation.

    Args:
        body: The body model.
        regressor: The regressor that is compared with the joints, such as J_std.
        joints: Annotated joints in the regressor's order.
        weight: Their weights; 0 where a joint is missing, which may then be NaN. Default: ones.
        num_iters: Number of steps from each start. Default: 150.
        lr: Learning rate at the first step; it falls to zero as a cosine. Default: 0.05.
        num_starts: Number of starts: the rest pose turned to the trunk, and random poses around
            it. Default: 3.
        seed: Seed of the random starts. Default: 0.

    Returns:
        ``global_orient`` (B, 3), ``body_pose`` (B, 69), ``betas`` (B, K), ``transl`` (B, 3), and
        ``error`` (B,), the root mean square distance of the joints, meters.

    Raises:
        ValueError: A shape is wrong, an argument is below 1, or a frame has no joint of the trunk.
    """
    if joints.shape[1:] != (regressor.num_joints, 3):
        raise ValueError(
            f'joints: found {tuple(joints.shape)}, expected (B, {regressor.num_joints}, 3)'
        )
    if num_iters < 1 or num_starts < 1:
        raise ValueError(
            f'num_iters, num_starts: found {num_iters} and {num_starts}, expected at least 1'
        )
    like = body.v_template
    weight = torch.ones(joints.shape[:2]) if weight is None else weight
    weight = weight.to(like)
    joints = torch.where(weight[..., None] > 0, joints.to(like), 0.0)
    trunk = torch.tensor([regressor.joint_names.index(n) for n in TRUNK_JOINTS])
    if ((weight[:, trunk] > 0).sum(1) < MIN_TRUNK_JOINTS).any():
        raise ValueError('weight: found a frame with fewer than three joints of the trunk')
    body = body.restrict_to(regressor.support)
    limits = tuple(bound.to(like) for bound in limits_of_joints(JOINT_LIMITS))
    generator = torch.Generator().manual_seed(seed)
    orient, transl = _trunk_placement(body, regressor, joints, weight, trunk)
    best: dict[str, Tensor] = {}
    for number in range(num_starts):
        angles = _START_STD * torch.randn(len(joints), 23, 3, generator=generator).to(like)
        pose = axis_angle_to_matrix(angles * (number > 0))
        result = _minimize(
            body, regressor, joints, weight, limits, orient, pose, transl, num_iters, lr
        )
        if not best:
            best = result
            continue
        better = result['energy'] < best['energy']
        best = {
            name: torch.where(better.reshape(-1, *[1] * (value.dim() - 1)), result[name], value)
            for name, value in best.items()
        }
    del best['energy']
    return best


def _trunk_placement(
    body: SMPL, regressor: JointRegressor, joints: Tensor, weight: Tensor, trunk: Tensor
) -> tuple[Tensor, Tensor]:
    """Turn and move the rest pose onto the trunk (Kabsch): rotations (B, 3, 3), transl (B, 3)."""
    rest = body(betas=joints.new_zeros(1, body.num_betas))
    source = regressor(rest.vertices)[:, trunk]  # (1, T, 3)
    target, w = joints[:, trunk], weight[:, trunk, None]
    w = w / w.sum(1, keepdim=True)
    mean_source, mean_target = (w * source).sum(1), (w * target).sum(1)
    covariance = (w * (target - mean_target[:, None])).transpose(1, 2) @ (
        source - mean_source[:, None]
    )
    u, _, vh = torch.linalg.svd(covariance)
    sign = torch.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    rotation = u @ torch.diag_embed(flip) @ vh
    # The body turns about its rest pelvis.
    pelvis = rest.joints[:, 0]
    turned = (rotation @ (mean_source - pelvis)[..., None])[..., 0] + pelvis
    return rotation, mean_target - turned


def _minimize(
    body: SMPL,
    regressor: JointRegressor,
    joints: Tensor,
    weight: Tensor,
    limits: tuple[Tensor, ...],
    orient: Tensor,
    pose: Tensor,
    transl: Tensor,
    num_iters: int,
    lr: float,
) -> dict[str, Tensor]:
    rotations = matrix_to_rotation_6d(torch.cat([orient[:, None], pose], 1))
    rotations = rotations.detach().clone().requires_grad_()
    betas = joints.new_zeros(len(joints), body.num_betas).requires_grad_()
    place = transl.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([rotations, betas, place], lr=lr)

    def evaluate() -> tuple[Tensor, Tensor, Tensor]:
        matrices = rotation_6d_to_matrix(rotations)
        vertices = body(
            global_orient=matrices[:, :1], body_pose=matrices[:, 1:], betas=betas, transl=place
        ).vertices
        squares = (weight * (regressor(vertices) - joints).square().sum(-1)).sum(1)
        angles = matrix_to_axis_angle(matrices[:, 1:])
        energy = (
            _JOINTS * squares / _UNIT**2
            + _LIMITS * joint_limits_energy(matrices, limits[0], limits[1])
            + _POSE * angles.square().sum((1, 2))
            + _BETAS * betas.square().sum(1)
        )
        return energy, squares, matrices

    for step in range(num_iters):
        for group in optimizer.param_groups:
            group['lr'] = lr * 0.5 * (1 + math.cos(math.pi * step / num_iters))
        optimizer.zero_grad()
        evaluate()[0].sum().backward()
        optimizer.step()
    with torch.no_grad():
        energy, squares, matrices = evaluate()
        vectors = matrix_to_axis_angle(matrices)
    return dict(
        global_orient=vectors[:, 0],
        body_pose=vectors[:, 1:].flatten(1),
        betas=betas.detach(),
        transl=place.detach(),
        error=(squares / weight.sum(1)).sqrt(),
        energy=energy,
    )
