"""Files in SMPL's format: official pickles, folders, and what is refused."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from small_body import small_body

from mmjrr.body_models import SMPL, find_smpl_file, load_smpl_file
from mmjrr.joints import SMPL_PARENTS


class Ch:
    """An object that pickles like chumpy's class."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self._dirty_vars, self._itr = x, {'x'}, None


@pytest.fixture
def official_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the official site provides it: pickles with chumpy and sparse matrices."""
    monkeypatch.setattr(Ch, '__module__', 'chumpy.ch')
    fake = types.ModuleType('chumpy.ch')
    vars(fake)['Ch'] = Ch
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'chumpy', types.ModuleType('chumpy'))
        patch.setitem(sys.modules, 'chumpy.ch', fake)
        for number, gender in enumerate(('NEUTRAL', 'MALE', 'FEMALE')):
            arrays = small_body()
            arrays['v_template'] = Ch(arrays['v_template'] + number)
            arrays['shapedirs'] = Ch(arrays['shapedirs'])
            arrays['J_regressor'] = scipy.sparse.csc_matrix(arrays['J_regressor'])
            arrays['bs_type'] = 'lrotmin'
            (tmp_path / f'SMPL_{gender}.pkl').write_bytes(pickle.dumps(arrays, protocol=2))
    return tmp_path


def test_official_pickle_holds_the_same_body_as_plain_arrays(official_folder: Path) -> None:
    assert 'chumpy' not in sys.modules
    data = load_smpl_file(official_folder / 'SMPL_NEUTRAL.pkl')
    expected = small_body()
    for name in ('v_template', 'shapedirs', 'posedirs', 'weights', 'J_regressor', 'f'):
        np.testing.assert_array_equal(data[name], expected[name])
    assert data['parents'] == list(SMPL_PARENTS)


def test_gender_selects_the_file_of_a_folder(official_folder: Path) -> None:
    (official_folder / 'nested').mkdir()
    (official_folder / 'nested' / 'smpl').symlink_to(official_folder)
    for number, gender in enumerate(('neutral', 'male', 'female')):
        for folder in (official_folder, official_folder / 'nested'):
            body = SMPL(folder, gender=gender, dtype=torch.float64)
            expected = small_body()['v_template'] + number
            np.testing.assert_allclose(body.v_template.numpy(), expected)


def test_a_folder_without_the_file_lists_the_names_tried(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'SMPL_MALE\.pkl.*smpl\.is\.tue\.mpg\.de'):
        SMPL(tmp_path, gender='male')
    with pytest.raises(FileNotFoundError, match=r'absent\.npz'):
        SMPL(tmp_path / 'absent.npz')
    with pytest.raises(ValueError, match="gender: found 'nobody'"):
        SMPL(tmp_path, gender='nobody')


def wrong(**changes: Any) -> dict[str, Any]:
    arrays = {**small_body(), **changes}
    return {name: value for name, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        (wrong(weights=None), "weights: missing; found .*'J_regressor'"),
        (wrong(posedirs=None), 'posedirs: missing'),
        (wrong(v_template=np.zeros((5, 2))), r'v_template: found shape \(5, 2\)'),
        (wrong(v_template=np.zeros((5, 3)), f=np.array([[0, 1, 2]])), r'found shape \(60, 3, 12\)'),
        (wrong(weights=np.zeros((60, 52))), r'weights: found shape \(60, 52\)'),
        (wrong(J_regressor=np.zeros((60, 24))), r'J_regressor: found .*expected \(24, 60\)'),
        (wrong(shapedirs=np.full((60, 3, 10), np.nan)), 'shapedirs: found NaN'),
        (wrong(v_template=np.full((60, 3), 'x')), 'v_template: found an array of <U1'),
        (wrong(f=np.array([[0, 1, 60]])), 'f: found vertex indices 0 to 60, expected 0 to 59'),
        (wrong(kintree_table=np.full((2, 24), 23)), 'kintree_table: found parents'),
    ],
)
def test_broken_files_name_the_wrong_array(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = tmp_path / 'broken.npz'
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf'broken\.npz: .*{message}'):
        SMPL(path)
    path.with_suffix('.pkl').write_bytes(pickle.dumps(arrays))
    with pytest.raises(ValueError, match=rf'broken\.pkl: .*{message}'):
        SMPL(path.with_suffix('.pkl'))


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'text.npz').write_text('no archive')
    with pytest.raises(ValueError, match=r'text\.npz: not readable'):
        load_smpl_file(tmp_path / 'text.npz')
    np.savez(tmp_path / 'objects.npz', **wrong(weights=np.array([object()])))
    with pytest.raises(ValueError, match=r'objects\.npz: .*not readable'):
        load_smpl_file(tmp_path / 'objects.npz')
    (tmp_path / 'list.pkl').write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r'list\.pkl: found a list, expected a dict'):
        load_smpl_file(tmp_path / 'list.pkl')
    with pytest.raises(ValueError, match=r'body\.obj: found suffix .*, expected \.pkl or \.npz'):
        load_smpl_file(tmp_path / 'body.obj')


@pytest.mark.parametrize(
    ('name', 'gender', 'kind'),
    [
        ('basicModel_neutral_lbs_10_207_0_v1.0.0.pkl', 'neutral', 'smpl'),
        ('basicmodel_m_lbs_10_207_0_v1.0.0.pkl', 'male', 'smpl'),
        ('basicModel_f_lbs_10_207_0_v1.1.0.pkl', 'female', 'smpl'),
        ('smpl/models/basicModel_f_lbs_10_207_0_v1.0.0.pkl', 'female', 'smpl'),
        ('SMPLH_female.pkl', 'female', 'smplh'),
        ('smplh/male/model.npz', 'male', 'smplh'),
        ('SMPLX_NEUTRAL.npz', 'neutral', 'smplx'),
        ('models/SMPLX_NEUTRAL_2020.npz', 'neutral', 'smplx'),
        ('smplx/neutral/model.npz', 'neutral', 'smplx'),
    ],
)
def test_official_names_are_found_in_a_folder(
    tmp_path: Path, name: str, gender: str, kind: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert find_smpl_file(tmp_path, gender, kind) == file
    others = {'neutral': 'male', 'male': 'female', 'female': 'neutral'}
    with pytest.raises(FileNotFoundError, match=rf"'{others[gender]}'; tried .*found "):
        find_smpl_file(tmp_path, others[gender], kind)
