"""JointRegressor: loading, what it cleans and what it refuses, applying, saving."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import JointRegressor

NAMES = ('left_knee', 'right_knee', 'head')
#: x towards the left: vertices 0-2 on the left, 3-5 on the right.
TEMPLATE = np.array([0.1, 0.2, 0.3, -0.1, -0.2, -0.3])[:, None] * [1.0, 0.0, 0.0]
WEIGHT = np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0, 0.25, 0, 0.75], [0.5, 0, 0, 0, 0.5, 0]])


def make():
    return JointRegressor(WEIGHT, NAMES, body_model='toy', provenance={'made_by': 'hand'})


def smpl_like(order):
    """(17, 6890): limbs on their own half of SMPL's numbering, the trunk on both."""
    weight = np.zeros((17, 6890))
    for row, name in enumerate(order):
        column = H36M_JOINTS_MMPOSE.index(name)
        if not name.startswith('right_'):
            weight[row, 100 + column] = 0.5
        if not name.startswith('left_'):
            weight[row, 4000 + column] = 0.5
    return weight / weight.sum(1, keepdims=True)


# -- applying --------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', [(), (4,), (2, 3)])
def test_joints_are_the_dense_product(shape, dtype):
    regressor = make()
    vertices = torch.randn(*shape, 6, 3, dtype=dtype)
    joints = regressor(vertices)
    assert joints.shape == (*shape, 3, 3) and joints.dtype == dtype
    torch.testing.assert_close(joints, torch.from_numpy(WEIGHT).to(dtype) @ vertices)


def test_support_alone_gives_the_same_joints():
    weight = np.zeros((2, 50))
    weight[0, [7, 3]] = 0.5
    weight[1, 20] = 1
    regressor = JointRegressor(weight, ['a', 'b'], body_model='toy')
    vertices = torch.randn(4, 50, 3)
    ids, restricted = regressor.restrict_to_support()
    assert ids.tolist() == [3, 7, 20]
    assert torch.equal(restricted, regressor.restrict())
    torch.testing.assert_close(regressor(vertices[:, ids]), regressor(vertices))


def test_gradient_is_the_transposed_product():
    vertices = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make(), vertices)


def test_other_numbers_of_vertices_are_refused():
    with pytest.raises(ValueError, match=r'\(\.\.\., 6, 3\).*found \(2, 7, 3\)'):
        make()(torch.zeros(2, 7, 3))


def test_weights_stay_out_of_checkpoints():
    assert not make().state_dict() and not list(make().parameters())


# -- construction and order ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('weight', 'message'),
    [
        (WEIGHT[:2], 'expected 3 rows'),
        (WEIGHT[0], r'expected the shape \(J, V\)'),
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


# -- files -----------------------------------------------------------------------------------


def test_save_and_load_give_the_same_regressor(tmp_path):
    path = make().save(tmp_path / 'new' / 'J.npy')
    loaded = JointRegressor.load(path, dtype=torch.float64)
    assert torch.equal(loaded.weight, make().weight)
    assert (loaded.joint_names, loaded.body_model, loaded.cleaning) == (NAMES, 'toy', ())
    assert loaded.provenance['made_by'] == 'hand'


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    for folder in ('a', 'b'):
        make().save(tmp_path / folder / 'J.npy')
    for name in ('J.npy', 'J.json'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == ['J.json', 'J.npy']


def test_save_refuses_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r'\.npy'):
        make().save(tmp_path / 'J.pt')


def test_file_that_its_sidecar_does_not_describe_is_refused(tmp_path):
    path = make().save(tmp_path / 'J.npy')
    np.save(path, WEIGHT[:, ::-1])
    with pytest.raises(ValueError, match='one of the two was replaced'):
        JointRegressor.load(path)


def test_foreign_sidecar_is_refused(tmp_path):
    np.save(tmp_path / 'J.npy', WEIGHT)
    (tmp_path / 'J.json').write_text(json.dumps({'weights': 3}))
    with pytest.raises(ValueError, match='not a sidecar'):
        JointRegressor.load(tmp_path / 'J.npy', joint_order=NAMES)


def write(path, array):
    if path.suffix == '.npy':
        np.save(path, array)
    elif path.suffix == '.npz':
        np.savez(path, something=array, note=np.arange(3))
    else:
        tensor = torch.from_numpy(array).requires_grad_()
        torch.save({'J': tensor, 'epoch': 3} if path.suffix == '.pth' else tensor, path)
    return path


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.pt', '.pth'])
def test_every_file_type_reads_the_same(tmp_path, suffix):
    path = write(tmp_path / f'J{suffix}', WEIGHT)
    regressor = JointRegressor.load(path, joint_order=NAMES, body_model=TEMPLATE)
    np.testing.assert_allclose(regressor.weight, WEIGHT)
    assert not regressor.weight.requires_grad and regressor.cleaning == ()


def test_sparse_npz_carries_its_names(tmp_path):
    rows, columns = np.nonzero(WEIGHT)
    np.savez(
        tmp_path / 'J.npz',
        rows=rows,
        columns=columns,
        values=WEIGHT[rows, columns],
        shape=WEIGHT.shape,
        joint_names=np.array(NAMES),
    )
    regressor = JointRegressor.load(tmp_path / 'J.npz', body_model='toy')
    assert regressor.joint_names == NAMES
    np.testing.assert_allclose(regressor.weight, WEIGHT)


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ('ran',))

    torch.save(Trap(), tmp_path / 'J.pt')
    with pytest.raises(Exception, match=r"J\.pt: the pickle asks for '\w+\.print'"):
        JointRegressor.load(tmp_path / 'J.pt', joint_order=NAMES)


