"""The core of an evaluation: joints of annotated frames in, an :class:`EvaluationResult` out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmjrr.array_types import Array
from mmjrr.io import sha256, versions
from mmjrr.io.mapped import release, working_array
from mmjrr.regressors import JointRegressor

from .plausibility import check_plausibility
from .protocols import FrameErrors, FrameLabels, Protocol, frame_errors, known_variant_of
from .regressed_frames import RegressedFrames, find_neighbors
from .result import EvaluationResult, Groups, Score, score_frames, undefined_score
from .uncertainty import INTERVAL_ERRORS, ErrorInterval, error_intervals

_MM = 1000.0
#: Largest plausible distance in meters of a person's joints and vertices from their mean.
_MAX_EXTENT = 10.0
#: Number of frames whose errors are computed at once.
_PIECE = 2048
#: Errors of :class:`~mmjrr.evaluation.protocols.FrameErrors` that a frame has one of.
_FRAME_ERRORS = ('mpjpe', 'pa_mpjpe', 'n_mpjpe', 'acceleration')


def is_counted(labels: FrameLabels, protocols: Mapping[str, Protocol]) -> bool:
    """Tell whether any of the protocols counts a frame.

    Raises:
        ValueError: A protocol needs a label that the frame lacks.
    """
    reasons = [protocol.leaves_out(labels) for protocol in protocols.values()]
    return any(reason is None for reason in reasons)


def count_left_out(
    labels: Sequence[FrameLabels],
    protocols: Mapping[str, Protocol],
    skipped: Sequence[FrameLabels] = (),
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the frames that a protocol leaves out, by protocol and by reason.

    Args:
        labels: The labels of the frames.
        protocols: The protocols by name.
        skipped: The labels of further frames, which have no prediction. They are not counted; a
            protocol may count only some of these.

    Returns:
        The number of frames by protocol name, kind (``'subject'``, ``'sequence'`` or ``'camera'``)
        and value.

    Raises:
        ValueError: A protocol counts none of the frames; the message names their subjects.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, protocol in protocols.items():
        kinds: dict[str, dict[str, int]] = {}
        for frame in labels:
            reason = protocol.leaves_out(frame)
            if reason is not None:
                values = kinds.setdefault(reason[0], {})
                values[reason[1]] = values.get(reason[1], 0) + 1
        left = sum(count for values in kinds.values() for count in values.values())
        counts_skipped = any(protocol.leaves_out(frame) is None for frame in skipped)
        if labels and left == len(labels) and not counts_skipped:
            raise ValueError(_no_frame(protocol, [*labels, *skipped], list(kinds)))
        counts[name] = {
            kind: dict(sorted(kinds[kind].items()))
            for kind in ('subject', 'sequence', 'camera')
            if kind in kinds
        }
    return counts


def _no_frame(protocol: Protocol, labels: Sequence[FrameLabels], kinds: Sequence[str]) -> str:
    """Say that a protocol counts no frame, which frames there are, and how to count them.

    Args:
        protocol: The protocol.
        labels: The labels of the frames.
        kinds: The kinds of labels by which the protocol leaves frames out.
    """
    present = {
        kind: sorted({str(frame.get(kind)) for frame in labels}) for kind in ('subject', 'camera')
    }
    counted = {'subject': protocol.subjects, 'camera': protocol.cameras}
    found = ' and '.join(f'{kind}s {names}' for kind, names in present.items())
    text = (
        f'protocol {protocol.name!r} ({protocol.summary}) counts none of the {len(labels)} '
        f'frames, which are of {found}'
    )
    without = {
        kind: names
        for kind, names in counted.items()
        if names is not None and not set(names) & set(present[kind])
    }
    text += ''.join(
        f'; none is of the {kind}{"s" * (len(names) > 1)} {", ".join(names)}'
        for kind, names in without.items()
    )
    by = next((kind for kind in ('camera', 'subject') if kind in kinds), None)
    needless = list(without) or ([] if by is None else [by])
    return text + _without_filters(protocol, needless) if needless else text


def _without_filters(protocol: Protocol, kinds: Sequence[str]) -> str:
    """Say how to count the frames of all subjects or cameras, as the end of a sentence."""
    changes = ', '.join(f"{kind}s='all'" for kind in kinds)
    known = known_variant_of(protocol)
    change = f'the protocol with {changes}'
    if known is not None:
        change = f'protocol=dict(type={known!r}, {changes})'
    option = ' (on the command line, --subjects all)' if list(kinds) == ['subject'] else ''
    return f"; {change} counts every {' and '.join(kinds)}'s{option}"


def evaluate_frames(
    frames: RegressedFrames,
    regressors: Mapping[str, JointRegressor],
    protocols: Mapping[str, Protocol],
    by: Sequence[str],
    *,
    uncounted: Sequence[FrameLabels] = (),
    skipped: Sequence[str] = (),
    skipped_labels: Sequence[FrameLabels] = (),
    unmatched: Sequence[str] = (),
    title: str = '',
    body: Path | None = None,
) -> EvaluationResult:
    """Score frames under each protocol and each regressor.

    A protocol's scores do not include the frames that it leaves out; the result has their number.
    The scores of a protocol that counts only frames without a prediction are undefined.
    The order of the frames decides the last bits of the means; callers sort by image name.

    Args:
        frames: The frames.
        regressors: The R regressors by name.
        protocols: The protocols by name.
        by: Breakdowns, some of :data:`~mmjrr.evaluation.result.BREAKDOWNS`. A breakdown for which
            a frame has no label is left out, with a warning.
        uncounted: Labels of further frames, which no protocol counts.
        skipped: Names of counted frames without a prediction.
        skipped_labels: Their labels, as far as known, in any order.
        unmatched: Names of predictions that belong to no counted frame.
        title: Name of the evaluated predictions.
        body: File of the body model, if one was used.

    Returns:
        The scores, ordered by protocol and then by regressor.

    Raises:
        ValueError: There are no frames, or a protocol counts none of them.
    """
    left_out = count_left_out([*frames.labels, *uncounted], protocols, skipped_labels)
    if not len(frames):
        raise ValueError(
            'no frame was processed'
            + (f'; all {len(skipped)} were skipped, as they have no prediction' if skipped else '')
        )
    groups = groups_of_labels(frames.labels, by)
    scores: list[Score] = []
    intervals: list[ErrorInterval] = []
    without_prediction: list[str] = []
    for protocol in protocols.values():
        counted = (protocol.leaves_out(labels) is None for labels in frames.labels)
        rows = np.flatnonzero(np.fromiter(counted, bool, len(frames)))
        if not len(rows):
            scores += [undefined_score(name, protocol) for name in regressors]
            without_prediction.append(protocol.name)
            continue
        labels = _rows_of(frames.labels, rows)
        neighbors = None
        if len(frames.numbers):
            neighbors = find_neighbors(labels, np.asarray(frames.numbers)[rows])
        chosen = {kind: group.take(rows) for kind, group in groups.items()}
        of_regressors: dict[str, dict[str, Array]] = {}
        for index, name in enumerate(regressors):
            errors = _errors_by_pieces(frames, index, rows, protocol, neighbors)
            scores += score_frames(name, protocol, errors, chosen, 'joint' in by)
            of_regressors[name] = {kind: getattr(errors, kind) for kind in INTERVAL_ERRORS}
            release(errors.mpjpe)
        intervals += error_intervals(protocol.name, of_regressors, labels)
    notes = check_plausibility(
        frames.joints[:, 0], frames.target, frames.weight, frames.joint_names, frames.labels
    )
    release(frames.joints, frames.target, frames.weight)
    return EvaluationResult(
        scores=tuple(scores),
        intervals=tuple(intervals),
        notes=notes,
        protocols=protocols,
        frames=len(frames),
        left_out=left_out,
        skipped=tuple(skipped),
        unmatched=tuple(unmatched),
        without_prediction=tuple(without_prediction),
        title=title,
        provenance=provenance(regressors, protocols, body),
    )


def _errors_by_pieces(
    frames: RegressedFrames, index: int, rows: Array, protocol: Protocol, neighbors: Array | None
) -> FrameErrors:
    """Return the errors of the frames ``rows`` under a regressor, computed piece by piece."""
    joints = [
        # Joints come first, so that the errors of one are contiguous.
        working_array((len(names), len(rows)))
        for names in (protocol.joints, protocol.pa_joints)
    ]
    columns = working_array((len(_FRAME_ERRORS), len(rows)))
    defined: set[str] = set()
    for start in range(0, len(rows), _PIECE):
        piece = slice(start, min(start + _PIECE, len(rows)))
        needed = own = np.arange(piece.start, piece.stop)
        near = None
        if neighbors is not None:
            near_rows = neighbors[piece]
            needed = np.union1d(own, near_rows[near_rows >= 0])
            near = np.full((len(needed), 2), -1)
            near[np.searchsorted(needed, own)] = np.where(
                near_rows >= 0, np.searchsorted(needed, near_rows), -1
            )
        own = np.searchsorted(needed, own)
        chosen = rows[needed]
        errors = frame_errors(
            frames.joints[chosen, index] * _MM,
            frames.target[chosen] * _MM,
            frames.joint_names,
            protocol,
            frames.weight[chosen],
            near,
        )
        for name, column in zip(_FRAME_ERRORS, columns, strict=True):
            values = getattr(errors, name)
            if values is not None:
                column[piece] = values[own]
                defined.add(name)
        joints[0][:, piece], joints[1][:, piece] = errors.joints[own].T, errors.pa_joints[own].T
        release(frames.joints, frames.target, frames.weight, columns, *joints)
    of_frames = dict(zip(_FRAME_ERRORS, columns, strict=True))
    return FrameErrors(
        joints=joints[0].T,
        pa_joints=joints[1].T,
        **{name: of_frames[name] for name in _FRAME_ERRORS if name in defined},
    )


def _rows_of(labels: Sequence[FrameLabels], rows: Array) -> Sequence[FrameLabels]:
    """Return some of the labels; all of them without a copy."""
    return labels if len(rows) == len(labels) else [labels[row] for row in rows]


def groups_of_labels(labels: Sequence[FrameLabels], by: Sequence[str]) -> dict[str, Groups]:
    """Return the group of each frame by breakdown, except for 'joint'.

    A breakdown for which a frame has no label is left out, with a warning.

    Args:
        labels: The labels of the frames.
        by: Breakdowns, some of :data:`~mmjrr.evaluation.result.BREAKDOWNS`.
    """
    groups = {}
    for kind in by:
        if kind == 'joint':
            continue
        missing = sum(frame.get(kind) is None for frame in labels)
        if missing:
            print_log(
                f'no table by {kind}: {missing} of {len(labels)} frames have none',
                logger='current',
                level=logging.WARNING,
            )
        else:
            groups[kind] = Groups.of(str(frame[kind]) for frame in labels)
    return groups


def check_annotation(
    where: str,
    joints: Array,  # (J, 3), meters
    weight: Array,  # (J,)
    hint: str,
) -> Array:  # (J, 3)
    """Check a frame's annotated joints, and return them with zeros for joints not annotated.

    Args:
        where: The frame and its field, for messages.
        joints: The joints that are needed.
        weight: The joints' weights; 0 if a joint is not annotated.
        hint: What the user can do if the joints are in millimeters.

    Raises:
        ValueError: An annotated joint is not finite or implausibly far from the others, or a
            weight is negative.
    """
    used = weight > 0
    if not np.isfinite(joints[used]).all() or not (weight >= 0).all():
        raise ValueError(f'{where}: found NaN, infinity or a negative weight')
    if used.any():
        extent = np.abs(joints[used] - joints[used].mean(0)).max()
        if extent > _MAX_EXTENT:
            raise ValueError(f'{where}: joints lie {extent:.0f} m from their mean; {hint}')
    return np.where(used[:, None], joints, 0.0)


def check_finite(names: Sequence[str], field: str, values: Array) -> None:
    """Check that the values (N, ...) of N frames are finite.

    Args:
        names: Names of the N frames, for messages.
        field: The field that holds the values, for messages.
        values: The values.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    finite = np.isfinite(values.reshape(len(names), -1)).all(1)
    if not finite.all():
        raise ValueError(f'{names[int(np.argmin(finite))]}: {field}: found NaN or infinity')


