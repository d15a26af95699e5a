"""From joints of annotated frames to scores: arrays in, an :class:`EvaluationResult` out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmjrr.io import sha256, versions
from mmjrr.regressors import JointRegressor

from .plausibility import check_plausibility
from .protocols import FrameLabels, Protocol, frame_errors
from .result import EvaluationResult, Score, score_frames

_MM = 1000.0
#: Joints and vertices of a person are at most this far (meters) from their mean.
_MAX_EXTENT = 10.0
#: Meters in a unit.
UNITS = {'m': 1.0, 'mm': 1e-3}


@dataclass(frozen=True)
class RegressedFrames:
    """N frames under R regressors, J joints each, in meters.

    Attributes:
        joint_names: the J joints.
        joints: regressed from the predicted meshes, (N, R, J, 3).
        target: annotated, (N, J, 3).
        weight: 0 for joints that are not annotated, (N, J).
        labels: what is known of each frame.
    """

    joint_names: tuple[str, ...]
    joints: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    labels: Sequence[FrameLabels]

    def __len__(self) -> int:
        return len(self.target)


@lru_cache(maxsize=65536)
def frame_labels(
    subject: str | None, action: str | None, sequence: str | None, camera: str | None
) -> FrameLabels:
    """Return the labels of a frame; frames of one video share them, which saves memory."""
    return dict(subject=subject, action=action, sequence=sequence, camera=camera)


def is_counted(labels: FrameLabels, protocols: Mapping[str, Protocol]) -> bool:
    """Tell whether any of the protocols counts a frame.

    Raises:
        ValueError: a protocol asks for something that is unknown of the frame.
    """
    reasons = [protocol.leaves_out(labels) for protocol in protocols.values()]
    return any(reason is None for reason in reasons)


def count_left_out(
    labels: Sequence[FrameLabels], protocols: Mapping[str, Protocol]
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the frames that do not count, by protocol and by what leaves them out.

    Raises:
        ValueError: a protocol counts none of the frames; names the subjects that they are of.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, protocol in protocols.items():
        kinds: dict[str, dict[str, int]] = {}
        for of_frame in labels:
            reason = protocol.leaves_out(of_frame)
            if reason is not None:
                values = kinds.setdefault(reason[0], {})
                values[reason[1]] = values.get(reason[1], 0) + 1
        left = sum(count for values in kinds.values() for count in values.values())
        if labels and left == len(labels):
            raise ValueError(_no_frame(protocol, labels))
        counts[name] = {
            kind: dict(sorted(kinds[kind].items()))
            for kind in ('subject', 'sequence', 'camera')
            if kind in kinds
        }
    return counts


def _no_frame(protocol: Protocol, labels: Sequence[FrameLabels]) -> str:
    described = [
        f'{kind}s {sorted({str(of_frame.get(kind)) for of_frame in labels})}'
        for kind in ('subject', 'camera')
    ]
    text = (
        f'protocol {protocol.name!r} ({protocol.summary}) counts none of the {len(labels)} '
        f'frames, which are of {" and ".join(described)}'
    )
    if protocol.subjects is not None:
        text += f"; protocol=dict(type={protocol.name!r}, subjects='all') counts every subject's"
    return text


def evaluate_frames(
    frames: RegressedFrames,
    regressors: Mapping[str, JointRegressor],
    protocols: Mapping[str, Protocol],
    by: Sequence[str],
    *,
    uncounted: Sequence[FrameLabels] = (),
    skipped: Sequence[str] = (),
    unmatched: Sequence[str] = (),
    title: str = '',
    body: Path | None = None,
) -> EvaluationResult:
    """Score frames under each protocol and regressor, in this order.

    Frames that a protocol leaves out take no part in its scores and are counted. The order of the
    frames decides the last bits of the means; callers sort by image name.

    Args:
        frames: the frames.
        regressors: the R regressors by name.
        protocols: by name.
        by: breakdowns, some of :data:`~mmjrr.evaluation.result.BREAKDOWNS`. One that a frame has
            no label for is left out, with a warning.
        uncounted: labels of further frames, which no protocol counts.
        skipped: names of counted frames that have no prediction.
        unmatched: names of predictions that belong to no counted frame.
        title: what is evaluated.
        body: file of the body, if one was used.

    Raises:
        ValueError: there are no frames, or a protocol counts none of them.
    """
    left_out = count_left_out([*frames.labels, *uncounted], protocols)
    if not len(frames):
        raise ValueError(
            'no frame was processed'
            + (f'; all {len(skipped)} were skipped for want of a prediction' if skipped else '')
        )
    groups = _groups(frames, by)
    scores: list[Score] = []
    for protocol in protocols.values():
        counted = [protocol.leaves_out(labels) is None for labels in frames.labels]
        rows = np.flatnonzero(counted)
        for index, name in enumerate(regressors):
            errors = frame_errors(
                frames.joints[rows, index] * _MM,
                frames.target[rows] * _MM,
                frames.joint_names,
                protocol,
                frames.weight[rows],
            )
            chosen = {kind: labels[rows].tolist() for kind, labels in groups.items()}
            scores += score_frames(name, protocol, errors, chosen, 'joint' in by)
    notes = check_plausibility(
        frames.joints[:, 0], frames.target, frames.weight, frames.joint_names, frames.labels
    )
    return EvaluationResult(
        scores=tuple(scores),
        notes=notes,
        protocols=protocols,
        frames=len(frames),
        left_out=left_out,
        skipped=tuple(skipped),
        unmatched=tuple(unmatched),
        title=title,
        provenance=provenance(regressors, protocols, body),
    )


def _groups(frames: RegressedFrames, by: Sequence[str]) -> dict[str, np.ndarray]:
    groups = {}
    for kind in by:
        if kind == 'joint':
            continue
        labels = [of_frame.get(kind) for of_frame in frames.labels]
        if None in labels:
            print_log(
                f'no table by {kind}: {labels.count(None)} of {len(labels)} frames have none',
                logger='current',
                level=logging.WARNING,
            )
        else:
            groups[kind] = np.array(labels)
    return groups


def check_annotation(
    where: str,
    joints: np.ndarray,  # (J, 3), meters
    weight: np.ndarray,  # (J,)
    hint: str,
) -> np.ndarray:  # (J, 3)
    """Return the annotated joints of a frame, with zeros for those that are not annotated.

    Args:
        where: the frame and its field, for messages.
        joints: all that are needed.
        weight: 0 for joints that are not annotated.
        hint: what to do where joints are in millimeters.

    Raises:
        ValueError: an annotated joint is not finite or far from the others, or a weight negative.
    """
    used = weight > 0
    if not np.isfinite(joints[used]).all() or not (weight >= 0).all():
        raise ValueError(f'{where}: found NaN, infinity or a negative weight')
    if used.any():
        extent = np.abs(joints[used] - joints[used].mean(0)).max()
        if extent > _MAX_EXTENT:
            raise ValueError(f'{where}: joints lie {extent:.0f} m from their mean; {hint}')
    return np.where(used[:, None], joints, 0.0)


def check_finite(names: Sequence[str], field: str, values: np.ndarray) -> None:
    """Check values (N, ...) of N frames, named in the message.

    Raises:
        ValueError: one is NaN or infinite.
    """
    finite = np.isfinite(values.reshape(len(names), -1)).all(1)
    if not finite.all():
        raise ValueError(f'{names[int(np.argmin(finite))]}: {field}: found NaN or infinity')


def check_extent(
    names: Sequence[str],
    field: str,
    vertices: np.ndarray,  # (N, S, 3), meters
    hint: str,
) -> None:
    """Check that the vertices of N frames lie within some meters.

    Raises:
        ValueError: they do not, which tells millimeters.
    """
    extent = np.abs(vertices - vertices.mean(1, keepdims=True)).max((1, 2))
    worst = int(np.argmax(extent))
    if extent[worst] > _MAX_EXTENT:
        raise ValueError(
            f'{names[worst]}: {field}: vertices lie {extent[worst]:.0f} m from their mean; {hint}'
        )


def needed_joints(protocols: Mapping[str, Protocol]) -> tuple[str, ...]:
    """Return the joints that any of the protocols needs, each once."""
    needed = [joint for protocol in protocols.values() for joint in protocol.needed_joints]
    return tuple(dict.fromkeys(needed))


def provenance(
    regressors: Mapping[str, JointRegressor], protocols: Mapping[str, Protocol], body: Path | None
) -> dict[str, Any]:
    """Describe what made the numbers, as JSON can hold it.

    Args:
        regressors: by name.
        protocols: by name.
        body: file of the body, if one was used.
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
