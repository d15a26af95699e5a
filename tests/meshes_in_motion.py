"""Small meshes in motion: spheres that are stretched and turned, of several people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation


@dataclass
class Motion:
    """N frames of a mesh, with people and sequences."""

    vertices: np.ndarray  # (N, V, 3), meters
    faces: np.ndarray  # (F, 3), counterclockwise seen from outside
    person: list[str]
    sequence: list[str]


def sphere(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Points of a Fibonacci lattice on the unit sphere, and outward faces."""
    z = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    radius = np.sqrt(1 - z**2)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], 1)
    faces = ConvexHull(points).simplices
    corners = points[faces]
    outward = np.einsum(
        'fa,fa->f',
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]),
        corners.mean(1),
    )
    faces[outward < 0] = faces[outward < 0][:, [0, 2, 1]]
    return points, faces


def moving_sphere(frames: int = 60, people: int = 3, seed: int = 0) -> Motion:
    """Ellipsoids of each person's own size that turn, bend and travel."""
    rng = np.random.default_rng(seed)
    points, faces = sphere()
    person = [f'person_{index % people}' for index in range(frames)]
    sequence = [f'person_{index % people} take {index // (frames // 2)}' for index in range(frames)]
    sizes = rng.uniform(0.1, 0.3, (people, 3))
    vertices = np.empty((frames, len(points), 3))
    for index in range(frames):
        body = points * sizes[index % people] * rng.uniform(0.8, 1.2, 3)
        body[:, 0] += rng.normal() * 2 * body[:, 2] ** 2
        turned = Rotation.random(random_state=rng.integers(1 << 30)).apply(body)
        vertices[index] = turned + rng.normal(size=3)
    return Motion(vertices, faces, person, sequence)


def true_weights(joints: int, vertices: int, seed: int = 1) -> np.ndarray:
    """Random rows on the simplex, with four vertices each."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((joints, vertices))
    for row in weight:
        row[rng.choice(vertices, 4, replace=False)] = rng.dirichlet(np.ones(4))
    return weight
