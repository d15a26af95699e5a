"""Meshes in front of a small camera, shared by the tests of both backends."""

from __future__ import annotations

import numpy as np
import torch

from mmjrr.geometry import PerspectiveCamera

from .. import meshes

MESHES = {
    'octahedron': (*meshes.octahedron(), True),
    'torus': (*meshes.torus(6, 5), True),
    'open_cylinder': (*meshes.open_cylinder(3, 6), False),
    'open_hemisphere': (*meshes.open_hemisphere(3, 7), False),
    'three_pages': (*meshes.three_pages(), False),
}


def image_plane() -> PerspectiveCamera:
    """At depth 1, x and y are pixels."""
    return PerspectiveCamera([[1.0, 1.0]], [[0.0, 0.0]]).to(torch.float64)


def at_depth_one(corners: list) -> torch.Tensor:  # (N, 2) -> (1, N, 3)
    flat = torch.tensor(corners, dtype=torch.float64)
    return torch.cat([flat, torch.ones(len(flat), 1, dtype=torch.float64)], 1)[None]


def posed(vertices: np.ndarray, seed: int, shift=(0.0, 0.0, 5.0)) -> torch.Tensor:  # (1, V, 3)
    return torch.tensor((vertices @ meshes.rotation(seed).T + np.array(shift))[None])


def small_camera(height: int = 10, width: int = 12) -> PerspectiveCamera:
    focal, center = [[19.0, 20.0]], [[width / 2 + 0.21, height / 2 - 0.13]]
    return PerspectiveCamera(focal, center).to(torch.float64)


def drawn(renderer, vertices, camera):
    """Values and gradient, for an upstream gradient that is the same each time."""
    vertices = vertices.clone().requires_grad_()
    alpha = renderer(vertices, camera)
    upstream = torch.randn(
        alpha.shape, generator=torch.Generator().manual_seed(1), dtype=alpha.dtype
    )
    return alpha.detach(), torch.autograd.grad(alpha, vertices, upstream)[0]
