"""Points triangulated from views whose cameras are known, compared with the points themselves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mmjrr.geometry import PerspectiveCamera, triangulate

VIEWS, GROUPS, JOINTS = 4, 3, 5


def cameras(distorted: bool = True) -> PerspectiveCamera:
    """Return four cameras on a circle of 4 m around the origin, at a height of 1.5 m."""
    rotations, positions = [], []
    for angle in np.deg2rad([0, 80, 170, 260]):
        position = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.5])
        forward = -position / np.linalg.norm(position)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotations.append(np.stack([right, np.cross(forward, right), forward]))
        positions.append(position)
    return PerspectiveCamera(
        torch.full((VIEWS, 2), 1100.0).double(),
        torch.full((VIEWS, 2), 500.0).double(),
        torch.tensor([[-0.2, 0.24, 0.0, 0.001, -0.002]] * VIEWS).double() if distorted else None,
        rotation=torch.tensor(np.stack(rotations)),
        position=torch.tensor(np.stack(positions)),
    )


def scene(
    distorted: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, PerspectiveCamera, torch.Tensor]:
    """Return points (G, J, 3), their images (B, J, 2), cameras and groups of shuffled rows."""
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.normal(0, 0.5, (GROUPS, JOINTS, 3)))
    order = torch.tensor(rng.permutation(GROUPS * VIEWS))
    group = torch.arange(GROUPS).repeat_interleave(VIEWS)[order]
    camera = cameras(distorted)[torch.arange(VIEWS).repeat(GROUPS)[order]]
    images = camera.project(camera.world_to_camera(points[group]))
    return points, images, camera, group


def test_exact_images_give_the_points_through_distorting_lenses() -> None:
    points, images, camera, group = scene()
    result = triangulate(images, torch.ones(images.shape[:2]).double(), camera, group)
    torch.testing.assert_close(result.points, points, atol=1e-7, rtol=0)
    assert result.used.all() and float(result.error.max()) < 1e-4


def test_two_views_agree_with_opencv() -> None:
    _, images, camera, group = scene(distorted=False)
    images = images + torch.tensor(np.random.default_rng(1).normal(0, 1e-3, images.shape))
    first = torch.stack([torch.nonzero(group == g)[:2, 0] for g in range(GROUPS)])
    rows = first.flatten()
    result = triangulate(
        images[rows], torch.ones(len(rows), JOINTS).double(), camera[rows], group[rows]
    )
    assert camera.rotation is not None and camera.position is not None
    for number, pair in enumerate(first.tolist()):
        matrices, normalized = [], []
        for row in pair:
            rotation = camera.rotation[row].numpy()
            shift = -rotation @ camera.position[row].numpy()
            matrices.append(np.concatenate([rotation, shift[:, None]], 1))
            normalized.append(((images[row].numpy() - 500) / 1100).T)
        homogeneous = cv2.triangulatePoints(*matrices, *normalized)
        expected = (homogeneous[:3] / homogeneous[3]).T
        np.testing.assert_allclose(result.points[number], expected, atol=1e-5)


def test_noisy_images_give_the_point_with_the_least_squared_pixel_error() -> None:
    points, images, camera, group = scene(distorted=False)
    rng = np.random.default_rng(2)
    images = images + torch.tensor(rng.normal(0, 3, images.shape))
    weight = torch.tensor(rng.uniform(0.2, 1, images.shape[:2]))
    result = triangulate(images, weight, camera, group, tolerance=1000)
    for number in range(GROUPS):
        rows = torch.nonzero(group == number)[:, 0]
        for joint in range(JOINTS):

            def residuals(point: np.ndarray, rows=rows, joint=joint) -> np.ndarray:
                where = torch.tensor(point)[None, None].expand(len(rows), 1, 3)
                pixels = camera[rows].project(camera[rows].world_to_camera(where))[:, 0]
                error = (pixels - images[rows, joint]) * weight[rows, joint].sqrt()[:, None]
                return error.numpy().ravel()

            best = least_squares(residuals, points[number, joint].numpy(), xtol=1e-14).x
            # Scaling by the last depth leaves a difference of second order in the noise.
            np.testing.assert_allclose(result.points[number, joint], best, atol=3e-4)


@pytest.mark.parametrize('views', [3, 4])
def test_a_wrong_image_is_left_out_and_named(views: int) -> None:
    points, images, camera, group = scene()
    rows = torch.cat([torch.nonzero(group == g)[:views, 0] for g in range(GROUPS)])
    images, camera, group = images[rows].clone(), camera[rows], group[rows]
    expected = torch.ones(len(rows), JOINTS, dtype=torch.bool)
    for number in range(GROUPS):
        wrong = int(torch.nonzero(group == number)[number, 0])
        images[wrong, number] += 120
        expected[wrong, number] = False
    result = triangulate(images, torch.ones(images.shape[:2]).double(), camera, group)
    torch.testing.assert_close(result.points, points, atol=1e-7, rtol=0)
    assert torch.equal(result.used, expected)
    assert float(result.error[~expected].min()) > 100


def test_half_of_the_views_is_too_few() -> None:
    points, images, camera, group = scene()
    rows = torch.nonzero(group == 0)[:, 0]
    images[rows[0], 0] += 120
    images[rows[1], 0] -= 150
    weight = torch.ones(images.shape[:2]).double()
    assert torch.isnan(triangulate(images, weight, camera, group).points[0, 0]).all()
    weight[rows[0], 0] = 0  # two of three
    result = triangulate(images, weight, camera, group)
    torch.testing.assert_close(result.points[0, 0], points[0, 0], atol=1e-7, rtol=0)


def test_missing_images_count_for_nothing_and_one_view_gives_no_point() -> None:
    points, images, camera, group = scene()
    weight = torch.ones(images.shape[:2]).double()
    rows = torch.nonzero(group == 0)[:, 0]
    weight[rows[0], 0], images[rows[0], 0] = 0, torch.nan
    weight[rows[1:], 1] = 0
    result = triangulate(images, weight, camera, group)
    torch.testing.assert_close(result.points[0, 0], points[0, 0], atol=1e-7, rtol=0)
    assert torch.isnan(result.points[0, 1]).all() and not result.used[rows, 1].any()
    assert not result.used[rows[0], 0] and torch.isnan(result.error[rows[0], 0])
    assert int(torch.isfinite(result.points).all(-1).sum()) == GROUPS * JOINTS - 1


def test_groups_may_have_different_numbers_of_views() -> None:
    points, images, camera, group = scene()
    kept = torch.ones(len(group), dtype=torch.bool)
    kept[torch.nonzero(group == 1)[:2, 0]] = False
    kept[torch.nonzero(group == 2)[:3, 0]] = False
    weight = torch.ones(int(kept.sum()), JOINTS).double()
    result = triangulate(images[kept], weight, camera[kept], group[kept])
    torch.testing.assert_close(result.points[:2], points[:2], atol=1e-7, rtol=0)
    assert torch.isnan(result.points[2]).all()


def test_points_behind_a_camera_are_not_found() -> None:
    behind = torch.tensor(Rotation.from_euler('y', 180, degrees=True).as_matrix())
    camera = cameras(distorted=False)[[0, 1]]
    assert camera.rotation is not None and camera.position is not None
    images = camera.project(camera.world_to_camera(torch.zeros(2, 1, 3).double()))
    turned = PerspectiveCamera(
        camera.focal_length, camera.principal_point,
        rotation=behind @ camera.rotation, position=camera.position,
    )  # fmt: skip
    mirrored = images.clone()
    mirrored[..., 0] = 1000 - images[..., 0]
    result = triangulate(mirrored, torch.ones(2, 1).double(), turned, torch.zeros(2).long())
    assert torch.isnan(result.points).all()


@pytest.mark.parametrize('pixel', [0.0, 500.0, 123.4])
def test_parallel_rays_have_no_point_and_leave_others_alone(pixel: float) -> None:
    camera = PerspectiveCamera(
        torch.full((2, 2), 1000.0),
        torch.full((2, 2), 500.0),
        rotation=torch.eye(3).expand(2, 3, 3),
        position=torch.tensor([[0.0, 0, 0], [1, 0, 0]]),
    )
    images = torch.tensor([[[pixel, pixel], [500.0, 500.0]], [[pixel, pixel], [300.0, 500.0]]])
    result = triangulate(images, torch.ones(2, 2), camera, torch.zeros(2, dtype=torch.long))
    assert result.points[0, 0].isnan().all() and not result.used[:, 0].any()
    # 200 px of parallax over a baseline of 1 m at a focal length of 1000 px: 5 m.
    torch.testing.assert_close(result.points[0, 1], torch.tensor([0.0, 0, 5]), atol=1e-4, rtol=0)
    assert result.used[:, 1].all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match='points_2d: found no rows'):
        triangulate(
            torch.zeros(0, 3, 2),
            torch.zeros(0, 3),
            cameras()[torch.zeros(0, dtype=torch.long)],
            torch.zeros(0, dtype=torch.long),
        )
    _, images, camera, group = scene()
    weight = torch.ones(images.shape[:2]).double()
    with pytest.raises(ValueError, match='weight: found'):
        triangulate(images, weight[:, :2], camera, group)
    with pytest.raises(ValueError, match='expected a positive number of pixels'):
        triangulate(images, weight, camera, group, tolerance=0)
    with pytest.raises(ValueError, match='cameras with a pose'):
        triangulate(images, weight, PerspectiveCamera([1.0, 1.0], [0.0, 0.0]), group)
