"""The contour silhouette on the body it is made for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmjrr.body_models import SMPL, free_body
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette

from .. import reference


@pytest.fixture(scope='module')
def body() -> SMPL:
    return free_body().double()


def random_parameters(batch: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return dict(
        betas=normal(batch, 10),
        body_pose=0.35 * normal(batch, 69),
        global_orient=torch.tensor([torch.pi, 0.0, 0.0]) + 0.8 * normal(batch, 3),
        transl=torch.tensor([0.0, 0.0, 5.0]) + 0.2 * normal(batch, 3),
    )


def crop_around(vertices: Tensor, size: int) -> PerspectiveCamera:
    """An H36M-like camera, cropped to a square a little larger than each body."""
    camera = PerspectiveCamera([[1145.0, 1144.0]], [[512.0, 515.0]]).to(vertices.dtype)
    pixels = camera.project(vertices.detach())
    low, high = pixels.amin(1), pixels.amax(1)
    half = 0.55 * (high - low).amax(1, keepdim=True)
    middle = (low + high) / 2
    return camera.crop(torch.cat([middle - half, middle + half], 1), (size, size))


def test_free_body_is_closed_so_that_its_front_faces_suffice(body):
    assert ContourSilhouette(body.faces).closed


@pytest.mark.slow
def test_fifty_poses_agree_with_every_face_filled_at_sixteen_times_the_resolution(body):
    vertices = body(**random_parameters(50, seed=0)).vertices
    camera = crop_around(vertices, 224)
    silhouette = ContourSilhouette(body.faces)
    alpha = silhouette(vertices.float(), camera.to(torch.float32)).double().numpy()
    pixels = camera.project(vertices).numpy()
    for drawn, corners in zip(alpha, pixels, strict=True):
        filled = reference.filled(corners, body.faces, 224, factor=16)
        assert np.abs(drawn - filled).mean() <= 0.002
        assert np.minimum(drawn, filled).sum() / np.maximum(drawn, filled).sum() >= 0.998


@pytest.mark.parametrize('name', ['betas', 'body_pose', 'global_orient', 'transl'])
def test_gradients_through_body_and_camera_agree_with_finite_differences(body, name):
    """Along random directions; the weights of the pixels are smooth, as masks' pyramids are."""
    parameters = random_parameters(2, seed=1)
    camera = crop_around(body(**parameters).vertices, 64)
    silhouette = ContourSilhouette(body.faces, (64, 64))
    rows, columns = torch.meshgrid(
        *[torch.linspace(0, 3, 64, dtype=torch.float64)] * 2, indexing='ij'
    )
    weights = torch.stack([(rows + columns).sin(), (2 * rows - columns).cos()])

    def score(value: Tensor) -> Tensor:
        vertices = body(**{**parameters, name: value}).vertices
        return (silhouette(vertices, camera) * weights).sum()

    value = parameters[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(value), value)
    generator = torch.Generator().manual_seed(2)
    step = 1e-6
    for _ in range(3):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ahead = score(value + step * direction)
            behind = score(value - step * direction)
        expected = float(ahead - behind) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-3)
