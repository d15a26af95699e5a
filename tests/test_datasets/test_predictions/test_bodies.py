"""Rows without a body are recognized; 6D rotations, genders and betas are read as stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmjrr.datasets.predictions import predictions_from
from mmjrr.datasets.predictions.bodies import mark_absurd_betas
from mmjrr.errors import DataError

from .bodies import BETAS, COUNT, MATRICES, NAMES, POSE, VERTICES, assert_is_the_set


def with_rows(array: np.ndarray, rows: list[int], value: float) -> np.ndarray:
    changed = array.copy()
    changed[rows] = value
    return changed


IDENTITIES = MATRICES.copy()
IDENTITIES[[1, 4]] = np.eye(3)


@pytest.mark.parametrize(
    ('body', 'reason'),
    [
        ({'pose': with_rows(POSE, [1, 4], 0)}, '2 all zeros'),
        ({'pose': with_rows(POSE, [1, 4], np.nan)}, '2 all NaN'),
        ({'pose': with_rows(MATRICES, [1, 4], 0)}, '2 all zeros'),
        ({'pose': with_rows(MATRICES, [1, 4], np.nan)}, '2 all NaN'),
        ({'pose': IDENTITIES}, '2 all zeros'),
        ({'pose': with_rows(MATRICES[..., :2].reshape(COUNT, 144), [1, 4], 0)}, '2 all zeros'),
        ({'vertices': with_rows(VERTICES, [1, 4], 0)}, '2 vertices in one point'),
        ({'vertices': with_rows(VERTICES, [1, 4], 7.5)}, '2 vertices in one point'),
        ({'vertices': with_rows(VERTICES, [1, 4], np.nan)}, '2 all NaN'),
        ({'global_orient': with_rows(POSE[:, :3], [1, 4], 0),
          'body_pose': with_rows(POSE[:, 3:], [1, 4], 0)}, '2 all zeros'),
    ],
)  # fmt: skip
def test_rows_of_zeros_nan_or_without_extent_hold_no_body(
    body: dict[str, Any], reason: str
) -> None:
    predictions = predictions_from({'imgname': NAMES, 'betas': BETAS, **body})
    assert np.flatnonzero(~predictions.is_valid()).tolist() == [1, 4]
    (note,) = [note for note in predictions.notes if 'no body' in note]
    assert f'2 of 6 rows hold no body ({reason}); the first is {NAMES[1]}' == note


def test_rows_with_betas_of_no_person_count_as_missing_once() -> None:
    predictions = predictions_from({'pose': POSE, 'betas': with_rows(BETAS, [1, 4], -60)})
    assert predictions.is_valid().all()  # a refinement leaves them out by itself
    marked = mark_absurd_betas(predictions)
    assert np.flatnonzero(~marked.is_valid()).tolist() == [1, 4]
    (note,) = marked.notes
    assert note.startswith('2 of 6 rows have betas beyond 20') and note.endswith('row 1')
    assert mark_absurd_betas(marked) is marked
    assert mark_absurd_betas(predictions_from({'vertices': VERTICES})).is_valid().all()


def test_a_body_with_zero_root_or_one_nan_is_no_empty_row() -> None:
    pose = POSE.copy()
    pose[1, :3], pose[2, 3:], pose[3, 5] = 0, 0, np.nan
    predictions = predictions_from({'pose': pose, 'betas': np.zeros_like(BETAS)})
    assert predictions.is_valid().all() and predictions.notes == ()


@pytest.mark.parametrize('betas', [BETAS[:, 0], BETAS[:3], BETAS[:, None]])
def test_betas_of_other_shapes_are_read_or_refused(betas: np.ndarray) -> None:
    try:
        predictions = predictions_from({'pose': POSE, 'betas': 100 * betas})
    except DataError:
        return
    assert len(predictions) == COUNT


@pytest.mark.parametrize('empty', [np.zeros((0, 72)), [], np.zeros((0, 24, 3, 3))])
def test_images_with_arrays_of_no_length_have_nobody(empty: Any) -> None:
    content = {name: {'pose': POSE[i : i + 1], 'betas': BETAS[i : i + 1]}
               for i, name in enumerate(NAMES)}  # fmt: skip
    content[NAMES[2]] = {'pose': empty, 'betas': np.zeros((0, 10))}
    predictions = predictions_from(content)
    assert predictions.imgname == NAMES and np.flatnonzero(~predictions.is_valid()).tolist() == [2]
    assert '1 of 6 rows hold no body (1 arrays of no length)' in predictions.notes[0]
    assert_is_the_set(predictions.select(predictions.is_valid()), [0, 1, 3, 4, 5])
    nameless = predictions_from(list(content.values()))  # the n-th body stays the n-th
    np.testing.assert_array_equal(nameless.valid, predictions.valid)


# -- rotations in 6 numbers ----------------------------------------------------------------------

INTERLEAVED = MATRICES[..., :2].reshape(COUNT, 24, 6)
COLUMNS = MATRICES[..., :2].swapaxes(-1, -2).reshape(COUNT, 24, 6)
ROWS = MATRICES[..., :2, :].reshape(COUNT, 24, 6)


@pytest.mark.parametrize(
    ('kind', 'pose'), [('interleaved', INTERLEAVED), ('columns', COLUMNS), ('rows', ROWS)]
)
@pytest.mark.parametrize('flat', [False, True])
def test_each_way_to_store_6d_rotations_is_read_when_it_is_named(
    kind: str, pose: np.ndarray, flat: bool
) -> None:
    content = {'pose': pose.reshape(COUNT, 144) if flat else pose, 'betas': BETAS}
    assert_is_the_set(predictions_from(content, rotation_6d=kind))


def test_interleaved_exact_rotations_are_recognized_and_others_are_undecided() -> None:
    assert_is_the_set(predictions_from({'pose': INTERLEAVED, 'betas': BETAS}))
    for pose in (COLUMNS, ROWS):
        predictions = predictions_from({'pose': pose, 'betas': BETAS}, 'mine.npz')
        assert predictions.possible_rotations_6d == ('columns', 'rows')
        with pytest.raises(DataError, match='mine.npz: body_pose: .*columns or rows.*rotation_6d'):
            predictions.pose()
    assert_is_the_set(predictions_from({'pose': ROWS, 'betas': BETAS}).with_rotation_6d('rows'))
    with pytest.raises(ValueError, match=r"rotation_6d: found 'zhou', expected one of"):
        predictions_from({'pose': POSE, 'betas': BETAS}, rotation_6d='zhou')


# -- which body ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('stored', 'expected'),
    [(['male'] * COUNT, 'male'), (np.array(['f'] * COUNT), 'female'), ('Neutral', 'neutral'),
     (np.array([b'm'] * COUNT), 'male')],
)  # fmt: skip
def test_genders_are_read_and_compared(stored: Any, expected: str) -> None:
    predictions = predictions_from({'pose': POSE, 'betas': BETAS, 'gender': stored}, 'mine.npz')
    assert predictions.gender == [expected] * COUNT
    predictions.require_gender(expected)
    other = 'female' if expected == 'male' else 'male'
    message = f"mine.npz: gender: found '{expected}' in 6 of 6 rows, expected '{other}'"
    with pytest.raises(DataError, match=message):
        predictions.require_gender(other)


def test_genders_in_numbers_are_noted_and_not_read() -> None:
    predictions = predictions_from({'pose': POSE, 'betas': BETAS, 'gender': ['0'] * COUNT})
    assert predictions.gender is None
    assert "gender: found '0', expected 'neutral', 'male' or 'female'" in predictions.notes[0]


def test_the_first_betas_are_kept() -> None:
    more = np.concatenate([BETAS, np.ones((COUNT, 6), np.float32)], 1)
    predictions = predictions_from({'pose': POSE, 'betas': more}, 'mine.npz')
    assert predictions.betas is not None and predictions.betas.shape == (COUNT, 16)
    np.testing.assert_array_equal(predictions.with_num_betas(10).betas, BETAS)
    with pytest.raises(DataError, match=r'mine.npz: betas: found 16, .* num_betas=20'):
        predictions.with_num_betas(20)
