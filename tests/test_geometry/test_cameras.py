from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import torch

from mmjrr.geometry import (
    PerspectiveCamera,
)

FOCAL = [[1145.05, 1143.78], [1149.7, 1147.6]]
CENTER = [[512.5, 515.5], [508.8, 508.1]]
DISTORTION = [
    [-0.207, 0.248, -0.0031, -0.00142, -0.00098],
    [-0.194, 0.24, 0.0068, -0.0028, -0.0016],
]


@pytest.fixture
def points() -> torch.Tensor:  # (2, 50, 3), within the image
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(2, 50, 3, generator=generator, dtype=torch.float64)
    return unit * torch.tensor([3.0, 3.0, 3.0]) + torch.tensor([-1.5, -1.5, 3.5])


def camera_of(distortion=None, model='h36m') -> PerspectiveCamera:
    tensors = [torch.tensor(v, dtype=torch.float64) for v in (FOCAL, CENTER)]
    if distortion is not None:
        distortion = torch.tensor(distortion, dtype=torch.float64)
    return PerspectiveCamera(*tensors, distortion, model)


def cv2_projection(points: torch.Tensor, distortion) -> np.ndarray:
    pixels = []
    for i, (k1, k2, k3, p1, p2) in enumerate(distortion):
        (fx, fy), (cx, cy) = FOCAL[i], CENTER[i]
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        coefficients = np.array([k1, k2, p1, p2, k3])
        zero = np.zeros(3)
        seen, _ = cv2.projectPoints(points[i].numpy(), zero, zero, matrix, coefficients)
        pixels.append(seen[:, 0])
    return np.stack(pixels)


def test_pinhole_projection_agrees_with_opencv(points):
    expected = cv2_projection(points, np.zeros((2, 5)))
    np.testing.assert_allclose(camera_of().project(points), expected, atol=1e-9)


def test_opencv_distortion_agrees_with_opencv(points):
    expected = cv2_projection(points, DISTORTION)
    projected = camera_of(DISTORTION, 'opencv').project(points)
    np.testing.assert_allclose(projected, expected, atol=1e-9)


def test_radial_distortion_is_the_same_in_both_models(points):
    radial = [[*row[:3], 0.0, 0.0] for row in DISTORTION]
    expected = cv2_projection(points, radial)
    np.testing.assert_allclose(camera_of(radial).project(points), expected, atol=1e-9)


def test_h36m_distortion_is_opencvs_less_half_its_tangential_cross_terms(points):
    plane = (points[..., :2] / points[..., 2:]).numpy()
    p2_p1 = np.array(DISTORTION)[:, None, [4, 3]]
    half = plane * (plane * p2_p1).sum(-1, keepdims=True) * np.array(FOCAL)[:, None]
    expected = cv2_projection(points, DISTORTION) - half
    np.testing.assert_allclose(camera_of(DISTORTION).project(points), expected, atol=1e-9)


def test_h36m_frames_project_onto_their_annotated_joints(shared_data):
    folder = shared_data / 'h36m_mini'
    annotation = np.load(folder / 'test_h36m_body3d.npz')
    with open(folder / 'cameras.pkl', 'rb') as file:
        cameras = pickle.load(file)
    fields = (annotation[key] for key in ('imgname', 'part', 'S'))
    for name, pixels, joints in zip(*fields, strict=True):
        stem = str(name).split('/')[-1]
        entry = cameras[stem.split('_')[0], stem.split('.')[1].split('_')[0]]
        camera = PerspectiveCamera(
            entry['f'].reshape(2),
            entry['c'].reshape(2),
            np.concatenate([entry['k'].reshape(3), entry['p'].reshape(2)]),
        )
        projected = camera.project(torch.tensor(joints[None, :, :3], dtype=torch.float64))
        np.testing.assert_allclose(projected[0], pixels[:, :2], atol=1e-4)


@pytest.mark.parametrize('model', ['h36m', 'opencv'])
def test_unproject_undoes_project(points, model):
    camera = camera_of(DISTORTION, model)
    plane = camera.unproject(camera.project(points))
    np.testing.assert_allclose(plane, points[..., :2] / points[..., 2:], atol=1e-8)


def test_unproject_without_distortion_undoes_project(points):
    camera = camera_of()
    plane = camera.unproject(camera.project(points))
    np.testing.assert_allclose(plane, points[..., :2] / points[..., 2:], atol=1e-12)