def test_cleaning_clamps_normalises_and_says_so(tmp_path):
    raw = WEIGHT * [[2.0], [1.5], [1.0]]
    raw[0, 5] = -0.3
    regressor = JointRegressor.load(
        write(tmp_path / 'J.npy', raw), joint_order=NAMES, body_model=TEMPLATE
    )
    np.testing.assert_allclose(regressor.weight, WEIGHT, atol=1e-7)
    clamped, divided = regressor.cleaning
    assert '1 negative' in clamped and '-0.3' in clamped and "['left_knee']" in clamped
    assert '1.0000 and 2.0000' in divided


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (WEIGHT.T, 'it looks transposed'),
        (WEIGHT[None], r'expected a \(J, V\) array'),
        (WEIGHT[:2], 'expected 3 rows'),
        (WEIGHT * np.array([[1], [0], [1]]), r"no positive weight in the rows \['right_knee'\]"),
        (np.where(WEIGHT == 0.25, np.nan, WEIGHT), r"NaN in the rows \['right_knee'\]"),
        (WEIGHT[[1, 0, 2]], 'the row left_knee lies right of right_knee'),
        (WEIGHT.astype(complex), 'real numbers'),
    ],
)
def test_load_refuses(tmp_path, array, message):
    np.save(tmp_path / 'J.npy', array)
    with pytest.raises(ValueError, match=message):
        JointRegressor.load(
            tmp_path / 'J.npy',
            joint_order=NAMES,
            body_model=TEMPLATE if array.shape[-1] == 6 else None,
        )


def test_a_body_serves_as_its_template(tmp_path):
    class Body:
        v_template = torch.from_numpy(TEMPLATE)

    path = write(tmp_path / 'J.npy', WEIGHT[[1, 0, 2]])
    with pytest.raises(ValueError, match='left and right are swapped'):
        JointRegressor.load(path, joint_order=NAMES, body_model=Body())


@pytest.mark.parametrize(('rows', 'declared'), [('spin', 'mmpose'), ('mmpose', 'spin')])
def test_swapped_legs_on_smpl_are_caught_and_the_right_order_named(tmp_path, rows, declared):
    order = {'spin': H36M_JOINTS_SPIN, 'mmpose': H36M_JOINTS_MMPOSE}[rows]
    path = write(tmp_path / 'J.npy', smpl_like(order))
    with pytest.raises(ValueError, match=f"'{declared}'.*The rows fit joint_order='{rows}'"):
        JointRegressor.load(path, joint_order=declared)
    assert JointRegressor.load(path, joint_order=rows).body_model == 'smpl'


def test_a_single_swapped_ankle_is_caught(tmp_path):
    weight = smpl_like(H36M_JOINTS_MMPOSE)
    weight[[3, 6]] = weight[[6, 3]]
    with pytest.raises(ValueError, match='left_ankle lies right of right_ankle'):
        JointRegressor.load(write(tmp_path / 'J.npy', weight), joint_order='mmpose')


def test_order_must_be_declared_where_nothing_tells(tmp_path):
    path = write(tmp_path / 'J.npy', smpl_like(H36M_JOINTS_SPIN))
    with pytest.raises(ValueError, match='pass joint_order='):
        JointRegressor.load(path)


def test_declaring_another_order_than_the_sidecars_is_refused(tmp_path):
    path = make().save(tmp_path / 'J.npy')
    with pytest.raises(ValueError, match='reorder'):
        JointRegressor.load(path, joint_order=['right_knee', 'left_knee', 'head'])
    with pytest.raises(ValueError, match="'toy'"):
        JointRegressor.load(path, body_model='smpl')


def test_missing_files_and_unknown_names_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone'):
        JointRegressor.load(tmp_path / 'gone.npy')
    with pytest.raises(ValueError, match=r'J_best.*J_opt'):
        JointRegressor.load('J_best')
    path = tmp_path / 'J.txt'
    path.write_text('')
    with pytest.raises(ValueError, match=r'expected \.npy'):
        JointRegressor.load(path, joint_order='spin')


class Command:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.pt'])
@pytest.mark.parametrize('damage', ['cut off', 'not of that kind', 'more than arrays'])
def test_broken_files_are_named(tmp_path, suffix, damage):
    path = tmp_path / f'J{suffix}'
    array = np.random.default_rng(0).random((17, 6890))
    content = np.array([Command()]) if damage == 'more than arrays' else array
    if suffix == '.npy':
        np.save(path, content)
    elif suffix == '.npz':
        np.savez(path, weight=content)
    else:
        command = {'weight': torch.from_numpy(array), 'extra': Command()}
        torch.save(command if damage == 'more than arrays' else torch.from_numpy(array), path)
    if damage == 'cut off':
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == 'not of that kind':
        path.write_bytes(b'no array at all')
    with pytest.raises(DataError, match=f'{path}: '):
        JointRegressor.load(path, joint_order='spin')


def test_a_broken_sidecar_is_named(tmp_path):
    path = make().save(tmp_path / 'J.npy')
    path.with_suffix('.json').write_text('{"format": ')
    with pytest.raises(ValueError, match=r'J\.json: not readable as JSON'):
        JointRegressor.load(path)
