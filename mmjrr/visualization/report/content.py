"""Content of a report, as plain data that is independent of its sources and of HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.errors import DataError
from mmjrr.evaluation.result import ERRORS, FORMAT, Score
from mmjrr.evaluation.uncertainty import INTERVAL_ERRORS, ErrorInterval
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.frames import Frame


@dataclass
class Evaluation:
    """Scores of one set of bodies under several regressors and protocols.

    Attributes:
        title: Name of the bodies, such as a model's name.
        frames: Number of evaluated frames.
        scores: The scores.
        protocols: Summary of each protocol by name.
        errors: MPJPE of each frame in mm by protocol and regressor, (N,); empty if unknown.
        intervals: Bootstrap intervals of errors and of their differences.
        notes: Sentences about implausible predictions and frames that are left out.
        provenance: Checksums, versions and settings.
        explanation: A sentence that says what the bodies are.
        is_training: Whether the frames are those to which a regressor was fitted.
    """

    title: str
    frames: int
    scores: list[Score]
    protocols: dict[str, str]
    errors: dict[tuple[str, str], FloatArray] = field(default_factory=dict)
    intervals: list[ErrorInterval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    explanation: str = ''
    is_training: bool = False

    @property
    def regressors(self) -> list[str]:
        """Names of the regressors, in the order of the scores."""
        return list(dict.fromkeys(score.regressor for score in self.scores))

    @classmethod
    def from_dict(cls, where: str, content: Any) -> Evaluation:
        """Read the content of a result's JSON file.

        Args:
            where: The file, for messages.
            content: The file's content.

        Raises:
            DataError: The content is not a result of :mod:`mmjrr.evaluation`.
        """
        if not isinstance(content, Mapping) or content.get('format') != FORMAT:
            actual = (
                content.get('format') if isinstance(content, Mapping) else type(content).__name__
            )
            raise DataError(
                f'{where}: format: found {actual!r}, expected {FORMAT!r}; a report is made from '
                'what "mmjrr evaluate --out results.json" writes'
            )
        try:
            scores = [Score(**_checked(where, entry)) for entry in content['scores']]
            provenance = dict(content['provenance'])
            protocols = {
                str(name): _summary(fields) for name, fields in provenance['protocols'].items()
            }
            evaluation = cls(
                title=str(content['title']),
                frames=int(content['frames']),
                scores=scores,
                protocols=protocols,
                intervals=[_interval(entry) for entry in content.get('intervals', [])],
                provenance=provenance,
                notes=[f'Implausible: {note}' for note in content.get('notes', [])],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f'{where}: found a result with a missing or invalid field ({error}), expected one '
                'that "mmjrr evaluate --out results.json" wrote'
            ) from error
        scored = {score.protocol for score in scores if score.by == 'all'}
        without = [name for name in protocols if name not in scored]
        if without or not protocols:
            of = f' of protocol {without[0]}' if without else ''
            raise DataError(
                f"{where}: scores: found none of all frames{of}, expected each regressor's, as "
                '"mmjrr evaluate --out results.json" writes them'
            )
        evaluation.notes += left_out_notes(
            content.get('left_out', {}), len(content.get('skipped', ()))
        )
        return evaluation


def left_out_notes(
    left_out: Mapping[str, Mapping[str, Mapping[str, int]]], skipped: int
) -> list[str]:
    """Return sentences about frames that do not count.

    Args:
        left_out: Number of frames that a protocol leaves out, by protocol, kind and value.
        skipped: Number of counted frames that have no prediction.
    """
    notes = []
    for protocol, kinds in left_out.items():
        counts = [
            f'{count} of {kind} {value}'
            for kind, values in kinds.items()
            for value, count in values.items()
        ]
        if counts:
            notes.append(f'Protocol {protocol} leaves frames out: {", ".join(counts)}.')
    if skipped:
        notes.append(f'{skipped} frames have no prediction and are not in the scores.')
    return notes


def _checked(where: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a score, with NaN for undefined means."""
    texts = ('regressor', 'protocol', 'by', 'group')
    values: dict[str, Any] = {name: str(entry[name]) for name in texts}
    values['frames'] = int(entry['frames'])
    for name, _ in ERRORS.values():
        required = name in ('mpjpe', 'pa_mpjpe')
        value = entry[name] if required else entry.get(name)
        values[name] = float('nan') if value is None else float(value)
    return values


