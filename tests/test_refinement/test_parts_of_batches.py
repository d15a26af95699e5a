"""A frame is refined to the same digits in any batch, on a CPU."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from mmjrr.body_models import SMPL, free_body
from mmjrr.geometry import PerspectiveCamera, axis_angle_to_matrix, matrix_to_axis_angle
from mmjrr.models.discriminators import FitDiscriminator
from mmjrr.refinement import FitEnergy, FitRefiner, FrameGroups, Observations, RefinedFits
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason='another library than MKL multiplies matrices'
)

COUNT, VIEWS, SIZE = 16, 4, (64, 64)
PARTS = [slice(0, 8), slice(8, 16), slice(0, 5), slice(5, 16), slice(6, 7)]
FITS = ('refined', 'init', 'terms_init', 'terms_refined', 'values')


def with_pose_blend_shapes(body: SMPL) -> SMPL:
    """Add random pose blend shapes of a few millimeters to a body."""
    planes = 0.002 * torch.randn(207, 3, body.num_vertices)
    body.blend_planes = torch.cat([body.blend_planes, planes])
    body.has_pose_blend_shapes = True
    return body


def refiner(body: SMPL, **options) -> FitRefiner:
    return FitRefiner(
        body.requires_grad_(False),
        JointRegressor.load('free_body_h36m').reorder('mmpose'),
        ContourSilhouette(body.faces, image_size=SIZE),
        FitEnergy(terms=dict(joint_limits=dict(weight=1.0))),
        FitDiscriminator(),
        num_iters=4,
        **options,
    )


def observations(
    refining: FitRefiner, camera: PerspectiveCamera, true: dict[str, Tensor]
) -> Observations:
    with torch.no_grad():
        vertices = refining.body(**true).vertices
        joints = refining.regressor(vertices)
        mask = refining.renderer(vertices, camera)
    return Observations(
        joints, torch.ones(COUNT, 17), camera.project(joints), torch.ones(COUNT, 17), camera, mask
    )


def perturbed(true: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + 0.05 * torch.randn(value.shape) for name, value in true.items()}


def differences(one: RefinedFits, other: RefinedFits, rows: slice) -> list[str]:
    """Return the results in which frames of the first differ from those of the second."""
    pairs = [
        (name, value, getattr(other, field)[name])
        for field in FITS
        for name, value in getattr(one, field).items()
    ]
    pairs.append(('iou', one.iou_refined, other.iou_refined))
    return [name for name, value, part in pairs if not torch.equal(value[rows], part)]


@pytest.mark.parametrize('pose_blend_shapes', [False, True])
def test_a_frame_is_refined_to_the_same_digits_in_any_batch(pose_blend_shapes: bool) -> None:
    torch.manual_seed(0)
    body = free_body()
    refining = refiner(with_pose_blend_shapes(body) if pose_blend_shapes else body)
    true = dict(
        global_orient=torch.tensor([3.0, 0, 0]) + 0.2 * torch.randn(COUNT, 3),
        body_pose=0.15 * torch.randn(COUNT, 69),
        betas=torch.randn(COUNT, 10),
        transl=torch.tensor([0.0, 0.1, 5.0]) + 0.1 * torch.randn(COUNT, 3),
    )
    camera = PerspectiveCamera(torch.full((COUNT, 2), 120.0), torch.full((COUNT, 2), 32.0))
    observed, init = observations(refining, camera, true), perturbed(true)
    whole = refining.refine(init, observed)
    for rows in PARTS:
        part = {name: value[rows] for name, value in init.items()}
        alone = refining.refine(part, observed[rows], whole.weights)
        assert not differences(whole, alone, rows), rows


def test_a_moment_is_refined_to_the_same_digits_in_any_batch() -> None:
    torch.manual_seed(0)
    refining = refiner(free_body(), share=dict(pose='moment', betas='moment'))
    moments = COUNT // VIEWS
    moment = torch.arange(moments).repeat_interleave(VIEWS)
    angles = torch.arange(COUNT) % VIEWS * (np.pi / 2)
    about_y = torch.stack([0 * angles, angles, 0 * angles], 1)
    upside_down = axis_angle_to_matrix(torch.tensor([np.pi, 0.0, 0.0]).float())
    rotation = upside_down @ axis_angle_to_matrix(about_y.float())
    position = -(rotation.transpose(1, 2) @ torch.tensor([0.0, 0, 5]))
    camera = PerspectiveCamera(
        torch.full((COUNT, 2), 120.0),
        torch.full((COUNT, 2), 32.0),
        rotation=rotation,
        position=position,
    )
    true = dict(
        global_orient=matrix_to_axis_angle(rotation),
        body_pose=0.15 * torch.randn(moments, 69)[moment],
        betas=torch.randn(moments, 10)[moment],
        transl=torch.tensor([0.0, 0, 5]).expand(COUNT, 3),
    )
    observed, init = observations(refining, camera, true), perturbed(true)

    def groups(rows: slice) -> FrameGroups:
        number = torch.arange(COUNT)[rows]
        return FrameGroups(moment[rows] - moment[rows][0], 0 * number, number % VIEWS)

    whole = refining.refine(init, observed, None, groups(slice(None)))
    for first, last in ((0, 1), (0, 3), (1, 4), (3, 4)):
        rows = slice(first * VIEWS, last * VIEWS)
        part = {name: value[rows] for name, value in init.items()}
        alone = refining.refine(part, observed[rows], whole.weights, groups(rows))
        for name, value in alone.values.items():
            assert torch.equal(value, whole.values[name][first:last]), (name, rows)
        alone.values, without = {}, dataclasses.replace(whole, values={})
        assert not differences(without, alone, rows), rows


@pytest.mark.parametrize('neighbors', [True, False])
@pytest.mark.parametrize('pose', ['frame', 'moment'])
def test_shapes_of_moments_are_the_same_with_any_number_of_threads(
    pose: str, neighbors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five moments of four views do not fill two equal parts with whole moments."""
    monkeypatch.setattr('mmjrr.refinement.refiner.SMALLEST_PART', 1)
    torch.manual_seed(0)
    count, moments = 20, 5
    frame = torch.arange(count)
    moment = frame // VIEWS if neighbors else frame % moments
    body = free_body().requires_grad_(False)
    refining = FitRefiner(
        body,
        JointRegressor.load('free_body_h36m').reorder('mmpose'),
        None,
        FitEnergy(terms=dict.fromkeys(('silhouette', 'adv_pose', 'adv_shape'), False)),
        num_iters=1,
        lr=1e-6,
        share=dict(pose=pose, betas='moment'),
    )
    true = dict(
        global_orient=torch.tensor([3.0, 0, 0]).expand(count, 3),
        body_pose=0.1 * torch.randn(moments, 69)[moment],
        betas=torch.ones(count, 10),
        transl=torch.tensor([0.0, 0, 5]).expand(count, 3),
    )
    camera = PerspectiveCamera(
        torch.full((count, 2), 120.0),
        torch.full((count, 2), 32.0),
        rotation=torch.eye(3).expand(count, 3, 3),
        position=torch.zeros(count, 3),
    )
    joints = refining.regressor(body(**true).vertices)
    weight = torch.ones(count, 17)
    observed = Observations(joints, weight, camera.project(joints), weight, camera, None)
    groups = FrameGroups(moment, 0 * moment, 0 * moment)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            betas = refining.refine(true, observed, None, groups).values['betas']
            torch.testing.assert_close(betas, torch.ones(moments, 10), rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(before)
