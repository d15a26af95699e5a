"""MMPose's cameras.pkl: reading it, writing it, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.errors import DataError
from mmjrr.geometry import (
    CAMERA_PARAMETERS,
    PerspectiveCamera,
    first_camera_difference,
    load_cameras,
    save_cameras,
)


def a_camera(**changes: Any) -> dict[str, Any]:
    return {
        'R': np.eye(3), 'T': np.array([[1.0], [2.0], [3.0]]), 'c': np.array([[512.0], [515.0]]),
        'f': np.array([[1145.0], [1143.0]]), 'k': np.array([[-0.2], [0.24], [-0.003]]),
        'p': np.array([[-0.001], [-0.002]]), 'w': 1000, 'h': 1002, 'name': 'camera1',
        **changes,
    }  # fmt: skip


def write(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def test_parameters_have_a_batch_axis_and_the_distortion_in_order(tmp_path: Path) -> None:
    cameras = load_cameras(write(tmp_path / 'c.pkl', {('S1', '54138969'): a_camera()}))
    camera = cameras['S1', '54138969']
    assert camera.distortion[0].tolist() == [-0.2, 0.24, -0.003, -0.001, -0.002]
    assert camera.focal_length.tolist() == [[1145.0, 1143.0]]
    assert camera.image_shape() == (1002, 1000)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(f=np.ones(3)), r'f: found shape \(3,\), expected \(2,\)'),
        (dict(f=-np.ones(2)), 'f: found .*expected positive'),
        (dict(k=np.full(3, np.nan)), 'k: found .*expected finite'),
        (dict(R=2 * np.eye(3)), 'R: found .*expected a rotation'),
        (dict(R=-np.eye(3)), 'R: found .*expected a rotation'),
        (dict(T=np.array([1841.0, 4955.0, 1563.0])), 'T: found .*millimeters'),
        (dict(c='x'), 'c: not numbers'),
        (dict(w='x'), 'w, h: not numbers'),
        (dict(h=0), r'w, h: found \(1000, 0\), expected pixels'),
    ],
)
def test_wrong_fields_are_named_with_their_camera(
    tmp_path: Path, changes: dict, message: str
) -> None:
    path = write(tmp_path / 'c.pkl', {('S1', '54138969'): a_camera(**changes)})
    with pytest.raises(DataError, match=rf"c\.pkl: camera \('S1', '54138969'\): {message}"):
        load_cameras(path)


def test_missing_fields_and_wrong_keys_are_named(tmp_path: Path) -> None:
    camera = a_camera()
    del camera['f']
    with pytest.raises(DataError, match=r"missing \['f'\]"):
        load_cameras(write(tmp_path / 'c.pkl', {('S1', '54138969'): camera}))
    with pytest.raises(DataError, match="found entry 'S1'"):
        load_cameras(write(tmp_path / 'c.pkl', {'S1': a_camera()}))
    with pytest.raises(DataError, match='found list'):
        load_cameras(write(tmp_path / 'c.pkl', []))


def test_truncated_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / 'c.pkl', {('S1', '54138969'): a_camera()})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r'c\.pkl: not readable as a pickle'):
        load_cameras(path)


def test_pickles_that_name_functions_are_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / 'made'),)

    with pytest.raises(DataError, match='mkdir'):
        load_cameras(write(tmp_path / 'c.pkl', {('S1', '54138969'): Attack()}))
    assert not (tmp_path / 'made').exists()


def test_saved_cameras_are_loaded_unchanged(tmp_path: Path) -> None:
    rotation = Rotation.random(random_state=0).as_matrix()
    key = ('S1', 'any')
    cameras = load_cameras(write(tmp_path / 'a.pkl', {key: a_camera(R=rotation)}))
    save_cameras(tmp_path / 'b.pkl', cameras)
    loaded = load_cameras(tmp_path / 'b.pkl')
    for name in CAMERA_PARAMETERS:
        assert torch.equal(getattr(loaded[key], name), getattr(cameras[key], name)), name


def test_cameras_without_a_pose_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"camera 1: found .* without \['distortion', 'rotation'"):
        save_cameras(tmp_path / 'c.pkl', {('S1', '1'): PerspectiveCamera([1.0, 1], [0.0, 0])})
    assert not list(tmp_path.iterdir())


def test_the_file_stores_the_transposed_rotation_and_the_position(tmp_path: Path) -> None:
    """A camera at x = 2 that looks along the world's y axis, z up, sees what lies ahead."""
    axes = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns: right, down, forward
    fields = a_camera(R=axes, T=[2, 0, 0])
    camera = load_cameras(write(tmp_path / 'c.pkl', {('S1', '1'): fields}))['S1', '1']
    points = torch.tensor([[[2.0, 5.0, 0.0], [3.0, 5.0, 1.0]]], dtype=torch.float64)
    assert camera.world_to_camera(points).tolist() == [[[0, 0, 5], [1, -1, 5]]]


def test_the_first_difference_beyond_rounding_is_named(tmp_path: Path) -> None:
    def cameras(**changes: Any) -> dict[tuple[str, str], PerspectiveCamera]:
        content = {('S1', '1'): a_camera(), ('S1', '2'): a_camera(**changes)}
        return load_cameras(write(tmp_path / 'c.pkl', content))

    assert first_camera_difference(cameras(), cameras(f=[1145 + 1e-6, 1143])) is None
    other = cameras(T=[0, 0, 0], w=900)
    assert first_camera_difference(cameras(), other) == (('S1', '2'), 'position')
    assert first_camera_difference(cameras(), other, ['image_size']) == (('S1', '2'), 'image_size')
    assert first_camera_difference(cameras(), {('S9', '2'): other['S1', '2']}) is None


def test_released_cameras_are_saved_as_mmpose_has_them(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / 'h36m_mini' / 'cameras.pkl'
    save_cameras(tmp_path / 'cameras.pkl', load_cameras(path))
    saved, released = (pickle.loads(file.read_bytes()) for file in (tmp_path / 'cameras.pkl', path))
    assert saved.keys() == released.keys()
    for key, expected in released.items():
        assert saved[key].keys() == expected.keys()
        for name, value in expected.items():
            assert type(saved[key][name]) is type(value), name
            np.testing.assert_array_equal(saved[key][name], value, strict=True)


def test_released_cameras_bring_world_joints_into_the_camera_frame(shared_data: Path) -> None:
    folder = shared_data / 'h36m_mini'
    cameras = load_cameras(folder / 'cameras.pkl')
    assert len(cameras) == 44
    world = json.loads((folder / 'h36m_coco.json').read_text())['annotations']
    with np.load(folder / 'test_h36m_body3d.npz') as raw:
        for name, annotation, joints in zip(raw['imgname'], world, raw['S'], strict=True):
            sequence = name.split('/')[1]
            camera = cameras[sequence[:2], sequence.split('.')[1]]
            points = torch.tensor(annotation['keypoints_3d']).double().view(1, 17, 4)[..., :3]
            np.testing.assert_allclose(camera.world_to_camera(points)[0], joints[:, :3], atol=1e-6)
