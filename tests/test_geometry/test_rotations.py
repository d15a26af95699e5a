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
    """Unit vectors, the coordinate axes both ways among them."""
    drawn = torch.randn(count, 3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    return torch.nn.functional.normalize(torch.cat([drawn, eye, -eye]), dim=-1)


@pytest.mark.parametrize('angle', [*ANGLES, math.pi, 4.0, 20.0])
def test_axis_angle_to_matrix_agrees_with_scipy(angle: float) -> None:
    vectors = angle * axes()
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(axis_angle_to_matrix(vectors).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize('angle', ANGLES)
def test_matrix_to_axis_angle_agrees_with_scipy(angle: float) -> None:
    vectors = angle * axes()
    matrices = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    found = matrix_to_axis_angle(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(found, vectors.numpy(), atol=1e-13 if angle < 1 else 1e-7)


def test_half_turns_come_back_as_the_same_rotation() -> None:
    matrices = Rotation.from_rotvec(math.pi * axes().numpy()).as_matrix()
    vectors = matrix_to_axis_angle(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), math.pi, atol=1e-7)
    np.testing.assert_allclose(Rotation.from_rotvec(vectors).as_matrix(), matrices, atol=1e-7)


def test_quaternions_agree_with_scipy() -> None:
    rotations = Rotation.random(200, random_state=0)
    found = matrix_to_quaternion(torch.from_numpy(rotations.as_matrix()))
    assert (found[:, 0] >= 0).all()
    x, y, z, w = rotations.as_quat().T
    expected = np.stack([w, x, y, z], 1) * np.sign(w)[:, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


def test_six_numbers_are_the_first_two_columns_row_by_row() -> None:
    matrix = torch.from_numpy(Rotation.random(5, random_state=1).as_matrix())
    six = matrix_to_rotation_6d(matrix)
    # SPIN reads them as x.view(-1, 3, 2): columns a1 = [:, :, 0], a2 = [:, :, 1].
    assert torch.equal(six.view(-1, 3, 2)[:, :, 0], matrix[:, :, 0])
    assert torch.equal(six.view(-1, 3, 2)[:, :, 1], matrix[:, :, 1])
    torch.testing.assert_close(rotation_6d_to_matrix(six), matrix)


def test_any_six_numbers_become_the_gram_schmidt_rotation() -> None:
    six = torch.randn(30, 6, dtype=torch.float64)
    found = rotation_6d_to_matrix(six).numpy()
    for numbers, matrix in zip(six.numpy(), found, strict=True):
        q, r = np.linalg.qr(numbers.reshape(3, 2))
        q = q * np.sign(np.diag(r))  # QR is Gram-Schmidt up to signs
        expected = np.column_stack([q, np.cross(q[:, 0], q[:, 1])])
        np.testing.assert_allclose(matrix, expected, atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1.0)


@pytest.mark.parametrize('shape', [(), (1,), (2, 3), (0,), (4, 1, 2)])
def test_any_batch_shape(shape: tuple[int, ...]) -> None:
    matrix = axis_angle_to_matrix(torch.randn(*shape, 3))
    assert matrix.shape == (*shape, 3, 3)
    assert matrix_to_axis_angle(matrix).shape == (*shape, 3)
    assert matrix_to_rotation_6d(matrix).shape == (*shape, 6)
    assert rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)).shape == (*shape, 3, 3)


def there_and_back(vectors: Tensor) -> Tensor:
    return matrix_to_axis_angle(axis_angle_to_matrix(vectors))


@pytest.mark.parametrize('function', [axis_angle_to_matrix, there_and_back])
@pytest.mark.parametrize('angle', [0.0, 5e-5, 9.9e-5, 1.1e-4, 0.3, 2.5, math.pi - 1e-3])
def test_gradients_agree_with_finite_differences(
    function: Callable[[Tensor], Tensor], angle: float
) -> None:
    vectors = (angle * axes(4)).requires_grad_()
    assert torch.autograd.gradcheck(function, vectors, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize('angle', [0.0, 1e-9, 1e-4, 1e-3, 1.0, 3.1415, math.pi])
def test_gradients_are_finite_in_single_precision(angle: float) -> None:
    vectors = (angle * axes(4)).float().requires_grad_()
    (gradient,) = torch.autograd.grad(there_and_back(vectors).square().sum(), vectors)
    assert gradient.isfinite().all()


@pytest.mark.parametrize('angle', [1e-4, 1e-3, 1e-2])
def test_small_rotations_keep_single_precision(angle: float) -> None:
    vectors = angle * axes()
    exact = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    found = axis_angle_to_matrix(vectors.float()).double().numpy()
    symmetric = (exact + exact.swapaxes(1, 2)) / 2 - np.eye(3)  # of second order in the angle
    difference = (found + found.swapaxes(1, 2)) / 2 - np.eye(3) - symmetric
    assert np.abs(difference).max() < 1.2e-7
    assert torch.equal(axis_angle_to_matrix(torch.zeros(3)), torch.eye(3))


def test_gradient_of_six_numbers() -> None:
    six = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, six)
