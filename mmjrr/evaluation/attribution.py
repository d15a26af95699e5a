"""Measurement of the part of a model's error that is due to the joint regressor, not to its meshes.

A regressor computes joints from a model's meshes, which are compared with annotated joints. Errors
are compared under three kinds of regressors: the original one, with which the model was reported;
corrected ones; and one fitted to this model's meshes, always on other subjects than those that it
is evaluated on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL, LazyVertices, VertexMaker
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.predictions import Predictions, match_names
from mmjrr.datasets.units import meters_per
from mmjrr.errors import DataError
from mmjrr.io import write_json
from mmjrr.io.paths import check_suffix
from mmjrr.joints import joint_names_of
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import fit_joint_regressor

from .annotated_frames import AnnotatedFrames
from .body_matching import check_match, match_part
from .carried_regressors import MappingLike
from .carried_remarks import carried_remarks
from .core import needed_joints
from .evaluate_predictions import PredictionsLike, evaluate, read_parts, regressors_and_body
from .predicted_body import body_parameters, check_same_body, check_vertices
from .protocols import FrameErrors, Protocol, frame_errors, get_protocol
from .regressed_frames import RegressedFrames
from .regressed_joints import RegressedJoints, RegressorLike, load_regressors
from .result import Score, format_table, score_frames

FITTED = 'fitted'
FORMAT = 'mmjrr.attribution/1'
_BATCH = 64
#: Number of frames whose errors are computed at once.
_PIECE = 2048


@dataclass(frozen=True)
class Attribution:
    """The regressor-attributable part of an error; ``str`` returns a table and a sentence.

    Attributes:
        title: Name of the evaluated predictions.
        protocol: The protocol of all numbers.
        original: Name of the regressor with which the model was reported.
        scores: Scores of each regressor over all frames and by joint; the fitted regressor is
            called 'fitted'.
        frames: Number of evaluated frames.
        folds: For each held-out subject, the subjects and the number of frames of the fit, its dual
            gap, and its root mean square error in mm.
        provenance: Checksums and versions.
    """

    title: str
    protocol: Protocol
    original: str
    scores: tuple[Score, ...]
    frames: int
    folds: dict[str, dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def regressors(self) -> list[str]:
        """Names of the regressors, the original one first and the fitted one last."""
        return list(dict.fromkeys(score.regressor for score in self.scores))

    def overall(self, regressor: str) -> Score:
        """Return the score over all frames and joints."""
        return next(s for s in self.scores if (s.regressor, s.by) == (regressor, 'all'))

    def by_joint(self, regressor: str) -> dict[str, Score]:
        """Return the scores of a regressor by joint name."""
        scores = (s for s in self.scores if (s.regressor, s.by) == (regressor, 'joint'))
        return {score.group: score for score in scores}

    @property
    def best(self) -> str:
        """Name of the regressor with the lowest MPJPE."""
        return min(self.regressors, key=lambda name: self.overall(name).mpjpe)

    @property
    def fraction(self) -> float:
        """Fraction of the MPJPE that the best regressor removes; 0 if the original is the best.

        It is an upper bound of the fraction that is due to the original regressor, because another
        regressor also compensates for errors that the model makes in all frames alike.
        """
        original, best = self.overall(self.original).mpjpe, self.overall(self.best).mpjpe
        return (original - best) / original

    def sentence(self) -> str:
        """Summarize the result in one or two sentences."""
        original, fitted = self.overall(self.original).mpjpe, self.overall(FITTED).mpjpe
        frames = min(fold['frames'] for fold in self.folds.values())
        tested = 'fitted to these meshes and tested on held-out subjects'
        if self.best == self.original:
            return (
                f'No tested regressor improves on {self.original}, so none of the '
                f'{original:.1f} mm error is attributed to it (a regressor {tested} has '
                f'{fitted:.1f} mm, with {frames} frames to fit to).'
            )
        removed = original - self.overall(self.best).mpjpe
        pa = [self.overall(name).pa_mpjpe for name in (self.original, self.best)]
        text = (
            f'Up to {removed:.1f} mm ({100 * self.fraction:.0f} %) of the {original:.1f} mm MPJPE '
            f'is due to the regressor {self.original}: '
            f'{f"a regressor {tested}" if self.best == FITTED else self.best} removes that much '
            f'(PA-MPJPE: {_text(pa[0])} to {_text(pa[1])} mm). This is an upper bound: a regressor '
            'also compensates for what the model gets wrong in the same way in every pose and '
            'subject.'
        )
        if self.best != FITTED:
            text += (
                f' A regressor {tested} does worse ({fitted:.1f} mm), with {frames} frames to fit '
                'to; with more, the bound may rise.'
            )
        return text

    def __str__(self) -> str:
        names = self.regressors
        rows = []
        joints = {name: self.by_joint(name) for name in names}
        for joint in joints[self.original]:
            values = [joints[name][joint].mpjpe for name in names]
            rows.append([joint, *map(_text, values), _text(values[0] - values[-1], '+.1f')])
        for label, metric in (('MPJPE', 'mpjpe'), ('PA-MPJPE', 'pa_mpjpe')):
            values = [getattr(self.overall(name), metric) for name in names]
            rows.append([label, *map(_text, values), _text(values[0] - values[-1], '+.1f')])
        title = f'{self.title}: ' if self.title else ''
        caption = (
            f'{title}error by joint and regressor, mm; protocol {self.protocol.name} '
            f'({self.protocol.summary}), {self.frames} frames'
        )
        header = ['Joint', *names, f'{self.original} - {FITTED}']
        about = self.provenance.get('regressors', {})
        remarks = [
            remark
            for name in names
            for remark in carried_remarks(name, about.get(name, {}).get('provenance', {}))
        ]
        return '\n\n'.join([format_table(header, rows, caption), self.sentence(), *remarks])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict of JSON values, with None for a joint without an MPJPE."""
        return {
            'format': FORMAT,
            'title': self.title,
            'protocol': self.protocol.name,
            'original': self.original,
            'frames': self.frames,
            'unit': 'mm',
            'fraction': self.fraction,
            'sentence': self.sentence(),
            'overall': {
                name: dict(
                    mpjpe=self.overall(name).mpjpe,
                    pa_mpjpe=self.overall(name).pa_mpjpe,
                )
                for name in self.regressors
            },
            'joints': {
                name: {
                    joint: None if np.isnan(score.mpjpe) else score.mpjpe
                    for joint, score in self.by_joint(name).items()
                }
                for name in self.regressors
            },
            'folds': self.folds,
            'provenance': self.provenance,
        }

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON and return the path.

        Raises:
            ValueError: The path does not end in ``.json``.
        """
        path = check_suffix(path, '.json')
        write_json(path, self.to_dict())
        return path


def attribute_error(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotations: str | Path | H36MFitsDataset,
    original: RegressorLike = 'J_std',
    corrected: Sequence[RegressorLike] = ('J_opt',),
    protocol: str | dict[str, Any] | Protocol = 'paper',
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    unit: str = 'm',
    match: str = 'name',
    person: str | None = 'nearest',
    gender: str | None = None,
    num_betas: int | None = None,
    metadata: str | Path | None = None,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
    title: str = '',
    progress: Callable[[str], None] | None = None,
    **reading: Any,
) -> Attribution:
    """Compare errors under the original, corrected and fitted regressors.

    The fitted regressor minimizes the squared error of aligned joints over the frames of all
    subjects but one (:func:`~mmjrr.regressors.fit_joint_regressor`), and is evaluated on the
    subject that was held out. Each subject is held out in turn.

    Args:
        predictions, annotations, protocol, body_model, unit, match, person, gender, num_betas,
            metadata, mapping, faces, title: as in :func:`~mmjrr.evaluation.evaluate`, but a single
            protocol.
        original: The regressor with which the model was reported. Default: 'J_std'.
        corrected: Further regressors. Default: J_opt.
        progress: A function that takes a line at each step. Default: None.
        reading: ``layout``, ``fields``, ``name_format`` and ``rotation_6d``, as in
            :func:`~mmjrr.evaluation.evaluate`.

    Raises:
        FileNotFoundError, DataError, ValueError: As in :func:`~mmjrr.evaluation.evaluate`.
        DataError: The predictions show fewer than two subjects.
        ValueError: An original or corrected regressor is called 'fitted'.
    """
    check_match(match)
    report = progress or (lambda line: None)
    protocol = get_protocol(protocol)
    regressors = load_regressors([original, *corrected])
    original_name = next(iter(regressors))
    if FITTED in regressors:
        raise ValueError(f'a regressor is called {FITTED!r}, as the one fitted here is')
    parts = read_parts(predictions, **reading)
    frames = AnnotatedFrames(annotations, {protocol.name: protocol})
    regressors, body = regressors_and_body(
        parts[0], regressors, body_model, gender, num_betas, mapping, faces
    )
    for part in parts[1:]:
        check_same_body(part, body, gender, num_betas)
    joints = RegressedJoints(regressors, needed_joints({protocol.name: protocol}), body)
    takes = None if metadata is None else read_metadata(metadata).takes
    matched = []
    for part in parts:
        check_vertices(part, joints.num_vertices)
        if num_betas is not None:
            part = part.with_num_betas(num_betas)
        part, rows, _ = match_part(part, frames, match, joints, unit, person, takes)
        matched_frames = np.flatnonzero(rows >= 0)
        names = [frames.names[frame] for frame in matched_frames]
        matched.append(replace(part.select(rows[matched_frames]), imgname=names, gender=None))
    parts = matched
    common: dict[str, Any] = dict(protocol=protocol, unit=unit, body_model=body)

    report('Evaluating under the original and corrected regressors')
    loaded = evaluate(
        parts,
        frames.dataset,
        regressors,
        by=['joint'],
        title=title,
        **common,
    )
    meshes = _Meshes(parts, frames, body, unit)
    subjects = meshes.subjects
    if len(subjects) < 2:
        raise DataError(
            f'predictions are of {", ".join(subjects) or "no subject"}: at least two subjects are '
            'needed, one to fit to and one to evaluate on'
        )
    folds: dict[str, dict[str, Any]] = {}
    errors: list[FrameErrors] = []
    for held_out in subjects:
        fitted_on = [subject for subject in subjects if subject != held_out]
        report(f'Fitting on {", ".join(fitted_on)}, for {held_out}')
        fit = fit_joint_regressor(
            _Batches(meshes, meshes.of(*fitted_on)),
            joint_names=meshes.joint_names,
            root=protocol.root if isinstance(protocol.root, str | None) else 'mean',
            body_model=next(iter(regressors.values())).body_model,
        )
        folds[held_out] = dict(
            fitted_on=fitted_on, frames=fit.n_frames, gap=fit.dual_gap, rms_mm=1000 * fit.rmse
        )
        tested = evaluate(
            meshes.subset(meshes.of(held_out)),
            frames.dataset,
            {FITTED: fit.regressor},
            by=[],
            keep_joints=True,
            **common,
        )
        assert tested.regressed is not None
        errors += _frame_errors(tested.regressed, protocol)
    return Attribution(
        title=title,
        protocol=protocol,
        original=original_name,
        scores=(*loaded.scores, *_scores_of(errors, protocol)),
        frames=loaded.frames,
        folds=folds,
        provenance=loaded.provenance,
    )


class _Meshes:
    """Predicted meshes of counted frames, each matched with the annotated joints of its frame."""

    def __init__(
        self,
        parts: list[Predictions],
        frames: AnnotatedFrames,
        body: dict[str, Any] | SMPL | None,
        unit: str,
    ) -> None:
        built = BODY_MODELS.build(dict(body)) if isinstance(body, dict) else body
        self.vertex_maker = None if built is None else VertexMaker(built)
        self.scale = meters_per(unit)
        self.parts = parts
        self.names = frames.names
        self.joint_names = joint_names_of(frames.dataset.metainfo['joint_order'])
        place = []  # part, its row, frame
        for number, part in enumerate(parts):
            assert part.imgname is not None
            rows = match_names(part.imgname, frames.names, part.name)
            rows = np.where(frames.counted, rows, -1)
            place += [(number, int(row), frame) for frame, row in enumerate(rows) if row >= 0]
        self.place = np.array(place, dtype=np.int64).reshape(-1, 3)
        matched = self.place[:, 2].tolist()
        self.subject = np.array([frames.labels[frame]['subject'] for frame in matched])
        self.joints = torch.empty(0)
        if matched:
            joints, weight = frames.joints(matched, self.joint_names)
            joints = np.where(weight[..., None] > 0, joints, np.nan)
            self.joints = torch.from_numpy(joints.astype(np.float32))

    @property
    def subjects(self) -> list[str]:
        """Subjects, in order of appearance."""
        return list(dict.fromkeys(self.subject.tolist()))

    def of(self, *subjects: str) -> Array:
        """Return the indices of the matches of these subjects."""
        return np.flatnonzero(np.isin(self.subject, subjects))

    def subset(self, matches: Array) -> list[Predictions]:
        """Return the predictions of some matches, named by their frames."""
        subset = []
        place = self.place[matches]
        for number, part in enumerate(self.parts):
            part_place = place[place[:, 0] == number]
            if not len(part_place):
                continue
            names = [self.names[frame] for frame in part_place[:, 2]]
            selected = replace(part, camera=None, frame=None).select(part_place[:, 1])
            subset.append(replace(selected, imgname=names))
        return subset

    def batch(self, matches: Array) -> tuple[torch.Tensor | LazyVertices, torch.Tensor]:
        """Return vertices (n, V, 3) and annotated joints (n, J, 3) in meters.

        All matches must be of the same part. Joints that are not annotated are NaN.
        """
        part = self.parts[self.place[matches[0], 0]]
        rows = self.place[matches, 1]
        joints = self.joints[torch.from_numpy(matches)]
        if part.vertices is not None:
            return torch.from_numpy(part.vertices[rows]) * self.scale, joints
        assert self.vertex_maker is not None
        chosen = part.select(rows)
        parameters = body_parameters(chosen, self.vertex_maker.body, self.scale)
        return self.vertex_maker(**parameters), joints


class _Batches:
    """Re-iterable batches for the fit, each of a single part."""

    def __init__(self, meshes: _Meshes, matches: Array) -> None:
        self.meshes = meshes
        parts = meshes.place[matches, 0]
        self.matches = [matches[parts == part] for part in np.unique(parts)]

    def __iter__(self) -> Iterator[tuple[torch.Tensor | LazyVertices, torch.Tensor]]:
        for matches in self.matches:
            for start in range(0, len(matches), _BATCH):
                yield self.meshes.batch(matches[start : start + _BATCH])


def _frame_errors(frames: RegressedFrames, protocol: Protocol) -> Iterator[FrameErrors]:
    """Yield the errors of the frames under their only regressor in mm, piece by piece."""
    for start in range(0, len(frames), _PIECE):
        rows = slice(start, start + _PIECE)
        yield frame_errors(
            1000 * frames.joints[rows, 0],
            1000 * frames.target[rows],
            frames.joint_names,
            protocol,
            frames.weight[rows],
        )


def _scores_of(pieces: Sequence[FrameErrors], protocol: Protocol) -> list[Score]:
    """Average the errors of the fitted regressors over the frames of all held-out subjects."""
    names = ('mpjpe', 'pa_mpjpe', 'joints', 'pa_joints', 'n_mpjpe')
    errors = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    return score_frames(FITTED, protocol, FrameErrors(**errors), {})


def _text(value: float, form: str = '.1f') -> str:
    """Format a number of millimeters; a dash if it is undefined."""
    return '–' if np.isnan(value) else f'{value:{form}}'
