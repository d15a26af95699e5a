"""Table of the same predictions under all protocols and regressors: how far MPJPEs lie apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

from .protocols import PROTOCOLS, FrameLabels, Protocol
from .result import ERRORS, EvaluationResult, Score, format_error, format_table


def protocols_of_joints(
    joint_names: str | Sequence[str] = H36M_JOINTS_MMPOSE,
    frames_of: str | Protocol | None = 'paper',
) -> dict[str, Protocol]:
    """Return all protocols whose joints are annotated, each on the same frames.

    All protocols get the subjects and excluded sequences of ``frames_of``, so that only joints and
    alignment differ. A protocol of a single camera keeps it.

    Args:
        joint_names: The annotated joints, by name or by the name of their order. Default:
            Human3.6M's 17.
        frames_of: Protocol that selects the frames; None for all frames of all cameras. Default:
            'paper'.

    >>> sorted(set(PROTOCOLS) - set(protocols_of_joints()))
    ['emdb', 'rich']
    >>> protocols_of_joints()['vibe'].subjects
    ('S9', 'S11')
    """
    annotated = set(joint_names_of(joint_names))
    frames = PROTOCOLS[frames_of] if isinstance(frames_of, str) else frames_of
    chosen = {}
    for name, protocol in PROTOCOLS.items():
        if not annotated.issuperset(protocol.needed_joints):
            continue
        if frames is None:
            protocol = replace(protocol, subjects=None, cameras=None, exclude_sequences=())
        else:
            protocol = replace(
                protocol,
                subjects=frames.subjects,
                cameras=frames.cameras if protocol.cameras is None else protocol.cameras,
                exclude_sequences=frames.exclude_sequences,
            )
        chosen[name] = protocol
    return chosen


def protocols_of_labels(
    protocols: Mapping[str, Protocol], labels: Sequence[FrameLabels]
) -> tuple[dict[str, Protocol], dict[str, list[str]]]:
    """Return the protocols that count at least one of the frames.

    Args:
        protocols: Protocols by name.
        labels: Labels of the frames.

    Returns:
        The protocols, and the names of the others by the reason why they count none; all
        protocols and no reasons if none counts a frame.

    >>> frame = dict(subject='S9', sequence='S9_Walking', camera='54138969')
    >>> kept, left_out = protocols_of_labels(PROTOCOLS, [frame])
    >>> 'spin-p1' in kept, left_out
    (True, {'no frame is of camera 60457274': ['spin-p2', 'hmr2']})
    """
    distinct = list({id(frame): frame for frame in labels}.values())
    kept: dict[str, Protocol] = {}
    left_out: dict[str, list[str]] = {}
    for name, protocol in protocols.items():
        reason = _why_no_frame(protocol, distinct)
        if reason is None:
            kept[name] = protocol
        else:
            left_out.setdefault(reason, []).append(name)
    return (kept, left_out) if kept else (dict(protocols), {})


def _why_no_frame(protocol: Protocol, labels: Sequence[FrameLabels]) -> str | None:
    """Return why a protocol counts none of the frames; None if it counts one."""
    kinds = set()
    try:
        for frame in labels:
            reason = protocol.leaves_out(frame)
            if reason is None:
                return None
            kinds.add(reason[0])
    except ValueError:
        return 'the subject, sequence or camera of a frame is not known'
    if 'camera' in kinds and protocol.cameras is not None:
        return f'no frame is of camera {", ".join(protocol.cameras)}'
    return f'all frames are left out by {" and ".join(sorted(kinds))}'


@dataclass(frozen=True)
class ProtocolRow:
    """Scores under protocols that are the same but for their names.

    Attributes:
        names: The protocols' names.
        protocol: The first of them.
        scores: The score of each regressor.
        regressors: The regressors with which the protocols' authors report, each once.
    """

    names: tuple[str, ...]
    protocol: Protocol
    scores: Mapping[str, Score]
    regressors: tuple[str, ...]


def protocol_rows(result: EvaluationResult) -> list[ProtocolRow]:
    """Return a row for each group of protocols that have the same joints, alignment and frames."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, protocol in result.protocols.items():
        by_regressor = {score.regressor: score for score in result.select(name)}
        if not by_regressor:
            continue
        definition = (
            frozenset(protocol.joints),
            frozenset(protocol.root_joints),
            frozenset(protocol.pa_joints),
            protocol.cameras,
            protocol.subjects,
            protocol.exclude_sequences,
            # NaN, as in equal protocols, is not equal to itself; its text is.
            tuple(f'{s.mpjpe} {s.pve}' for s in by_regressor.values()),
        )
        groups.setdefault(definition, []).append(name)
    rows = []
    for names in groups.values():
        protocols = [result.protocols[name] for name in names]
        used = dict.fromkeys(protocol.regressor for protocol in protocols if protocol.regressor)
        scores = {score.regressor: score for score in result.select(names[0])}
        rows.append(ProtocolRow(tuple(names), protocols[0], scores, tuple(used)))
    return rows


