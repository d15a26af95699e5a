"""Points off the surface, along its normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from meshes_in_motion import moving_sphere, sphere, true_weights

from mmjrr.evaluation import RegressedJoints
from mmjrr.regressors import JointRegressor


def on_vertices(ids: list[int], count: int) -> torch.Tensor:
    weight = torch.zeros(len(ids), count, dtype=torch.float64)
    weight[torch.arange(len(ids)), torch.tensor(ids)] = 1
    return weight


def markers(offsets: list[float]) -> JointRegressor:
    points, faces = sphere()
    names = [f'marker_{index}' for index in range(len(offsets))]
    weight = on_vertices([5, 60, 100][: len(offsets)], len(points))
    return JointRegressor(weight, names, 'ball', normal_offsets=offsets, faces=faces)


def test_a_marker_on_a_sphere_lies_on_the_ray_through_its_vertex():
    points, _ = sphere()
    joints = markers([0.1, 0.0, -0.2])(torch.from_numpy(points)).numpy()
    for row, (vertex, offset) in enumerate(((5, 0.1), (60, 0.0), (100, -0.2))):
        np.testing.assert_allclose(joints[row], (1 + offset) * points[vertex], atol=0.03)
        assert abs(np.linalg.norm(joints[row] - points[vertex]) - abs(offset)) < 1e-12


def test_normals_agree_with_a_loop_over_faces():
    motion = moving_sphere(3)
    weight = true_weights(4, motion.vertices.shape[1])
    offsets = np.array([0.01, 0.02, -0.03, 0.0])
    regressor = JointRegressor(
        weight, list('abcd'), 'ball', normal_offsets=offsets, faces=motion.faces
    )
    joints = regressor(torch.from_numpy(motion.vertices)).numpy()
    for frame, vertices in enumerate(motion.vertices):
        normals = np.zeros_like(vertices)
        for a, b, c in motion.faces:
            area = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
            for corner in (a, b, c):
                normals[corner] += area
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        direction = weight @ normals
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        expected = weight @ vertices + offsets[:, None] * direction
        np.testing.assert_allclose(joints[frame], expected, atol=1e-12)


def test_the_support_suffices():
    regressor = markers([0.1, 0.0, -0.2])
    vertices = torch.from_numpy(moving_sphere(4).vertices)
    assert len(regressor.support) < vertices.shape[1]
    torch.testing.assert_close(regressor(vertices[:, regressor.support]), regressor(vertices))


def test_offsets_survive_saving_loading_and_reordering(tmp_path):
    regressor = markers([0.1, 0.0, -0.2])
    loaded = JointRegressor.load(regressor.save(tmp_path / 'markers.npy'), dtype=torch.float64)
    vertices = torch.from_numpy(moving_sphere(4).vertices)
    torch.testing.assert_close(loaded(vertices), regressor(vertices))
    turned = loaded.reorder(['marker_2', 'marker_1'])
    torch.testing.assert_close(turned(vertices), regressor(vertices)[:, [2, 1]])
    assert loaded.reorder(['marker_1']).normal_offsets is None


def test_an_evaluation_takes_markers_in_meters_and_millimeters():
    regressor = markers([0.1, 0.0, -0.2])
    vertices = moving_sphere(4).vertices
    expected = regressor(torch.from_numpy(vertices)).numpy()
    joints = RegressedJoints({'markers': regressor}, regressor.joint_names)
    selected = joints.select(list(vertices))
    np.testing.assert_allclose(joints.from_selected(selected)[:, 0], expected, atol=1e-12)
    in_mm = joints.from_selected(1000 * selected, 0.001)
    np.testing.assert_allclose(in_mm[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ('offsets', 'faces', 'message'),
    [
        ([0.1, 0.1], None, 'faces: found none'),
        ([0.1], sphere()[1], r'normal_offsets: found the shape \(1,\), expected \(2,\)'),
        ([0.1, np.nan], sphere()[1], 'normal_offsets: found NaN'),
        ([0.1, 0.1], sphere()[1][:, :2], r'faces: found the shape .*expected \(F, 3\)'),
        ([0.1, 0.1], sphere()[1] + 100, 'faces: found vertices .* expected 0 to 119'),
        ([0.1, 0.1], sphere()[1][:1], 'faces: found none at vertex'),
    ],
)
def test_wrong_offsets_and_faces_are_refused(offsets, faces, message):
    weight = on_vertices([5, 60], 120)
    with pytest.raises(ValueError, match=message):
        JointRegressor(weight, ['a', 'b'], 'ball', normal_offsets=offsets, faces=faces)
