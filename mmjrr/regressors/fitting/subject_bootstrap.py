"""Bootstrap over subjects of the joints of a fitted regressor.

A regressor that is fitted to few subjects depends on which they are. The bootstrap measures how
much: it draws subjects with replacement and fits the regressor to those drawn; a subject that is
drawn twice counts twice (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). The normal
equations of each subject are accumulated once; no fit reads the frames again. Candidate vertices
are those with nonzero weight in the fits to all subjects and to all but one, and those of steepest
descent there.

A joint that is labeled for one subject only says nothing about other subjects, and a draw says
nothing about a joint that none of its subjects has. Both are NaN.

With S subjects there are few different draws (126 for five), and intervals over so few subjects are
rough: they tell the size of the uncertainty, not its tails. A bootstrap's variance is (S - 1) / S
of the usual estimate: of normally distributed subjects, a radius of 95 % for five covers the error
in about 85 % of cases. An error that all subjects share is in no radius.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmjrr.array_types import BoolArray, FloatArray, IndexArray
from mmjrr.regressors.fitting.fit import find_bad_frames
from mmjrr.regressors.fitting.label_offsets_fit import GroupedBatch, GroupedFrames
from mmjrr.regressors.fitting.normal_equations import (
    NormalEquations,
    accumulate_normal_equations,
)
from mmjrr.regressors.fitting.objective import evaluate_objective
from mmjrr.regressors.fitting.offset_equations import GroupedStream
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.simplex_qp import solve_simplex_qp
from mmjrr.regressors.joint_regressor import JointRegressor

#: Number of vertices of steepest descent selected per row.
_COLUMNS = 24


@dataclass(frozen=True)
class SubjectBootstrap:
    """Joints of regressors fitted to drawn subjects, on one mesh.

    Attributes:
        joint_names: Names of the J joints.
        joints: (J, 3) joints of the regressor fitted to all subjects, meters.
        replicates: (B, J, 3) joints of the regressors fitted to drawn subjects; NaN where none of
            these has the joint, and for joints that fewer than two subjects have.
        n_subjects: Number of subjects.
    """

    joint_names: tuple[str, ...]
    joints: FloatArray
    replicates: FloatArray
    n_subjects: int

    def interval(self, confidence_level: float = 0.95) -> FloatArray:
        """Return the percentile intervals (J, 3, 2) of the coordinates, meters; NaN if unknown."""
        tail = 50 * (1 - confidence_level)
        return np.moveaxis(_percentiles(self.replicates, [tail, 100 - tail]), 0, -1)

    def radius(self, confidence_level: float = 0.95) -> FloatArray:
        """Return the distance (J,) within which this share of the replicates lies, meters.

        NaN for a joint that fewer than two subjects have.
        """
        distance = np.linalg.norm(self.replicates - self.joints, axis=-1)
        return _percentiles(distance, [100 * confidence_level])[0]


def bootstrap_over_subjects(
    batches: Iterable[GroupedBatch],
    regressor: JointRegressor,
    mesh: torch.Tensor,  # (V, 3), meters
    root: str | None = 'pelvis',
    *,
    bad_frames: Mapping[int, str] | None = None,
    n_resamples: int = 199,
    random_state: int = 0,
    tol: float = 1e-4,
    max_iter: int = 20000,
    max_bytes: int = 4 * 2**30,
) -> SubjectBootstrap:
    """Bootstrap the joints of a regressor over the subjects that it is fitted to.

    Args:
        batches: The frames of the fit; the part rotations are not used. They are traversed several
            times.
        regressor: The regressor fitted to all of them.
        mesh: Vertices on which joints are compared, such as the body's template.
        root: How frames are aligned, as in :func:`~mmjrr.regressors.fit_joint_regressor`. With an
            alignment, joints are compared relative to their mean.
        bad_frames: Frames to leave out, by their number, as the fit lists them. Default: None,
            those that a fit would exclude.
        n_resamples: Number of draws. Default: 199.
        random_state: Seed. Default: 0.
        tol: Relative dual gap of the fits to drawn subjects. Default: 1e-4.
        max_iter: Largest number of linear systems of each fit. Default: 20000.
        max_bytes: Limit on the memory of each subject's Gram matrices. Default: 4 GiB.

    Raises:
        ValueError: There are fewer than two subjects, or a batch is invalid.
    """
    names = regressor.joint_names
    frames = GroupedFrames(batches, [0] * len(names))
    stream = GroupedStream(frames, names, root)
    if bad_frames is None:
        bad_frames = find_bad_frames(stream, max_iter)
    stream.bad_frames = dict(bad_frames)
    start = regressor.weight.double().cpu().numpy()
    full = evaluate_objective(stream, start)  # numbers the subjects
    n_subjects = len(frames.subjects)
    if n_subjects < 2:
        raise ValueError(f'subjects: found {frames.subjects}, expected at least two')
    subject = frames.subject_of_sequence
    chosen = [np.nonzero(start.any(0))[0], _steepest(full.gradient)]
    for s in range(n_subjects):  # gradients of the other subjects' frames
        stream.selected_sequences = subject != s
        chosen.append(_steepest(evaluate_objective(stream, start, False).gradient))
    columns = np.unique(np.concatenate(chosen))
    parts = []
    for s in range(n_subjects):
        stream.selected_sequences = subject == s
        parts.append(
            accumulate_normal_equations(
                stream, max_bytes, torch.from_numpy(columns), require_all_joints=False
            )
        )
    order = np.argsort(frames.subjects, kind='stable')  # draws do not depend on the frames' order
    parts = [parts[i] for i in order]
    is_labeled = np.stack([_labeled_joints(part, len(names)) for part in parts])  # (S, J)
    rng = np.random.default_rng(random_state)
    draws = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), n_resamples)
    points = mesh.double().cpu().numpy()
    joints: FloatArray = start @ points
    if root is not None:
        joints = joints - joints.mean(0)

    def joints_of(counts: IndexArray) -> FloatArray:
        known = is_labeled[counts > 0].any(0) & (is_labeled.sum(0) >= 2)
        if not known.any():
            return np.full(joints.shape, np.nan)
        weight = np.zeros_like(start)
        weight[:, columns] = solve_simplex_qp(
            QuadraticObjective(_drawn(parts, counts)), tol, max_iter, start[:, columns]
        ).weight
        drawn: FloatArray = weight @ points
        if root is not None:
            drawn = drawn - (drawn - joints)[known].mean(0)
        return np.where(known[:, None], drawn, np.nan)

    joints_by_draw: dict[bytes, FloatArray] = {}
    for counts in draws:
        if counts.tobytes() not in joints_by_draw:
            joints_by_draw[counts.tobytes()] = joints_of(counts)
    replicates = np.stack([joints_by_draw[counts.tobytes()] for counts in draws])
    return SubjectBootstrap(names, joints, replicates, n_subjects)


def _labeled_joints(equations: NormalEquations, num_joints: int) -> BoolArray:
    """Return which joints (J,) have weight in some usable frame; the root joint, if any has."""
    labeled = np.zeros(num_joints, dtype=bool)
    labeled[:] = equations.counts.total_weight > 0
    if isinstance(equations.root, int):
        labeled[equations.root] = labeled.any()
    return labeled


def _percentiles(values: FloatArray, percents: Sequence[float]) -> FloatArray:
    """Return percentiles over the first axis without NaN; NaN where all values are NaN."""
    unknown = np.isnan(values).all(0)
    result: FloatArray = np.nanpercentile(np.where(unknown, 0.0, values), percents, axis=0)
    return np.where(unknown, np.nan, result)


def _steepest(gradient: FloatArray) -> IndexArray:
    return np.unique(np.argsort(gradient, axis=1, kind='stable')[:, :_COLUMNS])


def _drawn(parts: Sequence[NormalEquations], counts: IndexArray) -> NormalEquations:
    """Return the sums of subjects that are drawn some number of times; sums are not copied."""
    patterns = [
        replace(pattern, joint_weight=int(count) * pattern.joint_weight)
        for part, count in zip(parts, counts, strict=True)
        for pattern in part.patterns
        if count
    ]
    return NormalEquations(parts[0].root, patterns, parts[0].counts)
