"""Projection, distortion, crops and poses against OpenCV, SciPy and Human3.6M's own joints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from h36m_lenses import DISTORTION, FOCAL_LENGTH, PRINCIPAL_POINT, points_in_view, two_cameras
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmjrr.geometry import CAMERA_PARAMETERS, PerspectiveCamera, load_cameras


@pytest.fixture
def points() -> Tensor:  # (2, 50, 3)
    return points_in_view()


def cameras_in_world() -> PerspectiveCamera:
    lens = two_cameras(DISTORTION)
    return PerspectiveCamera(
        lens.focal_length,
        lens.principal_point,
        lens.distortion,
        rotation=Rotation.random(2, random_state=0).as_matrix(),
        position=np.array([[1.0, -2.0, 1.5], [0.3, 4.0, 1.6]]),
        image_size=[[1002, 1000], [1000, 1000]],
    )


def project_with_opencv(points: Tensor, distortion: Any) -> np.ndarray:  # (2, N, 2)
    pixels = []
    for i, (k1, k2, k3, p1, p2) in enumerate(distortion):
        (fx, fy), (cx, cy) = FOCAL_LENGTH[i], PRINCIPAL_POINT[i]
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        coefficients = np.array([k1, k2, p1, p2, k3])
        zero = np.zeros(3)
        projected, _ = cv2.projectPoints(points[i].numpy(), zero, zero, matrix, coefficients)
        pixels.append(projected[:, 0])
    return np.stack(pixels)


# -- projection ------------------------------------------------------------------------------------


def test_pinhole_projection_agrees_with_opencv(points: Tensor) -> None:
    expected = project_with_opencv(points, np.zeros((2, 5)))
    np.testing.assert_allclose(two_cameras().project(points), expected, atol=1e-9)


def test_opencv_distortion_agrees_with_opencv(points: Tensor) -> None:
    expected = project_with_opencv(points, DISTORTION)
    projected = two_cameras(DISTORTION, 'opencv').project(points)
    np.testing.assert_allclose(projected, expected, atol=1e-9)


def test_radial_distortion_is_the_same_in_both_models(points: Tensor) -> None:
    radial = [[*row[:3], 0.0, 0.0] for row in DISTORTION]
    expected = project_with_opencv(points, radial)
    np.testing.assert_allclose(two_cameras(radial).project(points), expected, atol=1e-9)


def test_h36m_distortion_has_half_of_opencvs_tangential_cross_terms(points: Tensor) -> None:
    plane = (points[..., :2] / points[..., 2:]).numpy()
    p2_p1 = np.array(DISTORTION)[:, None, [4, 3]]
    half = plane * (plane * p2_p1).sum(-1, keepdims=True) * np.array(FOCAL_LENGTH)[:, None]
    expected = project_with_opencv(points, DISTORTION) - half
    np.testing.assert_allclose(two_cameras(DISTORTION).project(points), expected, atol=1e-9)


def test_h36m_joints_project_onto_their_annotated_pixels(shared_data: Path) -> None:
    cameras = load_cameras(shared_data / 'h36m_mini' / 'cameras.pkl')
    with np.load(shared_data / 'h36m_mini' / 'test_h36m_body3d.npz') as annotation:
        rows = [annotation[name] for name in ('imgname', 'part', 'S')]
    for name, pixels, joints in zip(*rows, strict=True):
        stem = str(name).split('/')[-1]
        camera = cameras[stem.split('_')[0], stem.split('.')[1].split('_')[0]]
        projected = camera.project(torch.tensor(joints[None, :, :3], dtype=torch.float64))
        np.testing.assert_allclose(projected[0], pixels[:, :2], atol=1e-4)


@pytest.mark.parametrize('model', ['h36m', 'opencv'])
def test_unproject_inverts_project(points: Tensor, model: str) -> None:
    camera = two_cameras(DISTORTION, model)
    plane = camera.unproject(camera.project(points))
    np.testing.assert_allclose(plane, points[..., :2] / points[..., 2:], atol=1e-8)


def test_unproject_without_distortion_inverts_project(points: Tensor) -> None:
    camera = two_cameras()
    plane = camera.unproject(camera.project(points))
    np.testing.assert_allclose(plane, points[..., :2] / points[..., 2:], atol=1e-12)


@pytest.mark.parametrize('model', ['h36m', 'opencv'])
def test_projection_is_differentiable_in_camera_and_points(points: Tensor, model: str) -> None:
    def project(points: Tensor, *parameters: Tensor) -> Tensor:
        return PerspectiveCamera(*parameters, model).project(points)

    camera = two_cameras(DISTORTION)
    values = (points[:, :3], camera.focal_length, camera.principal_point, camera.distortion)
    inputs = tuple(value.clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(project, inputs)


# -- pose in the world -----------------------------------------------------------------------------


def test_world_points_are_rotated_after_subtracting_the_position(points: Tensor) -> None:
    camera = cameras_in_world()
    rotations = Rotation.from_matrix(camera.rotation.numpy())
    expected = [
        rotations[i].apply(points[i].numpy() - camera.position[i].numpy()) for i in range(2)
    ]
    np.testing.assert_allclose(camera.world_to_camera(points), expected, atol=1e-12)


def test_the_position_is_the_origin_of_the_camera_frame() -> None:
    camera = cameras_in_world()
    origin = camera.world_to_camera(camera.position[:, None])
    np.testing.assert_allclose(origin, np.zeros((2, 1, 3)), atol=1e-15)


def test_world_to_camera_is_differentiable_in_pose_and_points(points: Tensor) -> None:
    def transform(points: Tensor, rotation: Tensor, position: Tensor) -> Tensor:
        lens = two_cameras()
        return PerspectiveCamera(
            lens.focal_length, lens.principal_point, rotation=rotation, position=position
        ).world_to_camera(points)

    camera = cameras_in_world()
    values = (points[:, :3], camera.rotation, camera.position)
    inputs = tuple(value.clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(transform, inputs)


def test_cameras_without_a_pose_refuse_world_points(points: Tensor) -> None:
    with pytest.raises(ValueError, match='rotation: found None'):
        two_cameras().world_to_camera(points)


# -- crops -----------------------------------------------------------------------------------------


def test_crop_projects_to_where_the_cropped_and_resized_image_shows_it(points: Tensor) -> None:
    camera = two_cameras(DISTORTION)
    box = torch.tensor([[100.0, 50.0, 500.0, 650.0], [-20.0, 10.0, 300.0, 210.0]])
    pixels = camera.project(points)
    corner, extent = box[:, None, :2], box[:, None, 2:] - box[:, None, :2]
    expected = (pixels - corner) / extent * torch.tensor([224.0, 112.0])
    np.testing.assert_allclose(camera.crop(box, (112, 224)).project(points), expected, atol=1e-4)


def test_corners_of_the_box_become_corners_of_the_crop() -> None:
    camera = PerspectiveCamera([1000.0, 1000.0], [500.0, 500.0])
    crop = camera.crop([400, 300, 600, 500], (224, 224))
    corners = crop.project(torch.tensor([[[-0.5, -1.0, 5.0], [0.5, 0.0, 5.0]]]))
    expected = torch.tensor([[[0.0, 0.0], [224.0, 224.0]]])
    torch.testing.assert_close(corners, expected, atol=1e-3, rtol=0)


def test_crop_keeps_the_pose_and_takes_the_new_image_size(points: Tensor) -> None:
    camera = cameras_in_world()
    crop = camera.crop([0, 0, 500, 500], (112, 224))
    torch.testing.assert_close(crop.world_to_camera(points), camera.world_to_camera(points))
    assert crop.image_size.tolist() == [[112, 224], [112, 224]]


def test_resize_scales_pixels(points: Tensor) -> None:
    camera = two_cameras(DISTORTION)
    smaller = camera.resize((1002, 1000), (501, 250)).project(points)
    expected = camera.project(points) * torch.tensor([0.25, 0.5])
    np.testing.assert_allclose(smaller, expected, atol=1e-9)


# -- batches ---------------------------------------------------------------------------------------


def test_one_camera_projects_a_batch(points: Tensor) -> None:
    camera = two_cameras(DISTORTION)[1]
    assert len(camera) == 1
    expected = two_cameras(DISTORTION).project(points)[1:]
    torch.testing.assert_close(camera.project(points)[1:], expected)


@pytest.mark.parametrize(
    ('index', 'expected'),
    [(0, [0]), (-1, [1]), (slice(0, 2), [0, 1]), ([1, 0], [1, 0]),
     (torch.tensor([True, False]), [0])],
)  # fmt: skip
def test_indexing_selects_every_parameter_and_keeps_the_batch_axis(
    index: Any, expected: list[int]
) -> None:
    camera = cameras_in_world()
    for name in CAMERA_PARAMETERS:
        assert torch.equal(getattr(camera[index], name), getattr(camera, name)[expected]), name


def test_indexing_keeps_the_distortion_model_and_refuses_missing_cameras() -> None:
    camera = two_cameras(DISTORTION, 'opencv')
    assert camera[0].distortion_model == 'opencv'
    with pytest.raises(IndexError, match='camera 2 of 2'):
        camera[2]


def test_concatenating_the_parts_restores_the_batch() -> None:
    camera = cameras_in_world()
    joined = PerspectiveCamera.cat([camera[0], camera[1]])
    for name in CAMERA_PARAMETERS:
        assert torch.equal(getattr(joined, name), getattr(camera, name)), name


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (list, 'cameras: found none'),
        (lambda: [two_cameras(), two_cameras(DISTORTION)], 'distortion: found in 1 of 2 cameras'),
        (lambda: [two_cameras(), two_cameras(None, 'opencv')], 'distortion_model: found'),
    ],
)
def test_cameras_of_different_kinds_are_not_concatenated(
    parts: Callable[[], list[PerspectiveCamera]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PerspectiveCamera.cat(parts())


def test_to_changes_the_dtype_of_everything_but_the_image_size() -> None:
    camera = cameras_in_world().to(torch.float32)
    assert camera.dtype == torch.float32
    assert {name: getattr(camera, name).dtype for name in CAMERA_PARAMETERS} == {
        **dict.fromkeys(CAMERA_PARAMETERS, torch.float32),
        'image_size': torch.int64,
    }


def test_image_shape_belongs_to_a_single_camera_of_known_size() -> None:
    assert cameras_in_world()[0].image_shape() == (1002, 1000)
    for camera in (cameras_in_world(), two_cameras()[0]):
        with pytest.raises(ValueError, match='image_shape: found'):
            camera.image_shape()


# -- wrong arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            dict(focal_length=[[1.0, 1, 1]]),
            r'focal_length: found shape \(1, 3\), expected \(B, 2\) or \(2,\)',
        ),
        (dict(focal_length=[[1.0, -1]]), 'focal_length: found .*, expected positive'),
        (
            dict(principal_point=[[0.0, float('nan')]]),
            'principal_point: found .*, expected finite',
        ),
        (
            dict(focal_length=torch.ones(3, 2), principal_point=torch.zeros(2, 2)),
            'batch sizes: found .*, expected equal sizes or 1',
        ),
        (dict(distortion=[0.0, 0, 0, 0]), r'distortion: found shape \(1, 4\), expected \(B, 5\)'),
        (dict(distortion_model='fisheye'), "distortion_model: found 'fisheye'"),
        (dict(rotation=np.eye(3)), 'position: found None'),
        (dict(position=np.zeros(3)), 'rotation: found None'),
        (
            dict(rotation=np.eye(2), position=np.zeros(3)),
            r'rotation: found shape \(1, 2, 2\), expected \(B, 3, 3\) or \(3, 3\)',
        ),
    ],
)
def test_wrong_parameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PerspectiveCamera(
            **{'focal_length': [1.0, 1.0], 'principal_point': [0.0, 0.0], **arguments}
        )


@pytest.mark.parametrize(
    ('points', 'message'),
    [
        (
            torch.zeros(2, 3, dtype=torch.float64),
            r'points: found shape \(2, 3\), expected \(B, N, 3\)',
        ),
        (torch.zeros(3, 5, 3, dtype=torch.float64), 'points: found batch size 3, expected .* 2'),
        (torch.zeros(2, 5, 3), 'points: found torch.float32'),
    ],
)
def test_points_that_do_not_fit_the_cameras_are_refused(points: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_cameras().project(points)


@pytest.mark.parametrize(
    ('box', 'size', 'message'),
    [
        ([0, 0, 10, 0], (4, 4), 'box: found .*, expected x1 > x0 and y1 > y0'),
        ([0, 0, 10, 10], (0, 4), r'size: found .*, expected a positive \(height, width\)'),
        (torch.tensor([[0.0, 0, 1, 1]]).expand(3, 4), (4, 4), 'box: found batch size 3'),
    ],
)
def test_wrong_boxes_are_refused(box: Any, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_cameras().crop(box, size)


def test_another_principal_point_shifts_pixels_and_leaves_the_rest() -> None:
    camera = PerspectiveCamera(
        [[1000.0, 900.0]] * 2, [500.0, 510.0], [0.1, 0.0, 0.0, 0.01, 0.0],
        rotation=torch.eye(3), position=torch.zeros(3), image_size=[1000, 1002],
    )  # fmt: skip
    points = torch.rand(2, 5, 3, generator=torch.manual_seed(0)) + torch.tensor([0.0, 0.0, 4.0])
    shift = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    other = camera.with_principal_point(camera.principal_point + shift)
    torch.testing.assert_close(other.project(points), camera.project(points) + shift[:, None])
    assert camera.principal_point.tolist() == [[500.0, 510.0]] * 2
    for name in ('focal_length', 'distortion', 'rotation', 'position', 'image_size'):
        assert torch.equal(getattr(other, name), getattr(camera, name)), name
    with pytest.raises(ValueError, match=r'principal_point: found shape \(2,\), expected \(2, 2\)'):
        camera.with_principal_point(shift[0])
