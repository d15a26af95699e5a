"""Joints under several regressors, against the regressors themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.evaluation import RegressedJoints, load_regressors
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import JointRegressor


def regressor(seed: int, vertices: int = 40, joints=('a', 'b', 'c')) -> JointRegressor:
    rng = np.random.default_rng(seed)
    weight = rng.random((len(joints), vertices)) * (rng.random((len(joints), vertices)) < 0.2)
    weight[:, seed] += 0.1
    return JointRegressor(weight / weight.sum(1, keepdims=True), joints, body_model='unnamed')


def test_joints_of_meshes_are_the_regressors_own():
    regressors = {'one': regressor(0), 'two': regressor(1)}
    joints = RegressedJoints(regressors, ('c', 'a'))
    meshes = torch.randn(7, 40, 3, dtype=torch.float64)
    selected = joints.from_selected(joints.select(list(meshes)))
    assert selected.shape == (7, 2, 2, 3)
    for index, each in enumerate(regressors.values()):
        expected = each.weight[[2, 0]] @ meshes
        np.testing.assert_allclose(selected[:, index], expected, atol=1e-14)


def test_joints_have_the_same_bits_alone_and_in_a_batch():
    joints = RegressedJoints({'one': regressor(0), 'two': regressor(1)}, ('a', 'b'))
    selected = joints.select(list(torch.randn(33, 40, 3)))
    whole = joints.from_selected(selected)
    alone = np.concatenate([joints.from_selected(each[None]) for each in selected])
    np.testing.assert_array_equal(whole, alone)


def test_joints_of_parameters_are_those_of_the_whole_body():
    body = free_body(dtype=torch.float64)
    regressors = load_regressors(['free_body_h36m'])
    joints = RegressedJoints(regressors, H36M_JOINTS_SPIN, body)
    parameters = dict(
        global_orient=np.random.default_rng(0).normal(size=(5, 3)),
        body_pose=0.3 * np.random.default_rng(1).normal(size=(5, 69)),
        betas=np.random.default_rng(2).normal(size=(5, 10)),
    )
    vertices = body(**{k: torch.from_numpy(v) for k, v in parameters.items()}).vertices
    expected = regressors['free_body_h36m'].reorder('spin')(vertices)
    np.testing.assert_allclose(
        joints.from_parameters(parameters)[:, 0], expected.numpy(), atol=1e-12
    )
    assert len(joints.support) < 1000


def test_numpy_meshes_go_as_tensors_do():
    joints = RegressedJoints({'one': regressor(0)}, ('a',))
    mesh = torch.randn(2, 40, 3)
    np.testing.assert_array_equal(joints.select(list(mesh)), joints.select(list(mesh.numpy())))


def test_regressors_are_loaded_by_name_path_or_arguments_and_named(tmp_path):
    path = load_regressors('free_body_h36m')['free_body_h36m'].save(tmp_path / 'mine.npy')
    assert list(load_regressors(str(path))) == ['mine']
    loaded = load_regressors(
        {'first': str(path), 'second': dict(path=str(path), joint_order='mmpose')}
    )
    assert list(loaded) == ['first', 'second']
    assert loaded['second'].joint_names == H36M_JOINTS_MMPOSE
    assert list(load_regressors([dict(path=str(path), name='x'), 'free_body_h36m'])) == [
        'x', 'free_body_h36m',
    ]  # fmt: skip
    assert list(load_regressors(dict(path=str(path)))) == ['mine']


def test_bad_regressors_are_refused(tmp_path):
    with pytest.raises(ValueError, match='found none'):
        load_regressors([])
    with pytest.raises(ValueError, match="two are named 'free_body_h36m'.*first=a/J"):
        load_regressors(['free_body_h36m', 'free_body_h36m'])
    with pytest.raises(ValueError, match=r"unknown arguments \['order'\]"):
        load_regressors([dict(path='free_body_h36m', order='spin')])
    with pytest.raises(ValueError, match="needs 'path'"):
        load_regressors([dict(joint_order='spin')])
    with pytest.raises(FileNotFoundError):
        load_regressors([str(tmp_path / 'none.npy')])
    with pytest.raises(ValueError, match=r"'one' lacks the joints \['knee'\]"):
        RegressedJoints({'one': regressor(0)}, ('a', 'knee'))


def test_mixed_up_bodies_are_refused():
    with pytest.raises(ValueError, match='for different bodies: .*40 vertices.*41 vertices'):
        RegressedJoints({'one': regressor(0), 'two': regressor(0, 41)}, ('a',))
    with pytest.raises(ValueError, match='has 40 columns, but the body model has 6890'):
        RegressedJoints({'one': regressor(0)}, ('a',), free_body())
    for_smpl = JointRegressor(torch.eye(6890)[:1], ['head'], body_model='smpl')
    with pytest.raises(ValueError, match="is for the body 'smpl', but body_model is 'FreeBody'"):
        RegressedJoints({'J_opt': for_smpl}, ('head',), dict(type='FreeBody'))
    with pytest.raises(ValueError, match=r'vertices: found \(39, 3\), expected \(40, 3\)'):
        RegressedJoints({'one': regressor(0)}, ('a',)).select([np.zeros((39, 3))])
    with pytest.raises(ValueError, match='for which a body is needed'):
        RegressedJoints({'one': regressor(0)}, ('a',)).from_parameters({})
