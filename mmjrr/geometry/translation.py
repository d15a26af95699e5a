"""Closed-form geometry between bodies and images."""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.geometry.cameras import PerspectiveCamera


def fit_translation(
    points_3d: Tensor,  # (B, J, 3), metres, camera frame's orientation, untranslated
    points_2d: Tensor,  # (B, J, 2), pixels
    weight: Tensor,  # (B, J), non-negative
    camera: PerspectiveCamera,
) -> Tensor:  # (B, 3), metres
    r"""Translation that brings 3D points onto their 2D images, by weighted least squares.

    With :math:`(x_j, y_j)` the normalised, undistorted image points, the perspective equations
    multiplied by the depth are linear in the translation :math:`t`; minimised is

    .. math:: \sum_j w_j \left[ (X_j + t_x - x_j (Z_j + t_z))^2
        + (Y_j + t_y - y_j (Z_j + t_z))^2 \right].

    Eliminating :math:`t_x, t_y` leaves one division for :math:`t_z`, so no system is solved.
    Points with weight 0 do not take part, whatever their coordinates (NaN too).

    Returns:
        The translations; NaN for a body whose points do not fix one (fewer than two distinct
        image points with positive weight). A depth may come out negative when the points
        contradict each other: it is the caller's to judge.

    Raises:
        ValueError: shapes do not fit together.

    >>> camera = PerspectiveCamera([1000.0, 1000.0], [500.0, 500.0])
    >>> body = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.1]]])
    >>> seen = camera.project(body + torch.tensor([0.2, -0.4, 5.0]))
    >>> fit_translation(body, seen, torch.ones(1, 3), camera).round(decimals=3)
    tensor([[ 0.2000, -0.4000,  5.0000]])
    """
    batch, joints = points_3d.shape[:2]
    expected = dict(points_3d=(batch, joints, 3), points_2d=(batch, joints, 2))
    for name, value in dict(points_3d=points_3d, points_2d=points_2d).items():
        if value.shape != expected[name]:
            raise ValueError(f'{name}: found {tuple(value.shape)}, expected {expected[name]}')
    if weight.shape != (batch, joints):
        raise ValueError(f'weight: found {tuple(weight.shape)}, expected {(batch, joints)}')
    used = (weight > 0)[..., None]  # (B, J, 1)
    points = torch.where(used, points_3d, torch.zeros_like(points_3d))
    seen = camera.unproject(torch.where(used, points_2d, camera.principal_point[:, None]))
    share = torch.where(used, weight[..., None], torch.zeros_like(points[..., :1]))
    share = share / share.sum(1, keepdim=True)  # (B, J, 1); NaN where nothing is seen

    # Per coordinate: t_x - x t_z = x Z - X =: right, so t_x = mean(right) + mean(x) t_z.
    right = seen * points[..., 2:] - points[..., :2]  # (B, J, 2)
    mean_seen, mean_right = (share * seen).sum(1), (share * right).sum(1)  # (B, 2)
    seen_offset, right_offset = seen - mean_seen[:, None], right - mean_right[:, None]
    spread = (share * seen_offset.square()).sum((1, 2))  # (B,)
    fixed = spread.sqrt() > 16 * torch.finfo(seen.dtype).eps * (1 + mean_seen.abs().sum(-1))
    depth = -(share * seen_offset * right_offset).sum((1, 2)) / spread
    depth = torch.where(fixed, depth, torch.full_like(depth, float('nan')))
    return torch.cat([mean_right + mean_seen * depth[:, None], depth[:, None]], -1)
