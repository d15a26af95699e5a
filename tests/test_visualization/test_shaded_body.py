"""Shaded bodies: coverage, hidden surfaces and light, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmjrr.geometry import PerspectiveCamera
from mmjrr.visualization import shaded_body
from mmjrr.visualization.shaded_body import shade_body, vertex_normals

CAMERA = PerspectiveCamera([100.0, 100.0], [50.0, 50.0])
SIZE = (100, 100)


def sphere(count: int = 60, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A sphere around the origin, its faces counterclockwise seen from outside."""
    polar, azimuth = np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count, False)
    grid = np.stack(np.meshgrid(polar, azimuth, indexing='ij'), -1).reshape(-1, 2)
    vertices = radius * np.stack(
        [np.sin(grid[:, 0]) * np.cos(grid[:, 1]), np.sin(grid[:, 0]) * np.sin(grid[:, 1]),
         np.cos(grid[:, 0])], 1,
    )  # fmt: skip
    faces = []
    for row in range(count - 1):
        for column in range(2 * count):
            a, b = row * 2 * count + column, row * 2 * count + (column + 1) % (2 * count)
            faces += [(a, a + 2 * count, b), (b, a + 2 * count, b + 2 * count)]
    return vertices, np.array(faces)


def test_normals_of_a_sphere_point_outwards() -> None:
    vertices, faces = sphere()
    inner = np.abs(vertices[:, 2]) < 0.99  # the poles' faces have no area
    assert ((vertex_normals(vertices, faces) * vertices).sum(1)[inner] > 0.999).all()


def test_a_sphere_covers_the_disk_and_its_depth_is_the_nearest_surface() -> None:
    vertices, faces = sphere()
    body = shade_body(vertices + [0, 0, 5], faces, CAMERA, SIZE)
    # A sphere at distance d is seen under the angle asin(r / d).
    radius = 100 * np.tan(np.arcsin(1 / 5))
    assert body.alpha.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert body.depth[50, 50] == pytest.approx(4.0, abs=1e-3)
    assert np.isinf(body.depth[2, 2]) and body.alpha[2, 2] == 0 and not body.color[2, 2].any()


def test_the_side_towards_the_light_is_brighter() -> None:
    vertices, faces = sphere()
    color = shade_body(vertices + [0, 0, 5], faces, CAMERA, SIZE).color.sum(-1)
    assert color[38, 46] > 1.5 * color[62, 54] > 0  # the main light comes from the upper left


def test_a_near_body_hides_a_far_one_whatever_the_order_of_faces() -> None:
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    vertices = np.concatenate([corners + [0, 0, 4], corners + [0, 0, 6]])
    color = np.repeat([[1.0, 0, 0], [0, 0, 1]], 4, axis=0)
    for both in (np.concatenate([faces, faces + 4]), np.concatenate([faces + 4, faces])):
        body = shade_body(vertices, both, CAMERA, SIZE, color)
        assert body.color[50, 50, 0] > 0 and body.color[50, 50, 2] == 0
        assert body.depth[50, 50] == pytest.approx(4.0)


def test_what_lies_outside_the_picture_is_cut_off() -> None:
    vertices, faces = sphere()
    body = shade_body(vertices + [2.5, 0, 5], faces, CAMERA, SIZE)
    assert body.alpha[50, 99] == 1 and body.alpha[50, 40] == 0


def test_a_body_behind_the_camera_is_refused() -> None:
    vertices, faces = sphere()
    with pytest.raises(ValueError, match='behind the camera'):
        shade_body(vertices, faces, CAMERA, SIZE)


def test_a_large_picture_is_drawn_smaller_and_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = sphere()
    vertices = vertices + [0.3, 0, 5]
    size = (300, 201)
    camera = PerspectiveCamera([300.0, 300.0], [100.0, 150.0])
    exact = shade_body(vertices, faces, camera, size)
    sizes = []
    rasterize = shaded_body._rasterize

    def noted(*args: Any) -> Any:
        sizes.append(args[-1])
        return rasterize(*args)

    monkeypatch.setattr(shaded_body, '_rasterize', noted)
    monkeypatch.setattr(shaded_body, '_MOST_SAMPLES', 60_000)
    body = shade_body(vertices, faces, camera, size)
    assert [height * width for height, width in sizes] == [pytest.approx(60_000, rel=0.03)]
    assert body.alpha.shape == body.depth.shape == size and body.color.shape == (*size, 3)
    inner = exact.alpha == 1
    assert np.abs(body.alpha - exact.alpha).mean() < 0.005
    assert np.abs(body.color - exact.color)[inner].mean() < 0.01
    both = np.isfinite(body.depth) & np.isfinite(exact.depth)
    assert both[inner].mean() > 0.98
    assert np.abs(body.depth[both] - exact.depth[both]).mean() < 0.02
    assert not np.isnan(body.depth).any() and np.isinf(body.depth[2, 2])


def test_over_an_image_only_the_body_changes_it() -> None:
    vertices, faces = sphere()
    body = shade_body(vertices + [0, 0, 5], faces, CAMERA, SIZE)
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    picture = body.over(image)
    changed = (picture != image).any(-1)
    assert not changed[body.alpha == 0].any() and changed[body.alpha == 1].mean() > 0.98
    assert np.array_equal(body.over(image, opacity=0.0), image)
