"""Table of the same predictions under all protocols and regressors: how far MPJPEs lie apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

from .protocols import PROTOCOLS, Protocol
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
    return '\n\n'.join([format_table(header, cells, caption), *spread(result), *result.remarks()])


def spread(result: EvaluationResult) -> Iterator[str]:
    """Yield sentences that say how far the errors of the same predictions lie apart."""
    for error in ('MPJPE', 'PA-MPJPE'):
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
