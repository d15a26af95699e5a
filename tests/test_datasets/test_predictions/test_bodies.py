"""Rows without a body are recognized; 6D rotations, genders and betas are read as stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.datasets.predictions import predictions_from
from mmjrr.datasets.predictions.bodies import mark_absurd_betas
from mmjrr.errors import DataError
from mmjrr.geometry import rotation_6d_to_matrix

from .bodies import BETAS, COUNT, MATRICES, NAMES, POSE, RNG, VERTICES, assert_is_the_set


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

IN_6D = {
    'interleaved': lambda matrices: matrices[..., :2].reshape(*matrices.shape[:-2], 6),
    'columns': lambda matrices: matrices[..., :2].swapaxes(-1, -2).reshape(*matrices.shape[:-2], 6),
    'rows': lambda matrices: matrices[..., :2, :].reshape(*matrices.shape[:-2], 6),
}
INTERLEAVED, COLUMNS, ROWS = (store(MATRICES) for store in IN_6D.values())


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
    pose = COLUMNS.copy()
    pose[0, 3], pose[2, 5, 1] = 0, np.nan
    predictions = predictions_from({'pose': pose, 'betas': BETAS})
    assert predictions.possible_rotations_6d == ('columns', 'rows') and not predictions.notes
    with pytest.raises(ValueError, match=r"rotation_6d: found 'zhou', expected one of"):
        predictions_from({'pose': POSE, 'betas': BETAS}, rotation_6d='zhou')


@pytest.mark.parametrize('kind', list(IN_6D))
def test_6d_rotations_of_hands_and_face_are_read_in_the_order_of_the_body(kind: str) -> None:
    hand, jaw = MATRICES[:, 1:16], MATRICES[:, 16:17]
    content = {
        'global_orient': IN_6D[kind](MATRICES[:, :1]), 'body_pose': IN_6D[kind](MATRICES[:, 1:22]),
        'left_hand_pose': IN_6D[kind](hand), 'jaw_pose': IN_6D[kind](jaw), 'betas': BETAS,
    }  # fmt: skip
    predictions = predictions_from(content, rotation_6d=kind)
    for value, expected in ((predictions.left_hand_pose, hand), (predictions.jaw_pose, jaw)):
        matrices = torch.from_numpy(value)
        if value.ndim == 2:
            matrices = rotation_6d_to_matrix(matrices.unflatten(1, (-1, 6)))
        np.testing.assert_allclose(matrices, expected, atol=1e-6)


# -- rotations before the root's -----------------------------------------------------------------

TURNS = Rotation.random(COUNT, random_state=5).as_matrix().astype('f4')
SHIFTS = np.float32([0.5, -1, 4]) + RNG.normal(size=(COUNT, 3)).astype('f4')


def before_the_turn(kind: str) -> np.ndarray:
    """Return 6D poses whose root, turned by TURNS, is that of the set."""
    matrices = MATRICES.copy()
    matrices[:, 0] = TURNS.swapaxes(-1, -2) @ matrices[:, 0]
    return IN_6D[kind](matrices)


def turned(kind: str, turn: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a file in which ``turn`` precedes the root of 6D poses, and the paths of fields."""
    turns = TURNS if turn == 'extrinsics' else IN_6D[kind](TURNS)
    content = {'names': NAMES, 'p': before_the_turn(kind), 'b': BETAS, 't': turns}
    return content, {'imgname': 'names', 'pose': 'p', 'betas': 'b', turn: 't'}


@pytest.mark.parametrize('turn', ['extrinsics', 'root'])
@pytest.mark.parametrize('kind', list(IN_6D))
@pytest.mark.parametrize('by_image', [False, True])
def test_a_6d_root_is_turned_in_the_order_that_is_named(
    kind: str, turn: str, by_image: bool
) -> None:
    content, fields = turned(kind, turn)
    if by_image:
        content = {'persons': [{'names': NAMES[row], **{key: content[key][row] for key in 'pbt'}}
                               for row in range(COUNT)]}  # fmt: skip
        fields = {field: f'persons.*.{path}' for field, path in fields.items()}
    predictions = predictions_from(content, fields=fields, rotation_6d=kind)
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES and predictions.possible_rotations_6d == ()


@pytest.mark.parametrize('turn', ['extrinsics', 'root'])
def test_a_6d_root_is_turned_if_its_order_is_recognized_and_otherwise_the_order_is_asked_for(
    turn: str,
) -> None:
    content, fields = turned('interleaved', turn)
    assert_is_the_set(predictions_from(content, fields=fields))
    content['p'] = content['p'] * np.float32(1.5)  # as a network outputs them
    predictions = predictions_from(content, fields=fields)
    assert_is_the_set(predictions)
    assert predictions.notes == (
        '6D rotations are read as the first two columns, row by row, as SPIN has them',
    )
    for kind in ('columns', 'rows'):
        content, fields = turned(kind, turn)
        with pytest.raises(DataError, match=r'mine.npz: body_pose: .*columns or rows.*rotation_6d'):
            predictions_from(content, 'mine.npz', fields=fields)
    with pytest.raises(ValueError, match=r"rotation_6d: found 'zhou', expected one of"):
        predictions_from(content, fields=fields, rotation_6d='zhou')


