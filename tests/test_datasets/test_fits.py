from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mmjrr.datasets.fits import load_fits, save_fits
from mmjrr.errors import DataError

NAMES = np.array([f'S1/S1_Walking.54138969/S1_Walking.54138969_{i:06d}.jpg' for i in range(3)])


def a_fit(**changes: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    fit = dict(
        imgname=NAMES,
        pose=rng.normal(size=(3, 72)).astype(np.float32),
        betas=rng.normal(size=(3, 10)).astype(np.float32),
        transl=np.array([[0, 0, 5.0]] * 3, dtype=np.float32),
        camera=np.array([[0.9, 0, 0]] * 3, dtype=np.float32),
    )
    return {**fit, **changes}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_fits(tmp_path / 'f.npz', **a_fit(), provenance={'seed': 3})
    fits = load_fits(tmp_path / 'f.npz')
    for name, value in a_fit().items():
        np.testing.assert_array_equal(fits[name], value)
    assert fits['provenance'] == {'seed': 3}


def test_spins_readers_find_pose_and_shape(tmp_path: Path) -> None:
    save_fits(tmp_path / 'f.npz', **a_fit())
    with np.load(tmp_path / 'f.npz') as raw:
        np.testing.assert_array_equal(raw['shape'], a_fit()['betas'])
        assert {'imgname', 'pose', 'shape', 'betas', 'camera', 'transl'} <= set(raw.files)


@pytest.mark.parametrize(('gender', 'written'), [('male', 'm'), ('female', 'f')])
def test_a_gender_is_written_as_in_spins_files(tmp_path: Path, gender: str, written: str) -> None:
    save_fits(tmp_path / 'f.npz', **a_fit(), gender=gender)
    with np.load(tmp_path / 'f.npz') as raw:
        assert raw['gender'].tolist() == [written] * 3
    assert load_fits(tmp_path / 'f.npz')['gender'].tolist() == [gender] * 3


def test_neutral_bodies_are_not_taken_for_female_ones(tmp_path: Path) -> None:
    """Readers of SPIN's layout take any text but 'm' for female."""
    for gender in ('neutral', None):
        save_fits(tmp_path / 'f.npz', **a_fit(), gender=gender)
        with np.load(tmp_path / 'f.npz') as raw:
            assert 'gender' not in raw.files
        assert 'gender' not in load_fits(tmp_path / 'f.npz')
    with pytest.raises(ValueError, match="gender: found 'm', expected one of"):
        save_fits(tmp_path / 'f.npz', **a_fit(), gender='m')


def test_equal_fits_give_equal_bytes_and_nothing_else(tmp_path: Path) -> None:
    for name in 'ab':
        save_fits(tmp_path / f'{name}.npz', **a_fit(), provenance={'b': 1, 'a': 2})
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_spins_own_fields_are_read(tmp_path: Path) -> None:
    """``shape`` for betas, 24 joints (not read), names as bytes, and a flag for valid fits."""
    fit = a_fit()
    np.savez(
        tmp_path / 'f.npz', imgname=NAMES.astype(np.bytes_), pose=fit['pose'], shape=fit['betas'],
        S=np.zeros((3, 24, 4)), part=np.zeros((3, 24, 3)), has_smpl=np.array([1, 0, 1]),
    )  # fmt: skip
    fits = load_fits(tmp_path / 'f.npz')
    np.testing.assert_array_equal(fits['betas'], fit['betas'])
    assert fits['imgname'].tolist() == NAMES.tolist()
    assert fits['valid'].tolist() == [True, False, True]
    assert 'S' not in fits and 'part' not in fits


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(pose=np.zeros((3, 69))), r'pose: found shape \(3, 69\), expected 24 rotations'),
        (
            dict(betas=np.zeros((2, 10))),
            r'betas: found shape \(2, 10\), expected one for each of 3 bodies',
        ),
        (dict(transl=np.full((3, 3), np.nan)), 'transl: 3 rows are not finite'),
        (dict(imgname=np.arange(3)), 'imgname: found int64'),
        (dict(pose=np.array([['a'] * 72] * 3)), r'pose: found <U1 \(3, 72\), expected numbers'),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    np.savez(tmp_path / 'f.npz', **a_fit(**changes))
    with pytest.raises(DataError, match=rf'f\.npz: {message}'):
        load_fits(tmp_path / 'f.npz')


