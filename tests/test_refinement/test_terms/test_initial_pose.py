"""The term of the initial fits: its formula, and the errors that it estimates from views."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import SMPL_JOINTS
from mmjrr.refinement import Observations, PosedBodies
from mmjrr.refinement.terms import InitialPoseTerm, initial_pose_energy
from mmjrr.refinement.terms.initial_pose import MIN_DEVIATION, rotation_deviation

CAMERA = PerspectiveCamera(torch.full((1, 2), 500.0), torch.full((1, 2), 112.0))


def matrices(vectors: np.ndarray) -> Tensor:  # (..., 3) -> (..., 3, 3)
    shape = vectors.shape[:-1]
    return torch.from_numpy(
        Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*shape, 3, 3)
    )


def views_of_moments(degrees: np.ndarray, moments: int, views: int) -> tuple[Tensor, Tensor]:
    """Return rotations of views whose errors have these standard deviations about each axis."""
    random = np.random.default_rng(0)
    true = Rotation.random(moments * len(degrees), random_state=0)
    errors = random.normal(size=(views, moments * len(degrees), 3))
    errors *= np.radians(np.tile(degrees, moments))[:, None]
    seen = np.stack([(true * Rotation.from_rotvec(error)).as_matrix() for error in errors], 1)
    rotations = seen.reshape(moments, len(degrees), views, 3, 3).swapaxes(1, 2)
    return torch.from_numpy(rotations.reshape(-1, len(degrees), 3, 3)), torch.arange(
        moments
    ).repeat_interleave(views)


def observations(initial: Tensor) -> Observations:
    count = len(initial)
    return Observations(
        keypoints_3d=torch.zeros(count, 17, 3), keypoints_3d_weight=torch.ones(count, 17),
        keypoints_2d=torch.zeros(count, 17, 2), keypoints_2d_weight=torch.ones(count, 17),
        camera=CAMERA, mask=None, initial_rotations=initial,
    )  # fmt: skip


def test_energy_is_the_squared_sine_of_half_the_angle_in_units_of_the_deviation() -> None:
    random = np.random.default_rng(1)
    first, second = Rotation.random(6, random_state=1), Rotation.random(6, random_state=2)
    deviation = random.uniform(0.1, 0.5, 3)
    angles = (first.inv() * second).magnitude().reshape(2, 3)
    expected = (4 * np.sin(angles / 2) ** 2 / deviation**2).sum(1)
    a, b = (torch.from_numpy(r.as_matrix().reshape(2, 3, 3, 3)) for r in (first, second))
    energy = initial_pose_energy(a, b, torch.from_numpy(deviation))
    np.testing.assert_allclose(energy.numpy(), expected, rtol=1e-12)


def test_small_angles_count_by_their_squares() -> None:
    vector = np.array([[[0.01, -0.02, 0.015]]])
    energy = initial_pose_energy(
        matrices(vector), torch.eye(3).expand(1, 1, 3, 3).double(), torch.tensor([0.1]).double()
    )
    assert float(energy) == pytest.approx((vector**2).sum() / 0.01, rel=1e-3)


@pytest.mark.parametrize('views', [2, 4])
def test_deviations_are_estimated_from_the_views_of_a_moment(views: int) -> None:
    degrees = np.array([3.0, 8.0, 15.0])
    rotations, moment = views_of_moments(degrees, moments=2000, views=views)
    found = rotation_deviation(rotations, moment).rad2deg()
    np.testing.assert_allclose(found, degrees, rtol=0.04)  # chords are shorter than arcs


def test_frames_that_are_not_finite_and_single_views_do_not_count() -> None:
    rotations, moment = views_of_moments(np.array([5.0]), moments=50, views=3)
    expected = rotation_deviation(rotations, moment)
    more = torch.cat([rotations, torch.full((1, 1, 3, 3), torch.nan), rotations[:1]])
    of_more = torch.cat([moment, torch.tensor([0, 50])])
    torch.testing.assert_close(rotation_deviation(more.double(), of_more), expected)


def test_single_views_need_a_deviation() -> None:
    rotations, _ = views_of_moments(np.full(24, 5.0), moments=4, views=1)
    observed = observations(rotations)
    with pytest.raises(ValueError, match='arms: no moment has two views.*give deviation'):
        InitialPoseTerm(name='arms').estimate(observed, torch.arange(4))
    assert InitialPoseTerm(deviation=10.0).estimate(observed, torch.arange(4)) == {}


def test_estimates_are_plain_values_which_another_process_takes() -> None:
    rotations, moment = views_of_moments(np.full(24, 5.0), moments=30, views=4)
    rotations[:, SMPL_JOINTS.index('left_hand')] = torch.eye(3).double()  # always at rest
    observed = observations(rotations)
    estimates = InitialPoseTerm().estimate(observed, moment)
    assert estimates['deviation']['left_hand'] == MIN_DEVIATION
    assert estimates['deviation']['head'] == pytest.approx(5, rel=0.2)
    other = InitialPoseTerm()
    other.set_estimates(json.loads(json.dumps(estimates)))
    degrees = torch.tensor([estimates['deviation'][name] for name in SMPL_JOINTS[1:]])
    bodies = PosedBodies(
        matrices(np.full((1, 24, 3), 0.1)), torch.zeros(1, 10), torch.zeros(1, 3),
        torch.zeros(1, 1, 3), CAMERA, (224, 224),
    )  # fmt: skip
    at_rest = dataclasses.replace(observed[:1], initial_rotations=torch.eye(3).expand(1, 24, 3, 3))
    angle = np.sqrt(3) * 0.1
    expected = (4 * np.sin(angle / 2) ** 2 / np.radians(degrees.numpy()) ** 2).sum()
    assert float(other(bodies, at_rest)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ('deviation', 'message'),
    [
        (0.0, 'expected positive degrees'),
        (dict(head=3.0), "unknown or missing .*'left_knee'"),
        (float('nan'), 'expected positive degrees'),
    ],
)
def test_wrong_deviations_are_refused(deviation: float | dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InitialPoseTerm(deviation=deviation)
