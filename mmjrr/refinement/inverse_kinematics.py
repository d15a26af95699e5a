"""Initial fits without an estimator: bodies fitted to annotated 3D joints.

Seventeen joints do not determine a body: they leave the turn of limbs about their own axes, hands,
feet and most of the shape open. The fit is therefore a maximum a posteriori estimate: joints lie
off the labels by the regressor's errors, and rotations and shape are distributed about the rest
pose and the mean shape, as wide as joint limits suggest. A smaller error of joints would make hands
and feet turn until the regressor's errors are gone. Several starts guard against local minima; the
best one is kept for each frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmjrr.body_models import SMPL
from mmjrr.errors import check_count
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
from mmjrr.refinement.terms.rest_pose import rest_pose_energy
from mmjrr.regressors import JointRegressor

#: Number of labeled joints of the trunk that a start needs.
MIN_TRUNK_JOINTS = 3
#: Standard deviation per axis of joints from the labels, meters: regressors such as J_std are 2 to
#: 3 cm off.
JOINT_STD = 0.03
#: Standard deviation of rotations beyond the limits, radians (5 degrees).
BEYOND_LIMITS_STD = 0.087
#: Standard deviation of the other starts' rotation vectors, radians. Every frame has the same
#: starts, so that the views of a moment end at the same body.
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
        ValueError: A shape is wrong, a number is not a positive integer, or a frame has fewer than
            three joints of the trunk.
    """
    if joints.shape[1:] != (regressor.num_joints, 3):
        raise ValueError(
            f'joints: found {tuple(joints.shape)}, expected (B, {regressor.num_joints}, 3)'
        )
    check_count('num_iters', num_iters)
    check_count('num_starts', num_starts)
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
    # In the frame of the trunk, so that the views of a moment are the same problem.
    rotation, center, transl = _trunk_frame(body, regressor, joints, weight, trunk)
    in_trunk = (joints - center[:, None]) @ rotation
    best: dict[str, Tensor] = {}
    for number in range(num_starts):
        angles = _START_STD * torch.randn(1, 23, 3, generator=generator).to(like)
        pose = axis_angle_to_matrix(angles * (number > 0)).expand(len(joints), -1, -1, -1)
        result = _minimize(body, regressor, in_trunk, weight, limits, pose, transl, num_iters, lr)
        if not best:
            best = result
            continue
        better = result['energy'] < best['energy']
        best = {
            name: torch.where(better.reshape(-1, *[1] * (value.dim() - 1)), result[name], value)
            for name, value in best.items()
        }
    with torch.no_grad():
        pelvis = body.articulate(betas=best['betas']).joints[:, 0]  # the body turns about it
        place = torch.einsum('bij,bj->bi', rotation, pelvis + best['transl'])
    return dict(
        global_orient=matrix_to_axis_angle(rotation @ best['global_orient']),
        body_pose=best['body_pose'],
        betas=best['betas'],
        transl=place + center - pelvis,
        error=best['error'],
    )


def _trunk_frame(
    body: SMPL, regressor: JointRegressor, joints: Tensor, weight: Tensor, trunk: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the rest pose onto the trunk (Kabsch), and return the frame in which it is upright.

    Returns:
        The rotation (B, 3, 3) of the trunk, its center (B, 3), and the translation (B, 3) that
        moves the rest pose's trunk into the origin.
    """
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
    return u @ torch.diag_embed(flip) @ vh, mean_target, -mean_source


def _minimize(
    body: SMPL,
    regressor: JointRegressor,
    joints: Tensor,
    weight: Tensor,
    limits: tuple[Tensor, ...],
    pose: Tensor,
    transl: Tensor,
    num_iters: int,
    lr: float,
) -> dict[str, Tensor]:
    upright = torch.eye(3).to(pose).expand(len(pose), 1, 3, 3)
    rotations = matrix_to_rotation_6d(torch.cat([upright, pose], 1))
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
        energy = (
            squares / JOINT_STD**2
            + joint_limits_energy(matrices, limits[0], limits[1]) / BEYOND_LIMITS_STD**2
            + rest_pose_energy(matrices, limits[0], limits[1])
            + betas.square().sum(1)
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
        vectors = matrix_to_axis_angle(matrices[:, 1:])
    return dict(
        global_orient=matrices[:, 0],
        body_pose=vectors.flatten(1),
        betas=betas.detach(),
        transl=place.detach(),
        error=(squares / weight.sum(1)).sqrt(),
        energy=energy,
    )