def check_extent(
    names: Sequence[str],
    field: str,
    vertices: Array,  # (N, S, 3), meters
    hint: str,
) -> None:
    """Check that the S vertices of each of N frames are plausibly near to their mean.

    Args:
        names: Names of the N frames, for messages.
        field: The field that holds the vertices, for messages.
        vertices: The vertices.
        hint: What the user can do if the vertices are in millimeters.

    Raises:
        ValueError: A vertex is too far away, as if the unit were millimeters.
    """
    extent = np.abs(vertices - vertices.mean(1, keepdims=True)).max((1, 2))
    worst = int(np.argmax(extent))
    if extent[worst] > _MAX_EXTENT:
        raise ValueError(
            f'{names[worst]}: {field}: vertices lie {extent[worst]:.0f} m from their mean; {hint}'
        )


def hint_at_unit(argument: str = 'unit') -> str:
    """Return what the user can do if vertices are in another unit, for :func:`check_extent`.

    Args:
        argument: Name of the argument that says the unit.
    """
    option = argument.replace('_', '-')
    return (
        f"if they are in millimeters, say {argument}='mm' (on the command line, --{option} mm); in "
        f"centimeters, as MHR's in places, {argument}='cm'"
    )


def needed_joints(protocols: Mapping[str, Protocol]) -> tuple[str, ...]:
    """Return the names of the joints that any of the protocols needs, each once."""
    needed = [joint for protocol in protocols.values() for joint in protocol.needed_joints]
    return tuple(dict.fromkeys(needed))


def provenance(
    regressors: Mapping[str, JointRegressor], protocols: Mapping[str, Protocol], body: Path | None
) -> dict[str, Any]:
    """Describe regressors, protocols, body model and versions as a dict of JSON values.

    Args:
        regressors: The regressors by name.
        protocols: The protocols by name.
        body: File of the body model, if one was used.
    """
    described = {
        'regressors': {
            name: {
                'body_model': regressor.body_model,
                'cleaning': list(regressor.cleaning),
                'provenance': regressor.provenance,
            }
            for name, regressor in regressors.items()
        },
        'protocols': {name: protocol.to_dict() for name, protocol in protocols.items()},
        'body_model': None if body is None else {'file': body.name, 'sha256': sha256(body)},
        'versions': versions(),
    }
    return json.loads(json.dumps(described, default=str))
