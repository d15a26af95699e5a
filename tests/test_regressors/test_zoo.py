"""Names of known regressors: finding their files, and the files that can be had."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from mmjrr.downloads import FILES
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN
from mmjrr.regressors import ZOO, JointRegressor, ZooEntry, find_regressor, register_regressor


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'home').mkdir()
    return tmp_path / 'home'


@pytest.mark.parametrize('name', sorted(set(ZOO) - {'free_body_h36m', 'anny_h36m'}))
def test_errors_about_missing_files_name_their_source_and_destination(home, name):
    with pytest.raises(FileNotFoundError) as caught:
        JointRegressor.load(name)
    assert ZOO[name].source in str(caught.value)
    assert str(home / ZOO[name].filename) in str(caught.value)


def test_default_home_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv('MMJRR_HOME', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / '.cache' / 'mmjrr')):
        find_regressor('J_std')


def test_another_file_of_the_same_name_is_refused(home):
    torch.save(torch.ones(17, 6890), home / 'retrained_J_Regressor.pt')
    with pytest.raises(ValueError, match='is not the regressor'):
        JointRegressor.load('J_opt')


def test_data_folder_is_searched_too(home):
    folder = home.parent / 'data'
    folder.mkdir()
    weight = np.zeros((17, 6890))
    for row, name in enumerate(H36M_JOINTS_SPIN):
        weight[row, 4000 + row if name.startswith('right_') else row] = 1
    np.save(folder / 'J_regressor_h36m.npy', weight)
    regressor = JointRegressor.load('J_std')
    assert regressor.joint_names == H36M_JOINTS_SPIN
    assert len(regressor.provenance['file_sha256']) == 64


def test_users_entries_load_by_name(home, monkeypatch):
    monkeypatch.setattr('mmjrr.regressors.zoo.ZOO', ZOO)
    entry = ZooEntry('mine', 'mine.npy', 'mmpose', 'toy', source='make it.')
    monkeypatch.setitem(ZOO, 'mine', entry)
    np.save(home / 'mine.npy', np.full((17, 20), 0.05))
    assert JointRegressor.load('mine').joint_names == H36M_JOINTS_MMPOSE
    with pytest.raises(ValueError, match='mine'):
        register_regressor(entry)


# -- the released J_opt ----------------------------------------------------------------------


@pytest.fixture
def released(shared_data, monkeypatch):
    if not (shared_data / 'retrained_J_Regressor.pt').is_file():
        pytest.skip('no retrained_J_Regressor.pt among the shared data')
    monkeypatch.setenv('MMJRR_HOME', str(shared_data))
    return shared_data / 'retrained_J_Regressor.pt'


def test_released_j_opt_loads_cleaned_with_rows_summing_to_one(released):
    regressor = JointRegressor.load('J_opt', dtype=torch.float64)
    raw = torch.load(released, map_location='cpu', weights_only=True).detach().double()
    assert regressor.joint_names == H36M_JOINTS_SPIN
    torch.testing.assert_close(
        regressor.weight.sum(1), torch.ones(17, dtype=torch.float64), rtol=0, atol=1e-12
    )
    expected = raw.clamp(min=0) / raw.clamp(min=0).sum(1, keepdim=True)
    torch.testing.assert_close(regressor.weight, expected)
    assert len(regressor.cleaning) == 2
    assert 'validation subjects' in regressor.provenance['training_data']


def test_released_j_opt_under_mmposes_order_is_refused(released):
    with pytest.raises(ValueError, match="The rows fit joint_order='spin'"):
        JointRegressor.load(released, joint_order='mmpose')
    assert JointRegressor.load('J_opt').reorder('mmpose').joint_names == H36M_JOINTS_MMPOSE


# -- the free body's -------------------------------------------------------------------------


def test_free_body_regressor_puts_joints_beside_the_bodys_own():
    from mmjrr.body_models import free_body
    from mmjrr.joints import SMPL_JOINTS

    regressor = JointRegressor.load('free_body_h36m', body_model=free_body())
    assert regressor.joint_names == H36M_JOINTS_MMPOSE and regressor.body_model == 'free_body'
    output = free_body()(betas=torch.randn(5, 10))
    joints = dict(zip(regressor.joint_names, regressor(output.vertices).unbind(1), strict=True))
    for side in ('left', 'right'):
        for part in ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist'):
            own = output.joints[:, SMPL_JOINTS.index(f'{side}_{part}')]
            distance = (joints[f'{side}_{part}'] - own).norm(dim=-1)
            assert distance.max() < 0.03, f'{side}_{part}: {distance}'
    heights = [joints[name][:, 1] for name in ('pelvis', 'spine', 'thorax', 'neck_base', 'head')]
    for lower, upper in pairwise(heights):
        assert (upper > lower).all()


def test_free_body_regressor_is_sparse_and_small():
    _, path = find_regressor('free_body_h36m')
    assert path.stat().st_size < 20_000
    regressor = JointRegressor.load('free_body_h36m')
    assert max(regressor.support_sizes.values()) <= 16
    assert min(regressor.support_sizes.values()) >= 4


def test_errors_about_missing_files_name_the_command_that_gets_them(home):
    downloadable = {name for name, entry in ZOO.items() if entry.downloadable}
    assert downloadable == {'J_std', 'J_opt'} <= set(FILES)
    with pytest.raises(FileNotFoundError, match='mmjrr download J_opt'):
        JointRegressor.load('J_opt')
    with pytest.raises(FileNotFoundError) as caught:
        JointRegressor.load('J_spin')
    assert 'mmjrr download' not in str(caught.value)
