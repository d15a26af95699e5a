"""How much of a model's error is the joint regressor's: the yardstick's, not the model's.

A model's meshes are compared with labels through a regressor. Three of them are compared: the one
that the model was reported with, a corrected one, and the one that fits this very model's meshes
best. The last is fitted here, always on other subjects than it is evaluated on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.body_models import SMPL, LazyVertices, VertexMaker
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.predictions import Predictions, match_names
from mmjrr.errors import DataError
from mmjrr.io import atomic_write
from mmjrr.joints import joint_names_of
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import fit_joint_regressor

from .core import needed_joints
from .evaluate_predictions import (
    AnnotatedFrames,
    PredictionsLike,
    body_config,
    evaluate,
    match_part,
    read_parts,
)
from .predicted_body import body_of, check_vertices
from .protocols import Protocol, get_protocol
from .regressed_joints import RegressedJoints, RegressorLike, load_regressors
from .report import EvaluationResult, Score, format_table

FITTED = 'fitted'
_BATCH = 64


@dataclass(frozen=True)
class RegressorShare:
    """What :func:`regressor_share` found; prints as a table and a sentence.

    Args:
        title: what was evaluated.
        protocol: the protocol of all numbers.
        own: name of the regressor that the model was reported with.
        scores: over all and by joint, of each regressor; the fitted one is called 'fitted'.
        frames: evaluated frames.
        folds: for each held-out subject, the frames and subjects that were fitted on, and the
            gap of the fit.
        provenance: checksums, versions.
    """

    title: str
    protocol: Protocol
    own: str
    scores: tuple[Score, ...]
    frames: int
    folds: dict[str, dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def regressors(self) -> list[str]:
        """The regressor of the model first, the fitted one last."""
        return list(dict.fromkeys(score.regressor for score in self.scores))

    def overall(self, regressor: str) -> Score:
        """Score over all frames and joints."""
        return next(s for s in self.scores if (s.regressor, s.by) == (regressor, 'all'))

    def by_joint(self, regressor: str) -> dict[str, Score]:
        """Scores by the joint's name."""
        of_joints = (s for s in self.scores if (s.regressor, s.by) == (regressor, 'joint'))
        return {score.group: score for score in of_joints}

    @property
    def best(self) -> str:
        """The regressor of least MPJPE."""
        return min(self.regressors, key=lambda name: self.overall(name).mpjpe)

    @property
    def share(self) -> float:
        """What part of the MPJPE goes with the best of the regressors; 0 if that is its own.

        A bound from above of what is the regressor's: another one also makes up for what the model
        gets wrong in the same way everywhere.
        """
        own, best = self.overall(self.own).mpjpe, self.overall(self.best).mpjpe
        return (own - best) / own

    def sentence(self) -> str:
        """The result in words."""
        own, fitted = self.overall(self.own).mpjpe, self.overall(FITTED).mpjpe
        best = self.overall(self.best).mpjpe
        fewest = min(fold['frames'] for fold in self.folds.values())
        if self.best == self.own:
            return (
                f'None of the {own:.1f} mm is seen to be of the regressor: none tried does better '
                f'than {self.own}, nor one fitted to these meshes on other subjects than it is '
                f'tried on ({fitted:.1f} mm; {fewest} frames to fit on).'
            )
        pa = [self.overall(name).pa_mpjpe for name in (self.own, self.best)]
        elsewhere = 'fitted to these meshes on other subjects than it is tried on'
        text = (
            f'Up to {own - best:.1f} of the {own:.1f} mm MPJPE ({100 * self.share:.0f} %) are of '
            f'the regressor {self.own}: so much goes with '
            f'{f"one {elsewhere}" if self.best == FITTED else self.best} '
            f'(PA-MPJPE: {pa[0]:.1f} to {pa[1]:.1f} mm). This is an upper bound: what the model '
            'gets wrong in the same way in every pose and subject, another regressor makes up for '
            'too.'
        )
        if self.best != FITTED:
            text += (
                f' One {elsewhere} does worse ({fitted:.1f} mm), with {fewest} frames to fit on; '
                'with more, the bound may rise.'
            )
        return text

    def __str__(self) -> str:
        names = self.regressors
        rows = []
        joints = {name: self.by_joint(name) for name in names}
        for joint in joints[self.own]:
            values = [joints[name][joint].mpjpe for name in names]
            rows.append([joint, *(f'{v:.1f}' for v in values), f'{values[0] - values[-1]:+.1f}'])
        for label, metric in (('MPJPE', 'mpjpe'), ('PA-MPJPE', 'pa_mpjpe')):
            values = [getattr(self.overall(name), metric) for name in names]
            rows.append([label, *(f'{v:.1f}' for v in values), f'{values[0] - values[-1]:+.1f}'])
        title = f'{self.title}: ' if self.title else ''
        caption = (
            f'{title}error by joint and regressor, mm; protocol {self.protocol.name} '
            f'({self.protocol.summary}), {self.frames} frames'
        )
        header = ['Joint', *names, f'{self.own} - {FITTED}']
        return f'{format_table(header, rows, caption)}\n\n{self.sentence()}'

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            'format': 'mmjrr.regressor_share/1',
            'title': self.title,
            'protocol': self.protocol.name,
            'own': self.own,
            'frames': self.frames,
            'unit': 'mm',
            'share': self.share,
            'sentence': self.sentence(),
            'overall': {
                name: dict(
                    mpjpe=self.overall(name).mpjpe,
                    pa_mpjpe=self.overall(name).pa_mpjpe,
                )
                for name in self.regressors
            },
            'joints': {
                name: {joint: score.mpjpe for joint, score in self.by_joint(name).items()}
                for name in self.regressors
            },
            'folds': self.folds,
            'provenance': self.provenance,
        }

    def save(self, path: str | Path) -> Path:
        """Write it as JSON.

        Raises:
            ValueError: the path does not end in ``.json``.
        """
        path = Path(path)
        if path.suffix != '.json':
            raise ValueError(f'{path}: expected a path ending in .json')
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + '\n', encoding='utf-8')
        return path


