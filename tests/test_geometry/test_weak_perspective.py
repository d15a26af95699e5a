"""SPIN's weak-perspective camera: its translation, and the same view under real intrinsics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from h36m_lenses import DISTORTION, two_cameras
from torch import Tensor

from mmjrr.geometry import (
    PerspectiveCamera,
    crop_weak_perspective_to_transl,
    transl_to_crop_weak_perspective,
    transl_to_weak_perspective,
    weak_perspective_to_transl,
)

SPIN_CAMERA = torch.tensor([[0.92, 0.03, 0.21], [0.85, -0.06, 0.3]], dtype=torch.float64)
ROOT = torch.tensor([[0.0, -0.24, 0.02], [0.01, -0.2, -0.05]], dtype=torch.float64)


def crop_arguments(distorted: bool = True) -> dict[str, Any]:
    return dict(
        center=torch.tensor([[466.7, 465.7], [300.0, 620.0]], dtype=torch.float64),
        box_size=torch.tensor([403.4, 350.0], dtype=torch.float64),
        intrinsics=two_cameras(DISTORTION if distorted else None),
    )


def test_weak_perspective_is_spins_translation_and_back() -> None:
    camera = torch.tensor([[0.9, 0.05, -0.1]], dtype=torch.float64)
    expected = [[0.05, -0.1, 2 * 5000 / (224 * 0.9)]]
    np.testing.assert_allclose(weak_perspective_to_transl(camera), expected)
    np.testing.assert_allclose(transl_to_weak_perspective(torch.tensor(expected)), camera)


def test_crop_camera_without_root_and_distortion_has_the_simple_closed_form() -> None:
    arguments = crop_arguments(distorted=False)
    camera = arguments['intrinsics']
    depth = 2 * camera.focal_length.prod(-1).sqrt() / (arguments['box_size'] * SPIN_CAMERA[:, 0])
    mean_focal_length = camera.focal_length.prod(-1, keepdim=True).sqrt()
    x_and_y = (
        SPIN_CAMERA[:, 1:] * mean_focal_length
        + depth[:, None] * (arguments['center'] - camera.principal_point)
    ) / camera.focal_length
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **arguments)
    torch.testing.assert_close(transl, torch.cat([x_and_y, depth[:, None]], 1))


def test_root_has_the_position_and_scale_that_spins_crop_shows() -> None:
    arguments = crop_arguments()
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **arguments, root=ROOT)

    # Project the root and points 1 cm beside it with SPIN's camera, then map crop to image.
    spin = PerspectiveCamera([[5000.0, 5000.0]], [[112.0, 112.0]]).to(torch.float64)
    steps = torch.tensor([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]], dtype=torch.float64)
    body = ROOT[:, None] + steps
    crop_pixels = spin.project(body + weak_perspective_to_transl(SPIN_CAMERA)[:, None])
    corner = arguments['center'] - arguments['box_size'][:, None] / 2
    expected = corner[:, None] + crop_pixels * (arguments['box_size'] / 224)[:, None, None]

    pixels = arguments['intrinsics'].project(body + transl[:, None])
    torch.testing.assert_close(pixels[:, 0], expected[:, 0], atol=1e-5, rtol=0)
    size = (pixels[:, 1:] - pixels[:, :1]).norm(dim=-1).prod(-1).sqrt()
    expected_size = (expected[:, 1:] - expected[:, :1]).norm(dim=-1).prod(-1).sqrt()
    # Distortion changes the local scale by up to 3%.
    torch.testing.assert_close(size, expected_size, atol=0, rtol=0.03)


@pytest.mark.parametrize('root', [None, ROOT], ids=['origin', 'root'])
@pytest.mark.parametrize('distorted', [False, True], ids=['pinhole', 'distorted'])
def test_crop_camera_and_translation_are_inverse(root: Tensor | None, distorted: bool) -> None:
    arguments = crop_arguments(distorted)
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **arguments, root=root)
    camera = transl_to_crop_weak_perspective(transl, **arguments, root=root)
    torch.testing.assert_close(camera, SPIN_CAMERA, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    'convert', [crop_weak_perspective_to_transl, transl_to_crop_weak_perspective]
)
def test_conversions_are_differentiable(convert: Any) -> None:
    arguments = crop_arguments()
    first = SPIN_CAMERA
    if convert is transl_to_crop_weak_perspective:
        first = crop_weak_perspective_to_transl(SPIN_CAMERA, **arguments, root=ROOT)
    values = (first, arguments['center'], arguments['box_size'], ROOT)

    def converted(first: Tensor, center: Tensor, box_size: Tensor, root: Tensor) -> Tensor:
        return convert(first, center, box_size, arguments['intrinsics'], root)

    assert torch.autograd.gradcheck(
        converted, tuple(value.clone().requires_grad_() for value in values)
    )


def test_scales_that_are_not_positive_are_counted() -> None:
    message = 'camera: found 2 of 3 scales that are not positive, first in row 1: 0'
    with pytest.raises(ValueError, match=message):
        weak_perspective_to_transl(torch.tensor([[1.0, 0, 0], [0.0, 0, 0], [float('nan'), 0, 0]]))


@pytest.mark.parametrize(
    ('transl', 'message'),
    [
        (torch.zeros(3), r'transl: found shape \(3,\), expected \(B, 3\)'),
        (torch.tensor([[0.0, 0, -1]]), 'transl: found depths .*, expected positive'),
    ],
)
def test_wrong_translations_are_refused(transl: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transl_to_weak_perspective(transl)


def test_roots_behind_the_camera_are_refused() -> None:
    with pytest.raises(ValueError, match='transl: found roots at depths .*, expected positive'):
        transl_to_crop_weak_perspective(-SPIN_CAMERA, **crop_arguments())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(center=torch.zeros(3, 2)), r'center: found shape \(3, 2\), expected \(2, 2\)'),
        (dict(box_size=torch.zeros(2)), 'box_size: found .*, expected positive'),
        (dict(box_size=torch.ones(2, 1)), r'box_size: found shape \(2, 1\), expected \(2,\)'),
        (dict(root=torch.zeros(1, 3)), r'root: found shape \(1, 3\), expected \(2, 3\)'),
    ],
)
def test_crops_of_the_wrong_shape_are_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_weak_perspective_to_transl(SPIN_CAMERA, **{**crop_arguments(), **change})