def test_crop_projects_to_where_the_cropped_and_resized_image_shows_it(points):
    camera = camera_of(DISTORTION)
    box = torch.tensor([[100.0, 50.0, 500.0, 650.0], [-20.0, 10.0, 300.0, 210.0]])
    seen = camera.project(points)
    corner, extent = box[:, None, :2], box[:, None, 2:] - box[:, None, :2]
    expected = (seen - corner) / extent * torch.tensor([224.0, 112.0])
    np.testing.assert_allclose(camera.crop(box, (112, 224)).project(points), expected, atol=1e-4)


def test_crop_keeps_the_boxes_corners_at_the_images_corners():
    camera = PerspectiveCamera([1000.0, 1000.0], [500.0, 500.0]).crop(
        [400, 300, 600, 500], (224, 224)
    )
    corner = camera.project(torch.tensor([[[-0.5, -1.0, 5.0], [0.5, 0.0, 5.0]]]))
    torch.testing.assert_close(
        corner, torch.tensor([[[0.0, 0.0], [224.0, 224.0]]]), atol=1e-3, rtol=0
    )


def test_resize_scales_pixels(points):
    camera = camera_of(DISTORTION)
    smaller = camera.resize((1002, 1000), (501, 250)).project(points)
    np.testing.assert_allclose(
        smaller, camera.project(points) * torch.tensor([0.25, 0.5]), atol=1e-9
    )


def test_one_camera_serves_a_batch(points):
    camera = camera_of(DISTORTION)[1]
    assert len(camera) == 1
    torch.testing.assert_close(
        camera.project(points)[1:], camera_of(DISTORTION).project(points)[1:]
    )


def test_indexing_keeps_the_batch_axis_and_the_distortion():
    camera = camera_of(DISTORTION, 'opencv')
    assert [len(camera[i]) for i in (0, -1, slice(0, 2), [1, 0], torch.tensor([True, False]))] == [
        1, 1, 2, 2, 1,
    ]  # fmt: skip
    torch.testing.assert_close(camera[-1].distortion[0], camera.distortion[1])
    assert camera[0].distortion_model == 'opencv'
    with pytest.raises(IndexError, match='camera 2 of 2'):
        camera[2]


def test_to_changes_the_dtype_of_everything():
    camera = camera_of(DISTORTION).to(torch.float32)
    assert {camera.focal_length.dtype, camera.principal_point.dtype, camera.distortion.dtype} == {
        torch.float32
    }
    assert camera.dtype == torch.float32


def test_projection_is_differentiable_in_camera_and_points(points):
    def project(points, focal_length, principal_point, distortion):
        return PerspectiveCamera(focal_length, principal_point, distortion).project(points)

    camera = camera_of(DISTORTION)
    inputs = (points[:, :3], camera.focal_length, camera.principal_point, camera.distortion)
    inputs = tuple(value.clone().requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(project, inputs)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ([[1.0, 1, 1]], [[0.0, 0]]),
            r'focal_length: found shape \(1, 3\), expected \(B, 2\) or \(2,\)',
        ),
        (([[1.0, -1]], [[0.0, 0]]), 'focal_length: found .*, expected positive'),
        (([[1.0, 1]], [[0.0, float('nan')]]), 'principal_point: found .*, expected finite'),
        ((torch.ones(3, 2), torch.zeros(2, 2)), 'batch sizes: found .*, expected equal sizes or 1'),
        (
            ([1.0, 1], [0.0, 0], [0.0, 0, 0, 0]),
            r'distortion: found shape \(1, 4\), expected \(B, 5\)',
        ),
        (([1.0, 1], [0.0, 0], None, 'fisheye'), "'fisheye'"),
    ],
)
def test_wrong_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PerspectiveCamera(*arguments)


@pytest.mark.parametrize(
    ('points', 'message'),
    [
        (
            torch.zeros(2, 3, dtype=torch.float64),
            r'points: found shape \(2, 3\), expected \(B, N, 3\)',
        ),
        (
            torch.zeros(3, 5, 3, dtype=torch.float64),
            'points: found batch size 3, expected that of the cameras, 2',
        ),
        (torch.zeros(2, 5, 3), 'torch.float32'),
    ],
)
def test_points_that_do_not_fit_the_cameras_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        camera_of().project(points)


@pytest.mark.parametrize(
    ('box', 'size', 'message'),
    [
        ([0, 0, 10, 0], (4, 4), 'box: found .*, expected x1 > x0 and y1 > y0'),
        ([0, 0, 10, 10], (0, 4), r'size: found .*, expected a positive \(height, width\)'),
        (torch.tensor([[0.0, 0, 1, 1]]).expand(3, 4), (4, 4), 'box: found batch size 3'),
    ],
)
def test_boxes_without_sense_are_refused(box, size, message):
    with pytest.raises(ValueError, match=message):
        camera_of().crop(box, size)