def regressor_share(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotations: str | Path | H36MFitsDataset,
    own: RegressorLike = 'J_std',
    others: Sequence[RegressorLike] = ('J_opt',),
    protocol: str | dict | Protocol = 'paper',
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    unit: str = 'm',
    match: str = 'name',
    person: str | None = 'nearest',
    gender: str | None = None,
    num_betas: int | None = None,
    metadata: str | Path | None = None,
    title: str = '',
    progress: Callable[[str], None] | None = None,
    **reading: Any,
) -> RegressorShare:
    """Errors of stored predictions under their own, other, and the best fitting regressor.

    The fitted regressor minimises the squared error of aligned joints over the frames of all
    subjects but one (:func:`~mmjrr.regressors.fit_joint_regressor`), and is evaluated on that
    one; each subject is left out in turn.

    Args:
        predictions, annotations, protocol, body_model, unit, match, person, gender, num_betas,
            metadata, title: as :func:`~mmjrr.evaluation.evaluate` takes them; one protocol.
        own: regressor that the model was reported with. Default 'J_std'.
        others: further regressors. Default: J_opt.
        progress: takes a line now and then. Default None.
        reading: ``layout``, ``fields``, ``name_format`` and ``rotation_6d``, likewise.

    Raises:
        FileNotFoundError, DataError, ValueError: as :func:`~mmjrr.evaluation.evaluate`, or where
            predictions are of a single subject.
    """
    say = progress or (lambda line: None)
    protocol = get_protocol(protocol)
    regressors = load_regressors([own, *others])
    own_name = next(iter(regressors))
    if FITTED in regressors:
        raise ValueError(f'a regressor is called {FITTED!r}, as the one fitted here is')
    parts = read_parts(predictions, **reading)
    frames = AnnotatedFrames(annotations, {protocol.name: protocol})
    body = body_config(body_model, regressors)
    for part in parts:
        body = body_of(part, body, gender, num_betas)
    joints = RegressedJoints(regressors, needed_joints({protocol.name: protocol}), body)
    takes = None if metadata is None else read_metadata(metadata).takes
    matched = []
    for part in parts:
        check_vertices(part, joints.num_vertices)
        if num_betas is not None:
            part = part.with_num_betas(num_betas)
        part, rows, _ = match_part(part, frames, match, joints, unit, person, takes)
        there = np.flatnonzero(rows >= 0)
        names = [frames.names[frame] for frame in there]
        matched.append(replace(part.select(rows[there]), imgname=names, gender=None))
    parts = matched
    common = dict(protocol=protocol, unit=unit, body_model=body)

    say('Evaluating under the given regressors')
    given = evaluate(
        parts,
        frames.dataset,
        regressors,
        by=['joint'],
        title=title,
        **common,  # type: ignore[arg-type]
    )
    meshes = _Meshes(parts, frames, body, unit)
    subjects = meshes.subjects
    if len(subjects) < 2:
        raise DataError(
            f'predictions are of {", ".join(subjects) or "no subject"}: at least two subjects are '
            'needed, one to fit on and one to evaluate on'
        )
    folds: dict[str, dict[str, Any]] = {}
    found: list[EvaluationResult] = []
    for held_out in subjects:
        fitted_on = [subject for subject in subjects if subject != held_out]
        say(f'Fitting on {", ".join(fitted_on)}, for {held_out}')
        fit = fit_joint_regressor(
            _Batches(meshes, meshes.of(*fitted_on)),
            joint_names=meshes.joint_names,
            root=protocol.root,
            body_model=next(iter(regressors.values())).body_model,
        )
        folds[held_out] = dict(
            fitted_on=fitted_on, frames=fit.n_frames, gap=fit.dual_gap, rms_mm=1000 * fit.rmse
        )
        found.append(
            evaluate(
                meshes.subset(meshes.of(held_out)),
                frames.dataset,
                {FITTED: fit.regressor},
                by=['joint'],
                **common,  # type: ignore[arg-type]
            )
        )
    return RegressorShare(
        title=title,
        protocol=protocol,
        own=own_name,
        scores=(*given.scores, *_pooled(found)),
        frames=given.frames,
        folds=folds,
        provenance=given.provenance,
    )


