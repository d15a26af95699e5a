from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.datasets.synthetic.camera_rig import (
    CAMERA_IDS,
    make_cameras,
    miscalibrated,
    project,
    world_to_camera,
)
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.subjects import SUBJECTS, make_subject
from mmjrr.geometry import load_cameras


@pytest.mark.parametrize('subject', SUBJECTS)
def test_cameras_stand_around_the_subject_as_in_h36m(subject):
    cameras = make_cameras(0, subject)
    assert tuple(cameras) == CAMERA_IDS
    for camera in cameras.values():
        rotation = camera.rotation[0].numpy()
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        floor, head = world_to_camera(np.array([[0, 0, 0.0], [0, 0, 1.7]]), camera)
        assert 4 < floor[2] < 6.5
        assert head[1] < floor[1]  # image y points down
        pixels = project(np.stack([floor, head]), camera)
        assert np.all(pixels > 100) and np.all(pixels < 900)


def test_cameras_look_like_those_of_real_h36m(shared_data):
    real = load_cameras(shared_data / 'h36m_mini' / 'cameras.pkl')
    for camera_id, camera in make_cameras(0, 'S1').items():
        expected = real['S1', camera_id]
        assert camera.image_shape() == expected.image_shape()
        np.testing.assert_allclose(camera.focal_length, expected.focal_length, rtol=0.01)
        np.testing.assert_allclose(camera.principal_point, expected.principal_point, atol=25)
        np.testing.assert_allclose(camera.distortion, expected.distortion, atol=0.06)
        # H36M's frames: the same transform keeps its subjects in front of its cameras.
        assert 4 < world_to_camera(np.array([0, 0, 0.9]), expected)[2] < 6.5


def test_world_to_camera_is_what_mmpose_computes():
    camera = make_cameras(0, 'S9')['60457274']
    points = np.random.default_rng(0).normal(size=(5, 3))
    # MMPose's SimpleCamera: X @ R + T_w2c with T_w2c = -T.T @ R, on row vectors.
    R, T = camera.rotation[0].T.numpy(), camera.position[0].numpy()[:, None]
    expected = points @ R + -T.T @ R
    np.testing.assert_allclose(world_to_camera(points, camera), expected, atol=1e-12)


def test_intrinsics_belong_to_the_device_and_places_to_the_subject():
    first, second = make_cameras(0, 'S1')['54138969'], make_cameras(0, 'S5')['54138969']
    np.testing.assert_array_equal(first.focal_length, second.focal_length)
    assert not np.allclose(first.position, second.position)


def test_cameras_of_the_images_differ_from_the_calibration_by_the_errors_that_are_asked_for():
    moved = []
    for subject in SUBJECTS:
        for camera_id, camera in make_cameras(0, subject).items():
            assert miscalibrated(0, subject, camera_id, camera, 0.0) is camera
            other = miscalibrated(0, subject, camera_id, camera, 0.0, 0.5, 0.02)
            for name in ('focal_length', 'principal_point', 'distortion', 'image_size'):
                assert torch.equal(getattr(other, name), getattr(camera, name)), name
            turn = (other.rotation[0] @ camera.rotation[0].T).numpy()
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
            moved.append(
                (
                    Rotation.from_matrix(turn).as_rotvec(degrees=True),
                    (other.position - camera.position)[0].numpy(),
                )
            )
    rotations, positions = (np.array(values) for values in zip(*moved, strict=True))
    # 84 draws of each: standard deviations are known to 8%.
    assert 0.4 < rotations.std() < 0.6 and 0.016 < positions.std() < 0.024
    assert len(np.unique(rotations.round(9))) == len(np.unique(positions.round(9))) == 84


def test_subjects_differ_in_shape_and_ankles_and_come_from_the_seed():
    people = [make_subject(0, name) for name in SUBJECTS]
    betas = np.stack([person.betas for person in people])
    assert betas.shape == (7, 10) and np.abs(betas).max() <= 2
    assert len(np.unique(betas.round(6), axis=0)) == 7
    ankles = np.stack([person.ankle_offset for person in people])
    assert 0.003 < np.linalg.norm(ankles, axis=-1).mean() < 0.04
    np.testing.assert_array_equal(make_subject(0, 'S6').betas, people[2].betas)
    assert not np.allclose(make_subject(1, 'S6').betas, people[2].betas)
    with pytest.raises(ValueError, match="subject: found 'S2'"):
        make_subject(0, 'S2')


def test_streams_of_different_purposes_are_independent():
    drawn = [stream(0, *keys).normal(size=1000) for keys in (('a', 1), ('a', 2), ('a1',), ('b', 1))]
    correlation = np.corrcoef(drawn)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 0.15
