"""Joint errors as pure functions of predicted and annotated joints, in the inputs' unit.

All computations are in float64; the results have the inputs' floating-point dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.array_types import Array

TensorOrArray = Tensor | Array


def mpjpe(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J), non-negative
) -> Tensor:  # (B,)
    """Return the mean per-joint position error of each frame, without any alignment.

    Args:
        pred: Predicted joints, in any unit and frame of reference.
        target: Annotated joints, in the same unit and frame of reference.
        weight: Weights of the joints. The coordinates of joints with weight 0 are ignored. Default:
            equal weights.

    Returns:
        The weighted mean distance of each frame; NaN for frames without a positive weight.

    Raises:
        ValueError: Shapes differ or are not ``(B, J, 3)``, a weight is negative or NaN, or a
            coordinate of a joint with positive weight is not finite.

    >>> target = torch.zeros(1, 2, 3)
    >>> mpjpe(torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]]), target)
    tensor([3.])
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    return ((points - goal).norm(dim=-1) * share).sum(1).to(dtype)


def mpjpe_per_joint(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J)
) -> Tensor:  # (B, J)
    """Return the distance of each joint, without any alignment; NaN for joints with weight 0.

    Arguments and errors are as in :func:`mpjpe`.

    >>> mpjpe_per_joint(torch.tensor([[[3.0, 4.0, 0.0]]]), torch.zeros(1, 1, 3))
    tensor([[5.]])
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    return _where_weighted((points - goal).norm(dim=-1), share).to(dtype)


def pa_mpjpe(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J)
) -> Tensor:  # (B,)
    """Return :func:`mpjpe` after :func:`procrustes_align` ("reconstruction error").

    Arguments and errors are as in :func:`mpjpe`.

    >>> target = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    >>> turned = target[..., [1, 2, 0]] * 3 + 7
    >>> bool(pa_mpjpe(turned, target) < 1e-6)
    True
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    aligned = _align(points, goal, share)
    return ((aligned - goal).norm(dim=-1) * share).sum(1).to(dtype)


def pa_mpjpe_per_joint(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J)
) -> Tensor:  # (B, J)
    """Return :func:`mpjpe_per_joint` after :func:`procrustes_align`.

    Arguments and errors are as in :func:`mpjpe`.

    >>> target = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]])
    >>> bool((pa_mpjpe_per_joint(5 * target + 1, target) < 1e-6).all())
    True
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    errors = (_align(points, goal, share) - goal).norm(dim=-1)
    return _where_weighted(errors, share).to(dtype)


def n_mpjpe(
    pred: TensorOrArray,  # (B, J, 3), root-aligned
    target: TensorOrArray,  # (B, J, 3), root-aligned
    weight: TensorOrArray | None = None,  # (B, J)
) -> Tensor:  # (B,)
    """Return the scale-normalized :func:`mpjpe`: each frame of ``pred`` is scaled about the origin.

    The scale minimizes the weighted squared distances (N-MPJPE of H. Rhodin et al., "Learning
    monocular 3D human pose estimation from multi-view images", CVPR 2018). Align the roots first. A
    frame whose points all lie in the origin keeps them there.

    Arguments and errors are as in :func:`mpjpe`.

    >>> target = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]])
    >>> n_mpjpe(3 * target, target)
    tensor([0.])
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    part = share[..., None]
    size = (part * points.square()).sum((1, 2))
    scale = torch.where(size > 0, (part * points * goal).sum((1, 2)) / size, torch.zeros_like(size))
    return ((scale[:, None, None] * points - goal).norm(dim=-1) * share).sum(1).to(dtype)


