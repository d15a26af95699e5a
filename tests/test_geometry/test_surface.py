"""Nearest points of a mesh against a dense search, and normals in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.body_models import free_body
from mmjrr.geometry.surface import nearest_surface_points, vertex_normals


def test_no_point_of_a_dense_sample_of_the_surface_is_nearer() -> None:
    """Triangles of very different size, at random."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(40, 3))
    faces = np.array([rng.choice(40, 3, replace=False) for _ in range(60)])
    points = 1.5 * rng.normal(size=(20, 3))
    weights, distance = nearest_surface_points(points, vertices, faces)
    weights = weights.toarray()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(np.linalg.norm(weights @ vertices - points, axis=1), distance)
    samples = rng.dirichlet(np.full(3, 0.5), 1000)
    dense = np.einsum('sk,fkc->fsc', samples, vertices[faces]).reshape(-1, 3)
    nearest = np.linalg.norm(dense[None] - points[:, None], axis=2).min(1)
    assert (distance <= nearest + 1e-12).all()
    np.testing.assert_allclose(distance, nearest, atol=0.1)  # the sample's spacing


def test_points_of_the_surface_are_their_own_nearest_points() -> None:
    body = free_body()
    vertices = body.v_template.double().numpy()
    points = vertices[body.faces[::7]].mean(1)
    weights, distance = nearest_surface_points(points, vertices, body.faces)
    assert distance.max() < 1e-9
    np.testing.assert_allclose(weights @ vertices, points, atol=1e-9)


def test_normals_of_a_cube_point_along_its_diagonals() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    square = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [[q[0], q[i], q[i + 1]] for q in square for i in (1, 2)]
    # Both diagonals of each side, so that corners have the same weight from all sides.
    faces += [[q[1], q[2], q[3]] for q in square] + [[q[0], q[1], q[3]] for q in square]
    normals = vertex_normals(corners, np.array(faces))
    np.testing.assert_allclose(normals, (2 * corners - 1) / np.sqrt(3), atol=1e-12)
    assert not vertex_normals(np.zeros((3, 3)), np.array([[0, 1, 2]])).any()


def test_a_mesh_needs_faces() -> None:
    with pytest.raises(ValueError, match='faces: found none'):
        nearest_surface_points(np.zeros((1, 3)), np.zeros((3, 3)), np.zeros((0, 3), int))