def table_cells(
    result: EvaluationResult, errors: Sequence[str] = ('MPJPE', 'PA-MPJPE')
) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of all protocols and regressors.

    Args:
        result: The result of an evaluation under several protocols.
        errors: The errors in each cell, some of :data:`~mmjrr.evaluation.result.ERRORS`.
    """
    rows = protocol_rows(result)
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    header = ['Protocol', 'Joints', 'Alignment', 'Cameras', 'Frames', *names]
    cells = [
        [
            ', '.join(row.names),
            str(len(row.protocol.joints)),
            row.protocol.alignment,
            'all' if row.protocol.cameras is None else ', '.join(row.protocol.cameras),
            str(max(score.frames for score in row.scores.values())),
            *(_cell(row.scores.get(name), errors) for name in names),
        ]
        for row in rows
    ]
    return header, cells


def format_protocol_table(
    result: EvaluationResult, errors: Sequence[str] = ('MPJPE', 'PA-MPJPE')
) -> str:
    """Return the table of all protocols and regressors as text, with a sentence on its spread.

    Args:
        result: The result of an evaluation under several protocols.
        errors: The errors in each cell, some of :data:`~mmjrr.evaluation.result.ERRORS`.
    """
    units = ', '.join(dict.fromkeys(ERRORS[error][1] for error in errors))
    caption = f'{result.title + ": " if result.title else ""}{" / ".join(errors)} ({units})'
    header, cells = table_cells(result, errors)
    table = format_table(header, cells, caption)
    remarks = [*result.undefined(errors), *result.remarks()]
    return '\n\n'.join([table, *spread(result, errors), *remarks])


def spread(
    result: EvaluationResult, errors: Sequence[str] = ('MPJPE', 'PA-MPJPE')
) -> Iterator[str]:
    """Yield sentences that say how far the errors of the same predictions lie apart.

    Args:
        result: The result of an evaluation under several protocols.
        errors: Some of :data:`~mmjrr.evaluation.result.ERRORS`; of MPJPE and PA-MPJPE there are
            sentences.
    """
    for error in (error for error in ('MPJPE', 'PA-MPJPE') if error in errors):
        attribute = ERRORS[error][0]
        values = [
            (getattr(score, attribute), row.names[0], name)
            for row in protocol_rows(result)
            for name, score in row.scores.items()
            if not math.isnan(getattr(score, attribute))
        ]
        if len(values) > 1:
            low, high = min(values), max(values)
            yield (
                f'{error} of the same predictions is {low[0]:.1f} mm ({low[1]}, {low[2]}) to '
                f'{high[0]:.1f} mm ({high[1]}, {high[2]}).'
            )


def _cell(score: Score | None, errors: Sequence[str]) -> str:
    if score is None:
        return '–'
    return ' / '.join(format_error(score, error) for error in errors)