@pytest.mark.parametrize('empty', [0.0, np.nan])
def test_rows_without_a_body_are_invalid_fits(tmp_path: Path, empty: float) -> None:
    fit = a_fit()
    for name in ('pose', 'betas', 'transl', 'camera'):
        fit[name][1] = empty
    np.savez(tmp_path / 'f.npz', **fit)
    fits = load_fits(tmp_path / 'f.npz')
    assert fits['valid'].tolist() == [True, False, True]
    np.testing.assert_array_equal(fits['pose'][[0, 2]], a_fit()['pose'][[0, 2]])


def test_images_without_a_person_are_invalid_fits(tmp_path: Path) -> None:
    fit = a_fit()
    persons = {
        str(name): dict(pose=fit['pose'][i : i + 1], betas=fit['betas'][i : i + 1])
        for i, name in enumerate(NAMES)
    }
    persons[str(NAMES[1])] = dict(pose=np.zeros((0, 72)), betas=np.zeros((0, 10)))
    (tmp_path / 'f.pkl').write_bytes(pickle.dumps(persons))
    fits = load_fits(tmp_path / 'f.pkl')
    assert fits['imgname'].tolist() == NAMES.tolist()
    assert fits['valid'].tolist() == [True, False, True]
    np.testing.assert_array_equal(fits['pose'][[0, 2]], fit['pose'][[0, 2]])


@pytest.mark.parametrize('name', ['pose', 'betas', 'transl', 'camera'])
def test_bodies_that_are_not_finite_are_named(tmp_path: Path, name: str) -> None:
    fit = a_fit()
    fit[name][1, 0] = np.nan
    np.savez(tmp_path / 'f.npz', **fit)
    message = rf'f\.npz: {name}: 1 rows are not finite, the first is row 1 \({NAMES[1]}\)'
    with pytest.raises(DataError, match=message):
        load_fits(tmp_path / 'f.npz')


def test_a_file_without_rows_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / 'f.npz', **{name: value[:0] for name, value in a_fit().items()})
    with pytest.raises(DataError, match=r'f\.npz: has no rows, expected a fit of each image'):
        load_fits(tmp_path / 'f.npz')


def test_genders_are_read_or_replaced(tmp_path: Path) -> None:
    genders = ['male', 'female', 'male']
    np.savez(tmp_path / 'f.npz', **a_fit(), gender=genders)
    assert load_fits(tmp_path / 'f.npz')['gender'].tolist() == genders
    assert load_fits(tmp_path / 'f.npz', gender='neutral')['gender'].tolist() == ['neutral'] * 3
    with pytest.raises(ValueError, match="gender: found 'm', expected one of"):
        load_fits(tmp_path / 'f.npz', gender='m')
    with pytest.raises(ValueError, match=r"fits_reading: unknown \['gendr'\], expected some of"):
        load_fits(tmp_path / 'f.npz', gendr='male')


def test_missing_fields_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / 'f.npz', imgname=NAMES, pose=np.zeros((3, 72)))
    with pytest.raises(DataError, match=r'no known layout.*imgname.*pose: float64'):
        load_fits(tmp_path / 'f.npz')


@pytest.mark.parametrize('share', [0.0, 0.3, 0.6, 0.99])
def test_truncated_files_are_named(tmp_path: Path, share: float) -> None:
    save_fits(tmp_path / 'f.npz', **a_fit())
    content = (tmp_path / 'f.npz').read_bytes()
    (tmp_path / 'f.npz').write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r'f\.npz: not readable as .*truncated'):
        load_fits(tmp_path / 'f.npz')


def test_damaged_bytes_are_noticed(tmp_path: Path) -> None:
    save_fits(tmp_path / 'f.npz', **a_fit())
    content = bytearray((tmp_path / 'f.npz').read_bytes())
    at = content.find(a_fit()['pose'].tobytes()[:16])
    content[at + 4] ^= 0xFF
    (tmp_path / 'f.npz').write_bytes(bytes(content))
    with pytest.raises(DataError, match=r'f\.npz: pose: not readable'):
        load_fits(tmp_path / 'f.npz')


def test_objects_in_the_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / 'f.npz', imgname=np.array(['a', None], dtype=object))
    with pytest.raises(DataError, match=r'f\.npz: .*imgname'):
        load_fits(tmp_path / 'f.npz')


def test_nothing_wrong_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='pose: found values that are not finite'):
        save_fits(tmp_path / 'f.npz', **a_fit(pose=np.full((3, 72), np.inf)))
    assert not list(tmp_path.iterdir())
