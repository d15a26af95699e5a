"""Descriptions of regressors' files, and joints exchanged along the limbs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch

from mmjrr.cli.main import main
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, JOINT_ORDERS, reorder_index
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.inspection import format_inspection, inspect_regressor


@pytest.fixture(scope='module')
def weight() -> np.ndarray:
    return JointRegressor.load('free_body_h36m', dtype=torch.float64).weight.numpy()


def save_npy(path, weight):
    np.save(path.with_suffix('.npy'), weight)
    return path.with_suffix('.npy')


def save_pickled_sparse(path, weight):
    path = path.with_suffix('.pkl')
    path.write_bytes(pickle.dumps(scipy.sparse.csc_matrix(weight)))
    return path


def save_pickled_dict(path, weight):
    path = path.with_suffix('.pkl')
    path.write_bytes(pickle.dumps({'J_regressor': weight, 'v_template': np.zeros((10, 3))}))
    return path


def save_sparse_npz(path, weight):
    scipy.sparse.save_npz(path.with_suffix('.npz'), scipy.sparse.csr_matrix(weight))
    return path.with_suffix('.npz')


def save_torch(path, weight):
    torch.save(torch.from_numpy(weight), path.with_suffix('.pt'))
    return path.with_suffix('.pt')


def save_transposed(path, weight):
    return save_npy(path, np.ascontiguousarray(weight.T))


WRITERS = [
    save_npy, save_pickled_sparse, save_pickled_dict, save_sparse_npz, save_torch, save_transposed,
]  # fmt: skip


@pytest.mark.parametrize('save', WRITERS)
def test_every_format_holds_the_same_matrix_and_order(save, weight, tmp_path):
    report = inspect_regressor(save(tmp_path / 'J', weight), body_model='free_body')
    np.testing.assert_array_equal(report.weight, weight)
    assert report.transposed == (save is save_transposed)
    assert report.orders['mmpose'] == () and report.orders['spin'] != ()
    assert report.joint_names == H36M_JOINTS_MMPOSE
    assert report.comparisons[0].name == 'free_body_h36m'
    assert report.comparisons[0].mean < 1e-9


@pytest.mark.parametrize('save', WRITERS[:-1])
def test_every_format_is_loaded_as_a_regressor(save, weight, tmp_path):
    loaded = JointRegressor.load(
        save(tmp_path / 'J', weight), 'mmpose', 'free_body', dtype=torch.float64
    )
    np.testing.assert_allclose(loaded.weight.numpy(), weight, atol=1e-12)


@pytest.mark.parametrize(('order', 'count'), [('lsp', 14), ('j19', 19), ('smpl', 24)])
def test_rows_of_other_orders_are_recognized(order, count, weight, tmp_path):
    names = JOINT_ORDERS[order]
    known_names = [name if name in H36M_JOINTS_MMPOSE else 'head' for name in names]
    rows = weight[[H36M_JOINTS_MMPOSE.index(name) for name in known_names]]
    report = inspect_regressor(save_npy(tmp_path / 'J', rows), body_model='free_body')
    assert len(report.weight) == count and order in report.orders
    assert report.orders[order] == ()


def test_defects_are_described_and_not_raised(weight, tmp_path):
    broken = 2 * weight
    broken[3, 5], broken[4, 7] = -0.5, np.nan
    report = inspect_regressor(save_npy(tmp_path / 'J', broken), 'mmpose', 'free_body')
    assert (report.negatives, report.not_finite) == (1, 1)
    assert report.comparisons == ()
    text = format_inspection(report)
    assert '1 negative weights, 1 NaN or infinite' in text


def test_the_distance_of_two_files_is_that_of_their_joints_on_the_body(weight, tmp_path):
    moved = weight.copy()
    moved[2] = 0.9 * weight[2] + 0.1 * weight[10]
    from mmjrr.body_models import free_body

    template = free_body().v_template.double().numpy()
    expected = np.linalg.norm(0.1 * (weight[10] - weight[2]) @ template)
    other = save_npy(tmp_path / 'other', moved)
    report = inspect_regressor('free_body_h36m', others=[other])
    comparison = next(c for c in report.comparisons if c.name == str(other))
    assert comparison.distance['right_knee'] == pytest.approx(expected)
    assert comparison.distance['left_knee'] == 0 and comparison.unit == 'm'


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('left_hip', 'left_ankle'), ('right_knee', 'right_ankle'), ('left_hip', 'left_knee'),
        ('left_shoulder', 'left_wrist'), ('right_elbow', 'right_wrist'), ('pelvis', 'head'),
    ],
)  # fmt: skip
def test_joints_exchanged_along_a_limb_are_refused_at_load(one, other, weight, tmp_path):
    names = list(H36M_JOINTS_MMPOSE)
    a, b = names.index(one), names.index(other)
    rows = np.arange(17)
    rows[[a, b]] = rows[[b, a]]
    path = save_npy(tmp_path / 'J', weight[rows])
    with pytest.raises(DataError, match=f'{one} lies beyond {other}'):
        JointRegressor.load(path, 'mmpose', 'free_body')
    assert any(
        f'{one} lies beyond {other}' in problem
        for problem in inspect_regressor(path, body_model='free_body').orders['mmpose']
    )


@pytest.mark.parametrize('swap', [('left_hip', 'left_ankle'), ('left_knee', 'right_knee')])
def test_misplaced_joints_of_a_fit_to_few_frames_are_explained_by_their_number(
    swap, weight, tmp_path
):
    a, b = map(H36M_JOINTS_MMPOSE.index, swap)
    rows = np.arange(17)
    rows[[a, b]] = rows[[b, a]]
    for n_frames, remedy in ((3, 'fit it to at least 100 frames'), (100, 'joint_order=|swapped')):
        JointRegressor(weight[rows], 'mmpose', 'free_body', {'n_frames': n_frames}).save(
            tmp_path / 'J.npy'
        )
        with pytest.raises(DataError, match=remedy) as error:
            JointRegressor.load(tmp_path / 'J.npy')
        assert ('fitted to 3 frames' in str(error.value)) == (n_frames == 3)


def test_hip_and_ankle_exchanged_on_smpl_are_refused_by_vertex_numbers(shared_data, tmp_path):
    released = JointRegressor.load(
        shared_data / 'retrained_J_Regressor.pt', 'spin', dtype=torch.float64
    )
    names = list(released.joint_names)
    for one, other in (('left_hip', 'left_ankle'), ('right_shoulder', 'right_wrist')):
        changed = list(names)
        a, b = names.index(one), names.index(other)
        changed[a], changed[b] = other, one
        rows = released.weight.numpy()[reorder_index(changed, names)]
        path = save_npy(tmp_path / 'J', rows)
        with pytest.raises(DataError, match=f'{one} lies beyond {other}'):
            JointRegressor.load(path, 'spin')


def test_the_command_prints_and_draws(weight, tmp_path, capsys):
    path = save_npy(tmp_path / 'J', weight)
    picture = tmp_path / 'J.png'
    assert main(['inspect', str(path), '--body-model', 'free_body', '--picture', str(picture)]) == 0
    text = capsys.readouterr().out
    assert "order 'mmpose': fits" in text and 'free_body_h36m: 0.0 mm away' in text
    assert picture.stat().st_size > 10000
    assert main(['inspect', str(tmp_path / 'no.npy')]) == 1
    assert 'no such file' in capsys.readouterr().err
    assert main(['inspect', str(path), '--picture', str(picture), '--joint-order', 'lsp']) == 1
    assert 'found 17 rows, expected 14' in capsys.readouterr().err


def test_regressors_that_a_mapping_carries_are_inspected(capsys):
    report = inspect_regressor('anny_h36m')
    assert report.weight.shape == (17, 13718) and report.body_model == 'anny'
    assert report.joint_names == H36M_JOINTS_MMPOSE and not report.transposed
    assert report.comparisons == ()
    assert "carried from the mesh 'free_body' by anny2free_body.npz" in format_inspection(report)
    other = inspect_regressor('free_body_h36m', others=['anny_h36m'])
    assert other.notes == ('anny_h36m is not compared: it has 13718 columns',)
    assert [comparison.name for comparison in other.comparisons] == ['free_body_h36m']


def test_a_body_with_another_number_of_vertices_is_named(weight, tmp_path, capsys):
    path = save_npy(tmp_path / 'J', np.ones((17, 50)))
    assert main(['inspect', str(path), '--body-model', 'free_body']) == 1
    message = "J.npy: 50 columns are not the 6890 vertices of the body 'free_body'"
    assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match='50 columns are not the 10475 vertices'):
        inspect_regressor(path, body_model='smplx')
    wrong = JointRegressor(np.full((17, 50), 0.02), 'mmpose', 'toy').save(tmp_path / 'K.npy')
    sidecar = wrong.with_suffix('.json')
    sidecar.write_text(sidecar.read_text().replace('"toy"', '"free_body"'))
    assert message.removeprefix('J.npy: ') in inspect_regressor(wrong).notes


def test_the_picture_of_an_inspection_is_checked_first(tmp_path, capsys):
    assert main(['inspect', 'free_body_h36m', '--picture', str(tmp_path / 'J.PNG')]) == 1
    printed = capsys.readouterr()
    assert not printed.out and '--picture' in printed.err
