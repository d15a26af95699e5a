"""Matching of predicted bodies with annotated frames.

The annotated joints decide between several persons in an image and between layouts of 6D rotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import frame_identity
from mmjrr.datasets.predictions import Predictions, match_bodies, match_frames
from mmjrr.datasets.predictions.matching import Takes, find_frames
from mmjrr.errors import DataError
from mmjrr.io.texts import take_texts

from .annotated_frames import AnnotatedFrames
from .plausibility import root_aligned_error
from .predicted_joints import PredictedJoints
from .regressed_joints import RegressedJoints

#: A layout of 6D rotations is chosen if its error is at most this fraction of the next best one's.
_DECIDES = 0.8
#: Identity of a name from which no identity can be derived.
_NO_FRAME = (-1,)


def check_match(match: str) -> None:
    """Check the argument ``match`` of :func:`~mmjrr.evaluation.evaluate`.

    Raises:
        ValueError: It is neither 'name' nor 'order'.
    """
    if match not in ('name', 'order'):
        raise ValueError(f"match: found {match!r}, expected 'name' or 'order'")


def match_part(
    part: Predictions,
    annotated: AnnotatedFrames,
    match: str,
    joints: RegressedJoints,
    unit: str = 'm',
    person: str | None = 'nearest',
    takes: Takes | None = None,
) -> tuple[Predictions, Array, list[str]]:
    """Find the predicted body of each annotated frame that counts.

    Args:
        part: Predictions.
        annotated: The annotated frames.
        match: As in :func:`~mmjrr.evaluation.evaluate`.
        joints: The regressors and the body, with which bodies are compared with the annotation.
        unit: As in :func:`~mmjrr.evaluation.evaluate`.
        person: As in :func:`~mmjrr.evaluation.evaluate`.
        takes: Names of takes, as in :func:`~mmjrr.datasets.predictions.match_frames`.

    Returns:
        The predictions, with the layout of 6D rotations decided and notes on the choices; the
        prediction's row for each frame, -1 for frames without one; and the names of predictions
        that belong to no frame that counts.

    Raises:
        DataError: As in :func:`~mmjrr.evaluation.evaluate`.
    """
    names = names_of(part, annotated, match, takes)
    notes_on_numbers = _note_on_frame_numbers(part.imgname or (), names)
    part = replace(part, imgname=names)
    counted = np.flatnonzero(annotated.counted)

    def error_of(rows: Array, frames: Array, bodies: Predictions) -> Array:
        return errors_of(bodies, rows, frames, annotated, joints, unit)

    frame_names = take_texts(annotated.names, counted)
    if part.possible_rotations_6d:
        candidates = match_frames(names, frame_names, part.name, annotated.listed, takes)
        pairs = [
            (row, frame)
            for candidate_rows, frame in zip(candidates, counted.tolist(), strict=True)
            for row in candidate_rows
            if part.is_valid()[row]
        ]
        if pairs:
            part = decide_rotations_6d(part, np.array(pairs[:: max(1, len(pairs) // 64)]), error_of)
    bodies = part
    matches = match_bodies(
        part,
        frame_names,
        person,
        lambda rows, frames: error_of(rows, counted[frames], bodies),
        annotated.listed,
        takes,
    )
    rows = np.full(len(annotated.names), -1)
    rows[counted] = matches.rows
    notes = (*part.notes, *matches.notes, *notes_on_numbers)
    return replace(part, notes=notes), rows, [names[row] for row in matches.unmatched]


def errors_of(
    part: Predictions,
    rows: Array,  # (n,)
    frames: Array,  # (n,)
    annotated: AnnotatedFrames,
    joints: RegressedJoints,
    unit: str,
) -> Array:  # (n,), meters
    """Return the root-aligned errors of bodies in annotated frames, under the first regressor.

    Args:
        part: Predictions.
        rows: Rows of the predictions.
        frames: The annotated frame of each row.
        annotated: The annotated frames.
        joints: The regressors and the body.
        unit: Unit of the predictions' vertices and ``transl``.
    """
    predicted = PredictedJoints(joints, unit)
    predicted.add(part, rows, np.arange(len(rows)), take_texts(annotated.names, frames))
    regressed = predicted.compute(range(len(rows)))[:, 0]
    target, weight = annotated.joints(frames.tolist(), joints.joint_names)
    return root_aligned_error(regressed, target, weight, joints.joint_names)


def decide_rotations_6d(
    part: Predictions,
    pairs: Array,  # (n, 2): row of the predictions, annotated frame
    error_of: Callable[[Array, Array, Predictions], Array],
) -> Predictions:
    """Choose the layout of 6D rotations that brings the bodies nearest to the annotated joints.

    Args:
        part: Predictions whose layout is undecided.
        pairs: Predictions to compare, with their frames.
        error_of: A function of rows, frames and predictions that returns errors (n,) in meters.

    Raises:
        DataError: The two best layouts have similar errors.
    """
    rows, frames = pairs.T
    errors = {}
    for kind in part.possible_rotations_6d:
        error = error_of(rows, frames, part.with_rotation_6d(kind))
        errors[kind] = 1000 * float(np.nanmean(error))
    (best, least), (_, next_least) = sorted(errors.items(), key=lambda item: item[1])[:2]
    distances = ', '.join(f'{error:.0f} mm as {kind}' for kind, error in errors.items())
    if least > _DECIDES * next_least:
        raise DataError(
            f'{part.name}: body_pose: 6D rotations may be {" or ".join(errors)}, and the '
            f'annotated joints do not tell ({distances}); say rotation_6d= (on the command line, '
            '--rotation-6d)'
        )
    note = f'6D rotations are read as {best} ({distances} from the annotated joints)'
    chosen = part.with_rotation_6d(best)
    return replace(chosen, notes=(*part.notes, note))


def _note_on_frame_numbers(own: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return a note if frames are counted from 0; with a match by order, on one side only.

    Args:
        own: The predictions' own image names; empty if they have none.
        names: The image names by which they are matched.
    """
    first = _numbered_0(own)
    if own is names:
        note = (
            f'frame numbers in image names start at 0 ({first}); those of Human3.6M start at 1, so '
            'each body may be one frame late'
        )
        return () if first is None else (note,)
    annotated_first = _numbered_0(names) if own else None
    if (first is None) == (annotated_first is None):
        return ()
    whose, other = ('its', "the annotation's") if first else ("the annotation's", 'its')
    note = (
        f'frame numbers in {whose} image names start at 0 ({first or annotated_first}), and in '
        f'{other} they do not; bodies are matched by their order alone'
    )
    return (note,)


