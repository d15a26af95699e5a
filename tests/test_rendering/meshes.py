"""Small meshes for the rendering tests: vertices (V, 3) float64 about the origin, faces (F, 3)."""

from __future__ import annotations

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]


def octahedron() -> Mesh:
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    faces = [[a, b, c] for a in (0, 1) for b in (2, 3) for c in (4, 5)]
    outwards = []
    for a, b, c in faces:
        normal = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        outwards.append([a, b, c] if normal @ vertices[a] > 0 else [a, c, b])
    return vertices, np.array(outwards)


def torus(rings: int, sides: int, tube: float = 0.35) -> Mesh:
    around, across = _grid(rings, sides)
    radius = 0.8 + tube * np.cos(across)
    vertices = np.stack(
        [radius * np.cos(around), radius * np.sin(around), tube * np.sin(across)], -1
    )
    return vertices.reshape(-1, 3), _grid_faces(rings, sides, wrap_rings=True)


def open_cylinder(rings: int, sides: int) -> Mesh:
    height, around = np.meshgrid(
        np.linspace(-0.8, 0.8, rings), np.arange(sides) * 2 * np.pi / sides, indexing='ij'
    )
    vertices = np.stack([0.5 * np.cos(around), height, 0.5 * np.sin(around)], -1)
    return vertices.reshape(-1, 3), _grid_faces(rings, sides, wrap_rings=False)


def open_hemisphere(rings: int, sides: int) -> Mesh:
    """A bowl, its pole cut off, too."""
    polar, around = np.meshgrid(
        np.linspace(0.2, np.pi / 2, rings), np.arange(sides) * 2 * np.pi / sides, indexing='ij'
    )
    vertices = np.stack(
        [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1
    )
    return vertices.reshape(-1, 3), _grid_faces(rings, sides, wrap_rings=False)


def three_pages() -> Mesh:
    """Three triangles that share an edge."""
    vertices = np.array([[0, -1, 0], [0, 1, 0], [0.9, 0.1, 0.3], [-0.7, 0.2, 0.5], [0.2, 0.3, -1]])
    return vertices, np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]])


def rotation(seed: int) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(
        np.arange(rows) * 2 * np.pi / rows, np.arange(columns) * 2 * np.pi / columns, indexing='ij'
    )


def _grid_faces(rows: int, columns: int, wrap_rings: bool) -> np.ndarray:
    i, j = np.meshgrid(
        np.arange(rows if wrap_rings else rows - 1), np.arange(columns), indexing='ij'
    )
    corner = lambda di, dj: ((i + di) % rows * columns + (j + dj) % columns).reshape(-1)  # noqa: E731
    a, b, c, d = corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
