"""Matching of predictions with annotated frames by image name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import FrameIdentity, frame_identity, image_key
from mmjrr.errors import DataError

#: Names of takes by (subject, number of the action, subaction), as in ``metadata.xml``.
Takes = Mapping[tuple[str, str, str], str]


def match_frames(
    names: Sequence[str],  # of the N predictions
    frame_names: Sequence[str],  # of the F annotated frames
    where: str = 'predictions',
    listed: Sequence[str] | None = None,
    takes: Takes | None = None,
) -> list[list[int]]:
    """Find the predictions of each annotated frame.

    Names are compared without folders and extension. If several predictions have the same name,
    those match whose folders agree the farthest, from the file upwards. Frames without a match are
    then compared with names in other spellings, by subject, action, take, camera and frame
    (:func:`~mmjrr.datasets.image_names.frame_identity`). A name with a subaction instead of a take
    gets its take from ``takes``; without ``takes``, it gets the only annotated take of the action.

    Args:
        names: Image names of the predictions.
        frame_names: Image names of the annotated frames to match.
        where: The file of the predictions, for messages.
        listed: Image names of all frames of the annotation, of which ``frame_names`` are a part.
            Default: None, ``frame_names``.
        takes: Names of takes, :attr:`mmjrr.datasets.converters.metadata.Metadata.takes`.

    Returns:
        Rows of the predictions of each annotated frame; several if the image shows several persons.

    Raises:
        DataError: A name has a subaction, and it is open which annotated take it is.

    >>> match_frames(['/a/x/1.jpg', '/a/y/1.jpg', 'z/2.png'], ['y/1.jpg', '2.jpg', '3.jpg'])
    [[1], [2], []]
    """
    frame_rows = find_frames(names, frame_names, where, listed, takes)
    return [
        frame_rows.several.get(index) or ([row] if row >= 0 else [])
        for index, row in enumerate(frame_rows.first.tolist())
    ]


@dataclass(frozen=True)
class FrameRows:
    """Rows of the predictions of F annotated frames.

    Attributes:
        first: (F,), the first row of each frame, -1 if it has none.
        several: All rows of the frames that have more than one, by the frame's number.
    """

    first: Array
    several: dict[int, list[int]]

    def all_rows(self) -> Array:
        """Return the rows of all frames, each once, in ascending order."""
        rows = [row for of_frame in self.several.values() for row in of_frame]
        return np.union1d(self.first[self.first >= 0], np.array(rows, dtype=np.int64))


def find_frames(
    names: Sequence[str],
    frame_names: Sequence[str],
    where: str = 'predictions',
    listed: Sequence[str] | None = None,
    takes: Takes | None = None,
) -> FrameRows:
    """Find the predictions of each annotated frame; as :func:`match_frames`, in less memory.

    Names are found by the hashes of their keys, and compared afterwards.
    """
    hashes = _hashes(names)
    by_hash = np.argsort(hashes, kind='stable')
    hashes = hashes[by_hash]
    frame_hashes = _hashes(frame_names)
    start = np.searchsorted(hashes, frame_hashes, 'left')
    stop = np.searchsorted(hashes, frame_hashes, 'right')
    del hashes, frame_hashes
    first = np.full(len(frame_names), -1)
    several: dict[int, list[int]] = {}
    has_key = np.zeros(len(names), bool)  # whether a row's key is that of an annotated frame
    for index, name in enumerate(frame_names):
        if start[index] == stop[index]:
            continue
        key = image_key(name)
        rows = by_hash[start[index] : stop[index]].tolist()
        rows = [row for row in rows if image_key(names[row]) == key]
        has_key[rows] = True
        rows = _of_best_folders(names, name, rows)
        first[index] = rows[0] if rows else -1
        if len(rows) > 1:
            several[index] = rows
    missing = np.flatnonzero(first < 0)
    if len(missing):
        left = np.flatnonzero(~has_key).tolist()
        by_identity = _by_identity(names, left, listed or frame_names, where, takes)
        for index in missing.tolist() if by_identity else ():
            identity = frame_identity(frame_names[index])
            rows = [] if identity is None else by_identity.get(identity, [])
            if rows:
                first[index] = rows[0]
            if len(rows) > 1:
                several[index] = rows
    return FrameRows(first, dict(sorted(several.items())))


def _hashes(names: Sequence[str]) -> Array:  # (N,)
    """Return a hash of each name's :func:`~mmjrr.datasets.image_names.image_key`."""
    return np.fromiter((hash(image_key(name)) for name in names), np.int64, len(names))


