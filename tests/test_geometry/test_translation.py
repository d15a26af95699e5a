from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjrr.geometry import PerspectiveCamera, fit_translation

H36M_LENS = [-0.2071, 0.2478, -0.0031, -0.0014, -0.001]


def a_camera(batch: int = 1, dtype: torch.dtype = torch.float64) -> PerspectiveCamera:
    return PerspectiveCamera(
        torch.tensor([[1145.0, 1143.8]], dtype=dtype).expand(batch, 2),
        torch.tensor([[512.5, 515.5]], dtype=dtype).expand(batch, 2),
        torch.tensor([H36M_LENS], dtype=dtype).expand(batch, 5),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 17))
def test_the_true_translation_comes_back_from_exact_projections(seed: int, joints: int) -> None:
    rng = np.random.default_rng(seed)
    body = torch.from_numpy(rng.normal(0, 0.4, (4, joints, 3)))
    transl = torch.from_numpy(rng.uniform([-1, -1, 4], [1, 1, 7], (4, 3)))
    camera = a_camera(4)
    seen = camera.project(body + transl[:, None])
    weight = torch.from_numpy(rng.uniform(0.1, 1, (4, joints)))
    found = fit_translation(body, seen, weight, camera)
    np.testing.assert_allclose(found, transl, atol=1e-5)


def test_noisy_points_give_the_least_squares_solution_of_numpy() -> None:
    rng = np.random.default_rng(0)
    body = rng.normal(0, 0.4, (17, 3))
    pixels = rng.uniform(300, 700, (17, 2))
    weight = rng.uniform(0, 1, 17)
    camera = PerspectiveCamera([1145.0, 1143.8], [512.5, 515.5])
    rows, right = [], []
    for (x, y, z), (u, v), w in zip(body, pixels, weight, strict=True):
        a, b = (u - 512.5) / 1145.0, (v - 515.5) / 1143.8
        rows += [np.sqrt(w) * np.array([1, 0, -a]), np.sqrt(w) * np.array([0, 1, -b])]
        right += [np.sqrt(w) * (a * z - x), np.sqrt(w) * (b * z - y)]
    expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    found = fit_translation(
        torch.from_numpy(body)[None],
        torch.from_numpy(pixels)[None],
        torch.from_numpy(weight)[None],
        camera.to(torch.float64),
    )[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_points_of_weight_zero_do_not_count_even_when_nan() -> None:
    body = torch.randn(1, 6, 3, dtype=torch.float64) * 0.4
    transl = torch.tensor([[0.1, 0.2, 5.0]], dtype=torch.float64)
    seen = a_camera().project(body + transl[:, None])
    seen[0, 0] = torch.nan
    body[0, 1] = torch.nan
    weight = torch.tensor([[0.0, 0, 1, 1, 1, 1]], dtype=torch.float64)
    np.testing.assert_allclose(fit_translation(body, seen, weight, a_camera()), transl, atol=1e-6)


def test_float32_is_good_to_a_millimetre() -> None:
    body = torch.randn(8, 17, 3) * 0.4
    transl = torch.tensor([[0.3, -0.2, 5.0]]).expand(8, 3)
    camera = a_camera(8, torch.float32)
    found = fit_translation(body, camera.project(body + transl[:, None]), torch.ones(8, 17), camera)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, transl, atol=1e-3)


@pytest.mark.parametrize('visible', [0, 1])
def test_too_few_points_give_nan_and_leave_the_others_alone(visible: int) -> None:
    body = torch.randn(2, 5, 3, dtype=torch.float64) * 0.4
    transl = torch.tensor([[0.1, 0.2, 5.0]], dtype=torch.float64)
    seen = a_camera().project(body + transl[:, None])
    weight = torch.ones(2, 5, dtype=torch.float64)
    weight[0, visible:] = 0
    found = fit_translation(body, seen, weight, a_camera())
    assert found[0].isnan().all()
    np.testing.assert_allclose(found[1], transl[0], atol=1e-6)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match='weight: found'):
        fit_translation(torch.zeros(1, 3, 3), torch.zeros(1, 3, 2), torch.zeros(1, 4), a_camera())