def _interval(entry: Mapping[str, Any]) -> ErrorInterval:
    error, reference = entry['error'], entry['reference']
    if error not in INTERVAL_ERRORS:
        raise ValueError(f'intervals: error: found {error!r}, expected one of {INTERVAL_ERRORS}')
    return ErrorInterval(
        protocol=str(entry['protocol']),
        error=error,
        regressor=str(entry['regressor']),
        reference=None if reference is None else str(reference),
        value=float(entry['value']),
        low=float(entry['low']),
        high=float(entry['high']),
        sequences=int(entry['sequences']),
        subjects=int(entry['subjects']),
        confidence_level=float(entry['confidence_level']),
    )


def _summary(fields: Mapping[str, Any]) -> str:
    joints = len(fields['joints'])
    root = f'aligned at the {fields["root"]}' if fields.get('root') else 'absolute positions'
    cameras = fields.get('cameras')
    views = f'camera {", ".join(map(str, cameras))}' if cameras else 'all cameras'
    subjects = fields.get('subjects')
    return (
        f'{joints} joints, {root}'
        + (f', {" and ".join(map(str, subjects))}' if subjects else '')
        + f', {views}'
    )


@dataclass
class Refinement:
    """Course and results of a refinement.

    Attributes:
        summary: Content of ``refinement.json``; empty if the run has not finished.
        curves: Logged values by name: steps (T,) and values (T,).
        iou: IoU of each frame's silhouette and mask after the refinement, (N,), without frames
            whose mask has no foreground.
        init_iou: The same before the refinement.
        energies: Mean of each term before and after, by the term's name.
    """

    summary: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    iou: FloatArray | None = None
    init_iou: FloatArray | None = None
    energies: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Truth:
    """How far regressors and bodies of a synthetic set are from the true ones.

    Attributes:
        regressors: Mean distance of joints in mm by regressor, and the ``'floor'``.
        bodies: Mean distance of vertices in mm by the bodies' name.
        rounds: Distances in mm after each round of a calibration by name; empty without one.
    """

    regressors: dict[str, float]
    bodies: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def from_summary(cls, where: str, summary: Any) -> Truth | None:
        """Read the comparison in the demo's ``summary.json``; None if it has none.

        Args:
            where: The file, for messages.
            summary: The file's content.

        Raises:
            DataError: A field is missing or no number.
        """
        if not isinstance(summary, Mapping) or 'regressor_error_mm' not in summary:
            return None
        try:
            fits, rounds = summary['pseudo_gt'], summary.get('rounds', [])
            names = {'pve_mm': 'vertices of the bodies', 'regressor_error_mm': 'joints of J_opt'}
            return cls(
                {str(k): float(v) for k, v in summary['regressor_error_mm'].items()},
                {
                    'initial fits': float(fits['pve_init_mm']),
                    'refined fits': float(fits['pve_opt_mm']),
                },
                {title: [float(one[name]) for one in rounds] for name, title in names.items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f'{where}: a field is missing or garbled ({error}); "mmjrr demo" writes the file'
            ) from error


@dataclass
class Report:
    """Everything that a report shows.

    Attributes:
        title: The page's title.
        summary: A sentence or two on where the numbers come from.
        evaluations: The tables.
        refinement: Course and results of the refinement; None without one.
        regressors: The regressors by name.
        body_picture: Posed vertices (V, 3) of a body on which weights are drawn, camera frame.
        faces: Triangles (F, 3) of the meshes; None if the body is unknown.
        truth: Distances from the truth; None if it is unknown.
        label_consistency: Consistency of the labels across subjects; None if unknown.
        frames: The gallery, worst first.
        provenance: Where everything comes from, by heading.
        notes: Sentences about what is missing and why.
    """

    title: str
    summary: str = ''
    evaluations: list[Evaluation] = field(default_factory=list)
    refinement: Refinement | None = None
    regressors: dict[str, JointRegressor] = field(default_factory=dict)
    body_picture: FloatArray | None = None
    faces: IndexArray | None = None
    truth: Truth | None = None
    label_consistency: dict[str, Any] | None = None
    frames: list[Frame] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
