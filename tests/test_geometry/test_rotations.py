"""Rotations against SciPy, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmjrr.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)

ANGLES = [0.0, 1e-12, 1e-7, 1e-4, 1.1e-4, 1e-2, 1.0, 3.0, math.pi - 1e-4, math.pi - 1e-8]


def axes(count: int = 40) -> Tensor:
    """Random unit vectors, and the coordinate axes in both directions."""
    random = torch.randn(count, 3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    return torch.nn.functional.normalize(torch.cat([random, eye, -eye]), dim=-1)


@pytest.mark.parametrize('angle', [*ANGLES, math.pi, 4.0, 20.0])
def test_axis_angle_to_matrix_agrees_with_scipy(angle: float) -> None:
    vectors = angle * axes()
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(axis_angle_to_matrix(vectors).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize('angle', ANGLES)
def test_matrix_to_axis_angle_agrees_with_scipy(angle: float) -> None:
    vectors = angle * axes()
    matrices = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    converted = matrix_to_axis_angle(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(converted, vectors.numpy(), atol=1e-13 if angle < 1 else 1e-7)


def test_half_turns_keep_their_rotation() -> None:
    matrices = Rotation.from_rotvec(math.pi * axes().numpy()).as_matrix()
    vectors = matrix_to_axis_angle(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), math.pi, atol=1e-7)
    np.testing.assert_allclose(Rotation.from_rotvec(vectors).as_matrix(), matrices, atol=1e-7)


def test_quaternions_agree_with_scipy() -> None:
    rotations = Rotation.random(200, random_state=0)
    quaternions = matrix_to_quaternion(torch.from_numpy(rotations.as_matrix()))
    assert (quaternions[:, 0] >= 0).all()
    x, y, z, w = rotations.as_quat().T
    expected = np.stack([w, x, y, z], 1) * np.sign(w)[:, None]
    np.testing.assert_allclose(quaternions.numpy(), expected, atol=1e-14)


def test_6d_is_the_first_two_columns_stored_row_by_row() -> None:
    matrix = torch.from_numpy(Rotation.random(5, random_state=1).as_matrix())
    rotation_6d = matrix_to_rotation_6d(matrix)
    # SPIN reads it as x.view(-1, 3, 2): columns a1 = [:, :, 0], a2 = [:, :, 1].
    assert torch.equal(rotation_6d.view(-1, 3, 2)[:, :, 0], matrix[:, :, 0])
    assert torch.equal(rotation_6d.view(-1, 3, 2)[:, :, 1], matrix[:, :, 1])
    torch.testing.assert_close(rotation_6d_to_matrix(rotation_6d), matrix)


def test_any_6d_numbers_become_the_gram_schmidt_rotation() -> None:
    rotation_6d = torch.randn(30, 6, dtype=torch.float64)
    matrices = rotation_6d_to_matrix(rotation_6d).numpy()
    for columns, matrix in zip(rotation_6d.view(-1, 3, 2).numpy(), matrices, strict=True):
        q, r = np.linalg.qr(columns)
        q = q * np.sign(np.diag(r))  # QR is Gram-Schmidt up to signs
        expected = np.column_stack([q, np.cross(q[:, 0], q[:, 1])])
        np.testing.assert_allclose(matrix, expected, atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1.0)


@pytest.mark.parametrize('shape', [(), (1,), (2, 3), (0,), (4, 1, 2)])
def test_any_batch_shape_is_kept(shape: tuple[int, ...]) -> None:
    matrix = axis_angle_to_matrix(torch.randn(*shape, 3))
    assert matrix.shape == (*shape, 3, 3)
    assert matrix_to_axis_angle(matrix).shape == (*shape, 3)
    assert matrix_to_rotation_6d(matrix).shape == (*shape, 6)
    assert rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)).shape == (*shape, 3, 3)


def round_trip(vectors: Tensor) -> Tensor:
    return matrix_to_axis_angle(axis_angle_to_matrix(vectors))


@pytest.mark.parametrize('function', [axis_angle_to_matrix, round_trip])
@pytest.mark.parametrize('angle', [0.0, 5e-5, 9.9e-5, 1.1e-4, 0.3, 2.5, math.pi - 1e-3])
def test_gradients_agree_with_finite_differences(
    function: Callable[[Tensor], Tensor], angle: float
) -> None:
    vectors = (angle * axes(4)).requires_grad_()
    assert torch.autograd.gradcheck(function, vectors, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize('angle', [0.0, 1e-9, 1e-4, 1e-3, 1.0, 3.1415, math.pi])
def test_gradients_are_finite_in_single_precision(angle: float) -> None:
    vectors = (angle * axes(4)).float().requires_grad_()
    (gradient,) = torch.autograd.grad(round_trip(vectors).square().sum(), vectors)
    assert gradient.isfinite().all()


@pytest.mark.parametrize('angle', [1e-4, 1e-3, 1e-2])
def test_small_rotations_keep_single_precision(angle: float) -> None:
    vectors = angle * axes()
    exact = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    matrices = axis_angle_to_matrix(vectors.float()).double().numpy()
    # The symmetric part is of second order in the angle, so it loses precision first.
    difference = (matrices + matrices.swapaxes(1, 2)) / 2 - (exact + exact.swapaxes(1, 2)) / 2
    assert np.abs(difference).max() < 1.2e-7
    assert torch.equal(axis_angle_to_matrix(torch.zeros(3)), torch.eye(3))


def test_gradients_of_6d_agree_with_finite_differences() -> None:
    rotation_6d = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, rotation_6d)
