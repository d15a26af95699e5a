"""Coarse meshes and packed vertices."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from report_example import icosphere

from mmjrr.visualization.report.decimation import decimate, encode, encode_faces, whole_mesh


def edges_of(faces: np.ndarray) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for a, b, c in faces.tolist():
        for edge in ((a, b), (b, c), (c, a)):
            counts[edge] = counts.get(edge, 0) + 1
    return counts


def test_a_closed_surface_stays_closed_oriented_and_keeps_its_shape() -> None:
    vertices, faces = icosphere()
    mesh = decimate(vertices, faces, 200)
    assert len(mesh.vertex_ids) == 200 == len(set(mesh.vertex_ids.tolist()))
    edges = edges_of(mesh.faces)
    # Every directed edge once, with its opposite; V - E + F = 2 for a sphere.
    assert set(edges.values()) == {1} and all((b, a) in edges for a, b in edges)
    assert 200 - len(edges) // 2 + len(mesh.faces) == 2
    corners = vertices[mesh.vertex_ids][mesh.faces]
    volume = np.einsum('fi,fi->f', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.93 * 4 / 3 * np.pi < volume < 4 / 3 * np.pi


def test_flat_parts_lose_vertices_before_curved_ones() -> None:
    # A square whose middle row is folded up; all vertices off the fold and inside are flat.
    count = 9
    grid = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing='ij'), -1)
    points = np.concatenate([grid, np.zeros((count, count, 1))], -1).astype(float)
    points[count // 2, :, 2] = 2.0
    faces = []
    for i in range(count - 1):
        for j in range(count - 1):
            a = i * count + j
            faces += [(a, a + count, a + 1), (a + 1, a + count, a + count + 1)]
    mesh = decimate(points.reshape(-1, 3), np.array(faces), 24)
    assert set(mesh.vertex_ids.tolist()) >= {0, count - 1, count * count - 1}
    assert points.reshape(-1, 3)[mesh.vertex_ids, 2].max() == 2.0


def test_equal_meshes_give_equal_results_and_small_ones_stay_whole() -> None:
    vertices, faces = icosphere(1)
    first, second = decimate(vertices, faces, 30), decimate(vertices, faces, 30)
    assert np.array_equal(first.faces, second.faces)
    assert len(decimate(vertices, faces, 500).faces) == len(faces) == len(whole_mesh(faces).faces)


def test_packed_vertices_unpack_to_within_half_a_step() -> None:
    vertices, faces = icosphere()
    order = whole_mesh(faces).vertex_ids
    points = vertices[order] + [0.3, -1.2, 5.0]
    first, text = encode(points, 0.001)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    steps = (planes[0].astype(np.uint16) + planes[1].astype(np.uint16) * 256).astype('<i2')
    decoded = (np.array(first) + np.cumsum(steps.reshape(-1, 3).astype(int), 0)) * 0.001
    assert np.abs(decoded - points).max() <= 0.0005 + 1e-9


def test_packed_faces_unpack() -> None:
    _, faces = icosphere()
    planes = np.frombuffer(zlib.decompress(base64.b64decode(encode_faces(faces))), np.uint8)
    low, high = planes.reshape(2, -1).astype(int)
    assert np.array_equal((low + 256 * high).reshape(-1, 3), faces)
