"""Annotated joints with swapped sides, of impossible lengths, or regressed from the bodies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.errors import DataError
from mmjrr.evaluation.annotation_plausibility import check_annotated_joints, regressed_by
from mmjrr.joints import H36M_JOINTS_MMPOSE, reorder_index
from mmjrr.regressors import JointRegressor

COUNT = 20


@pytest.fixture(scope='module')
def posed():
    """Meshes and joints of people who stand five meters from the camera."""
    rng = np.random.default_rng(0)
    body = free_body(dtype=torch.float64)
    turn = np.zeros((COUNT, 3))
    turn[:, 0] = np.pi
    pose = 0.15 * rng.normal(size=(COUNT, 69))
    vertices = body(
        global_orient=torch.from_numpy(turn),
        body_pose=torch.from_numpy(pose),
        betas=torch.from_numpy(rng.normal(size=(COUNT, 10))),
        transl=torch.tensor([[0.3, 0.2, 5.0]]).double().expand(COUNT, 3),
    ).vertices
    regressor = JointRegressor.load('free_body_h36m', dtype=torch.float64)
    return vertices, regressor(vertices).numpy()


def pixels(joints: np.ndarray) -> np.ndarray:
    return 1100 * joints[..., :2] / joints[..., 2:] + 500


def check(joints, keypoints_2d=None):
    weight = np.ones(joints.shape[:2])
    return check_annotated_joints('a.npz', joints, weight, H36M_JOINTS_MMPOSE, keypoints_2d)


def test_right_annotations_pass(posed):
    assert check(posed[1], pixels(posed[1])) == ()


def test_spins_leg_order_is_refused(posed):
    in_spins_order = posed[1][:, reorder_index('mmpose', 'spin')]
    with pytest.raises(DataError, match=r"a.npz: S: the hips point the other way .* SPIN's order"):
        check(in_spins_order)


def test_sides_swapped_against_the_image_are_reported(posed):
    from mmjrr.joints import swap_sides

    index = [H36M_JOINTS_MMPOSE.index(swap_sides(name)) for name in H36M_JOINTS_MMPOSE]
    (note,) = check(posed[1][:, index], pixels(posed[1]))
    assert 'with left and right swapped, 3D joints would fit the 2D joints better' in note


@pytest.mark.parametrize(('factor', 'count'), [(1.0, 0), (0.5, 8), (2.0, 8)])
def test_impossible_lengths_are_reported(factor, count, posed):
    notes = check(factor * posed[1])
    assert len(notes) >= count and (count > 0 or not notes)
    assert all('apart (median), expected' in note for note in notes)


def test_an_ankle_in_another_place_on_one_side_is_reported(posed):
    joints = posed[1].copy()
    knee, ankle = (H36M_JOINTS_MMPOSE.index(f'left_{name}') for name in ('knee', 'ankle'))
    joints[:, ankle] = joints[:, knee] + 0.65 * (joints[:, ankle] - joints[:, knee])
    assert any('on the left and' in note for note in check(joints))


def test_joints_that_a_regressor_computes_from_the_meshes_are_told_from_measured_ones(posed):
    vertices, joints = posed
    other = JointRegressor.load('free_body_h36m', dtype=torch.float64).weight.numpy()
    other = 0.9 * other + 0.1 * np.roll(other, 1, axis=0)
    regressed = np.stack([joints, (other @ vertices.numpy())], axis=1)
    weight = np.ones(joints.shape[:2])
    names = regressed_by(joints, weight, regressed, ['same', 'other'])
    assert list(names) == ['same'] and names['same'] < 1e-6
    measured = joints + 0.004 * np.random.default_rng(1).normal(size=joints.shape)
    assert regressed_by(measured, weight, regressed, ['same', 'other']) == {}
