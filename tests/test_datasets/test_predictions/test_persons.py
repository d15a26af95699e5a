"""Of several persons in an image the annotated one is chosen, and equal bodies count once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmjrr.datasets.predictions import Predictions, match_bodies, predictions_from
from mmjrr.errors import DataError

from .bodies import BETAS, COUNT, NAMES, OTHER_POSE, POSE


def two_persons(**more: Any) -> Predictions:
    """Images 0, 2 and 4 have a second person, who comes first; it is track 'b'."""
    content = {}
    for row, name in enumerate(NAMES):
        poses = [OTHER_POSE[row]] * (row % 2 == 0) + [POSE[row]]
        content[name] = {
            'pose': np.stack(poses),
            'betas': BETAS[[row] * len(poses)],
            **{key: np.stack(values[-len(poses) :]) for key, values in more.items()},
        }
    fields = {'pose': '*.pose', 'betas': '*.betas', 'imgname': '*.@'}
    return predictions_from(content, 'mine.pkl', fields={**fields, **{k: f'*.{k}' for k in more}})


def poses_of(part: Predictions, rows: np.ndarray) -> np.ndarray:
    return part.pose()[rows]


def test_the_person_nearest_to_the_annotation_is_chosen_and_counted() -> None:
    part = two_persons()

    def error_of(rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        return np.abs(part.pose()[rows] - POSE[frames]).sum(1)

    matches = match_bodies(part, NAMES, 'nearest', error_of)
    rows, notes = matches.rows, matches.notes
    np.testing.assert_array_equal(poses_of(part, rows), POSE)
    assert notes == (
        '3 frames have several persons; the one nearest to the annotated joints is taken',
    )


def test_the_largest_person_is_chosen_by_boxes_or_by_depth() -> None:
    boxes = [np.array([5, 5, 10.0, 20.0]), np.array([5, 5, 15.0, 20.0])]
    depths = [np.array([0, 0, 6.0]), np.array([0, 0, 5.0])]
    for part in (two_persons(bbox=boxes), two_persons(transl=depths)):
        matches = match_bodies(part, NAMES, 'largest')
        rows, notes = matches.rows, matches.notes
        np.testing.assert_array_equal(poses_of(part, rows), POSE)
        assert '3 frames' in notes[0] and 'largest in the image' in notes[0]
    with pytest.raises(DataError, match="mine.pkl: person='largest' needs boxes"):
        match_bodies(two_persons(), NAMES, 'largest')
    behind = [np.array([0, 0, -1.0]), np.array([0, 0, 5.0])]
    with pytest.raises(DataError, match='found depths that are not above 0'):
        match_bodies(two_persons(transl=behind), NAMES, 'largest')


@pytest.mark.parametrize('depth', [np.nan, -1.0])
def test_rows_without_a_body_need_no_depth_for_the_largest_person(depth: float) -> None:
    part = two_persons(transl=[np.array([0, 0, 6.0]), np.array([0, 0, 5.0])])
    assert part.transl is not None
    part.transl[0, 2], part.valid = depth, np.arange(len(part)) > 0
    rows = match_bodies(part, NAMES, 'largest').rows
    np.testing.assert_array_equal(poses_of(part, rows), POSE)


def test_a_track_is_chosen_where_there_are_several() -> None:
    part = two_persons(track=[np.array('b'), np.array('a')])
    matches = match_bodies(part, NAMES, 'a')
    rows, notes = matches.rows, matches.notes
    np.testing.assert_array_equal(poses_of(part, rows), POSE)
    assert notes == ('only bodies of track a are taken; 3 others are ignored',)
    alone = match_bodies(part, NAMES, 'b').rows  # in every second image
    assert (alone >= 0).tolist() == [True, False] * 3
    np.testing.assert_array_equal(part.pose()[alone[::2]], OTHER_POSE[::2])
    with pytest.raises(DataError, match=r"track: found \['a', 'b'\], expected 'c'"):
        match_bodies(part, NAMES, 'c')
    with pytest.raises(DataError, match='is a track, but the file has none'):
        match_bodies(two_persons(), NAMES, 'a')


def test_without_a_choice_several_persons_are_refused() -> None:
    with pytest.raises(DataError, match=r"mine.pkl: the image .*000001.jpg has 2 predictions.*"
                                        r"person='largest' or a track"):  # fmt: skip
        match_bodies(two_persons(), NAMES)


def test_equal_bodies_count_once_and_empty_rows_are_nobody() -> None:
    twice = {'imgname': [*NAMES, *NAMES], 'pose': np.concatenate([POSE, POSE]),
             'betas': np.concatenate([BETAS, BETAS])}  # fmt: skip
    part = predictions_from(twice)
    matches = match_bodies(part, NAMES)
    rows, notes = matches.rows, matches.notes
    assert rows.tolist() == list(range(COUNT))
    assert notes == (f'{COUNT} frames have equal bodies, counted once',)
    twice['pose'] = np.concatenate([POSE, POSE])
    twice['pose'][2] = 0  # a row of zeros beside the body
    twice['pose'][[3, 3 + COUNT]] = np.nan
    matches = match_bodies(predictions_from(twice), NAMES)
    assert matches.rows.tolist() == [0, 1, 2 + COUNT, -1, 4, 5]
    assert not len(matches.unmatched)
    assert match_bodies(part, NAMES[:4]).unmatched.tolist() == [4, 5, 10, 11]
