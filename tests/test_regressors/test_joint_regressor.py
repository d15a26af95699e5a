"""JointRegressor: construction, order of the rows, applying."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from example_regressors import NAMES, TEMPLATE, WEIGHT, make, smpl_like

from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import JointRegressor

# -- applying --------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', [(), (4,), (2, 3)])
def test_joints_are_the_dense_product(shape, dtype):
    regressor = make()
    vertices = torch.randn(*shape, 6, 3, dtype=dtype)
    joints = regressor(vertices)
    assert joints.shape == (*shape, 3, 3) and joints.dtype == dtype
    torch.testing.assert_close(joints, torch.from_numpy(WEIGHT).to(dtype) @ vertices)


def test_vertices_may_be_whole_numbers():
    vertices = torch.arange(-9, 9).reshape(6, 3)
    torch.testing.assert_close(make()(vertices), make()(vertices.double()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_numbers_of_two_bytes_are_normalized_as_well_as_they_can_be(dtype, tmp_path):
    regressor = JointRegressor.load('free_body_h36m', dtype=dtype)
    assert regressor.reorder('spin').weight.dtype == dtype
    loaded = JointRegressor.load(regressor.save(tmp_path / 'J.npy'))
    torch.testing.assert_close(loaded.weight, regressor.weight.float(), atol=5e-3, rtol=5e-3)


def test_support_alone_gives_the_same_joints():
    weight = np.zeros((2, 50))
    weight[0, [7, 3]] = 0.5
    weight[1, 20] = 1
    regressor = JointRegressor(weight, ['a', 'b'], body_model='toy')
    vertices = torch.randn(4, 50, 3)
    assert regressor.support.tolist() == [3, 7, 20]
    torch.testing.assert_close(regressor(vertices[:, regressor.support]), regressor(vertices))


def test_gradient_is_the_transposed_product():
    vertices = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make(), vertices)


def test_other_numbers_of_vertices_are_refused():
    with pytest.raises(ValueError, match=r'found \(2, 7, 3\), expected \(\.\.\., 6, 3\)'):
        make()(torch.zeros(2, 7, 3))


def test_weights_stay_out_of_checkpoints():
    assert not make().state_dict() and not list(make().parameters())


# -- construction and order ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('weight', 'message'),
    [
        (WEIGHT[:2], 'expected 3 rows'),
        (WEIGHT[0], r'expected \(J, V\)'),
        (-WEIGHT, 'no positive weight'),
        (WEIGHT * 2, 'sum to one'),
        (np.where(WEIGHT == 0.75, np.nan, WEIGHT), r"NaN in the rows \['right_knee'\]"),
        (np.where(WEIGHT == 0.75, np.inf, WEIGHT), 'infinity'),
        (WEIGHT - np.eye(3, 6), 'negative'),
    ],
)
def test_constructor_refuses(weight, message):
    with pytest.raises(ValueError, match=message):
        JointRegressor(weight, NAMES, body_model='toy')


def test_known_bodies_fix_the_number_of_vertices():
    with pytest.raises(ValueError, match='6890 columns'):
        JointRegressor(WEIGHT, NAMES, body_model='smpl')


def test_reorder_goes_by_name():
    weight = smpl_like(H36M_JOINTS_SPIN)
    regressor = JointRegressor(weight, 'spin')
    mmpose = regressor.reorder('mmpose')
    assert mmpose.joint_names == H36M_JOINTS_MMPOSE
    np.testing.assert_array_equal(mmpose.weight.numpy(), smpl_like(H36M_JOINTS_MMPOSE))
    assert regressor.reorder(['head', 'left_hip']).num_joints == 2
    with pytest.raises(ValueError, match='nose'):
        regressor.reorder(['nose'])


def test_repr_says_what_it_is():
    assert repr(JointRegressor(smpl_like(H36M_JOINTS_SPIN), 'spin')) == (
        "JointRegressor(17 joints from 6890 vertices of 'smpl', order 'spin', "
        '22 weights on 22 vertices)'
    )
    assert 'left_knee' in repr(make())


def test_the_body_of_a_carried_regressor_is_checked_too():
    assert JointRegressor.load('anny_h36m', body_model='anny').body_model == 'anny'
    with pytest.raises(DataError, match="anny_h36m: body_model: found 'anny'.*is 'smplx'"):
        JointRegressor.load('anny_h36m', body_model='smplx')
    with pytest.raises(DataError, match=r'anny_h36m: found the shape \(17, 13718\)'):
        JointRegressor.load('anny_h36m', body_model=TEMPLATE)


def test_a_declared_body_whose_sides_are_not_known_is_noted(tmp_path):
    weight = np.zeros((17, 10475), np.float32)
    weight[np.arange(17), np.arange(17)] = 1
    np.save(tmp_path / 'J.npy', weight)
    (note,) = JointRegressor.load(tmp_path / 'J.npy', 'mmpose', 'smplx').cleaning
    assert note == "left and right could not be checked without the body 'smplx' or its template"
    body = np.zeros((10475, 3))
    assert JointRegressor.load(tmp_path / 'J.npy', 'mmpose', body).cleaning == ()
    assert JointRegressor.load('free_body_h36m', body_model='free_body').cleaning == ()