def _numbered_0(names: Sequence[str]) -> str | None:
    """Return the first name of a frame with the number 0; None if there is none."""
    return next((name for name in names if (frame_identity(name) or _NO_FRAME)[-1] == 0), None)


def names_of(
    part: Predictions, annotated: AnnotatedFrames, match: str, takes: Takes | None = None
) -> Sequence[str]:
    """Return the image name of each prediction.

    With ``match='name'`` these are the predictions' own names; with ``match='order'``, those of the
    annotation.

    Raises:
        DataError: The predictions have no names, or another number of bodies than the annotation
            has frames; or they are in the order of the annotation, and their names are in another.
    """
    if match == 'name':
        if part.imgname is None:
            raise DataError(
                f'{part.name}: has no image names. If its {len(part)} bodies are in the order '
                f"of the annotation's {len(annotated.listed)} frames, say match='order' (on the "
                'command line, --match order)'
                + (
                    '; name_format (--name-format) makes names of its frame numbers'
                    if part.frame is not None
                    else ''
                )
            )
        return part.imgname
    counted = take_texts(annotated.names, np.flatnonzero(annotated.counted))
    for names in (annotated.listed, annotated.names, counted):
        if len(names) == len(part):
            _check_order(part, names, annotated.listed, takes)
            return names
    raise DataError(
        f"{part.name}: match='order' needs a body for each annotated frame: found "
        f'{len(part)} bodies for {len(annotated.listed)} frames of {annotated.path} '
        f'({len(counted)} that the protocol counts)'
    )


def _check_order(
    part: Predictions, frame_names: Sequence[str], listed: Sequence[str], takes: Takes | None
) -> None:
    """Check that the predictions' own names, if they have any, do not contradict their order.

    Names that are of no annotated frame say nothing, nor do names whose frames are counted from 0
    where the annotation counts from 1, or the other way round.

    Args:
        part: The N predictions.
        frame_names: Names of the N frames that have them in this order.
        listed: As in :func:`~mmjrr.datasets.predictions.match_frames`.
        takes: As in :func:`~mmjrr.datasets.predictions.match_frames`.

    Raises:
        DataError: The names are those of frames in another order.
    """
    if part.imgname is None:
        return
    try:
        named = find_frames(part.imgname, frame_names, part.name, listed, takes)
    except DataError:  # it is open of which take a name is
        return
    rows = named.first.copy()
    for frame, of_frame in named.several.items():
        rows[frame] = frame if frame in of_frame else of_frame[0]
    named_frames = np.flatnonzero(rows >= 0)
    shifts = rows[named_frames] - named_frames
    others = named_frames[shifts != 0]
    if not len(others):
        return
    first, annotated_first = _numbered_0(part.imgname), _numbered_0(frame_names)
    shift = 1 if annotated_first is None else -1
    if (first is None) != (annotated_first is None) and (shifts == shift).all():
        return
    frame, row = int(others[0]), int(rows[others[0]])
    raise DataError(
        f'{part.name}: imgname: found {len(others)} of {len(rows)} names in another order than the '
        f"annotation's (its frame {frame}, {frame_names[frame]}, is row {row}), expected the same "
        "for match='order'; match='name' (on the command line, --match name) follows the names"
    )
