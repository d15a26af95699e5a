"""Results of an evaluation: scores, plain-text tables of them, and their JSON and CSV files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.io import atomic_write, write_json
from mmjrr.io.json_files import json_number
from mmjrr.io.mapped import release
from mmjrr.io.paths import check_suffix

from .carried_remarks import carried_remarks
from .protocols import FrameErrors, Protocol
from .regressed_frames import RegressedFrames
from .uncertainty import ErrorInterval

#: Breakdowns of the scores.
BREAKDOWNS = ('joint', 'action', 'subject', 'camera')


def check_breakdowns(by: Sequence[str]) -> None:
    """Check the argument ``by`` of an evaluation.

    Raises:
        ValueError: It is a text, or one of its elements is none of :data:`BREAKDOWNS`.
    """
    unknown = sorted(set(by) - set(BREAKDOWNS))
    if unknown or isinstance(by, str):
        raise ValueError(f'by: found {unknown or by!r}, expected some of {list(BREAKDOWNS)}')


FORMAT = 'mmjrr.evaluation/1'


@dataclass(frozen=True)
class Score:
    """Mean errors, in mm, of a group of frames or of one joint over all frames."""

    regressor: str
    protocol: str
    by: str  # 'all' or one of BREAKDOWNS
    group: str  # 'all', or the joint, action, subject or camera
    frames: int  # number of frames that have an MPJPE or a PA-MPJPE
    mpjpe: float  # mm; NaN if no frame has one
    pa_mpjpe: float  # mm; NaN if no frame has one, as with fewer than three joints
    n_mpjpe: float = float('nan')  # mm, after scaling about the root; NaN by joint
    acceleration: float = float('nan')  # mm per squared frame step; NaN without consecutive frames
    pve: float = float('nan')  # mm, of vertices; NaN without annotated meshes
    pa_pve: float = float('nan')  # mm, of vertices; NaN without annotated meshes


#: Errors of :class:`Score` by the names under which they are quoted, with their units.
ERRORS = {
    'MPJPE': ('mpjpe', 'mm'),
    'PA-MPJPE': ('pa_mpjpe', 'mm'),
    'N-MPJPE': ('n_mpjpe', 'mm'),
    'ACCEL': ('acceleration', 'mm/frame²'),
    'PVE': ('pve', 'mm'),
    'PA-PVE': ('pa_pve', 'mm'),
}


_NO_JOINTS = 'no frame has the annotated joints that it needs'
_NO_MESHES = 'it needs annotated meshes (evaluate_meshes; on the command line, --annotated-meshes)'
#: Why an error of :data:`ERRORS` is undefined, if it is.
_WHY_UNDEFINED = {
    'MPJPE': _NO_JOINTS,
    'PA-MPJPE': 'no frame has three annotated joints, and fewer are always aligned exactly',
    'N-MPJPE': _NO_JOINTS,
    'ACCEL': 'no three frames are consecutive',
    'PVE': _NO_MESHES,
    'PA-PVE': _NO_MESHES,
}

_QUOTED = {attribute: quoted for quoted, (attribute, _) in ERRORS.items()}


@dataclass(frozen=True)
class Groups:
    """Groups of N frames.

    Attributes:
        names: Names of the groups, each once.
        index: Each frame's group as an index of ``names``, (N,) int32.
    """

    names: tuple[str, ...]
    index: Array

    @classmethod
    def of(cls, labels: Iterable[str]) -> Groups:
        """Group frames by their labels.

        >>> groups = Groups.of(['S9', 'S11', 'S9'])
        >>> groups.names, groups.index.tolist()
        (('S9', 'S11'), [0, 1, 0])
        """
        place: dict[str, int] = {}
        index = np.fromiter((place.setdefault(label, len(place)) for label in labels), np.int32)
        return cls(tuple(place), index)

    def take(self, rows: Array) -> Groups:
        """Return the groups of some frames; those of all without a copy."""
        return self if len(rows) == len(self.index) else Groups(self.names, self.index[rows])


def score_frames(
    regressor: str,
    protocol: Protocol,
    errors: FrameErrors,
    groups: Mapping[str, Sequence[str] | Array | Groups],
    by_joint: bool = True,
) -> list[Score]:
    """Average errors over all frames, over each group of frames, and for each joint.

    Args:
        regressor: The regressor's name.
        protocol: The protocol of the errors.
        errors: The errors of N frames, in mm.
        groups: By breakdown (``'action'``, ...), the group of each frame, (N,).
        by_joint: Whether to average each joint's errors. Default: True.

    >>> errors = FrameErrors(*(np.array(e) for e in ([1.0, 3.0], [1.0, 2.0], [[1.0], [3.0]],
    ...                                              [[1.0], [2.0]])))
    >>> [s.mpjpe for s in score_frames('J', Protocol('toy', ('head',)), errors,
    ...                                {'subject': ['S9', 'S11']})]
    [2.0, 2.0, 1.0, 3.0]
    """

    def score(by: str, group: str, mpjpe: Array, pa_mpjpe: Array, rows: Any = None) -> Score:
        frames = int((~np.isnan(mpjpe) | ~np.isnan(pa_mpjpe)).sum())
        means = {
            name: _mean(values[rows])
            for name in ('n_mpjpe', 'acceleration', 'pve', 'pa_pve')
            if rows is not None and (values := getattr(errors, name)) is not None
        }
        return Score(
            regressor, protocol.name, by, group, frames, _mean(mpjpe), _mean(pa_mpjpe), **means
        )

    scores = [score('all', 'all', errors.mpjpe, errors.pa_mpjpe, slice(None))]
    if by_joint:
        undefined = np.full(len(errors.mpjpe), np.nan)
        for joint in dict.fromkeys((*protocol.joints, *protocol.pa_joints)):
            columns = [
                joint_errors[:, names.index(joint)] if joint in names else undefined
                for joint_errors, names in (
                    (errors.joints, protocol.joints),
                    (errors.pa_joints, protocol.pa_joints),
                )
            ]
            scores.append(score('joint', joint, *columns))
            release(errors.joints, errors.pa_joints)
    for by, labels in groups.items():
        of_frames = labels if isinstance(labels, Groups) else Groups.of(labels)
        present = {of_frames.names[number]: number for number in np.unique(of_frames.index)}
        for group in sorted(present, key=_natural):
            rows = of_frames.index == present[group]
            scores.append(score(by, group, errors.mpjpe[rows], errors.pa_mpjpe[rows], rows))
    return scores


def undefined_score(regressor: str, protocol: Protocol) -> Score:
    """Return the score of no frames, as of a protocol that counts none with a prediction.

    Args:
        regressor: The regressor's name.
        protocol: The protocol.
    """
    return Score(regressor, protocol.name, 'all', 'all', 0, float('nan'), float('nan'))


def _mean(values: Array) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float('nan')


def _natural(label: str) -> tuple[str, int, str]:
    """Return a sort key that puts S9 before S11."""
    digits = len(label) - len(label.rstrip('0123456789'))
    number = int(label[len(label) - digits :]) if digits else 0
    return label[: len(label) - digits], number, label


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of one set of predictions under any number of regressors and protocols.

    ``str`` returns the tables.

    Attributes:
        scores: The scores of all regressors, protocols and breakdowns.
        protocols: The protocols by name.
        frames: Number of frames evaluated under any of the protocols.
        left_out: Number of frames that do not count, by protocol, kind (``'subject'``,
            ``'sequence'`` or ``'camera'``) and value.
        skipped: Names of counted frames without a prediction.
        unmatched: Names of predictions that belong to no counted frame.
        without_prediction: Names of protocols that count frames of the data set, none of which has
            a prediction; their scores are undefined.
        notes: Sentences about implausible predictions and what would explain them
            (:mod:`mmjrr.evaluation.plausibility`).
        title: Name of the evaluated predictions.
        intervals: Bootstrap intervals of MPJPE and PA-MPJPE, and of their differences from those
            under the first regressor (:mod:`mmjrr.evaluation.uncertainty`).
        provenance: The regressors' checksums and cleaning, the protocols, and versions.
        regressed: The joints of all frames, if they were to be kept; no file has them.
    """

    scores: tuple[Score, ...]
    protocols: Mapping[str, Protocol]
    frames: int
    left_out: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ''
    provenance: dict[str, Any] = field(default_factory=dict)
    regressed: RegressedFrames | None = field(default=None, repr=False, compare=False)
    intervals: tuple[ErrorInterval, ...] = ()
    without_prediction: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the overall scores by key, such as ``'J_opt/paper/MPJPE'``, in mm."""
        metrics = {}
        for score in self.scores:
            if score.by == 'all':
                metrics[f'{score.regressor}/{score.protocol}/MPJPE'] = score.mpjpe
                metrics[f'{score.regressor}/{score.protocol}/PA-MPJPE'] = score.pa_mpjpe
        return metrics

    def select(self, protocol: str, by: str = 'all') -> list[Score]:
        """Return the scores of a protocol and a breakdown."""
        return [s for s in self.scores if s.protocol == protocol and s.by == by]

    def __str__(self) -> str:
        return self.format()

    def format(
        self, by: Sequence[str] = BREAKDOWNS, errors: Sequence[str] = ('MPJPE', 'PA-MPJPE')
    ) -> str:
        """Return the tables of each protocol as text: overall scores, then each breakdown.

        Args:
            by: Breakdowns to show.
            errors: Errors of the overall scores and of the intervals to show, some of
                :data:`ERRORS`.
        """
        blocks = []
        for name, protocol in self.protocols.items():
            blocks.append(self._overall(name, protocol, errors))
            blocks += self._intervals(name, errors)
            blocks += [self._breakdown(name, kind) for kind in by if self.select(name, kind)]
            blocks += self._left_out(name)
        return '\n\n'.join([*blocks, *self.undefined(errors), *self.remarks()])

    def undefined(self, errors: Sequence[str]) -> list[str]:
        """Return a sentence for each error that is undefined over all frames, with the reason.

        Args:
            errors: Some of :data:`ERRORS`.
        """
        sentences = []
        if self.without_prediction:
            names = ', '.join(self.without_prediction)
            sentences.append(f'No scores under {names}: no frame that counts has a prediction')
        scored = [name for name in self.protocols if name not in self.without_prediction]
        for error in errors:
            values = {
                name: [getattr(score, ERRORS[error][0]) for score in self.select(name)]
                for name in scored
            }
            without = [name for name, of in values.items() if of and np.isnan(of).all()]
            under = '' if len(without) == len(values) else f' under {", ".join(without)}'
            if without:
                sentences.append(f'{error} is undefined{under}: {_WHY_UNDEFINED[error]}')
        return sentences

    def remarks(self) -> list[str]:
        """Return sentences on missing predictions, on regressors, and on what is implausible."""
        blocks = []
        for names, description in (
            (self.skipped, 'frames had no prediction'),
            (self.unmatched, 'predictions belong to no frame that is evaluated'),
        ):
            if names:
                shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
                blocks.append(f'{len(names)} {description}: {shown}')
        for name, about in self.provenance.get('regressors', {}).items():
            footnote = about.get('provenance', {}).get('footnote')
            blocks += [f'{name}: {footnote}.'] if footnote else []
            blocks += carried_remarks(name, about.get('provenance', {}))
        target = self.provenance.get('target')
        blocks += [f'Target: {target}.'] if target else []
        return blocks + [f'Implausible: {note}' for note in self.notes]

    def _overall(self, name: str, protocol: Protocol, errors: Sequence[str]) -> str:
        scores = self.select(name)
        frames = max((score.frames for score in scores), default=0)
        caption = f'{self.title + ": " if self.title else ""}protocol {name} '
        caption += f'({protocol.summary}), {frames} frames'
        rows = [
            [score.regressor, *(format_error(score, error) for error in errors)] for score in scores
        ]
        header = ['Regressor', *(f'{error} ({ERRORS[error][1]})' for error in errors)]
        return format_table(header, rows, caption)

    def _intervals(self, name: str, errors: Sequence[str]) -> list[str]:
        of_protocol = [
            interval
            for interval in self.intervals
            if interval.protocol == name and _QUOTED[interval.error] in errors
        ]
        return [format_table(*interval_table(of_protocol))] if of_protocol else []

    def _breakdown(self, name: str, by: str) -> str:
        scores = self.select(name, by)
        regressors = list(dict.fromkeys(score.regressor for score in scores))
        cells = {
            (score.group, score.regressor): ' / '.join(
                format_error(score, error) for error in ('MPJPE', 'PA-MPJPE')
            )
            for score in scores
        }
        counts = {score.group: score.frames for score in scores}
        rows = [
            [group, str(counts[group]), *(cells[group, regressor] for regressor in regressors)]
            for group in counts
        ]
        caption = f'By {by}, protocol {name}: MPJPE / PA-MPJPE (mm)'
        return format_table([by.capitalize(), 'Frames', *regressors], rows, caption)

    def _left_out(self, name: str) -> list[str]:
        counts = [
            (f'{count} of {kind} {value}', count)
            for kind, values in self.left_out.get(name, {}).items()
            for value, count in values.items()
        ]
        if not counts:
            return []
        total = sum(count for _, count in counts)
        return [f'Protocol {name} leaves out {total} frames: {", ".join(t for t, _ in counts)}']

    # ------------------------------------------------------------------ export

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict of JSON values, with None for undefined means."""
        return {
            'format': FORMAT,
            'title': self.title,
            'unit': 'mm',
            'frames': self.frames,
            'left_out': {name: dict(kinds) for name, kinds in self.left_out.items()},
            'skipped': list(self.skipped),
            'unmatched': list(self.unmatched),
            'without_prediction': list(self.without_prediction),
            'notes': list(self.notes),
            'metrics': {key: json_number(value) for key, value in self.metrics().items()},
            'scores': [
                {key: json_number(value) for key, value in asdict(score).items()}
                for score in self.scores
            ],
            'intervals': [asdict(interval) for interval in self.intervals],
            'provenance': self.provenance,
        }

    def to_dataframe(self) -> Any:
        """Return the scores as a pandas ``DataFrame``, one row per score.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                'to_dataframe() needs pandas: pip install pandas; to_dict() does without'
            ) from error

        return pandas.DataFrame([asdict(score) for score in self.scores])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result as JSON or CSV, as the suffix says, and return the path.

        A CSV file has only the scores; ``NAME.provenance.json`` next to it has everything else.
        Each file is replaced in one step, and equal results give equal bytes.

        Raises:
            ValueError: The suffix is neither ``.json`` nor ``.csv``.
        """
        path = check_result_path(path)
        if path.suffix == '.json':
            write_json(path, self.to_dict())
            return path
        with atomic_write(path) as temporary, open(temporary, 'w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            names = [item.name for item in fields(Score)]
            writer.writerow(names)
            writer.writerows([getattr(score, name) for name in names] for score in self.scores)
        about = self.to_dict()
        del about['scores']
        write_json(path.with_suffix('.provenance.json'), about)
        return path


def interval_table(
    intervals: Sequence[ErrorInterval],
) -> tuple[list[str], list[list[str]], str]:
    """Return header, rows and caption of a table of intervals.

    Args:
        intervals: Intervals of one protocol, at least one.
    """
    first = intervals[0]
    kinds = list(dict.fromkeys(interval.error for interval in intervals))
    rows: dict[str, list[str]] = {}
    for interval in intervals:
        label, digits = interval.regressor, '.1f'
        if interval.reference is not None:
            label, digits = f'{label} - {interval.reference}', '+.2f'
        ends = f'[{interval.low:{digits}}, {interval.high:{digits}}]'
        row = rows.setdefault(label, ['–'] * len(kinds))
        row[kinds.index(interval.error)] = f'{interval.value:{digits}} {ends}'
    caption = (
        f'{100 * first.confidence_level:g} % intervals, protocol {first.protocol}: bootstrap of '
        f'{first.sequences} sequences within {first.subjects} '
        f'subject{"s" * (first.subjects > 1)}'
    )
    header = ['Regressor', *(f'{_QUOTED[kind]} (mm)' for kind in kinds)]
    return header, [[label, *row] for label, row in rows.items()], caption


def check_result_path(path: str | os.PathLike[str]) -> Path:
    """Check that results can be written in the format of a path's suffix, and return the path.

    Raises:
        ValueError: The suffix is neither ``.json`` nor ``.csv``.
    """
    return check_suffix(path, '.json', '.csv')


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = '') -> str:
    """Format a plain-text table with the first column left-aligned and the others right-aligned.

    >>> print(format_table(['Regressor', 'MPJPE'], [['J_std', '60.4'], ['J_opt', '56.9']], 'SPIN'))
    SPIN
    Regressor  MPJPE
    ---------  -----
    J_std       60.4
    J_opt       56.9
    """
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    table.insert(1, ['-' * width for width in widths])
    lines = [caption] if caption else []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def format_error(score: Score, error: str) -> str:
    """Return an error with one decimal, a dash if it is undefined.

    Args:
        score: The score.
        error: One of :data:`ERRORS`.
    """
    return format_mean(getattr(score, ERRORS[error][0]))


def format_mean(value: float) -> str:
    """Return a mean with one decimal, a dash if it is NaN."""
    return '–' if np.isnan(value) else f'{value:.1f}'
