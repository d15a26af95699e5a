"""Rotations as axis-angle, matrices and 6D, converted both ways; batched and differentiable.

6D is the representation of Zhou et al., "On the Continuity of Rotation Representations in Neural
Networks", CVPR 2019, Section 4, in the layout of SPIN's networks: the first two *columns* of the
matrix, stored row by row (``matrix[..., :, :2].flatten(-2)``).
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    """Rodrigues' formula; exact and differentiable at zero.

    >>> axis_angle_to_matrix(torch.zeros(3))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    squared = axis_angle.square().sum(-1)[..., None, None]
    small = squared < 1e-8
    # The branch not taken must have a finite gradient too.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - squared / 24, 2 * (torch.sin(angle / 2) / angle).square())
    cross = _cross_matrix(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + cosine * (cross @ cross)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 3)
    """The rotation vector of angle at most pi; stable near 0 and near pi."""
    quaternion = matrix_to_quaternion(matrix)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared = imaginary.square().sum(-1, keepdim=True)
    small = squared < 1e-12
    norm = torch.where(small, torch.ones_like(squared), squared).sqrt()
    half = torch.atan2(norm, real)
    # angle / sin(angle / 2), which tends to 2 for small angles.
    factor = torch.where(small, 2 / real.clamp_min(0.5), 2 * half / norm)
    return factor * imaginary


def matrix_to_quaternion(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 4)
    """Unit quaternion (w, x, y, z) with w >= 0.

    The largest of the four components is computed first and the others from it, which avoids
    cancellation (Shepperd, Journal of Guidance and Control 1, 1978).
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
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.gather(candidates, -2, best).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotation_6d_to_matrix(rot6d: Tensor) -> Tensor:  # (..., 6) -> (..., 3, 3)
    """Gram-Schmidt on the two columns (Zhou et al., Equation 15).

    >>> rotation_6d_to_matrix(torch.tensor([2.0, 0.0, 0.0, 3.0, 0.0, 0.0]))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    columns = rot6d.unflatten(-1, (3, 2))
    first, second = columns[..., 0], columns[..., 1]
    b1 = torch.nn.functional.normalize(first, dim=-1)
    b2 = torch.nn.functional.normalize(second - (b1 * second).sum(-1, keepdim=True) * b1, dim=-1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], dim=-1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 6)
    """The first two columns, stored row by row."""
    return matrix[..., :2].flatten(-2)


def _cross_matrix(vector: Tensor) -> Tensor:  # (..., 3) -> (..., 3, 3)
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
