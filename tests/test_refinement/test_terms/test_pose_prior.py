"""The terms of the population's poses and shapes: formulas, and estimates from noisy fits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera, axis_angle_to_matrix
from mmjrr.refinement import Observations, PosedBodies
from mmjrr.refinement.terms import PosePriorTerm, ShapePriorTerm, pose_prior_energy
from mmjrr.refinement.terms.pose_prior import MIN_DEVIATION, rotation_distribution

CAMERA = PerspectiveCamera(torch.full((1, 2), 500.0), torch.full((1, 2), 112.0))
MEAN = Rotation.from_rotvec([0.5, -0.3, 0.2])


def fits_of_moments(
    degrees: tuple[float, ...], error: float, moments: int, views: int, joints: int = 1
) -> tuple[Tensor, Tensor]:
    """Return rotations around a mean with deviations by axis, and errors of each view."""
    random = np.random.default_rng(0)
    poses = np.radians(degrees) * random.normal(size=(moments * joints, 3))
    true = MEAN * Rotation.from_rotvec(poses)
    seen = [
        (true * Rotation.from_rotvec(np.radians(error) * random.normal(size=poses.shape)))
        .as_matrix()
        .reshape(moments, joints, 3, 3)
        for _ in range(views)
    ]
    rotations = torch.from_numpy(np.stack(seen, 1).reshape(-1, joints, 3, 3))
    return rotations, torch.arange(moments).repeat_interleave(views)


def test_energy_is_the_squared_mahalanobis_distance_of_rotation_vectors() -> None:
    covariance = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]])
    vector = np.array([0.4, -0.5, 0.2])
    rotation = (MEAN * Rotation.from_rotvec(vector)).as_matrix()
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    energy = pose_prior_energy(
        torch.from_numpy(rotation)[None, None],
        torch.from_numpy(MEAN.as_matrix())[None],
        torch.from_numpy(whitening)[None],
    )
    assert float(energy) == pytest.approx(vector @ np.linalg.solve(covariance, vector), rel=1e-9)


@pytest.mark.parametrize('views', [2, 4])
def test_the_errors_of_views_are_not_taken_for_poses(views: int) -> None:
    rotations, moment = fits_of_moments((30.0, 8.0, 8.0), error=15.0, moments=4000, views=views)
    mean, covariance = rotation_distribution(rotations, moment)
    np.testing.assert_allclose(mean[0], MEAN.as_matrix(), atol=0.03)
    deviations = covariance[0].diagonal().sqrt().rad2deg()
    np.testing.assert_allclose(deviations, [30, 8, 8], rtol=0.1)


def test_poses_that_do_not_vary_keep_a_deviation() -> None:
    rotations, moment = fits_of_moments((0.0, 0.0, 0.0), error=10.0, moments=200, views=4)
    _, covariance = rotation_distribution(rotations, moment)
    deviations = torch.linalg.eigvalsh(covariance[0]).sqrt().rad2deg()
    np.testing.assert_allclose(deviations, MIN_DEVIATION, rtol=1e-4)


def test_single_views_and_frames_that_are_not_finite() -> None:
    rotations, moment = fits_of_moments((20.0, 20.0, 20.0), error=0.0, moments=500, views=1)
    rotations[7] = torch.nan
    _, covariance = rotation_distribution(rotations, moment)
    np.testing.assert_allclose(covariance[0].diagonal().sqrt().rad2deg(), 20, rtol=0.1)
    with pytest.raises(ValueError, match='at least two moments'):
        rotation_distribution(rotations[:1], moment[:1])


def test_estimates_are_plain_values_and_the_term_is_chi_squared_on_its_own_poses() -> None:
    rotations, moment = fits_of_moments((20.0, 9.0, 9.0), 0.0, moments=300, views=1, joints=24)
    rotations = rotations.float()
    observed = Observations(
        keypoints_3d=torch.zeros(300, 17, 3), keypoints_3d_weight=torch.ones(300, 17),
        keypoints_2d=torch.zeros(300, 17, 2), keypoints_2d_weight=torch.ones(300, 17),
        camera=CAMERA, mask=None, initial_rotations=rotations,
    )  # fmt: skip
    term = PosePriorTerm(name='prior')
    bodies = PosedBodies(
        rotations, torch.zeros(300, 10), torch.zeros(300, 3), torch.zeros(300, 1, 3), CAMERA,
        (224, 224),
    )  # fmt: skip
    with pytest.raises(ValueError, match='prior: .*has not been estimated'):
        term(bodies, observed)
    term.set_estimates(json.loads(json.dumps(term.estimate(observed, moment))))
    assert float(term(bodies, observed).mean()) == pytest.approx(69, rel=0.02)


def test_shapes_count_by_their_squared_coefficients() -> None:
    betas = torch.tensor([[0.0] * 10, [1.0, -2.0, *[0.5] * 8]])
    bodies = PosedBodies(
        torch.eye(3).expand(2, 24, 3, 3), betas, torch.zeros(2, 3), torch.zeros(2, 1, 3), CAMERA,
        (224, 224),
    )  # fmt: skip
    observed = Observations(
        keypoints_3d=torch.zeros(2, 17, 3), keypoints_3d_weight=torch.ones(2, 17),
        keypoints_2d=torch.zeros(2, 17, 2), keypoints_2d_weight=torch.ones(2, 17),
        camera=CAMERA, mask=None,
    )  # fmt: skip
    assert ShapePriorTerm()(bodies, observed).tolist() == [0.0, 7.0]


def test_a_frames_value_and_gradient_have_the_same_digits_in_any_batch() -> None:
    torch.manual_seed(0)
    rotations = axis_angle_to_matrix(0.3 * torch.randn(16, 23, 3))
    mean, whitening = axis_angle_to_matrix(0.1 * torch.randn(23, 3)), torch.randn(23, 3, 3)

    def value_and_gradient(rows: slice) -> tuple[Tensor, Tensor]:
        leaf = rotations[rows].clone().requires_grad_()
        value = pose_prior_energy(leaf, mean, whitening)
        value.sum().backward()
        assert leaf.grad is not None
        return value.detach(), leaf.grad

    whole = value_and_gradient(slice(None))
    for rows in (slice(0, 8), slice(0, 5), slice(5, 16), slice(6, 7)):
        for part, expected in zip(value_and_gradient(rows), whole, strict=True):
            assert torch.equal(part, expected[rows]), rows