def acceleration_error(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J)
    *,
    neighbors: Array,  # (B, 2)
) -> Tensor:  # (B,)
    """Return the error of each frame's second difference, in units per squared frame step.

    It is the mean distance between predicted and annotated ``x[t - 1] - 2 x[t] + x[t + 1]`` (A.
    Kanazawa et al., "Learning 3D human dynamics from video", CVPR 2019). The square of the frame
    rate converts it to units per squared second.

    Args:
        pred: Predicted joints, usually root-aligned.
        target: Annotated joints.
        weight: Weights of the joints; a joint counts if it is annotated in all three frames.
        neighbors: Rows of the frames before and after each frame, -1 if there is none.

    Returns:
        The error of each frame; NaN for frames without both neighbors.

    >>> target = torch.zeros(3, 1, 3)
    >>> pred = torch.tensor([[[0.0, 0, 0]], [[1, 0, 0]], [[0, 0, 0]]])
    >>> acceleration_error(pred, target, neighbors=torch.tensor([[-1, 1], [0, 2], [1, -1]]))
    tensor([nan, 2., nan])
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    rows = torch.as_tensor(neighbors)
    inside = (rows >= 0).all(1)
    before, after = rows[:, 0].clamp(min=0), rows[:, 1].clamp(min=0)
    difference = points - goal
    change = (difference[before] - 2 * difference + difference[after]).norm(dim=-1)
    part = share * (share[before] > 0) * (share[after] > 0) * inside[:, None]
    return ((change * part).sum(1) / part.sum(1)).to(dtype)


def procrustes_align(
    pred: TensorOrArray,  # (B, J, 3)
    target: TensorOrArray,  # (B, J, 3)
    weight: TensorOrArray | None = None,  # (B, J)
) -> Tensor:  # (B, J, 3)
    r"""Align ``pred`` with ``target`` by a similarity transform of each frame.

    Rotation, scale and translation minimize the weighted squared distances, in closed form:
    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, Equations 40 to 43. The rotation is proper, so mirror images stay mirrored. If the
    points of ``pred`` coincide, they are moved to the centroid of ``target``.

    Arguments and errors are as in :func:`mpjpe`.

    >>> target = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    >>> procrustes_align(2 * target + 5, target).round(decimals=4).abs()
    tensor([[[0., 0., 0.],
             [1., 0., 0.],
             [0., 1., 0.]]])
    """
    points, goal, share, dtype = _checked(pred, target, weight)
    return _align(points, goal, share).to(dtype)


def _align(points: Tensor, goal: Tensor, share: Tensor) -> Tensor:
    """Align checked float64 points; ``share`` sums to one over the joints of a frame."""
    weight = share[..., None].nan_to_num()  # shares are NaN in frames without a positive weight
    center, goal_center = (weight * points).sum(1, True), (weight * goal).sum(1, True)
    offset, goal_offset = points - center, goal - goal_center
    covariance = (weight * offset).mT @ goal_offset  # (B, 3, 3)
    left, values, right = torch.linalg.svd(covariance)
    # Determinant -1 would be a reflection: flip the axis of the smallest singular value.
    flip = torch.ones_like(values)
    flip[:, 2] = torch.where(torch.det(left @ right) < 0, -1.0, 1.0)
    rotation = (left * flip[:, None]) @ right
    variance = (weight * offset.square()).sum((1, 2))
    scale = torch.where(variance > 0, (values * flip).sum(1) / variance, torch.zeros_like(variance))
    return scale[:, None, None] * offset @ rotation + goal_center


def _checked(
    pred: TensorOrArray, target: TensorOrArray, weight: TensorOrArray | None
) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    """Return float64 points, target, weights (B, J) that sum to one, and the result's dtype."""
    points, goal = torch.as_tensor(pred), torch.as_tensor(target)
    if points.dim() != 3 or points.shape[-1] != 3 or points.shape != goal.shape:
        raise ValueError(
            f'pred, target: found {tuple(points.shape)} and {tuple(goal.shape)}, expected '
            '(B, J, 3), the same for both'
        )
    dtype = torch.promote_types(points.dtype, goal.dtype)
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    points, goal = points.double(), goal.double()
    if weight is None:
        share = points.new_ones(points.shape[:2])
    else:
        share = torch.as_tensor(weight).to(points)
        if share.shape != points.shape[:2]:
            raise ValueError(
                f'weight: found {tuple(share.shape)}, expected {tuple(points.shape[:2])}'
            )
        if not bool((share >= 0).all()):
            raise ValueError('weight: found negative values or NaN')
        used = (share > 0)[..., None]
        points = torch.where(used, points, torch.zeros_like(points))
        goal = torch.where(used, goal, torch.zeros_like(goal))
    for name, value in (('pred', points), ('target', goal)):
        finite = value.isfinite().all(-1)
        if not bool(finite.all()):
            frame, joint = torch.nonzero(~finite)[0].tolist()
            raise ValueError(
                f'{name}: {int((~finite).sum())} joints are not finite, the first is joint '
                f'{joint} of frame {frame}'
            )
    return points, goal, share / share.sum(1, keepdim=True), dtype


def _where_weighted(errors: Tensor, share: Tensor) -> Tensor:
    return torch.where(share > 0, errors, torch.full_like(errors, float('nan')))
