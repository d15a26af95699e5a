from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmjrr.datasets.synthetic.camera_rig import make_cameras, project, world_to_camera
from mmjrr.datasets.synthetic.images import draw_person, draw_room, exact_mask
from mmjrr.datasets.synthetic.seeding import stream


def sphere(radius: float, rows: int = 40, columns: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A closed mesh, faces counter-clockwise seen from outside in a right-handed frame."""
    polar = np.linspace(0, np.pi, rows + 1)[1:-1]
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    p, t = (grid.ravel() for grid in np.meshgrid(polar, turn, indexing='ij'))
    ring = np.stack([np.sin(p) * np.cos(t), np.sin(p) * np.sin(t), np.cos(p)], 1)
    vertices = radius * np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]])
    faces = []
    for i in range(columns):
        j = (i + 1) % columns
        for row in range(rows - 2):
            a, b = row * columns, (row + 1) * columns
            faces += [(a + i, b + i, b + j), (a + i, b + j, a + j)]
        last = (rows - 2) * columns
        faces += [(len(ring), i, j), (len(ring) + 1, last + j, last + i)]
    return vertices, np.array(faces)


def test_mask_of_a_sphere_is_the_disc_that_geometry_gives():
    vertices, faces = sphere(0.5, rows=120, columns=160)
    focal, distance = 400.0, 4.0
    points = vertices + [0, 0, distance]
    pixels = points[:, :2] / points[:, 2:] * focal + [100.3, 90.8]
    mask = exact_mask(pixels, faces, (180, 200))
    radius = focal * 0.5 / np.sqrt(distance**2 - 0.5**2)
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.005)
    rows, columns = np.nonzero(mask)
    assert columns.mean() + 0.5 == pytest.approx(100.3, abs=0.05)
    assert rows.mean() + 0.5 == pytest.approx(90.8, abs=0.05)


def test_mask_is_cut_at_the_image_border_and_empty_outside():
    vertices, faces = sphere(0.5)
    points = vertices + [0, 0, 4.0]
    pixels = points[:, :2] / points[:, 2:] * 400.0
    corner = exact_mask(pixels, faces, (100, 100))  # centered on the image's corner
    whole = exact_mask(pixels + 100, faces, (200, 200))
    assert corner.sum() == pytest.approx(whole.sum() / 4, rel=0.02)
    assert exact_mask(pixels - 500, faces, (100, 100)).sum() == 0


def test_picture_shows_the_person_where_the_mask_says():
    vertices, faces = sphere(0.6)
    camera = make_cameras(0, 'S1')['54138969']
    points = world_to_camera(vertices + [0, 0, 0.6], camera)
    pixels = project(points, camera)
    room = draw_room(stream(0, 'room'), camera)
    assert room.shape == (1002, 1000, 3) and room.dtype == np.uint8
    before = room.copy()
    green = np.tile([0.0, 1.0, 0.0], (len(vertices), 1))
    image = draw_person(room, points, pixels, faces, green, camera, stream(0, 'noise'))
    np.testing.assert_array_equal(room, before)
    blue, green_channel, red = (image[..., i].astype(int) for i in range(3))
    painted = (green_channel > 60) & (blue < 40) & (red < 40)
    mask = exact_mask(pixels, faces, (1002, 1000)).astype(bool)
    assert (painted & mask).sum() / (painted | mask).sum() > 0.99


def test_nearer_bodies_hide_farther_ones():
    small, faces = sphere(0.2)
    camera = make_cameras(0, 'S1')['54138969']
    near, far = small + [0, 0, 3.0], 2 * small + [0, 0, 5.0]
    points = np.concatenate([near, far])
    both = np.concatenate([faces, faces + len(small)])
    colors = np.repeat([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], len(small), axis=0)
    room = np.zeros((1002, 1000, 3), np.uint8)
    pixels = project(points, camera)
    image = draw_person(room, points, pixels, both, colors, camera, stream(0, 'noise'))
    blue, _, red = image[515, 512].astype(int)  # the principal point
    assert red > 100 > blue


def test_rooms_differ():
    camera = make_cameras(0, 'S1')['54138969']
    rooms = [draw_room(stream(0, 'room', name), camera) for name in ('S1', 'S5')]
    assert cv2.absdiff(*rooms).mean() > 5
