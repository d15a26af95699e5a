"""Losses of an estimator against references, and SPIN's mode 'loss'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from scipy.spatial.transform import Rotation

from mmjrr.body_models import free_body
from mmjrr.models import SPIN, MeshLoss
from mmjrr.models.losses.mesh_loss import MIN_SCALE
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

SIZE = 112
JOINTS = dict(regressor='free_body_h36m')


def estimates(count: int = 2) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    matrices = Rotation.from_rotvec(0.3 * rng.normal(size=(count * 24, 3))).as_matrix()
    rotations = torch.tensor(matrices.reshape(count, 24, 3, 3), dtype=torch.float32)
    rotations[:, 0] = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    betas = torch.tensor(rng.normal(size=(count, 10)), dtype=torch.float32)
    vertices = (
        free_body()(global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas)
    ).vertices
    camera = torch.tensor([[0.9, 0.02, 0.1], [0.8, 0.0, 0.2]][:count])
    return dict(rotations=rotations, betas=betas, camera=camera, vertices=vertices)


def projected(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Project with SPIN's crop camera, in pixels of the crop of 112."""
    scale, tx, ty = camera
    focal = 5000 * SIZE / 224
    moved = points + [tx, ty, 2 * focal / (SIZE * scale)]
    return focal * moved[..., :2] / moved[..., 2:] + SIZE / 2


def targets_of(made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Targets that the estimates meet."""
    count = len(made['betas'])
    vectors = Rotation.from_matrix(made['rotations'].double().numpy().reshape(-1, 3, 3))
    pose = torch.tensor(vectors.as_rotvec().reshape(count, 72), dtype=torch.float32)
    regressor = JointRegressor.load('free_body_h36m').reorder('mmpose')
    joints = regressor(made['vertices'])
    pixels = [
        projected(j, c)
        for j, c in zip(joints.double().numpy(), made['camera'].double().numpy(), strict=True)
    ]
    return dict(
        global_orient=pose[:, :3],
        body_pose=pose[:, 3:],
        betas=made['betas'],
        keypoints_3d=joints,
        keypoints_3d_weight=torch.ones(count, 17),
        keypoints_2d=torch.tensor(np.stack(pixels), dtype=torch.float32),
        keypoints_2d_weight=torch.ones(count, 17),
    )


def test_estimates_that_meet_their_targets_have_no_loss_but_that_of_scales() -> None:
    made = estimates()
    loss = MeshLoss(joint_3d=JOINTS, joint_2d=JOINTS, silhouette={}, image_size=SIZE)
    targets = targets_of(made)
    vertices, camera = loss._in_camera(made)
    body = free_body()
    targets['mask'] = ContourSilhouette(body.faces, (SIZE, SIZE))(vertices, camera)
    assert targets['mask'].sum() > 500
    losses = loss(made, targets, body.faces)
    assert list(losses) == [
        f'loss_{name}' for name in ('pose', 'betas', 'scale', 'joint_3d', 'joint_2d', 'silhouette')
    ]
    expected = 60 * float(np.mean(np.exp(-10 * made['camera'][:, 0].numpy()) ** 2))
    assert float(losses.pop('loss_scale')) == pytest.approx(expected, rel=1e-4)
    for name, value in losses.items():
        assert float(value) < 1e-6, name


def test_losses_of_parameters_are_mean_squares() -> None:
    made = estimates()
    targets = {name: value.clone() for name, value in targets_of(made).items()}
    turned = Rotation.from_rotvec([0, 0.2, 0]).as_matrix() - np.eye(3)
    targets['betas'] += 0.5
    flat = targets['body_pose'].clone()
    made['rotations'][:, 5] = torch.eye(3)
    flat[:, 12:15] = torch.tensor([0, 0.2, 0])
    targets['body_pose'] = flat
    losses = MeshLoss(pose_weight=2.0, betas_weight=3.0, scale_weight=0)(made, targets)
    assert sorted(losses) == ['loss_betas', 'loss_pose']
    assert float(losses['loss_pose']) == pytest.approx(2 * (turned**2).sum() / (24 * 9), rel=1e-4)
    assert float(losses['loss_betas']) == pytest.approx(3 * 0.25)


def test_a_scale_that_is_not_positive_has_finite_losses() -> None:
    made = estimates()
    targets = targets_of(made)
    made['camera'][0, 0] = -0.2
    made = {name: value.requires_grad_() for name, value in made.items()}
    losses = MeshLoss(joint_2d=JOINTS, image_size=SIZE)(made, targets)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    gradient = made['camera'].grad
    assert gradient is not None and gradient.isfinite().all() and gradient[0, 0] < 0
    assert MIN_SCALE > 0


def sample(box: list[float], targets: dict[str, torch.Tensor], row: int) -> BaseDataElement:
    element = BaseDataElement(metainfo=dict(box=np.array(box)))
    for name, value in targets.items():
        element.set_field(value[row].clone(), name)
    element.keypoints_2d = element.keypoints_2d * ((box[2] - box[0]) / SIZE) + torch.tensor(box[:2])
    return element


def small_spin(**loss: object) -> SPIN:
    torch.manual_seed(0)
    return SPIN(
        backbone=dict(type='SmallFeatures'),
        body_model=dict(type='FreeBody'),
        loss=dict(image_size=SIZE, **loss),
    )


def test_spin_compares_joints_in_pixels_of_its_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_spin(joint_3d=JOINTS, joint_2d=JOINTS)
    made = estimates()
    targets = targets_of(made)
    monkeypatch.setattr(
        model, 'estimate', lambda inputs: {k: v for k, v in made.items() if k != 'vertices'}
    )
    samples = [sample([100.0, 50, 400, 350], targets, 0), sample([10.0, 20, 234, 244], targets, 1)]
    losses = model(dict(img=torch.zeros(2, 3, SIZE, SIZE)), samples, mode='loss')
    losses.pop('loss_scale')
    for name, value in losses.items():
        assert float(value) < 1e-6, name


def test_a_few_steps_lower_the_losses_and_change_only_the_network() -> None:
    model = small_spin(joint_3d=JOINTS, joint_2d=JOINTS, silhouette={})
    assert not any('mesh_loss' in name or 'body' in name for name in model.state_dict())
    targets = targets_of(estimates())
    samples = [sample([0.0, 0, 112, 112], targets, row) for row in range(2)]
    generator = torch.Generator().manual_seed(0)
    inputs = dict(
        img=[torch.randn(3, SIZE, SIZE, generator=generator) for _ in range(2)],
        mask=[torch.zeros(SIZE, SIZE) for _ in range(2)],
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    totals = []
    for _ in range(20):
        losses = model(inputs, samples, mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total))
    assert min(totals[-3:]) < 0.7 * totals[0]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match='all losses are off'):
        MeshLoss(pose_weight=0, betas_weight=0)
    with pytest.raises(ValueError, match='body_model: found None'):
        SPIN(backbone=dict(type='SmallFeatures'), loss=dict(joint_3d=JOINTS))
    without = SPIN(backbone=dict(type='SmallFeatures'))
    with pytest.raises(ValueError, match=r'SPIN was built without loss=dict\(...\)'):
        without(dict(img=torch.zeros(1, 3, SIZE, SIZE)), [BaseDataElement()], mode='loss')
    with pytest.raises(ValueError, match=r'img: found \(64, 64\) pixels'):
        without(dict(img=torch.zeros(1, 3, 64, 64)))
