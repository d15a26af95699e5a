from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.geometry import (
    PerspectiveCamera,
    crop_weak_perspective_to_transl,
    transl_to_crop_weak_perspective,
    transl_to_weak_perspective,
    weak_perspective_to_transl,
)

FOCAL = [[1145.05, 1143.78], [1149.7, 1147.6]]
CENTER = [[512.5, 515.5], [508.8, 508.1]]
DISTORTION = [
    [-0.207, 0.248, -0.0031, -0.00142, -0.00098],
    [-0.194, 0.24, 0.0068, -0.0028, -0.0016],
]


def camera_of(distortion=None, model='h36m') -> PerspectiveCamera:
    tensors = [torch.tensor(v, dtype=torch.float64) for v in (FOCAL, CENTER)]
    if distortion is not None:
        distortion = torch.tensor(distortion, dtype=torch.float64)
    return PerspectiveCamera(*tensors, distortion, model)


def test_weak_perspective_is_spins_translation():
    camera = torch.tensor([[0.9, 0.05, -0.1]], dtype=torch.float64)
    expected = [[0.05, -0.1, 2 * 5000 / (224 * 0.9)]]
    np.testing.assert_allclose(weak_perspective_to_transl(camera), expected)
    np.testing.assert_allclose(transl_to_weak_perspective(torch.tensor(expected)), camera)


def test_weak_perspective_without_scale_is_refused():
    with pytest.raises(ValueError, match='scales must be positive'):
        weak_perspective_to_transl(torch.tensor([[0.0, 0.0, 0.0]]))


def crop_example(distorted: bool = True) -> dict:
    return dict(
        center=torch.tensor([[466.7, 465.7], [300.0, 620.0]], dtype=torch.float64),
        box_size=torch.tensor([403.4, 350.0], dtype=torch.float64),
        intrinsics=camera_of(DISTORTION if distorted else None),
    )


SPIN_CAMERA = torch.tensor([[0.92, 0.03, 0.21], [0.85, -0.06, 0.3]], dtype=torch.float64)
ROOT = torch.tensor([[0.0, -0.24, 0.02], [0.01, -0.2, -0.05]], dtype=torch.float64)


def test_crop_camera_without_root_and_distortion_has_the_simple_closed_form():
    example = crop_example(distorted=False)
    camera = example['intrinsics']
    depth = 2 * camera.focal_length.prod(-1).sqrt() / (example['box_size'] * SPIN_CAMERA[:, 0])
    mean_focal = camera.focal_length.prod(-1, keepdim=True).sqrt()
    sideways = (
        SPIN_CAMERA[:, 1:] * mean_focal
        + depth[:, None] * (example['center'] - camera.principal_point)
    ) / camera.focal_length
    expected = torch.cat([sideways, depth[:, None]], 1)
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **example)
    torch.testing.assert_close(transl, expected)


def test_translated_root_appears_where_and_as_large_as_in_spins_crop():
    example = crop_example()
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **example, root=ROOT)

    # SPIN's picture of the root and of points 1 cm beside it, brought from the crop to the image.
    spin = PerspectiveCamera([[5000.0, 5000.0]], [[112.0, 112.0]]).to(torch.float64)
    steps = torch.tensor([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]], dtype=torch.float64)
    body = ROOT[:, None] + steps
    on_crop = spin.project(body + weak_perspective_to_transl(SPIN_CAMERA)[:, None])
    corner = example['center'] - example['box_size'][:, None] / 2
    expected = corner[:, None] + on_crop * (example['box_size'] / 224)[:, None, None]

    pixels = example['intrinsics'].project(body + transl[:, None])
    torch.testing.assert_close(pixels[:, 0], expected[:, 0], atol=1e-5, rtol=0)
    size = (pixels[:, 1:] - pixels[:, :1]).norm(dim=-1).prod(-1).sqrt()
    expected_size = (expected[:, 1:] - expected[:, :1]).norm(dim=-1).prod(-1).sqrt()
    torch.testing.assert_close(size, expected_size, atol=0, rtol=0.03)  # lens: within 3%


@pytest.mark.parametrize('root', [None, ROOT])
@pytest.mark.parametrize('distorted', [False, True])
def test_crop_camera_and_translation_are_inverse(root, distorted):
    example = crop_example(distorted)
    transl = crop_weak_perspective_to_transl(SPIN_CAMERA, **example, root=root)
    back = transl_to_crop_weak_perspective(transl, **example, root=root)
    torch.testing.assert_close(back, SPIN_CAMERA, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(center=torch.zeros(3, 2)), r'center must be \(2, 2\), got \(3, 2\)'),
        (dict(box_size=torch.zeros(2)), 'box_size must be positive'),
        (dict(box_size=torch.ones(2, 1)), r'box_size must be \(2,\)'),
        (dict(root=torch.zeros(1, 3)), r'root must be \(2, 3\)'),
    ],
)
def test_crops_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        crop_weak_perspective_to_transl(SPIN_CAMERA, **{**crop_example(), **change})
