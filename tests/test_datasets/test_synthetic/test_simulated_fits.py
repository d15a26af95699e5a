from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.datasets.synthetic.motion import sample_motion
from mmjrr.datasets.synthetic.posing import global_rotations
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.simulated_fits import ESTIMATORS, estimate, estimate_transl, mocap_fit
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import SMPL_JOINTS

AHEAD = np.array([0.0, 0.0, 1.0])
BETAS = np.linspace(-1.5, 1.5, 10)


def true_pose(times: np.ndarray) -> np.ndarray:
    motion = sample_motion(0, 'S9', 'Discussion', times)
    return np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)


def bone_errors(
    estimator: str, times: np.ndarray, views: int = 30, direction: np.ndarray = AHEAD
) -> np.ndarray:
    """(views, T, 24, 3) rotation vectors that take true bones to estimated ones, camera frame."""
    pose = true_pose(times)
    errors = []
    for view in range(views):
        directions = np.tile(direction, (len(times), 1))
        estimated, _ = estimate(0, estimator, f'view{view}', times, pose, BETAS, directions)
        turned = global_rotations(estimated) @ np.swapaxes(global_rotations(pose), -1, -2)
        rotvec = Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_rotvec()
        errors.append(rotvec.reshape(len(times), 24, 3))
    return np.stack(errors)


def test_estimates_come_from_seed_estimator_and_sequence():
    times = np.array([0.0, 0.5])
    directions = np.tile(AHEAD, (2, 1))

    def pose(seed: int, estimator: str, sequence: str) -> np.ndarray:
        return estimate(seed, estimator, sequence, times, true_pose(times), BETAS, directions)[0]

    first = pose(0, 'spin_like', 'a')
    np.testing.assert_array_equal(first, pose(0, 'spin_like', 'a'))
    for other in ((1, 'spin_like', 'a'), (0, 'vibe_like', 'a'), (0, 'spin_like', 'b')):
        assert not np.allclose(first, pose(*other))


def test_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="estimator: found 'cliff'"):
        estimate(0, 'cliff', 'a', np.zeros(1), np.zeros((1, 24, 3)), BETAS, AHEAD[None])


def test_errors_are_larger_out_of_the_image_plane_and_at_the_feet():
    errors = bone_errors('meva_like', np.array([0.0]), views=200)[:, 0]
    varying = errors - errors.mean(0)
    spread = varying.std(0)
    assert np.all(spread[:, 2] < 0.8 * spread[:, :2].mean(1))
    size = np.linalg.norm(spread, axis=-1)
    assert size[SMPL_JOINTS.index('left_ankle')] > 1.5 * size[SMPL_JOINTS.index('left_knee')]


def test_errors_are_correlated_along_the_limbs():
    errors = bone_errors('meva_like', np.array([0.0]), views=300)[:, 0, :, 0]
    hip, knee, elbow = (SMPL_JOINTS.index(n) for n in ('left_hip', 'left_knee', 'right_elbow'))
    correlation = np.corrcoef(errors.T)
    assert correlation[hip, knee] > 0.3 > abs(correlation[knee, elbow])


def test_video_estimators_err_more_smoothly_than_the_single_image_one():
    times = np.array([0.0, 0.5])

    def correlation(estimator: str) -> float:
        errors = bone_errors(estimator, times, views=60)
        varying = errors - errors.mean((0, 1))
        return float(np.corrcoef(varying[:, 0].ravel(), varying[:, 1].ravel())[0, 1])

    single, video = correlation('spin_like'), correlation('vibe_like')
    assert single == pytest.approx(np.exp(-0.5 / 0.3), abs=0.1)
    assert video == pytest.approx(np.exp(-0.5 / 1.5), abs=0.1)


def test_a_person_off_centre_comes_out_turned_by_the_stated_share():
    angle = np.radians(12)
    beside = np.array([np.sin(angle), 0.0, np.cos(angle)])
    times = np.array([0.0])
    pose = true_pose(times)
    shares = [
        estimate(0, 'spin_like', 'a', times, pose, BETAS, direction[None])[0]
        for direction in (AHEAD, beside)
    ]
    roots = [Rotation.from_rotvec(f[0, 0]) for f in shares]
    turn = (roots[1] * roots[0].inv()).as_rotvec()
    np.testing.assert_allclose(turn, [0, -ESTIMATORS['spin_like'].view_turn * angle, 0], atol=1e-9)


def test_shape_is_pulled_to_the_mean():
    times = np.arange(400) * 5.0
    _, betas = estimate(
        0, 'spin_like', 'a', times, true_pose(times), BETAS, np.tile(AHEAD, (400, 1))
    )
    model = ESTIMATORS['spin_like']
    np.testing.assert_allclose(betas.mean(0), (1 - model.shape_pull) * BETAS, atol=0.08)
    assert betas.std(0).mean() == pytest.approx(model.shape_noise, rel=0.1)


def test_marker_fits_err_alike_everywhere():
    times = np.arange(50) * 1.0
    pose = true_pose(times)
    estimated, _ = mocap_fit(0, 'S1', pose, BETAS)
    local = Rotation.from_rotvec(pose.reshape(-1, 3)).inv() * Rotation.from_rotvec(
        estimated.reshape(-1, 3)
    )
    errors = local.as_rotvec().reshape(pose.shape)[:, 1:]
    assert np.linalg.norm(errors.mean(0), axis=-1).mean() > errors.std(0).mean()


def test_estimated_translation_covers_the_person_in_the_image():
    frames, box = 500, np.full(500, 400.0)
    camera = PerspectiveCamera(
        torch.tensor([1145.0, 1144.0]).double(), torch.tensor([512.0, 515.0]).double()
    )
    pelvis = np.tile([0.3, -0.1, 5.0], (frames, 1))
    rest = np.tile([0.0, -0.2, 0.02], (frames, 1))
    ratio = np.full(frames, 0.9)
    model = ESTIMATORS['spin_like']
    transl = estimate_transl(stream(0, 'x'), model, pelvis, ratio, rest, camera, box)
    placed = transl + rest
    pixels = camera.project(torch.from_numpy(placed)[None])[0].numpy()
    expected = camera.project(torch.from_numpy(pelvis[:1])[None])[0].numpy()
    assert (pixels - expected).std(0) == pytest.approx(model.pixel * 400 / 224, rel=0.15)
    assert placed[:, 2].mean() == pytest.approx(4.5, rel=0.01)
    assert np.log(placed[:, 2]).std() == pytest.approx(model.depth, rel=0.15)
