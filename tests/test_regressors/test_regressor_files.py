"""Files of regressors: formats, sidecars, cleaning, and refused files."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch
from example_regressors import NAMES, TEMPLATE, WEIGHT, make, smpl_like

from mmjrr.errors import DataError
from mmjrr.io import atomic, unpacked_limit
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.regressor_files import read_regressor, read_sidecar


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


@pytest.mark.parametrize('killed_at', [1, 2])
def test_save_killed_between_its_files_leaves_nothing_that_stops_a_resume(
    tmp_path, monkeypatch, killed_at
):
    replace, names = os.replace, []

    def killed_replace(source, target):
        names.append(os.path.basename(target))
        if len(names) == killed_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(atomic.os, 'replace', killed_replace)
    with pytest.raises(KeyboardInterrupt):
        make().save(tmp_path / 'J.npy')
    monkeypatch.undo()
    assert names == ['J.json', 'J.npy'][:killed_at]
    assert not (tmp_path / 'J.npy').exists()  # so that it is made again
    JointRegressor.load(make().save(tmp_path / 'J.npy'))


def test_overwriting_killed_between_the_files_says_what_to_do(tmp_path):
    path = make().save(tmp_path / 'J.npy')
    older = path.read_bytes()
    JointRegressor(WEIGHT[:, ::-1].copy(), NAMES, body_model='toy').save(path)
    path.write_bytes(older)
    with pytest.raises(DataError, match=r'delete both and make them .*delete J\.json and'):
        JointRegressor.load(path)


def test_missing_sidecar_says_what_to_do(tmp_path):
    path = make().save(tmp_path / 'J_spin.npy')
    path.with_suffix('.json').unlink()
    with pytest.raises(DataError, match=r'its sidecar J_spin\.json is missing; restore.*delete it'):
        JointRegressor.load(path)
    assert JointRegressor.load(path, joint_order=NAMES, body_model=TEMPLATE).num_joints == 3


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


def test_a_sparse_tensor_is_a_regressor(tmp_path):
    torch.save(torch.from_numpy(WEIGHT).to_sparse(), tmp_path / 'J.pt')
    regressor = JointRegressor.load(tmp_path / 'J.pt', joint_order=NAMES)
    np.save(tmp_path / 'dense.npy', WEIGHT)
    expected = JointRegressor.load(tmp_path / 'dense.npy', joint_order=NAMES)
    assert torch.equal(regressor.weight, expected.weight)


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


def ones_at(shape, dtype):
    count = np.arange(17)
    return scipy.sparse.coo_matrix((np.ones(17, dtype), (count, count)), shape)


def write_fields(path, matrix):
    np.savez(path, rows=matrix.row, columns=matrix.col, values=matrix.data, shape=matrix.shape)


def write_pickle(path, matrix):
    path.write_bytes(pickle.dumps(matrix))


def write_pickled_dict(path, matrix):
    path.write_bytes(pickle.dumps({'other': matrix, 'weight': matrix}))


def write_scipy(path, matrix):
    scipy.sparse.save_npz(path, matrix)


def write_torch(path, matrix):
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]))
    torch.save(torch.sparse_coo_tensor(indices, torch.from_numpy(matrix.data), matrix.shape), path)


SPARSE_WRITERS = [
    (write_fields, 'J.npz', 'shape'),
    (write_pickle, 'J.pkl', 'sparse matrix'),
    (write_pickled_dict, 'J.pkl', 'weight'),
    (write_scipy, 'J.npz', 'sparse matrix'),
    (write_torch, 'J.pt', 'sparse matrix'),
]


@pytest.mark.parametrize(('write_sparse', 'name', 'field'), SPARSE_WRITERS)
@pytest.mark.parametrize('shape', [(17, 10_000_000), (340, 100_000), (1000, 1_000_000)])
@pytest.mark.parametrize('dtype', [bool, np.float64])
def test_the_shape_of_a_sparse_file_does_not_decide_how_much_is_allocated(
    tmp_path, write_sparse, name, field, shape, dtype
):
    path = tmp_path / name
    write_sparse(path, ones_at(shape, dtype))
    assert path.stat().st_size < 4000
    size = 8 * shape[0] * shape[1]
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_regressor(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert f'{path}: {field}: found shape {shape}, an array of {size} bytes' in message
    assert 'expected at most 67' in message
    assert peak < 4 << 20


def test_one_sparse_matrix_under_many_names_is_made_dense_once(tmp_path):
    matrix = ones_at((17, 100_000), bool)
    names = [f'J{number}' for number in range(1000)]
    path = tmp_path / 'J.pkl'
    path.write_bytes(pickle.dumps({**dict.fromkeys(names, matrix), 'weight': matrix}))
    tracemalloc.start()
    try:
        assert read_regressor(path).weight.shape == (17, 100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * 8 * 17 * 100_000 + (4 << 20)


def test_loading_the_largest_sparse_file_stays_within_the_limit_of_a_small_file(tmp_path):
    matrix = ones_at((17, 490_000), np.float64)
    matrix.data[3] = -0.5  # makes cleaning copy the matrix
    matrix = matrix + scipy.sparse.coo_matrix(([1.0], ([3], [50])), matrix.shape)
    path = tmp_path / 'J.pkl'
    path.write_bytes(pickle.dumps(matrix))
    tracemalloc.start()  # counts NumPy's memory
    try:
        regressor = JointRegressor.load(path, joint_order=H36M_JOINTS_MMPOSE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    tensors = regressor.weight.nbytes
    assert peak + tensors < unpacked_limit(path.stat().st_size)


def test_numbers_of_one_byte_count_as_the_float64_that_they_become(tmp_path):
    path = tmp_path / 'J.npz'
    np.savez_compressed(path, weight=np.zeros((17, 3_000_000), np.int8))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r'J\.npz: weight: found shape .*408000000 bytes'):
        read_regressor(path)


@pytest.mark.parametrize(('write_sparse', 'name', 'field'), SPARSE_WRITERS)
@pytest.mark.parametrize('shape', [(17, 6890), (24, 6890), (55, 10475), (127, 18439)])
@pytest.mark.parametrize('dtype', [bool, np.float32, np.float64])
def test_sparse_regressors_of_real_bodies_load(tmp_path, write_sparse, name, field, shape, dtype):
    matrix = ones_at(shape, dtype)
    write_sparse(tmp_path / name, matrix)
    weight = read_regressor(tmp_path / name).weight
    assert weight.dtype == np.float64 and weight.flags.writeable
    np.testing.assert_array_equal(weight, matrix.toarray())


@pytest.mark.parametrize('shape', [(0, 10**12), (10**12, 0)])
def test_empty_sparse_matrices_of_any_length_are_refused(tmp_path, shape):
    write_pickle(tmp_path / 'J.pkl', scipy.sparse.coo_matrix(shape))
    with pytest.raises(DataError, match=r'J\.pkl: sparse matrix: found the shape'):
        read_regressor(tmp_path / 'J.pkl')


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ('ran',))

    torch.save(Trap(), tmp_path / 'J.pt')
    with pytest.raises(Exception, match=r"J\.pt: the pickle asks for '\w+\.print'"):
        JointRegressor.load(tmp_path / 'J.pt', joint_order=NAMES)


def test_cleaning_clamps_normalizes_and_warns(tmp_path):
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
        (WEIGHT[None], r'found shape \(1, 3, 6\), expected \(J, V\)'),
        (WEIGHT[:2], 'expected 3 rows'),
        (WEIGHT * np.array([[1], [0], [1]]), r"no positive weight in the rows \['right_knee'\]"),
        (np.where(WEIGHT == 0.25, np.nan, WEIGHT), r"NaN in the rows \['right_knee'\]"),
        (WEIGHT[[1, 0, 2]], 'the row left_knee lies right of right_knee'),
        (WEIGHT.astype(complex), 'expected numbers'),
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
    with pytest.raises(ValueError, match=r"found the suffix '\.txt', expected \.npy"):
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


@pytest.mark.parametrize(
    'carried',
    [
        5, 'abc', {'a': 1}, [5], [{'mapping': 'm'}], [{'error_mm': {'mean': 1.0}}],
        [{'error_mm': {'walks': 3}}], [{'error_mm': {'mean': 'x', 'bodies': 1}}],
    ],
)  # fmt: skip
def test_a_sidecar_with_other_steps_of_carrying_is_refused(tmp_path, carried):
    regressor = make()
    regressor.provenance['carried'] = carried
    path = regressor.save(tmp_path / 'J.npy')
    with pytest.raises(DataError, match=r'J\.json: provenance: carried: .*expected'):
        JointRegressor.load(path)


def test_a_sidecar_is_read_without_its_regressor(tmp_path):
    assert read_sidecar(tmp_path / 'J.npy') == {}
    assert read_sidecar(make().save(tmp_path / 'J.npy'))['joint_names'] == list(NAMES)
    for content in ([1], {'provenance': 3}, {'format': 'mmjrr.joint_regressor/1', 'provenance': 3}):
        (tmp_path / 'J.json').write_text(json.dumps(content))
        with pytest.raises(DataError, match=r'J\.json: (not a sidecar|provenance)'):
            read_sidecar(tmp_path / 'J.npy')


@pytest.mark.parametrize('shape', [(0, 0), (17, 0), (0, 5)])
def test_a_matrix_without_numbers_is_refused(tmp_path, shape):
    np.save(tmp_path / 'J.npy', np.zeros(shape))
    with pytest.raises(DataError, match=r'J\.npy: found shape .*expected rows and columns'):
        read_regressor(tmp_path / 'J.npy')


def test_the_hint_on_a_killed_run_is_about_its_file_alone(tmp_path):
    path = write(tmp_path / 'J.npy', smpl_like(H36M_JOINTS_SPIN))
    with pytest.raises(DataError, match='--joint-order') as raised:
        JointRegressor.load(path)
    assert 'killed run' not in str(raised.value)


def test_rows_that_fit_no_order_may_be_of_another_body(tmp_path):
    weight = smpl_like(H36M_JOINTS_MMPOSE)
    weight[[3, 6]] = weight[[6, 3]]
    path = write(tmp_path / 'J.npy', weight)
    with pytest.raises(DataError, match=r'No known order fits .*another body.*--body-model'):
        JointRegressor.load(path, joint_order='mmpose')
