"""The discriminators' structure is the paper's, and their losses are LSGAN's."""

from __future__ import annotations

import pytest
import torch

from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.models.discriminators import FitDiscriminator, PoseDiscriminator, ShapeDiscriminator


def fits(batch: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, width, generator=generator)
        for name, width in (('global_orient', 3), ('body_pose', 69), ('betas', 10))
    }


def test_pose_discriminator_has_the_papers_parameters_and_outputs() -> None:
    model = PoseDiscriminator()
    shared = 6 * 32 + 32 + 32 * 32 + 32
    heads = 24 * (32 + 1)
    whole = 24 * 32 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 + 1
    assert sum(p.numel() for p in model.parameters()) == shared + heads + whole
    output = model(torch.randn(5, 24, 6))
    assert output.shape == (5, 25)
    assert output.min() > 0 and output.max() < 1


def test_each_joint_has_a_head_of_its_own_over_shared_features() -> None:
    model = PoseDiscriminator().double()
    pose = torch.randn(3, 24, 6, dtype=torch.float64)
    output = model(pose)
    for joint in range(24):
        feature = model.joint_features(pose[:, joint])
        expected = torch.sigmoid(model.joint_heads[joint](feature))[:, 0]
        torch.testing.assert_close(output[:, joint], expected)
    moved = pose.clone()
    moved[:, 7] += 1
    changed = (model(moved) != output).all(0).nonzero().flatten().tolist()
    assert changed == [7, 24]


def test_losses_are_those_of_lsgan_with_initial_fits_as_real() -> None:
    model = FitDiscriminator()
    init, refined = fits(4, 0), fits(4, 1)
    losses = model(fits_init=init, fits_refined=refined, mode='loss')
    for name, target, part in (('real', 1, init), ('fake', 0, refined)):
        pose = torch.cat([part['global_orient'], part['body_pose']], 1).reshape(4, 24, 3)
        columns = axis_angle_to_matrix(pose)[..., :2].reshape(4, 24, 6)
        by_output = (model.pose(columns) - target) ** 2
        torch.testing.assert_close(losses[f'loss_pose_{name}'], by_output.sum(1).mean())
        by_output = (model.shape(part['betas']) - target) ** 2
        torch.testing.assert_close(losses[f'loss_shape_{name}'], by_output.sum(1).mean())


@pytest.mark.slow
def test_a_step_tells_refined_from_initial_better() -> None:
    model = FitDiscriminator()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    init, refined = fits(16, 0), fits(16, 1)
    values = []
    for _ in range(100):
        losses = model(fits_init=init, fits_refined=refined, mode='loss')
        values.append(float(sum(losses.values())))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match='pose_6d'):
        PoseDiscriminator()(torch.zeros(2, 23, 6))
    with pytest.raises(ValueError, match='betas'):
        ShapeDiscriminator()(torch.zeros(2, 11))
    with pytest.raises(ValueError, match='SMPLPseudoGTHook'):
        FitDiscriminator()(inputs={}, data_samples=[], mode='loss')
