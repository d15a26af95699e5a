"""Which predicted body is of which annotated frame, where the annotation helps to decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mmjrr.datasets.image_names import frame_identity
from mmjrr.datasets.predictions import Predictions, match_bodies, match_frames
from mmjrr.datasets.predictions.matching import Takes
from mmjrr.errors import DataError

from .annotated_frames import AnnotatedFrames
from .plausibility import root_aligned_error
from .predicted_joints import PredictedJoints
from .regressed_joints import RegressedJoints

#: One way to read rotations is decided for where its error is this part of the other's, or less.
_DECIDES = 0.8
#: The last element of a frame's identity where there is none.
_NO_FRAME = (-1,)


def match_part(
    part: Predictions,
    annotated: AnnotatedFrames,
    match: str,
    joints: RegressedJoints,
    unit: str = 'm',
    person: str | None = 'nearest',
    takes: Takes | None = None,
) -> tuple[Predictions, np.ndarray, list[str]]:
    """Find the body of each annotated frame that counts.

    Args:
        part: predictions.
        annotated: the frames.
        match: as :func:`~mmjrr.evaluation.evaluate` takes it.
        joints: the regressors and the body, by which bodies are compared with the annotation.
        unit: as :func:`~mmjrr.evaluation.evaluate` takes it.
        person: likewise.
        takes: names of takes, as :func:`~mmjrr.datasets.predictions.match_frames` takes them.

    Returns:
        The predictions, with known 6D rotations and notes on what was chosen; the row of each
        frame, -1 where there is none; and names of predictions that belong to no frame that
        counts.

    Raises:
        DataError: as :func:`~mmjrr.evaluation.evaluate`.
    """
    names = names_of(part, annotated, match)
    part = replace(part, imgname=names)
    counted = np.flatnonzero(annotated.counted)

    def error_of(rows: np.ndarray, frames: np.ndarray, bodies: Predictions) -> np.ndarray:
        return errors_of(bodies, rows, frames, annotated, joints, unit)

    wanted = [annotated.names[frame] for frame in counted]
    if part.possible_rotations_6d:
        found = match_frames(names, wanted, part.name, annotated.listed, takes)
        pairs = [
            (row, frame)
            for rows_of_frame, frame in zip(found, counted.tolist(), strict=True)
            for row in rows_of_frame
            if part.is_valid()[row]
        ]
        if pairs:
            part = decide_rotations_6d(part, np.array(pairs[:: max(1, len(pairs) // 64)]), error_of)
    bodies = part
    matches = match_bodies(
        part,
        wanted,
        person,
        lambda rows, frames: error_of(rows, counted[frames], bodies),
        annotated.listed,
        takes,
    )
    rows = np.full(len(annotated.names), -1)
    rows[counted] = matches.rows
    notes = (*part.notes, *matches.notes, *_note_on_frame_numbers(names))
    return replace(part, notes=notes), rows, [names[row] for row in matches.unmatched]


def errors_of(
    part: Predictions,
    rows: np.ndarray,  # (n,)
    frames: np.ndarray,  # (n,)
    annotated: AnnotatedFrames,
    joints: RegressedJoints,
    unit: str,
) -> np.ndarray:  # (n,), meters
    """Return root-aligned errors of bodies in annotated frames, under the first regressor."""
    predicted = PredictedJoints(joints, unit)
    predicted.add(part, rows, np.arange(len(rows)), [annotated.names[frame] for frame in frames])
    regressed = predicted.compute(range(len(rows)))[:, 0]
    target, weight = annotated.joints(frames.tolist(), joints.joint_names)
    return root_aligned_error(regressed, target, weight, joints.joint_names)


def decide_rotations_6d(
    part: Predictions,
    pairs: np.ndarray,  # (n, 2), rows of the predictions and frames
    error_of: Callable[[np.ndarray, np.ndarray, Predictions], np.ndarray],
) -> Predictions:
    """Read 6D rotations in the way that brings the bodies nearer to the annotated joints.

    Raises:
        DataError: the ways are about as near.
    """
    rows, frames = pairs.T
    errors = {}
    for kind in part.possible_rotations_6d:
        error = error_of(rows, frames, part.with_rotation_6d(kind))
        errors[kind] = 1000 * float(np.nanmean(error))
    (best, least), (_, next_least) = sorted(errors.items(), key=lambda item: item[1])[:2]
    said = ', '.join(f'{error:.0f} mm as {kind}' for kind, error in errors.items())
    if least > _DECIDES * next_least:
        raise DataError(
            f'{part.name}: body_pose: 6D rotations may be {" or ".join(errors)}, and the '
            f'annotated joints do not tell ({said}); say rotation_6d= (on the command line, '
            '--rotation-6d)'
        )
    note = f'6D rotations are read as {best} ({said} from the annotated joints)'
    chosen = part.with_rotation_6d(best)
    return replace(chosen, notes=(*part.notes, note))


def _note_on_frame_numbers(names: Sequence[str]) -> tuple[str, ...]:
    """Note frame numbers that count from 0."""
    first = next((name for name in names if (frame_identity(name) or _NO_FRAME)[-1] == 0), None)
    if first is None:
        return ()
    note = (
        f'frame numbers in image names start at 0 ({first}); those of Human3.6M start at 1, so '
        'each body may be one frame late'
    )
    return (note,)


def names_of(part: Predictions, annotated: AnnotatedFrames, match: str) -> list[str]:
    """Return the image names of predictions: their own, or, by order, those of the annotation.

    Raises:
        DataError: there are none, or not as many as the annotation has.
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
    counted = [annotated.names[row] for row in np.flatnonzero(annotated.counted)]
    for names in (annotated.listed, annotated.names, counted):
        if len(names) == len(part):
            return names
    raise DataError(
        f"{part.name}: match='order' needs a body for each annotated frame: found "
        f'{len(part)} bodies for {len(annotated.listed)} frames of {annotated.path} '
        f'({len(counted)} that the protocol counts)'
    )
