"""The translation that 2D joints determine, against exact projections and NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from h36m_lenses import DISTORTION, two_cameras
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera, fit_translation


def a_camera() -> PerspectiveCamera:
    return two_cameras(DISTORTION)[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 17))
def test_exact_projections_give_the_true_translation(seed: int, joints: int) -> None:
    rng = np.random.default_rng(seed)
    body = torch.from_numpy(rng.normal(0, 0.4, (4, joints, 3)))
    transl = torch.from_numpy(rng.uniform([-1, -1, 4], [1, 1, 7], (4, 3)))
    camera = two_cameras(DISTORTION)[[0, 1, 0, 1]]
    pixels = camera.project(body + transl[:, None])
    weight = torch.from_numpy(rng.uniform(0.1, 1, (4, joints)))
    np.testing.assert_allclose(fit_translation(body, pixels, weight, camera), transl, atol=1e-5)


def test_noisy_points_give_the_least_squares_solution_of_numpy() -> None:
    rng = np.random.default_rng(0)
    body = rng.normal(0, 0.4, (17, 3))
    pixels = rng.uniform(300, 700, (17, 2))
    weight = rng.uniform(0, 1, 17)
    camera = PerspectiveCamera(np.array([1145.0, 1143.8]), np.array([512.5, 515.5]))
    equations, right = [], []
    for (x, y, z), (u, v), w in zip(body, pixels, weight, strict=True):
        a, b = (u - 512.5) / 1145.0, (v - 515.5) / 1143.8
        equations += [np.sqrt(w) * np.array([1, 0, -a]), np.sqrt(w) * np.array([0, 1, -b])]
        right += [np.sqrt(w) * (a * z - x), np.sqrt(w) * (b * z - y)]
    expected = np.linalg.lstsq(np.array(equations), np.array(right), rcond=None)[0]
    transl = fit_translation(
        torch.from_numpy(body)[None],
        torch.from_numpy(pixels)[None],
        torch.from_numpy(weight)[None],
        camera,
    )
    np.testing.assert_allclose(transl[0], expected, rtol=1e-10)


def test_the_translation_is_differentiable_in_points_and_weights() -> None:
    body = 0.4 * torch.randn(2, 5, 3, dtype=torch.float64)
    pixels = a_camera().project(body + torch.tensor([0.1, 0.2, 5.0]).double())
    pixels = pixels + torch.randn_like(pixels)
    weight = torch.rand(2, 5, dtype=torch.float64) + 0.5

    def fitted(body: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
        return fit_translation(body, pixels, weight, a_camera())

    inputs = tuple(value.clone().requires_grad_() for value in (body, pixels, weight))
    assert torch.autograd.gradcheck(fitted, inputs)


def test_points_of_weight_zero_are_ignored_even_when_nan() -> None:
    body = torch.randn(1, 6, 3, dtype=torch.float64) * 0.4
    transl = torch.tensor([[0.1, 0.2, 5.0]], dtype=torch.float64)
    pixels = a_camera().project(body + transl[:, None])
    pixels[0, 0] = torch.nan
    body[0, 1] = torch.nan
    weight = torch.tensor([[0.0, 0, 1, 1, 1, 1]], dtype=torch.float64)
    np.testing.assert_allclose(fit_translation(body, pixels, weight, a_camera()), transl, atol=1e-6)


def test_single_precision_is_accurate_to_a_millimeter() -> None:
    body = torch.randn(8, 17, 3) * 0.4
    transl = torch.tensor([[0.3, -0.2, 5.0]]).expand(8, 3)
    camera = a_camera().to(torch.float32)
    pixels = camera.project(body + transl[:, None])
    fitted = fit_translation(body, pixels, torch.ones(8, 17), camera)
    assert fitted.dtype == torch.float32
    np.testing.assert_allclose(fitted, transl, atol=1e-3)


@pytest.mark.parametrize('count', [0, 1])
def test_too_few_points_give_nan_for_their_body_alone(count: int) -> None:
    body = torch.randn(2, 5, 3, dtype=torch.float64) * 0.4
    transl = torch.tensor([[0.1, 0.2, 5.0]], dtype=torch.float64)
    pixels = a_camera().project(body + transl[:, None])
    weight = torch.ones(2, 5, dtype=torch.float64)
    weight[0, count:] = 0
    fitted = fit_translation(body, pixels, weight, a_camera())
    assert fitted[0].isnan().all()
    np.testing.assert_allclose(fitted[1], transl[0], atol=1e-6)


@pytest.mark.parametrize(
    ('name', 'shape'), [('points_3d', (1, 3, 2)), ('points_2d', (1, 3, 3)), ('weight', (1, 4))]
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    shapes = dict(points_3d=(1, 3, 3), points_2d=(1, 3, 2), weight=(1, 3)) | {name: shape}
    with pytest.raises(ValueError, match=f'{name}: found shape'):
        fit_translation(
            **{key: torch.zeros(*size) for key, size in shapes.items()}, camera=a_camera()
        )