def test_a_6d_root_is_turned_beside_a_pose_of_angles_and_the_reverse() -> None:
    content, fields = turned('columns', 'root')
    angles = POSE.copy()
    angles[:, :3] = Rotation.from_matrix(TURNS.swapaxes(-1, -2) @ MATRICES[:, 0]).as_rotvec()
    of_angles = {**content, 'p': angles}
    assert_is_the_set(predictions_from(of_angles, fields=fields, rotation_6d='columns'))
    content['t'] = Rotation.from_matrix(TURNS).as_rotvec()
    assert_is_the_set(predictions_from(content, fields=fields, rotation_6d='columns'))
    content['p'], content['t'] = before_the_turn('columns'), POSE[:, :3]
    content['p'][:, 0] = 0  # no rotation of its own
    assert_is_the_set(predictions_from(content, fields=fields, rotation_6d='columns'))


@pytest.mark.parametrize('value', [0, np.nan])
@pytest.mark.parametrize('turn', ['extrinsics', 'root'])
@pytest.mark.parametrize('kind', ['angles', 'matrices', *IN_6D])
def test_rows_without_a_body_stay_without_one_when_they_are_turned(
    kind: str, turn: str, value: float
) -> None:
    content, fields = turned(kind if kind in IN_6D else 'columns', turn)
    poses = before_the_turn('interleaved')
    matrices = predictions_from({'pose': poses, 'betas': BETAS}).with_rotation_6d('interleaved')
    if kind == 'angles':
        content['p'] = matrices.pose()
    elif kind == 'matrices':
        content['p'] = Rotation.from_rotvec(matrices.pose().reshape(-1, 3)).as_matrix()
        content['p'] = content['p'].reshape(COUNT, 24, 3, 3)
    content['p'] = with_rows(content['p'], [1, 4], value)
    if turn == 'root':
        content['t'] = with_rows(content['t'], [1, 4], value)
    order = kind if kind in IN_6D else 'columns'
    predictions = predictions_from(content, fields=fields, rotation_6d=order)
    assert np.flatnonzero(~predictions.is_valid()).tolist() == [1, 4]
    assert ('all NaN' if np.isnan(value) else 'all zeros') in predictions.notes[0]
    assert_is_the_set(predictions.select(predictions.is_valid()), [0, 2, 3, 5])


def test_matrices_beside_a_root_of_angles_are_read() -> None:
    content = {'global_orient': POSE[:, :3], 'body_pose': MATRICES[:, 1:], 'betas': BETAS}
    assert_is_the_set(predictions_from(content))
    content['global_orient'] = with_rows(POSE[:, :3], [1, 4], 0)
    content['body_pose'] = with_rows(MATRICES[:, 1:], [1, 4], 0)
    assert np.flatnonzero(~predictions_from(content).is_valid()).tolist() == [1, 4]


@pytest.mark.parametrize('shape', [(3, 3), (3, 4), (4, 4)])
def test_vertices_are_moved_by_the_extrinsics(shape: tuple[int, int]) -> None:
    extrinsics = np.tile(np.eye(4), (COUNT, 1, 1))
    extrinsics[:, :3, :3], extrinsics[:, :3, 3] = TURNS, SHIFTS
    content = {'names': NAMES, 'v': VERTICES, 'e': extrinsics[:, : shape[0], : shape[1]],
               't': SHIFTS}  # fmt: skip
    fields = {'imgname': 'names', 'vertices': 'v', 'extrinsics': 'e', 'transl': 't'}
    before = VERTICES.copy()
    predictions = predictions_from(content, fields=fields)
    expected = np.stack([vertices @ turn.T for vertices, turn in zip(before, TURNS, strict=True)])
    if shape[1] == 4:
        expected += SHIFTS[:, None]
    np.testing.assert_allclose(predictions.vertices, expected, atol=1e-5)
    np.testing.assert_array_equal(VERTICES, before)
    assert predictions.transl is None
    assert predictions.notes == (
        'vertices are moved from the world into the camera frame by extrinsics',
    )
    one = predictions_from({**content, 'e': content['e'][0]}, fields=fields)
    np.testing.assert_allclose(one.vertices[0], expected[0], atol=1e-5)


def test_extrinsics_of_another_shape_are_refused() -> None:
    content = {'v': VERTICES, 'e': np.zeros((COUNT, 2, 3))}
    message = r'mine.npz: extrinsics: found shape \(6, 2, 3\), expected \(N, 3, 3\), \(N, 3, 4\)'
    with pytest.raises(DataError, match=message):
        predictions_from(content, 'mine.npz', fields={'vertices': 'v', 'extrinsics': 'e'})


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
    message = f"mine.npz: gender: found 6 {expected} bodies, expected only '{other}'"
    with pytest.raises(DataError, match=message):
        predictions.require_gender(other)


def test_bodies_of_each_gender_are_counted() -> None:
    genders = ['female', 'male', 'female', 'neutral', 'male', 'female']
    predictions = predictions_from({'pose': POSE, 'betas': BETAS, 'gender': genders}, 'mine.npz')
    with pytest.raises(DataError, match='found 3 female and 2 male and 1 neutral bodies, expected'):
        predictions.require_gender('neutral')


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
