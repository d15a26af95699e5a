"""Closed-form translation of a body from the 2D images of its joints."""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.geometry.cameras import PerspectiveCamera


def fit_translation(
    points_3d: Tensor,  # (B, J, 3), meters, axes of the camera frame, without translation
    points_2d: Tensor,  # (B, J, 2), pixels
    weight: Tensor,  # (B, J), non-negative
    camera: PerspectiveCamera,
) -> Tensor:  # (B, 3), meters, camera frame
    r"""Fit the translation that projects 3D points onto 2D points, by weighted least squares.

    With :math:`(x_j, y_j)` the normalized, undistorted image points, the perspective equations
    multiplied by the depth are linear in the translation :math:`t`; the objective is

    .. math:: \sum_j w_j \left[ (X_j + t_x - x_j (Z_j + t_z))^2
        + (Y_j + t_y - y_j (Z_j + t_z))^2 \right].

    Eliminating :math:`t_x, t_y` leaves one division for :math:`t_z` instead of a linear system.
    Points of weight 0 are ignored, even if their coordinates are NaN.

    Args:
        points_3d: Points of each body.
        points_2d: Images of the points.
        weight: Weight of each point.
        camera: One camera, or one for each body.

    Returns:
        The translations. A row is NaN if fewer than two distinct image points have positive
        weight. A depth can be negative if the 2D points are inconsistent with the 3D points.

    Raises:
        ValueError: The shapes are inconsistent.

    >>> camera = PerspectiveCamera([1000.0, 1000.0], [500.0, 500.0])
    >>> body = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.1]]])
    >>> pixels = camera.project(body + torch.tensor([0.2, -0.4, 5.0]))
    >>> fit_translation(body, pixels, torch.ones(1, 3), camera).round(decimals=3)
    tensor([[ 0.2000, -0.4000,  5.0000]])
    """
    batch, joints = points_3d.shape[:2]
    for name, value, expected in (
        ('points_3d', points_3d, (batch, joints, 3)),
        ('points_2d', points_2d, (batch, joints, 2)),
        ('weight', weight, (batch, joints)),
    ):
        if value.shape != expected:
            raise ValueError(f'{name}: found shape {tuple(value.shape)}, expected {expected}')
    valid = (weight > 0)[..., None]  # (B, J, 1)
    points = torch.where(valid, points_3d, torch.zeros_like(points_3d))
    xy = camera.unproject(torch.where(valid, points_2d, camera.principal_point[:, None]))
    weight = torch.where(valid, weight[..., None], torch.zeros_like(points[..., :1]))
    weight = weight / weight.sum(1, keepdim=True)  # (B, J, 1); NaN without a valid point

    # For x: t_x - x t_z = x Z - X =: residual, so t_x = mean(residual) + mean(x) t_z. Same for y.
    residual = xy * points[..., 2:] - points[..., :2]  # (B, J, 2)
    mean_xy, mean_residual = (weight * xy).sum(1), (weight * residual).sum(1)  # (B, 2)
    xy_offset, residual_offset = xy - mean_xy[:, None], residual - mean_residual[:, None]
    variance = (weight * xy_offset.square()).sum((1, 2))  # (B,)
    rounding = 16 * torch.finfo(xy.dtype).eps * (1 + mean_xy.abs().sum(-1))
    determined = variance.sqrt() > rounding
    depth = -(weight * xy_offset * residual_offset).sum((1, 2)) / variance
    depth = torch.where(determined, depth, torch.full_like(depth, float('nan')))
    return torch.cat([mean_residual + mean_xy * depth[:, None], depth[:, None]], -1)
