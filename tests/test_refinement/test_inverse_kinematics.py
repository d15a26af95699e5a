"""Bodies fitted to 3D joints, whose true bodies are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.cli.main import main
from mmjrr.datasets.fits import load_fits
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.refinement.inverse_kinematics import JOINT_STD, fit_to_joints
from mmjrr.refinement.terms.joint_limits import (
    JOINT_LIMITS,
    joint_limits_energy,
    limits_of_joints,
)
from mmjrr.regressors import JointRegressor


def labeled_bodies(count: int = 4) -> torch.Tensor:
    """Return joints (N, 17, 3) of bodies turned any way, 5 m from the camera."""
    rng = np.random.default_rng(0)
    body = free_body()
    pose = rng.normal(0, 0.1, (count, 23, 3))
    pose[:, 15:17, 2] += [-1.2, 1.2]  # arms down
    pose[:, 3, 0] += 0.8  # a knee bent
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    with torch.no_grad():
        vertices = body(
            global_orient=torch.tensor(rng.normal(0, 2, (count, 3))).float(),
            body_pose=torch.tensor(pose.reshape(count, -1)).float(),
            betas=torch.tensor(rng.normal(0, 0.5, (count, 10))).float(),
            transl=torch.tensor(rng.normal(0, 0.3, (count, 3)) + [0, 0, 5]).float(),
        ).vertices
        return regressor(vertices)


@pytest.mark.slow
def test_joints_are_reached_within_limits_from_any_orientation() -> None:
    joints = labeled_bodies()
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    fit = fit_to_joints(free_body(), regressor, joints)
    assert float(fit['error'].max()) < JOINT_STD
    body = free_body()
    fields = {name: fit[name] for name in ('global_orient', 'body_pose', 'betas', 'transl')}
    distance = (regressor(body(**fields).vertices) - joints).norm(dim=-1)
    torch.testing.assert_close(distance.square().mean(1).sqrt(), fit['error'], rtol=1e-2, atol=1e-4)
    rotations = axis_angle_to_matrix(
        torch.cat([fit['global_orient'], fit['body_pose']], 1).unflatten(1, (24, 3))
    )
    low, high = (bound.float() for bound in limits_of_joints(JOINT_LIMITS))
    assert float(joint_limits_energy(rotations, low, high).max()) < 0.1
    again = fit_to_joints(free_body(), regressor, joints)
    assert all(torch.equal(fit[name], again[name]) for name in fit)


@pytest.mark.slow
def test_errors_of_the_regressor_do_not_turn_hands_and_feet() -> None:
    """Labels that are 2 cm off per axis, as under a wrong regressor; ends are within 17 degrees."""
    noise = np.random.default_rng(1).normal(0, 0.02, (1, 17, 3))
    joints = labeled_bodies() + torch.from_numpy(noise).float()
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    fit = fit_to_joints(free_body(), regressor, joints, num_starts=1)
    ends = [
        SMPL_JOINTS.index(f'{side}_{joint}') - 1
        for side in ('left', 'right')
        for joint in ('ankle', 'foot', 'wrist', 'hand')
    ]
    assert float(fit['body_pose'].unflatten(1, (23, 3))[:, ends].norm(dim=2).max()) < 0.3


def test_views_of_a_moment_end_at_the_same_body() -> None:
    """Two cameras see the same joints; only the place in the camera frame differs."""
    joints = labeled_bodies(1)
    turn, shift = axis_angle_to_matrix(torch.tensor([0.3, 2.0, -0.4])), torch.tensor([0.2, 0.1, 9])
    both = torch.cat([joints, joints @ turn.T + shift])
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    fit = fit_to_joints(free_body(), regressor, both, num_iters=20, num_starts=2)
    for name in ('body_pose', 'betas'):
        torch.testing.assert_close(fit[name][0], fit[name][1], rtol=0, atol=0.01)
    body = free_body()
    fields = {name: fit[name] for name in ('global_orient', 'body_pose', 'betas', 'transl')}
    first, second = regressor(body(**fields).vertices)
    torch.testing.assert_close(first @ turn.T + shift, second, rtol=0, atol=2e-3)


def test_more_starts_are_never_worse_and_missing_joints_may_be_nan() -> None:
    joints = labeled_bodies(2)
    joints[0, 16] = torch.nan
    weight = torch.ones(2, 17)
    weight[0, 16] = 0
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    one, two = (
        fit_to_joints(free_body(), regressor, joints, weight, num_iters=20, num_starts=n)
        for n in (1, 2)
    )
    assert all(torch.isfinite(value).all() for value in two.values())
    assert (two['error'] <= one['error'] + 0.02).all()
    weight[1, [0, 1, 4, 7, 8, 11]] = 0
    with pytest.raises(ValueError, match='fewer than three joints of the trunk'):
        fit_to_joints(free_body(), regressor, joints, weight)
    with pytest.raises(ValueError, match='joints: found'):
        fit_to_joints(free_body(), regressor, joints[:, :5])
    with pytest.raises(ValueError, match='num_starts: found 0'):
        fit_to_joints(free_body(), regressor, joints, num_starts=0)


def test_the_command_writes_a_fits_file(tmp_path: Path) -> None:
    joints = labeled_bodies(2).numpy()
    names = [f'S1/S1_Posing.54138969/S1_Posing.54138969_{i:06d}.jpg' for i in (1, 2)]
    ones = np.ones((2, 17, 1))
    part = np.concatenate([1000 * joints[..., :2] / joints[..., 2:] + 500, ones], -1)
    np.savez(
        tmp_path / 'a.npz', imgname=names, center=np.full((2, 2), 500.0), scale=np.full(2, 2.0),
        part=part, S=np.concatenate([joints, ones], -1),
    )  # fmt: skip
    arguments = [
        'initial-fits', str(tmp_path / 'a.npz'), '--regressor', 'free_body_h36m',
        '--body-model', 'free_body', '--iters', '5', '--starts', '1',
    ]  # fmt: skip
    assert main([*arguments, '--out', str(tmp_path / 'f.npz')]) == 0
    fits = load_fits(tmp_path / 'f.npz')
    assert fits['imgname'].tolist() == names and fits['provenance']['regressor'] == 'free_body_h36m'
    assert fits['pose'].shape == (2, 72) and (fits['transl'][:, 2] > 3).all()
    assert main([*arguments, '--out', str(tmp_path / 'f.txt')]) == 1
