"""Points triangulated from views whose cameras are known, compared with the points themselves."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mmjrr.geometry import PerspectiveCamera, load_cameras, triangulate, triangulation

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


def nearest_point(
    start: np.ndarray, images: torch.Tensor, camera: PerspectiveCamera, weight: torch.Tensor
) -> np.ndarray:
    """Minimize the weighted squared pixel errors of one point in V images (V, 2)."""

    def residuals(point: np.ndarray) -> np.ndarray:
        where = torch.tensor(point)[None, None].expand(len(camera), 1, 3)
        pixels = camera.project(camera.world_to_camera(where))[:, 0]
        return ((pixels - images) * weight.sqrt()[:, None]).numpy().ravel()

    best: np.ndarray = least_squares(residuals, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    return best


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
            best = nearest_point(
                points[number, joint].numpy(), images[rows, joint], camera[rows],
                weight[rows, joint],
            )  # fmt: skip
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


def test_dilution_is_how_far_the_nearest_point_moves_when_pixels_do() -> None:
    points, images, camera, group = scene(distorted=False)
    weight = torch.tensor(np.random.default_rng(4).uniform(0.1, 1, images.shape[:2]))
    weight[torch.nonzero(group == 1)[0, 0], 0] = 0
    result = triangulate(images, weight, camera, group)
    assert int((result.shown == VIEWS - 1).sum()) == 1 and int(result.shown.min()) == VIEWS - 1
    for number in range(GROUPS):
        for joint in range(2):
            rows = torch.nonzero((group == number) & (weight[:, joint] > 0))[:, 0]
            seen, point = images[rows, joint], points[number, joint].numpy()
            variance, step = 0.0, 0.5
            for place in np.ndindex(len(rows), 2):
                ends = []
                for sign in (-1, 1):
                    moved = seen.clone()
                    moved[place] += sign * step
                    ends.append(nearest_point(point, moved, camera[rows], weight[rows, joint]))
                variance += float(np.square((ends[1] - ends[0]) / (2 * step)).sum())
            depth = camera[rows].world_to_camera(points[number, joint].expand(len(rows), 1, 3))
            width = float(depth[..., 2].max()) / 1100
            assert float(result.dilution[number, joint]) == pytest.approx(
                np.sqrt(variance) / width, rel=1e-4
            )


def facing_cameras() -> PerspectiveCamera:
    """Return two cameras 8 m apart that look at each other along the world's x."""
    rotations = [
        np.stack([np.cross(forward, [0, 0, 1.0]), [0, 0, -1.0], forward])
        for forward in np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    ]
    return PerspectiveCamera(
        torch.full((2, 2), 1100.0).double(),
        torch.full((2, 2), 500.0).double(),
        rotation=torch.tensor(np.stack(rotations)),
        position=torch.tensor([[-4.0, 0, 1], [4.0, 0, 1]]).double(),
    )


def test_points_between_two_cameras_that_face_each_other_are_left_out() -> None:
    camera = facing_cameras()
    # On the line between the cameras, 10 cm off it, and far off it.
    points = torch.tensor([[0.5, 0, 1], [0.5, 0.1, 1], [0.5, 2.5, 1]]).double()
    exact = camera.project(camera.world_to_camera(points.expand(2, 3, 3)))
    noise = 3 * torch.tensor(np.random.default_rng(5).normal(size=(2000, *exact.shape)))
    arguments = (
        (exact + noise).flatten(0, 1), torch.ones(4000, 3).double(),
        camera[torch.arange(2).repeat(2000)], torch.arange(2000).repeat_interleave(2),
    )  # fmt: skip
    loose = triangulate(*arguments)
    # Images of points on the line agree on points that are meters off.
    error = (loose.points - points).norm(dim=-1)
    assert float(loose.used[:, :2].double().mean()) > 0.8
    assert float(error[:, 0].nanmedian()) > 0.5
    result = triangulate(*arguments, max_dilution=5)
    assert float(result.points[:, :2].isfinite().double().mean()) < 0.01
    assert torch.equal(result.points[:, 2], loose.points[:, 2])
    assert result.used[:, 2].all()
    torch.testing.assert_close(result.dilution, loose.dilution, rtol=0, atol=0, equal_nan=True)
    left_out = result.points.isnan().any(-1)
    assert torch.equal(left_out[arguments[3]], ~result.used)
    assert torch.equal(left_out[arguments[3]], result.error.isnan())
    expected = 3 * float(result.dilution[:, 2].median()) * 4.5 / 1100
    assert float(error[:, 2].square().mean().sqrt()) == pytest.approx(expected, rel=0.05)


