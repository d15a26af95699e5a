"""Losses against slow references and finite differences, alone and through MMPose's registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from scipy.spatial.transform import Rotation

from mmjrr.body_models import free_body
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.models import JointRegressorLoss, LSGANLoss, PoseDiscriminator, SilhouetteLoss
from mmjrr.refinement.terms import silhouette_energy
from mmjrr.registry import MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

#: A closed tetrahedron with one joint in each corner but the last.
CORNERS = [[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
FACES = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]
NAMES = ('pelvis', 'left_hip', 'right_hip', 'head')


def regressor() -> JointRegressor:
    weight = torch.eye(4, dtype=torch.float64)
    return JointRegressor(weight, NAMES, body_model='tetrahedron')


def bodies(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor(CORNERS, dtype=torch.float64)
    noise = 0.2 * torch.rand(count, 4, 3, dtype=torch.float64, generator=generator)
    return corners + noise + torch.tensor([0.0, 0, 4.0], dtype=torch.float64)


def aligned_by_hand(joints: np.ndarray, target: np.ndarray, root: object) -> np.ndarray:
    if root is None:
        return joints - target
    if root == 'procrustes':
        a, b = joints - joints.mean(0), target - target.mean(0)
        rotation, _ = Rotation.align_vectors(b, a)
        turned = rotation.apply(a)
        return turned * (turned * b).sum() / (a**2).sum() - b
    if root == 'mean':
        return (joints - joints.mean(0)) - (target - target.mean(0))
    index = [NAMES.index(name) for name in ([root] if isinstance(root, str) else root)]
    return (joints - joints[index].mean(0)) - (target - target[index].mean(0))


@pytest.mark.parametrize(
    'root', ['pelvis', 'head', ('left_hip', 'right_hip'), 'mean', 'procrustes', None]
)
def test_joints_in_3d_agree_with_their_reference_for_any_alignment(root) -> None:
    loss = JointRegressorLoss(regressor(), root=root, joint_order=NAMES, loss_weight=3.0)
    vertices = bodies()
    target = bodies().flip(0) + 0.3
    expected = [
        (aligned_by_hand(v.numpy(), t.numpy(), root) ** 2).sum()
        for v, t in zip(vertices, target, strict=True)
    ]
    assert float(loss(vertices, target)) == pytest.approx(3 * np.mean(expected), rel=1e-10)
    assert torch.autograd.gradcheck(lambda v: loss(v, target), vertices.requires_grad_())


@pytest.mark.parametrize('root', ['pelvis', ('left_hip', 'right_hip'), 'mean', 'procrustes'])
def test_frames_without_annotated_joints_do_not_count_and_have_no_gradient(root) -> None:
    loss = JointRegressorLoss(regressor(), root=root, joint_order=NAMES)
    vertices = bodies(2).requires_grad_()
    weight = torch.tensor([[1.0] * 4, [0.0] * 4], dtype=torch.float64)
    value = loss(vertices, bodies(2).flip(0), weight)
    value.backward()
    assert vertices.grad is not None
    assert value.item() == pytest.approx(loss(vertices[:1], bodies(2)[1:]).item() / 2)
    assert vertices.grad.isfinite().all() and not vertices.grad[1].any()


def test_a_joint_without_weight_does_not_matter_at_the_mean() -> None:
    loss = JointRegressorLoss(regressor(), root='mean', joint_order=NAMES)
    weight = torch.tensor([[1.0, 1, 1, 0]], dtype=torch.float64)
    target = bodies(1) + 0.1 * torch.rand(1, 4, 3, dtype=torch.float64)
    moved = target.clone()
    moved[:, 3] += 5
    assert float(loss(bodies(1), target, weight)) == pytest.approx(
        float(loss(bodies(1), moved, weight))
    )


def test_joints_in_the_image_agree_with_their_reference() -> None:
    loss = JointRegressorLoss(regressor(), joint_order=NAMES, image_size=100)
    camera = PerspectiveCamera(
        torch.tensor([50.0, 60.0], dtype=torch.float64), torch.tensor([5.0, 7.0]).double()
    )
    vertices, pixels = bodies(), 50 * torch.rand(3, 4, 2, dtype=torch.float64)
    weight = torch.rand(3, 4, dtype=torch.float64)
    expected = 0.0
    for frame in range(3):
        for joint in range(4):
            x, y, z = vertices[frame, joint].tolist()
            u, v = 50 * x / z + 5, 60 * y / z + 7
            squared = (u - pixels[frame, joint, 0]) ** 2 + (v - pixels[frame, joint, 1]) ** 2
            expected += float(weight[frame, joint] * squared) / 100**2 / 3
    assert float(loss(vertices, pixels, weight, camera)) == pytest.approx(expected)
    with pytest.raises(ValueError, match='camera: found None'):
        loss(vertices, pixels)
    with pytest.raises(ValueError, match=r'target: found shape \(3, 3, 3\)'):
        loss(vertices, torch.zeros(3, 3, 3))


CAMERA = PerspectiveCamera(torch.tensor([30.0, 30.0]).double(), torch.tensor([8.0, 8.0]).double())
SMALL = dict(type='ContourSilhouette', image_size=(24, 24))


def test_silhouettes_are_rendered_and_compared_by_the_energy() -> None:
    loss = SilhouetteLoss(FACES, renderer=SMALL, loss_weight=2.0)
    mask = ContourSilhouette(FACES, (24, 24))(bodies().flip(0), CAMERA)
    drawn = ContourSilhouette(FACES, (24, 24))(bodies(), CAMERA)
    expected = 2 * silhouette_energy(drawn, mask, (1, 4)).mean()
    torch.testing.assert_close(loss(bodies(), mask, CAMERA), expected)
    assert float(loss(bodies(), drawn, CAMERA)) == 0


@pytest.mark.parametrize('options', [{}, dict(mask_cells=4), dict(gate=True)])
def test_gradients_of_the_silhouette_are_those_of_finite_differences(options: dict) -> None:
    loss = SilhouetteLoss(FACES, renderer=SMALL, **options)
    mask = ContourSilhouette(FACES, (24, 24))(bodies(1) + 0.05, CAMERA)
    joints = torch.full((1, 17, 2), 2.0, dtype=torch.float64)

    def value(vertices: torch.Tensor) -> torch.Tensor:
        return loss(vertices, mask, CAMERA, keypoints_2d=joints)

    vertices = bodies(1).requires_grad_()
    assert torch.autograd.gradcheck(value, vertices, eps=1e-5, atol=1e-4)


def test_bodies_behind_the_camera_do_not_count() -> None:
    loss = SilhouetteLoss(FACES, renderer=SMALL)
    vertices = bodies(2)
    mask = torch.zeros(2, 24, 24)
    alone = float(loss(vertices[:1], mask[:1], CAMERA))
    vertices[1, 0, 2] = -1
    vertices.requires_grad_()
    value = loss(vertices, mask, CAMERA)
    value.backward()
    assert float(value) == pytest.approx(alone / 2)
    assert vertices.grad is not None and not vertices.grad[1].any()
    nothing = loss(-bodies(1).requires_grad_(), mask[:1], CAMERA)
    assert float(nothing) == 0 and nothing.requires_grad


def test_faces_come_from_the_config_or_the_first_call() -> None:
    loss = SilhouetteLoss(renderer=SMALL)
    mask = torch.zeros(1, 24, 24)
    mask[:, :3, :3] = 1
    with pytest.raises(ValueError, match="faces: found none, expected the body's triangles"):
        loss(bodies(1), mask, CAMERA)
    first = loss(bodies(1), mask, CAMERA, faces=FACES)
    assert float(loss(bodies(1), mask, CAMERA)) == float(first) > 0
    with pytest.raises(ValueError, match='expected one of them'):
        SilhouetteLoss(FACES, body_model=dict(type='FreeBody'))
    with pytest.raises(ValueError, match=r'mask: found \(9, 9\), expected the size'):
        loss(bodies(1), torch.zeros(1, 9, 9), CAMERA)
    with pytest.raises(ValueError, match='keypoints_2d: found None, which gate needs'):
        SilhouetteLoss(FACES, renderer=SMALL, gate=True)(bodies(1), mask, CAMERA)


def test_a_mask_without_a_person_has_no_silhouette_loss() -> None:
    loss = SilhouetteLoss(FACES, renderer=SMALL)
    mask = torch.zeros(2, 24, 24)
    mask[1, :3, :3] = 1
    assert float(loss(bodies(1), mask[:1], CAMERA)) == 0
    assert float(loss(bodies(1), mask[1:], CAMERA)) > 0


def test_the_adversarial_loss_is_lsgan() -> None:
    plausibility = torch.tensor([[1.0, 0.5], [0.0, 0.25]])
    loss = LSGANLoss(loss_weight=2.0)
    assert float(loss(plausibility)) == pytest.approx(2 * (0.25 + 1 + 0.75**2) / 2)
    assert float(loss(plausibility, real=False)) == pytest.approx(2 * (1 + 0.25 + 0.25**2) / 2)


@pytest.mark.parametrize('scope', ['mmpose', 'mmengine', 'mmjrr', None])
def test_everything_is_built_from_mmposes_registry(scope: str | None) -> None:
    registry = pytest.importorskip('mmpose.registry').MODELS
    with DefaultScope.overwrite_default_scope(scope):
        loss = registry.build(dict(type='mmjrr.SilhouetteLoss'))
        assert isinstance(loss, SilhouetteLoss)
        assert isinstance(registry.build(dict(type='mmjrr.PoseDiscriminator')), PoseDiscriminator)
        assert registry.build(dict(type='mmjrr.ShapeDiscriminator', num_betas=4)).num_betas == 4
        assert isinstance(registry.build(dict(type='mmjrr.LSGANLoss')), LSGANLoss)
        body = registry.build(dict(type='mmjrr.FreeBody'))
        renderer = registry.build(dict(type='mmjrr.ContourSilhouette', faces=body.faces))
        joints = registry.build(
            dict(type='mmjrr.JointRegressor', source='free_body_h36m', reorder='mmpose')
        )
        loss = registry.build(
            dict(type='mmjrr.JointRegressorLoss', regressor=dict(source='free_body_h36m'))
        )
    vertices = body(transl=torch.tensor([[0.0, 0.0, 5.0]])).vertices
    assert joints.joint_names == H36M_JOINTS_MMPOSE
    assert float(loss(vertices, joints(vertices))) < 1e-12
    assert isinstance(renderer, ContourSilhouette)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match='NoSuchLoss is not in'):
        MODELS.build(dict(type='NoSuchLoss'))


def test_a_plain_loop_fits_a_shape_with_the_losses() -> None:
    body = free_body()
    joints = JointRegressorLoss('free_body_h36m')
    true = torch.tensor([[1.5, -1.0, 0, 0, 0, 0, 0, 0, 0, 0]])
    target = joints.regressor(body(betas=true).vertices).detach()
    betas = torch.zeros(1, 10, requires_grad=True)
    optimizer = torch.optim.Adam([betas], lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        loss = joints(body(betas=betas).vertices, target)
        loss.backward()
        optimizer.step()
    assert float(loss) < 1e-2 * float(joints(body().vertices, target))