def match_names(names: Sequence[str], frame_names: Sequence[str], where: str = '') -> Array:
    """Return the row (F,) of the only prediction of each annotated frame, -1 for none.

    Raises:
        DataError: A frame has several predictions.

    >>> match_names(['/a/x/1.jpg', '/a/y/1.jpg', 'z/2.png'], ['y/1.jpg', '2.jpg', '3.jpg']).tolist()
    [1, 2, -1]
    """
    frame_rows = find_frames(names, frame_names, where)
    for index, rows in frame_rows.several.items():
        raise DataError(several_predictions(where, frame_names[index], names, rows))
    return frame_rows.first


def several_predictions(where: str, frame: str, names: Sequence[str], rows: Sequence[int]) -> str:
    """Return the error message for a frame with several predictions."""
    return (
        f'{where}: the image {frame} has {len(rows)} predictions, such as {names[rows[0]]!r} '
        f'(number {rows[0]}) and {names[rows[1]]!r} (number {rows[1]}); keep one, that of the '
        'annotated person'
    )


def _of_best_folders(names: Sequence[str], frame_name: str, rows: list[int]) -> list[int]:
    """Return the rows whose folders agree best with those of a frame's name."""
    if len(rows) < 2:
        return rows
    scores = [_agreement(names[row], frame_name) for row in rows]
    return [row for row, score in zip(rows, scores, strict=True) if score == max(scores)]


def _agreement(path: str, other: str) -> int:
    """Count the equal folders of two paths, from the file upwards."""
    pairs = zip(
        *(name.replace('\\', '/').split('/')[-2::-1] for name in (path, other)), strict=False
    )
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count


# -- other spellings -----------------------------------------------------------------------------


def _by_identity(
    names: Sequence[str],
    rows: Sequence[int],
    listed: Sequence[str],
    where: str,
    takes: Takes | None,
) -> dict[FrameIdentity, list[int]]:
    """Group rows by frame, with subactions replaced by takes."""
    rows_of: dict[FrameIdentity, list[int]] = {}
    numbered: list[tuple[int, FrameIdentity]] = []
    for row in rows:
        identity = frame_identity(names[row])
        if identity is None:
            continue
        if identity.take is None:
            numbered.append((row, identity))
        else:
            rows_of.setdefault(identity, []).append(row)
    if numbered:
        take_of = _takes_of_subactions(names, numbered, listed, where, takes)
        for row, identity in numbered:
            take = take_of.get(identity[:4])
            if take is not None:
                key = identity._replace(take=take, subaction=None)
                rows_of.setdefault(key, []).append(row)
    return rows_of


def takes_by_subaction(takes: Takes) -> dict[tuple[Any, ...], str]:
    """Return the take of each (subject, action name, None, subaction).

    The keys are the first four fields of a ``FrameIdentity`` with a subaction.

    >>> takes_by_subaction({('S9', '2', '1'): 'Directions 1'})
    {('S9', 'Directions', None, '1'): '1'}
    """
    named = {}
    for (subject, _, subaction), name in takes.items():
        identity = frame_identity(f'{subject}_{name}.0_1')  # as the name of a file of that take
        if identity is not None:
            named[subject, identity.action, None, subaction] = str(identity.take)
    return named


def _takes_of_subactions(
    names: Sequence[str],
    numbered: Sequence[tuple[int, FrameIdentity]],
    listed: Sequence[str],
    where: str,
    takes: Takes | None,
) -> dict[tuple[Any, ...], str]:
    """Return the take of each (subject, action, None, subaction) among the names.

    Raises:
        DataError: An action has several annotated takes, or names several subactions.
    """
    first = {identity[:4]: names[row] for row, identity in reversed(numbered)}
    if takes is not None:
        named = takes_by_subaction(takes)
        return {key: named[key] for key in first if key in named}
    annotated: dict[tuple[str, str], set[str]] = {}
    for name in listed:
        identity = frame_identity(name)
        if identity is not None and identity.take is not None:
            annotated.setdefault(identity[:2], set()).add(identity.take)
    subactions: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for key in first:
        subactions.setdefault(key[:2], []).append(key)
    resolved = {}
    for of_action, keys in subactions.items():
        options = sorted(annotated.get(of_action, ()))
        if not options:
            continue
        if len(options) > 1 or len(keys) > 1:
            files = ['_'.join(filter(None, (*of_action, take))) for take in options]
            raise DataError(
                f'{where}: imgname: {first[keys[0]]!r} has a subaction, and '
                + (
                    f'the takes {" and ".join(files)} are annotated'
                    if len(options) > 1
                    else f'so has {first[keys[1]]!r}, but only the take {files[0]} is annotated'
                )
                + "; metadata='metadata.xml' of the release (on the command line, --metadata) "
                'says which take a subaction is'
            )
        resolved[keys[0]] = options[0]
    return resolved