class _Meshes:
    """Predicted meshes that have an annotated frame, with its joints."""

    def __init__(
        self,
        parts: list[Predictions],
        frames: AnnotatedFrames,
        body: dict[str, Any] | SMPL | None,
        unit: str,
    ) -> None:
        built = BODY_MODELS.build(dict(body)) if isinstance(body, dict) else body
        self.lazy = None if built is None else VertexMaker(built)
        self.scale = {'m': 1.0, 'mm': 0.001}[unit]
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
        samples = [frames.dataset[int(frame)]['data_samples'] for frame in self.place[:, 2]]
        self.subject = np.array([str(sample.subject) for sample in samples])
        joints = [
            torch.where(sample.keypoints_3d_weight[:, None] > 0, sample.keypoints_3d, torch.nan)
            for sample in samples
        ]
        self.joints = torch.stack(joints) if joints else torch.empty(0)

    @property
    def subjects(self) -> list[str]:
        """Subjects, in order of appearance."""
        return list(dict.fromkeys(self.subject.tolist()))

    def of(self, *subjects: str) -> np.ndarray:
        """Rows of the matches that are of these subjects."""
        return np.flatnonzero(np.isin(self.subject, subjects))

    def subset(self, matches: np.ndarray) -> list[Predictions]:
        """The predictions of these matches, under the frames' names."""
        chosen = []
        place = self.place[matches]
        for number, part in enumerate(self.parts):
            mine = place[place[:, 0] == number]
            if not len(mine):
                continue
            names = [self.names[frame] for frame in mine[:, 2]]
            of_part = replace(part, imgname=names, camera=None, frame=None)
            for name in ('vertices', 'global_orient', 'body_pose', 'betas', 'transl'):
                value = getattr(part, name)
                setattr(of_part, name, None if value is None else value[mine[:, 1]])
            chosen.append(of_part)
        return chosen

    def batch(self, matches: np.ndarray) -> tuple[torch.Tensor | LazyVertices, torch.Tensor]:
        """Vertices (n, V, 3) and joints (n, J, 3), metres; NaN where a joint is missing."""
        part = self.parts[self.place[matches[0], 0]]
        rows = self.place[matches, 1]
        joints = self.joints[torch.from_numpy(matches)]
        if part.vertices is not None:
            return torch.from_numpy(part.vertices[rows]) * self.scale, joints
        assert self.lazy is not None
        parameters = {
            name: getattr(part, name)[rows] for name in ('global_orient', 'body_pose', 'betas')
        }
        if part.transl is not None:
            parameters['transl'] = part.transl[rows] * self.scale
        return self.lazy(**parameters), joints


class _Batches:
    """Batches for the solver, as often as they are gone through; each of one part."""

    def __init__(self, meshes: _Meshes, matches: np.ndarray) -> None:
        self.meshes = meshes
        parts = meshes.place[matches, 0]
        self.matches = [matches[parts == part] for part in np.unique(parts)]

    def __iter__(self) -> Iterator[tuple[torch.Tensor | LazyVertices, torch.Tensor]]:
        for matches in self.matches:
            for start in range(0, len(matches), _BATCH):
                yield self.meshes.batch(matches[start : start + _BATCH])


def _pooled(results: Sequence[EvaluationResult]) -> list[Score]:
    """Means over the frames of all results, from their means and numbers of frames."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for result in results:
        for score in result.scores:
            groups.setdefault((score.by, score.group), []).append(score)
    pooled = []
    for scores in groups.values():
        frames = sum(score.frames for score in scores)
        means = {
            metric: sum(score.frames * getattr(score, metric) for score in scores if score.frames)
            / max(frames, 1)
            for metric in ('mpjpe', 'pa_mpjpe')
        }
        pooled.append(replace(scores[0], frames=frames, **means))
    return pooled
