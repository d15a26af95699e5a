"""Conversions of rotations between axis-angle, quaternions, matrices and 6D.

All functions take any batch shape and are differentiable.

Convention:
    - Matrices act on column vectors: ``x_rotated = matrix @ x``.
    - Axis-angle: the rotation axis times the angle in radians, by the right-hand rule.
    - Quaternions: (w, x, y, z), real part first, w >= 0.
    - 6D (Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR
      2019, Section 4): the first two *columns* of the matrix, as in the paper, but stored row by
      row, as in SPIN's networks: ``matrix[..., :, :2].flatten(-2)``. MEVA stores the first column
      and then the second; PyTorch3D's functions of the same name take the first two *rows*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.frame_products import elementwise


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    """Convert axis-angle to matrices with Rodrigues' formula; differentiable at zero.

    >>> axis_angle_to_matrix(torch.zeros(3))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    squared = axis_angle.square().sum(-1)[..., None, None]
    small = squared < 1e-8
    # torch.where propagates NaN gradients from the branch that is not selected.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, elementwise(torch.sin, angle) / angle)
    cosine = torch.where(
        small, 0.5 - squared / 24, 2 * (elementwise(torch.sin, angle / 2) / angle).square()
    )
    cross = _cross_matrix(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + cosine * (cross @ cross)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 3)
    """Convert matrices to axis-angle; the angle is at most pi, and is accurate near 0 and pi."""
    quaternion = matrix_to_quaternion(matrix)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared = imaginary.square().sum(-1, keepdim=True)
    small = squared < 1e-12
    norm = torch.where(small, torch.ones_like(squared), squared).sqrt()
    half_angle = elementwise(torch.atan2, norm, real)
    # The factor is angle / sin(angle / 2), which tends to 2 as the angle tends to 0.
    factor = torch.where(small, 2 / real.clamp_min(0.5), 2 * half_angle / norm)
    return factor * imaginary


def matrix_to_quaternion(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 4)
    """Convert matrices to unit quaternions (w, x, y, z) with w >= 0.

    The largest of the four components is computed first, and the others are computed from it, which
    avoids cancellation (Shepperd, Journal of Guidance and Control 1, 1978).
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    one = torch.ones_like(m00)
    squares = torch.stack(  # four times the squares of w, x, y, z
        [
            one + m00 + m11 + m22,
            one + m00 - m11 - m22,
            one - m00 + m11 - m22,
            one - m00 - m11 + m22,
        ],
        dim=-1,
    )
    w = torch.stack([squares[..., 0], m21 - m12, m02 - m20, m10 - m01], dim=-1)
    x = torch.stack([m21 - m12, squares[..., 1], m10 + m01, m02 + m20], dim=-1)
    y = torch.stack([m02 - m20, m10 + m01, squares[..., 2], m21 + m12], dim=-1)
    z = torch.stack([m10 - m01, m02 + m20, m21 + m12, squares[..., 3]], dim=-1)
    candidates = torch.stack([w, x, y, z], dim=-2)  # each 4 * component * quaternion
    largest = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.gather(candidates, -2, largest).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:  # (..., 6) -> (..., 3, 3)
    """Convert 6D vectors to matrices by Gram-Schmidt orthonormalization of the two columns.

    This is Equation 15 of Zhou et al. for SPIN's layout, (m00, m01, m10, m11, m20, m21). The
    columns need not be orthonormal, but must be linearly independent.

    >>> rotation_6d_to_matrix(torch.tensor([2.0, 0.0, 0.0, 3.0, 0.0, 0.0]))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    columns = rotation_6d.unflatten(-1, (3, 2))
    first, second = columns[..., 0], columns[..., 1]
    b1 = torch.nn.functional.normalize(first, dim=-1)
    b2 = torch.nn.functional.normalize(second - (b1 * second).sum(-1, keepdim=True) * b1, dim=-1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], dim=-1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 6)
    """Convert matrices to 6D vectors in SPIN's layout, (m00, m01, m10, m11, m20, m21)."""
    return matrix[..., :2].flatten(-2)


def _cross_matrix(vector: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    """Return the matrices K for which ``K @ x`` is the cross product of ``vector`` and x."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
