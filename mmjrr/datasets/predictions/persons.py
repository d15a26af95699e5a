"""Choice of the annotated person among several predicted persons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError

from .bodies import Predictions
from .matching import Takes, find_frames, match_frames, several_predictions


@dataclass(frozen=True)
class Matches:
    """Bodies of the annotated frames.

    Attributes:
        rows: (F,), the row of each frame's body, -1 if it has none.
        unmatched: Rows whose names match no frame.
        notes: Descriptions of the choices, a sentence each.
    """

    rows: Array
    unmatched: Array
    notes: tuple[str, ...] = ()


#: Function of rows of the file (n,) and rows of the annotation (n,) that returns the error (n,) of
#: each body in its frame.
ErrorOf = Callable[[Array, Array], Array]


def match_bodies(
    part: Predictions,
    frame_names: Sequence[str],
    person: str | None = None,
    error_of: ErrorOf | None = None,
    listed: Sequence[str] | None = None,
    takes: Takes | None = None,
) -> Matches:
    """Find one body for each annotated frame.

    Invalid rows match no frame. Equal bodies of one frame count as one.

    Args:
        part: The predictions, with image names.
        frame_names: Image names of the F annotated frames.
        person: Choice in frames with several persons: 'nearest' (to the annotated joints),
            'largest' (in the image), or the identity of a track, which selects only bodies of that
            track. Default: None, which refuses several persons.
        error_of: Distance of bodies from the annotated joints; needed for 'nearest'.
        listed: As in :func:`~mmjrr.datasets.predictions.match_frames`.
        takes: As in :func:`~mmjrr.datasets.predictions.match_frames`.

    Raises:
        DataError: A frame has several persons, and ``person`` does not choose among them.
    """
    assert part.imgname is not None
    valid = part.is_valid()
    named = find_frames(part.imgname, frame_names, part.name, listed, takes)
    of_some_frame = np.zeros(len(part), bool)
    of_some_frame[named.all_rows()] = True
    unmatched = np.flatnonzero(~of_some_frame)
    if person not in (None, 'nearest', 'largest'):
        valid = valid & _of_track(part, str(person))
    rows = np.where(np.append(valid, False)[named.first], named.first, -1)
    matches: dict[int, list[int]] = {}
    num_ignored = int(((named.first >= 0) & (rows < 0)).sum())
    for index, candidates in named.several.items():
        of_frame = [row for row in candidates if valid[row]]
        rows[index] = of_frame[0] if of_frame else -1
        num_ignored += len(candidates) - len(of_frame) - int(not valid[candidates[0]])
        if len(of_frame) > 1:
            matches[index] = of_frame
    several = list(matches)
    notes: list[str] = []
    if person not in (None, 'nearest', 'largest'):
        notes.append(f'only bodies of track {person} are taken; {num_ignored} others are ignored')
    different = {}
    for index in several:
        distinct = _without_repetition(part, matches[index])
        if len(distinct) > 1:
            different[index] = distinct
    if len(several) > len(different):
        notes.append(f'{len(several) - len(different)} frames have equal bodies, counted once')
    if different:
        chosen = _choose(part, frame_names, different, person, error_of)
        for index, row in chosen.items():
            rows[index] = row
        criterion = (
            'nearest to the annotated joints' if person == 'nearest' else 'largest in the image'
        )
        notes.append(f'{len(different)} frames have several persons; the one {criterion} is taken')
    return Matches(rows, unmatched, tuple(notes))


def bodies_of_images(
    part: Predictions, frame_names: Sequence[str], person: str | None = None
) -> list[list[int]]:
    """Return the rows of the valid bodies in each of the images ``frame_names``.

    Args:
        part: The predictions, with image names.
        frame_names: Names of the images.
        person: As in :func:`match_bodies`; the identity of a track selects only its bodies.

    Raises:
        DataError: ``person`` is a track that the file does not have.
    """
    assert part.imgname is not None
    valid = part.is_valid()
    if person not in (None, 'nearest', 'largest'):
        valid = valid & _of_track(part, str(person))
    return [
        [row for row in rows if valid[row]]
        for rows in match_frames(part.imgname, frame_names, part.name)
    ]


def distinct_bodies(part: Predictions, frame_names: Sequence[str]) -> list[list[int]]:
    """Return the rows of the different valid bodies in each of the images ``frame_names``."""
    return [_without_repetition(part, rows) for rows in bodies_of_images(part, frame_names)]


def first_of_equal(part: Predictions) -> Array:
    """Return all rows except those that repeat an earlier body of the same image name."""
    assert part.imgname is not None
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(part.imgname):
        rows_of.setdefault(name, []).append(row)
    if len(rows_of) == len(part):
        return np.arange(len(part))
    kept = [row for rows in rows_of.values() for row in _without_repetition(part, rows)]
    return np.array(sorted(kept), dtype=np.int64)


def _without_repetition(part: Predictions, rows: Sequence[int]) -> list[int]:
    """Return the rows with distinct bodies, the first of each."""
    columns = part.arrays().values()
    different: list[int] = []
    for row in rows:
        if not any(
            all(np.array_equal(values[row], values[other], equal_nan=True) for values in columns)
            for other in different
        ):
            different.append(row)
    return different


def _choose(
    part: Predictions,
    frame_names: Sequence[str],
    matches: dict[int, list[int]],
    person: str | None,
    error_of: ErrorOf | None,
) -> dict[int, int]:
    """Return the row of the chosen person in each frame.

    Raises:
        DataError: ``person`` does not choose, or the track has several bodies in a frame.
    """
    assert part.imgname is not None
    first = next(iter(matches))
    if person is None or (person == 'nearest' and error_of is None):
        problem = several_predictions(part.name, frame_names[first], part.imgname, matches[first])
        options = "'largest' or a track" if error_of is None else "'nearest', 'largest' or a track"
        raise DataError(
            f'{problem}, or choose one: person={options} (on the command line, --person)'
        )
    if person in ('nearest', 'largest'):
        frames = np.array([frame for frame, rows in matches.items() for _ in rows])
        rows = np.array([row for of_frame in matches.values() for row in of_frame])
        if person == 'nearest':
            assert error_of is not None
            cost = np.nan_to_num(error_of(rows, frames), nan=np.inf)
        else:
            cost = -_sizes(part)[rows]
        best: dict[int, int] = {}
        for index in np.argsort(cost, kind='stable'):
            best.setdefault(int(frames[index]), int(rows[index]))
        return best
    raise DataError(
        f'{part.name}: track {person} has {len(matches[first])} different bodies in '
        f'{frame_names[first]}, expected one'
    )


def _of_track(part: Predictions, person: str) -> Array:  # (N,) bool
    """Return which bodies belong to a track.

    Raises:
        DataError: The file has no tracks, or not this one.
    """
    if part.track is None:
        raise DataError(
            f'{part.name}: person={person!r} is a track, but the file has none; expected '
            "'nearest' or 'largest', or name the field: fields=dict(track=...)"
        )
    tracks = np.array(part.track)
    if person not in part.track:
        raise DataError(
            f'{part.name}: track: found {sorted(set(part.track))[:20]}, expected {person!r} among '
            'them'
        )
    return tracks == person


def _sizes(part: Predictions) -> Array:  # (N,)
    """Return the relative size of each person in the image: the box's area, or 1 / depth.

    Rows without a body have any size.

    Raises:
        DataError: The file has neither boxes nor positive depths.
    """
    if part.bbox is not None and part.bbox.shape[1] >= 4:
        return np.abs(part.bbox[:, 2] * part.bbox[:, 3])
    depth = None
    if part.transl is not None:
        depth = np.where(part.is_valid(), part.transl[:, 2], 1)
    if depth is None or not (depth > 0).all():
        raise DataError(
            f"{part.name}: person='largest' needs boxes (fields=dict(bbox=...)) or transl in the "
            f'camera frame; found {"neither" if depth is None else "depths that are not above 0"}'
        )
    return 1 / depth