def test_dilution_does_not_depend_on_resolution_and_is_infinite_for_parallel_rays() -> None:
    _, images, camera, group = scene()
    weight = torch.ones(images.shape[:2]).double()
    small = camera.resize((1000, 1000), (100, 100))
    torch.testing.assert_close(
        triangulate(images / 10, weight, small, group).dilution,
        triangulate(images, weight, camera, group).dilution,
    )
    facing = facing_cameras()
    assert facing.rotation is not None and facing.position is not None
    turn = torch.tensor(Rotation.from_euler('z', [[0], [-90]], degrees=True).as_matrix())
    crossing = PerspectiveCamera(
        facing.focal_length, facing.principal_point,
        rotation=facing.rotation @ turn.transpose(1, 2),
        position=(turn @ facing.position[..., None])[..., 0],
    )  # fmt: skip
    center = torch.full((2, 1, 2), 500.0).double()
    one, group = torch.ones(2, 1).double(), torch.zeros(2, dtype=torch.long)
    # Both views measure the height, and one view each of the other coordinates.
    result = triangulate(center, one, crossing, group)
    assert float(result.dilution) == pytest.approx(np.sqrt(2.5))
    result = triangulate(center, one, facing, group, tolerance=1e9)
    assert result.points.isnan().all() and not float(result.dilution) < 1e6


def test_the_dilution_of_three_or_four_of_the_real_cameras_is_small(shared_data: Path) -> None:
    loaded = load_cameras(shared_data / 'h36m_mini/cameras.pkl')
    rng = np.random.default_rng(6)
    points = torch.tensor(rng.uniform([-2, -2, 0], [2, 2, 1.8], (1, 500, 3)))
    for subject in ('S1', 'S9'):
        rig = PerspectiveCamera.cat([c for key, c in loaded.items() if key[0] == subject])
        rig = rig.to(torch.float64)
        for views, limit in ((4, 1.5), (3, 2.7)):
            for chosen in combinations(range(4), views):
                camera = rig[list(chosen)]
                local = camera.world_to_camera(points.expand(views, -1, -1))
                in_front = (local[..., 2] > 0.5).all(0) & (
                    (local[..., :2] / local[..., 2:]).abs() < 0.45
                ).all(-1).all(0)
                result = triangulate(
                    camera.project(local), in_front.expand(views, -1).double(), camera,
                    torch.zeros(views, dtype=torch.long), max_dilution=limit,
                )  # fmt: skip
                assert int(in_front.sum()) > 50
                assert torch.equal(result.points[0].isfinite().all(-1), in_front)


# At -1000 the removal of distortion does not return to the image; farther off it overflows.
@pytest.mark.parametrize('pixel', [-1000.0, -9999.0])
def test_an_image_far_outside_the_picture_counts_as_missing(pixel: float) -> None:
    points, images, camera, group = scene()
    # The first row is the one that pads groups with fewer views.
    kept = torch.ones(len(group), dtype=torch.bool)
    kept[torch.nonzero(group == (group[0] + 1) % GROUPS)[0, 0]] = False
    images, camera, group = images[kept].clone(), camera[kept], group[kept]
    images[0, 0] = torch.tensor([pixel, 500.0])
    weight = torch.ones(images.shape[:2]).double()
    result = triangulate(images, weight, camera, group)
    torch.testing.assert_close(result.points, points, atol=1e-7, rtol=0)
    weight[0, 0] = 0
    without = triangulate(images, weight, camera, group)
    for name in ('points', 'used', 'error', 'shown', 'dilution'):
        torch.testing.assert_close(
            getattr(result, name), getattr(without, name), rtol=0, atol=0, equal_nan=True
        )
    assert not result.used[0, 0] and int(result.shown[group[0], 0]) == VIEWS - 1


def test_groups_are_triangulated_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, images, camera, group = scene()
    images = images + torch.tensor(np.random.default_rng(7).normal(0, 3, images.shape))
    images, camera, group = images[1:], camera[1:], 2 * group[1:]  # groups 1 and 3 have no rows
    weight = torch.ones(images.shape[:2]).double()
    whole = triangulate(images, weight, camera, group)
    assert torch.equal(whole.shown[[1, 3]], torch.zeros(2, JOINTS, dtype=torch.long))
    for size in (1, 2):
        monkeypatch.setattr(triangulation, '_GROUPS_AT_A_TIME', size)
        parts = triangulate(images, weight, camera, group)
        for name in ('points', 'used', 'error', 'shown', 'dilution'):
            torch.testing.assert_close(
                getattr(parts, name), getattr(whole, name), rtol=0, atol=0, equal_nan=True
            )


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
    with pytest.raises(ValueError, match='max_dilution: found nan, expected a positive number'):
        triangulate(images, weight, camera, group, max_dilution=float('nan'))
    with pytest.raises(ValueError, match='cameras with a pose'):
        triangulate(images, weight, PerspectiveCamera([1.0, 1.0], [0.0, 0.0]), group)
