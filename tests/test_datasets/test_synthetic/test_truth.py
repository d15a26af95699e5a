"""Errors relative to the truth, compared with slow and independent implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.body_models import free_body
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import JointRegressor


@pytest.fixture(scope='module')
def truth(tiny_set: Path) -> SyntheticTruth:
    return SyntheticTruth(tiny_set, free_body())


@pytest.fixture(scope='module')
def fits(truth: SyntheticTruth) -> dict[str, np.ndarray]:
    """True bodies with other shapes, in another order, somewhere else."""
    true = truth.parameters('train')
    order = np.random.default_rng(0).permutation(len(true['pose']))
    fits = {name: value[order] for name, value in true.items()}
    fits['betas'] = fits['betas'] + 1
    fits['transl'] = fits['transl'] + 7
    return fits


def mesh(truth: SyntheticTruth, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:  # (V, 3)
    """One body, its true pelvis at the origin."""
    posed = truth.body(
        global_orient=torch.from_numpy(pose[None, :3]).float(),
        body_pose=torch.from_numpy(pose[None, 3:]).float(),
        betas=torch.from_numpy(betas[None]).float(),
    )
    vertices = posed.vertices[0].numpy().astype(np.float64)
    weight = truth.regressor.weight.numpy()[truth.regressor.joint_names.index('pelvis')]
    return vertices - weight @ vertices


@pytest.mark.parametrize('part', ['all', 'feet'])
def test_the_vertex_error_is_that_of_a_plain_loop(truth, fits, part: str) -> None:
    true = truth.parameters('train')
    chosen = slice(None)
    if part == 'feet':  # in T-pose: all that lies below the ankles, and little above
        ankles = truth.body().joints[0, [7, 8], 1].min()
        height = truth.body.v_template[:, 1] - ankles
        feet = truth._part('feet')
        assert set(torch.nonzero(height < 0).flatten().tolist()) <= set(feet.tolist())
        assert float(height[feet].max()) < 0.12
        chosen = feet.numpy()
    errors = []
    for name, pose, betas in zip(fits['imgname'], fits['pose'], fits['betas'], strict=True):
        row = true['imgname'].tolist().index(name)
        a = mesh(truth, true['pose'][row], true['betas'][row])
        errors.append(np.linalg.norm(mesh(truth, pose, betas) - a, axis=1)[chosen].mean())
    assert truth.vertex_error_mm(fits, part=part) == pytest.approx(1000 * np.mean(errors), rel=1e-3)


def test_the_truth_has_no_error_wherever_it_stands(truth) -> None:
    true = truth.parameters('test')
    moved = dict(true, transl=true['transl'] + 1)
    assert truth.vertex_error_mm(moved, 'test') < 1e-3
    assert truth.regressor_error_mm(truth.regressor) < 1e-3
    assert truth.regressor_error_mm(truth.regressor.reorder(H36M_JOINTS_SPIN)) < 1e-3


def test_the_regressor_error_is_a_mean_of_distances(truth) -> None:
    """The left wrist's row put onto one vertex: only that joint is off."""
    weight = truth.regressor.reorder(H36M_JOINTS_MMPOSE).weight.clone()
    wrist = H36M_JOINTS_MMPOSE.index('left_wrist')
    expected = []
    true = truth.parameters('test')
    for pose, betas in zip(true['pose'], true['betas'], strict=True):
        vertices = mesh(truth, pose, betas)
        expected.append(np.linalg.norm(vertices[100] - weight[wrist].numpy() @ vertices) / 17)
    weight[wrist] = torch.eye(weight.shape[1])[100]
    other = JointRegressor(weight, 'mmpose', body_model='free_body')
    assert truth.regressor_error_mm(other) == pytest.approx(1000 * np.mean(expected), rel=1e-3)


def test_a_shift_of_all_joints_is_not_seen(truth) -> None:
    """As metrics do not see it: the pelvis is subtracted."""
    weight = truth.regressor.weight
    shifted = JointRegressor(
        0.5 * weight + 0.5 * torch.eye(weight.shape[1])[[0]], truth.regressor.joint_names,
        body_model='free_body',
    )  # fmt: skip
    distances = []
    true = truth.parameters('test')
    for pose, betas in zip(true['pose'], true['betas'], strict=True):
        joints = truth.regressor.reorder('mmpose').weight.numpy() @ mesh(truth, pose, betas)
        distances.append(0.5 * np.linalg.norm(joints, axis=1).mean())
    assert truth.regressor_error_mm(shifted) == pytest.approx(1000 * np.mean(distances), rel=1e-3)


@pytest.mark.slow
def test_the_floor_lies_below_what_wrong_bodies_give(truth, tiny_set: Path) -> None:
    standard = JointRegressor.load(tiny_set / 'regressors' / 'J_std.npy')
    assert 0 < truth.floor_mm() < 0.5 * truth.regressor_error_mm(standard)


def test_the_pose_distance_is_the_angle_to_the_nearest(truth) -> None:
    rng = np.random.default_rng(0)
    references = 0.5 * rng.normal(size=(5, 69))
    turned = references.reshape(5, 23, 3).copy()
    for row, degrees in enumerate((0, 23, 46, 69, 92)):  # of the fourth joint alone
        turn = Rotation.from_euler('z', degrees, degrees=True)
        turned[row, 3] = (Rotation.from_rotvec(turned[row, 3]) * turn).as_rotvec()
    distances = truth.pose_distance_deg(turned.reshape(5, 69), references)
    assert distances == pytest.approx(np.mean([0, 1, 2, 3, 4]), abs=0.02)


def test_unknown_parts_and_images_are_named(truth, fits) -> None:
    with pytest.raises(ValueError, match="part: found 'hands'"):
        truth.vertex_error_mm(fits, part='hands')
    names = fits['imgname'].copy()
    names[3] = 'nowhere'
    with pytest.raises(KeyError, match='nowhere'):
        truth.vertex_error_mm(dict(fits, imgname=names))
