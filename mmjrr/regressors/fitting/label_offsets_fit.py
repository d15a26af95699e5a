"""Fit of a regressor together with label offsets of each subject and joint.

The problem (:mod:`~mmjrr.regressors.fitting.offset_equations`) is convex. The offsets are
eliminated exactly, so that the quadratic program is of the same kind as without offsets:

1. Fit a regressor without offsets, which also excludes bad frames. Vertices near a regressed
   joint are the candidates of its row (``max_vertex_distance``).
2. Select columns: its vertices with nonzero weight, and in each row those of steepest descent.
3. Accumulate the sums of these columns in a pass over all frames, minimize over the weights with
   the offsets eliminated, and compute the best offsets.
4. Evaluate objective and gradient over all candidates in another pass. Since the offsets are the
   best ones for these weights, the dual gap of the weights bounds the distance from the joint
   minimum. While it exceeds ``tol``, add the vertices of steepest descent and go to step 3.
5. Repeat step 3 without each of a number of groups of sequences, which gives the covariance of the
   offsets (:mod:`~mmjrr.regressors.fitting.jackknife`). Each repetition reads the frames of one
   group only, whose sums are subtracted from those of all.
6. Test each offset, and fit the regressor again to labels from which the significant offsets are
   subtracted. All vertices are candidates of this fit.

Vertices far from a joint say how a subject's shape differs from others', so with them a regressor
can imitate a part of the subjects' offsets, which is then missing from these.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import BoolArray, FloatArray, IndexArray
from mmjrr.body_models import LazyVertices
from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of
from mmjrr.regressors.fitting.fit import (
    BadFrameWarning,
    ConvergenceWarning,
    JointRegressorFit,
    fit_joint_regressor,
    warn_of_bad_frames,
)
from mmjrr.regressors.fitting.jackknife import (
    JackknifeCovariance,
    deal_sequences,
    dof_of_differences,
    dof_of_means,
)
from mmjrr.regressors.fitting.normal_equations import NormalEquations, PatternEquations
from mmjrr.regressors.fitting.objective import evaluate_objective, relative_dual_gap
from mmjrr.regressors.fitting.offset_equations import (
    GroupedStream,
    OffsetEquations,
    accumulate_offset_equations,
)
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.screening import describe_outliers
from mmjrr.regressors.fitting.simplex_qp import gradient_at_candidates, solve_simplex_qp
from mmjrr.regressors.fitting.stream import as_tensor
from mmjrr.regressors.joint_regressor import JointRegressor
from mmjrr.regressors.label_offsets import LabelOffsets, part_index_of

#: Number of vertices of steepest descent selected per row, first and in later rounds.
_FIRST_COLUMNS = 48
_FURTHER_COLUMNS = 8

#: Relative gap of restricted fits, as a multiple of ``tol``.
_RESTRICTED_TOL = 0.3

#: Largest number of rounds of steps 3 and 4.
_MAX_ROUNDS = 20

#: Number of frames on which distances of vertices from joints are measured.
_DISTANCE_FRAMES = 128


@dataclass(frozen=True)
class GroupedBatch:
    """Frames with their subjects and sequences.

    Attributes:
        vertices: (N, V, 3) meters, also lazy.
        joints: (N, J, 3) labels, meters, in the same frame; NaN where missing.
        rotations: (N, K, 3, 3) rotations of the body's joints from the rest pose to that frame
            (:func:`mmjrr.regressors.label_offsets.part_rotations`).
        subjects: N names.
        sequences: N names. Errors of frames of one subject and sequence may be correlated, so
            views of the same moments belong to one sequence.
        sample_weight: (N, J) joint weights. Default: None, ones.
    """

    vertices: Tensor | LazyVertices
    joints: Tensor
    rotations: Tensor
    subjects: Sequence[str]
    sequences: Sequence[str]
    sample_weight: Tensor | None = None


@dataclass(frozen=True)
class LabelOffsetsEstimate:
    """Estimated label offsets and their tests. S subjects are sorted by name.

    Attributes:
        offsets: Significant offsets; zero where not significant.
        estimates: (S, J, 3) all offsets, meters, in the frame of the carrying part; zero where
            there is none.
        has_offset: (S, J) whether there is an offset: the subject has labels of the joint, which is
            not the root; for offsets from a mean over subjects, another subject has labels too.
        covariance: (S, J, 3, 3) of ``estimates``, square meters, with errors clustered by sequence.
            Only meaningful where ``dof`` is positive.
        dof: (S, J) degrees of freedom of ``covariance``; zero where the variance is unknown.
        pvalues: (S, J) of the hypothesis that an offset is zero; NaN where it cannot be tested.
        adjusted_pvalues: (S, J) after Holm's correction over all tests.
        significant: (S, J) whether the adjusted p-value is at most ``alpha`` and the offset at
            least ``min_offset``.
        n_frames: (S,) number of frames of each subject that are used.
        n_sequences: (S,) number of sequences of each subject.
        n_groups: (S, J) number of groups of sequences with labels of a subject and joint; zero at
            the root. A group is a sequence, unless a subject has more than 20.
    """

    offsets: LabelOffsets
    estimates: FloatArray
    has_offset: BoolArray = field(repr=False)
    covariance: FloatArray = field(repr=False)
    dof: FloatArray = field(repr=False)
    pvalues: FloatArray = field(repr=False)
    adjusted_pvalues: FloatArray = field(repr=False)
    significant: BoolArray
    n_frames: IndexArray
    n_sequences: IndexArray
    n_groups: IndexArray = field(repr=False)

    @property
    def is_tested(self) -> BoolArray:
        """Whether each offset (S, J) could be tested."""
        return ~np.isnan(self.pvalues)

    @property
    def standard_error(self) -> FloatArray:
        """Standard errors (S, J, 3) of ``estimates``, meters; NaN where ``dof`` is zero."""
        error = np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))
        return np.where(self.dof[..., None] > 0, error, np.nan)


@dataclass(frozen=True)
class LabelOffsetsFit(LabelOffsetsEstimate):
    """Result of :func:`fit_label_offsets`: offsets whose means over subjects are zero, and fits.

    A subject that has a joint in a single group of sequences is not part of that mean
    (:mod:`~mmjrr.regressors.fitting.jackknife`). Its own offset is a difference from the mean of
    the others.

    Attributes:
        fit: Regressor fit to labels from which the significant offsets are subtracted.
        fit_without_offsets: Regressor fit to the labels as they are.
        rmse: Root mean square error of the joint fit, meters, over all joints but the root.
        dual_gap: Upper bound of ``(f - min f) / f`` of the joint fit.
        n_iter: Number of linear systems solved in the joint fit.
        converged: Whether ``dual_gap`` reached the tolerance.
    """

    fit: JointRegressorFit
    fit_without_offsets: JointRegressorFit
    rmse: float
    dual_gap: float
    n_iter: int
    converged: bool


def fit_label_offsets(
    batches: Iterable[GroupedBatch],
    joint_names: str | Sequence[str] | None = None,
    root: str | None = 'pelvis',
    *,
    alpha: float = 0.01,
    min_offset: float = 0.005,
    max_vertex_distance: float = 0.2,
    parts: Mapping[str, str] | None = None,
    body_model: str = 'smpl',
    vertex_ids: Tensor | Sequence[int] | None = None,
    tol: float = 1e-6,
    max_iter: int = 20000,
    max_bytes: int = 4 * 2**30,
    on_bad_frame: str = 'skip',
    provenance: dict[str, Any] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> LabelOffsetsFit:
    """Fit regressor and label offsets together, and test which offsets are significant.

    Memory does not grow with the number of frames, only with that of sequences (about 10 kB each).

    Args:
        batches: Frames; they are traversed several times, so an iterator is not accepted.
        joint_names: Names of the joints, or of an order. Default: MMPose's 17 joints.
        root: Removal of each frame's translation: the name of a joint, which then has no offsets,
            or None for frames with a known translation. ``'mean'`` is not supported: it would
            spread each offset over all joints. Default: ``'pelvis'``.
        alpha: Significance level of the tests, after Holm's correction. Default: 0.01.
        min_offset: Length below which offsets are not significant, meters. Default: 0.005.
        max_vertex_distance: Distance from a joint of ``fit_without_offsets``, root mean square over
            frames, beyond which vertices get no weight in the joint fit, meters. The nearest vertex
            may always get weight. ``inf``: no limit. ``fit`` has no limit. Default: 0.2.
        parts: Name of the SMPL joint whose rotation turns the part that carries a joint, by joint
            name. Default: :data:`mmjrr.regressors.label_offsets.CARRYING_PARTS`.
        body_model: Name of the body. Default: ``'smpl'``.
        vertex_ids: Vertices that may get nonzero weight. Default: None, all.
        tol: Relative dual gap to reach. Default: 1e-6.
        max_iter: Largest number of linear systems to solve. Default: 20000.
        max_bytes: Limit on the memory of the Gram matrices. Default: 4 GiB.
        on_bad_frame: ``'skip'`` or ``'raise'``, as in
            :func:`~mmjrr.regressors.fit_joint_regressor`. Default: ``'skip'``.
        provenance: Description of the data, kept with the regressors and the offsets. Default:
            None.
        progress: Function called with the name of a pass and the number of frames read in it.
            Default: None.

    Warns:
        ConvergenceWarning: The fit does not reach ``tol``; ``converged`` is False.
        BadFrameWarning: Frames are excluded.

    Raises:
        ValueError: An argument or a batch is invalid, there are no frames, a joint is missing from
            all of them, or there are fewer than two subjects.
        MemoryError: The patterns of joint weights need more than ``max_bytes``.
    """
    if isinstance(batches, Iterator):
        raise ValueError('batches: found an iterator, expected an iterable such as a list')
    if root == 'mean':
        raise ValueError("root: found 'mean', expected the name of a joint or None")
    _check_test(alpha, min_offset)
    if not max_vertex_distance > 0:
        raise ValueError(
            f'max_vertex_distance: found {max_vertex_distance}, expected a positive number'
        )
    names = joint_names_of(H36M_JOINTS_MMPOSE if joint_names is None else joint_names)
    frames = GroupedFrames(batches, part_index_of(names, parts))
    options: dict[str, Any] = dict(
        body_model=body_model, vertex_ids=vertex_ids, tol=tol, max_iter=max_iter,
        max_bytes=max_bytes, on_bad_frame=on_bad_frame, provenance=provenance, progress=progress,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', BadFrameWarning)  # the last fit warns
        without = fit_joint_regressor(WithoutGroups(frames), names, root, **options)
    if len(frames.subjects) < 2:
        raise ValueError(f'subjects: found {frames.subjects}, expected at least two')

    stream = GroupedStream(frames, names, root, vertex_ids, 'skip', progress)
    stream.bad_frames = dict(without.bad_frames)
    group = deal_sequences(frames.subject_of_sequence, frames.sequence_order)
    joint = _fit_jointly(
        stream, frames, group, without, max_vertex_distance, tol, max_iter, max_bytes
    )
    covariance = _jackknife(stream, frames, group, joint, tol, max_iter, max_bytes)
    n_frames, has_labels = joint.equations.n_frames, joint.equations.has_labels
    has_offset = has_labels.any(0) & (has_labels.any(0).sum(0) >= 2)
    tested = _test(
        frames, joint.offsets, has_offset, covariance, n_frames, has_labels, names, parts, alpha,
        min_offset,
    )  # fmt: skip
    converged = bool(joint.dual_gap <= tol)
    if not converged:
        warnings.warn(
            f'fit_label_offsets stopped after {joint.n_iter} iterations at a relative dual gap of '
            f'{joint.dual_gap:.2e}, above tol={tol:.2e}',
            ConvergenceWarning,
            stacklevel=2,
        )
    fit = fit_joint_regressor(WithoutGroups(frames, tested.offsets), names, root, **options)
    test = dict(alpha=alpha, min_offset=min_offset, n_significant=int(tested.significant.sum()))
    tested.offsets.provenance.update(root=root, **test, **(provenance or {}))
    fit.regressor.provenance['label_offsets'] = test
    return LabelOffsetsFit(
        **vars(tested),
        fit=fit,
        fit_without_offsets=without,
        rmse=joint.rmse,
        dual_gap=joint.dual_gap,
        n_iter=joint.n_iter,
        converged=converged,
    )


def estimate_label_offsets(
    batches: Iterable[GroupedBatch],
    regressor: JointRegressor,
    root: str | None = 'pelvis',
    *,
    alpha: float = 0.01,
    min_offset: float = 0.005,
    parts: Mapping[str, str] | None = None,
) -> LabelOffsetsEstimate:
    """Estimate label offsets from a regressor that stays as it is, and test which are significant.

    An offset is the mean of the labels' differences from the regressed joints, in the frame of the
    carrying part. It contains what the regressor gets wrong for all subjects, so the means over
    subjects are not zero. Labels and meshes that are not finite are left out, and frames whose
    error, root mean square over the joints, is more than 5 times the median and more than 30 mm
    (:mod:`~mmjrr.regressors.fitting.screening`).

    Args:
        batches: Frames, traversed once. The joints are the regressor's, in its order. About 600
            bytes of each are kept.
        regressor: The regressor.
        root: Name of the joint that is subtracted from each frame, and has no offsets; or None.
            Default: ``'pelvis'``.
        alpha: Significance level of the tests, after Holm's correction. Default: 0.01.
        min_offset: Length below which offsets are not significant, meters. Default: 0.005.
        parts: As in :func:`fit_label_offsets`.

    Warns:
        BadFrameWarning: Frames are excluded for their error.

    Raises:
        ValueError: An argument or a batch is invalid, or there are no frames.
    """
    _check_test(alpha, min_offset)
    names = regressor.joint_names
    if root is not None and root not in names:
        raise ValueError(f'root: found {root!r}, expected None or one of {list(names)}')
    frames = GroupedFrames(batches, part_index_of(names, parts))
    differences = [_differences(batch, regressor, root) for batch in frames]
    if not differences:
        raise ValueError('no frames to estimate offsets from')
    inner, used, sequence = (np.concatenate(values) for values in zip(*differences, strict=True))
    bad_frames = _outliers(inner, used, names, root)
    used[list(bad_frames)] = 0.0
    if not used.any():
        raise ValueError('no frames to estimate offsets from')
    warn_of_bad_frames('estimate_label_offsets', bad_frames, len(used))

    subject = frames.subject_of_sequence
    group = deal_sequences(subject, frames.sequence_order)
    total_weight = np.zeros((len(subject), len(names)))
    total = np.zeros((len(subject), len(names), 3))
    np.add.at(total_weight, sequence, used)
    np.add.at(total, sequence, used[..., None] * inner)

    def sums(keep: BoolArray) -> tuple[FloatArray, FloatArray]:
        by_subject = [keep & (subject == s) for s in range(len(frames.subjects))]
        weights = np.stack([total_weight[rows].sum(0) for rows in by_subject])
        return np.stack([total[rows].sum(0) for rows in by_subject]), weights

    def means(keep: BoolArray) -> FloatArray:
        totals, weights = sums(keep)
        return totals / np.where(weights > 0, weights, 1.0)[..., None]

    groups = range(int(group.max()) + 1)
    replicates = np.stack([means(group != k) for k in groups])
    has_labels = np.stack([sums(group == k)[1] > 0 for k in groups])
    has_labels &= _tested_joints(names, root)
    covariance = JackknifeCovariance.of_replicates(replicates, dof_of_means(has_labels))
    estimates = means(np.ones(len(subject), dtype=bool))
    n_frames = np.bincount(
        subject[sequence], used[:, _tested_joints(names, root)].any(1), len(frames.subjects)
    ).astype(np.int64)
    return _test(
        frames, estimates, has_labels.any(0), covariance, n_frames, has_labels, names, parts, alpha,
        min_offset,
    )  # fmt: skip


def _differences(
    batch: tuple[Any, ...], regressor: JointRegressor, root: str | None
) -> tuple[FloatArray, FloatArray, IndexArray]:
    """Return labels less regressed joints in the parts' frames, their weights, and sequences.

    Returns:
        (n, J, 3) meters, zero where a value is not finite; (n, J) joint weights, zero there; and
        (n,) numbers of the sequences.
    """
    vertices, joints, joint_weight, rotations, _, sequence = batch
    weight = regressor.weight.double().cpu()
    support = torch.nonzero(weight.any(0))[:, 0]
    if isinstance(vertices, LazyVertices):
        selected = vertices.of(support)
    else:
        selected = as_tensor(vertices)[:, support]
    regressed = weight[:, support] @ selected.double().cpu()
    difference = joints.double().cpu() - regressed
    if root is not None:
        difference = difference - difference[:, [regressor.joint_names.index(root)]]
    inner = (rotations.transpose(-1, -2) @ difference[..., None])[..., 0]
    used = torch.where(torch.isfinite(inner).all(-1), joint_weight, 0.0)
    return inner.nan_to_num(0.0, 0.0, 0.0).numpy(), used.numpy(), sequence.numpy()


def _outliers(
    differences: FloatArray, weight: FloatArray, names: Sequence[str], root: str | None
) -> dict[int, str]:
    """Return the number of each frame with an outlying error, and a description of the error.

    Args:
        differences: (N, J, 3) labels less regressed joints, meters.
        weight: (N, J) joint weights.
        names: Names of the joints.
        root: The joint that is subtracted from each frame, or None.
    """
    weight = weight * _tested_joints(names, root)
    total = weight.sum(1)
    (index,) = np.nonzero(total > 0)
    squares = np.square(differences).sum(-1)
    errors = np.sqrt((weight * squares)[index].sum(1) / total[index])
    return describe_outliers(index, errors)


def _tested_joints(names: Sequence[str], root: str | None) -> BoolArray:
    """Return which joints (J,) have offsets: all but the root."""
    return np.array([name != root for name in names])


def _check_test(alpha: float, min_offset: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f'alpha: found {alpha}, expected a number between 0 and 1')
    if not min_offset >= 0:
        raise ValueError(f'min_offset: found {min_offset}, expected at least 0')


def _test(
    frames: GroupedFrames,
    estimates: FloatArray,
    has_offset: BoolArray,
    covariance: JackknifeCovariance,
    n_frames: IndexArray,
    has_labels: BoolArray,
    joint_names: Sequence[str],
    parts: Mapping[str, str] | None,
    alpha: float,
    min_offset: float,
) -> LabelOffsetsEstimate:
    """Test offsets, whose rows follow ``frames.subjects``, and sort the subjects by name."""
    order = np.argsort(frames.subjects, kind='stable')
    pvalues = np.where(has_offset, covariance.pvalues(estimates), np.nan)
    adjusted = holm(pvalues)
    significant = (adjusted <= alpha) & (np.linalg.norm(estimates, axis=-1) >= min_offset)
    kept = np.where(significant[..., None], estimates, 0.0)[order]
    return LabelOffsetsEstimate(
        offsets=LabelOffsets([frames.subjects[i] for i in order], joint_names, kept, parts),
        estimates=estimates[order],
        has_offset=has_offset[order],
        covariance=covariance.covariance[order],
        dof=covariance.dof[order],
        pvalues=pvalues[order],
        adjusted_pvalues=adjusted[order],
        significant=significant[order],
        n_frames=n_frames[order],
        n_sequences=np.bincount(frames.subject_of_sequence)[order],
        n_groups=has_labels.sum(0)[order],
    )


def holm(pvalues: FloatArray) -> FloatArray:
    """Adjust p-values for multiple tests (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        pvalues: Any shape; NaN is no test.

    Returns:
        Adjusted p-values of the same shape: rejecting those at most ``alpha`` has a probability of
        at most ``alpha`` of any false rejection. NaN stays.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    flat = pvalues.ravel()
    tested = np.nonzero(~np.isnan(flat))[0]
    order = tested[np.argsort(flat[tested], kind='stable')]
    steps = flat[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.reshape(pvalues.shape)


@dataclass
class _JointFit:
    """Weights (J, C) over ``columns``, offsets (S, J, 3), and the sums that they minimize.

    ``candidates`` (J, C) are the entries of the weights that may be nonzero.
    """

    weight: FloatArray
    offsets: FloatArray
    columns: IndexArray
    candidates: BoolArray
    equations: OffsetEquations
    rmse: float
    dual_gap: float
    n_iter: int


def _fit_jointly(
    stream: GroupedStream,
    frames: GroupedFrames,
    group: IndexArray,
    without: JointRegressorFit,
    max_vertex_distance: float,
    tol: float,
    max_iter: int,
    max_bytes: int,
) -> _JointFit:
    """Minimize over weights and offsets; see steps 2 to 4 above."""
    weight = without.regressor.weight.cpu().numpy().astype(np.float64)
    if stream.vertex_ids is not None:
        weight = weight[:, stream.vertex_ids.numpy()]
    weight, candidates = _near_vertices(stream, weight, max_vertex_distance)
    full = evaluate_objective(stream, weight)
    columns = np.nonzero(weight.any(0))[0]
    count, n_iter = _FIRST_COLUMNS, 0
    for _ in range(_MAX_ROUNDS):
        gradient = gradient_at_candidates(full.gradient, candidates)
        steepest = np.argsort(gradient, axis=1, kind='stable')[:, :count]
        steepest = steepest[np.take_along_axis(candidates, steepest, 1)]
        columns = np.union1d(columns, steepest)
        stream.offsets = None
        equations = accumulate_offset_equations(
            stream, len(frames.subjects), group, max_bytes, torch.from_numpy(columns)
        )
        restricted, iterations = _minimize(
            equations.reduced(),
            weight[:, columns],
            candidates[:, columns],
            _RESTRICTED_TOL * tol,
            max_iter - n_iter,
        )
        n_iter += iterations
        stream.offsets = offsets = equations.best_offsets(restricted)
        weight = np.zeros_like(weight)
        weight[:, columns] = restricted
        full = evaluate_objective(stream, weight)
        gradient = gradient_at_candidates(full.gradient, candidates)
        dual_gap = relative_dual_gap(weight, full.value, gradient, full.joint_scatter)
        if dual_gap <= tol or n_iter >= max_iter:
            break
        count = _FURTHER_COLUMNS
    rmse = float(np.sqrt(full.value / full.counts.total_weight.sum()))
    return _JointFit(
        restricted, offsets, columns, candidates[:, columns], equations, rmse, dual_gap, n_iter
    )


def _near_vertices(
    stream: GroupedStream, weight: FloatArray, max_distance: float
) -> tuple[FloatArray, BoolArray]:
    """Find the vertices near each regressed joint, and restrict a regressor to them.

    Args:
        stream: The frames.
        weight: (J, V) the regressor.
        max_distance: Largest distance, root mean square over a sample of frames, meters.

    Returns:
        Weights (J, V) with rows on the simplex, and which vertices are near (J, V): all, if none of
        the sampled frames is usable.
    """
    everywhere = np.ones(weight.shape, dtype=bool)
    if np.isinf(max_distance):
        return weight, everywhere
    sample, _ = stream.sample(_DISTANCE_FRAMES)
    frames = stream.usable(stream.without_bad_frames(sample))
    if not len(frames):
        return weight, everywhere
    vertices = stream.select_vertices(frames.vertices).double()
    joints = torch.from_numpy(weight).to(vertices.device) @ vertices
    squared = torch.stack(
        [(vertices - joints[:, [j]]).square().sum(-1).mean(0) for j in range(len(weight))]
    )
    near: BoolArray = (squared <= max_distance**2).cpu().numpy()
    nearest = squared.argmin(1).cpu().numpy()
    rows = np.arange(len(weight))
    near[rows, nearest] = True
    kept = np.where(near, weight, 0.0)
    empty = ~kept.any(1)
    kept[rows[empty], nearest[empty]] = 1.0
    return kept / kept.sum(1, keepdims=True), near


def _jackknife(
    stream: GroupedStream,
    frames: GroupedFrames,
    group: IndexArray,
    joint: _JointFit,
    tol: float,
    max_iter: int,
    max_bytes: int,
) -> JackknifeCovariance:
    """Fit the offsets again without each group of sequences; see step 5 above."""
    stream.offsets = None
    replicates, means = [], []
    for k in range(int(group.max()) + 1):
        stream.selected_sequences = group == k
        part = accumulate_offset_equations(
            stream, len(frames.subjects), group, max_bytes, torch.from_numpy(joint.columns), False
        )
        rest = joint.equations.without(part)
        weight, _ = _minimize(
            rest.reduced(), joint.weight, joint.candidates, _RESTRICTED_TOL * tol, max_iter
        )
        replicates.append(rest.best_offsets(weight))
        means.append(rest.subject_means(joint.weight))
    stream.selected_sequences = None
    dof = dof_of_differences(np.array(means), joint.equations.has_labels)
    return JackknifeCovariance.of_replicates(np.array(replicates), dof)


def _minimize(
    equations: NormalEquations,
    start: FloatArray,
    candidates: BoolArray,
    tol: float,
    max_iter: int,
) -> tuple[FloatArray, int]:
    """Minimize the reduced objective over weights (J, C); without a root, row by row."""
    if equations.root is not None:
        objective = QuadraticObjective(equations)
        result = solve_simplex_qp(objective, tol, max_iter, start, candidates)
        return result.weight, result.n_iter
    weight, n_iter = start.copy(), 0
    for pattern in equations.patterns:
        (joint,) = np.nonzero(pattern.joint_weight)[0]
        row = PatternEquations(
            np.ones(1),
            pattern.gram,
            pattern.cross[[joint]],
            pattern.joint_gram[[joint]][:, [joint]],
        )
        objective = QuadraticObjective(NormalEquations(None, [row], equations.counts))
        result = solve_simplex_qp(
            objective, tol, max_iter - n_iter, start[[joint]], candidates[[joint]]
        )
        weight[joint] = result.weight[0]
        n_iter += result.n_iter
    return weight, n_iter


class GroupedFrames:
    """Batches with numbered subjects and sequences, in order of first appearance."""

    def __init__(self, batches: Iterable[GroupedBatch], part_index: Sequence[int]) -> None:
        self.batches = batches
        self.part_index = torch.tensor(part_index)
        self.subjects: list[str] = []
        self._subject_number: dict[str, int] = {}
        self._sequence_number: dict[tuple[str, str], int] = {}

    @property
    def subject_of_sequence(self) -> IndexArray:
        """Number of the subject of each sequence."""
        return np.array([self._subject_number[subject] for subject, _ in self._sequence_number])

    @property
    def sequence_order(self) -> IndexArray:
        """Numbers of the sequences, sorted by name."""
        names = list(self._sequence_number)
        return np.array(sorted(range(len(names)), key=names.__getitem__))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield batches as :class:`GroupedStream` takes them."""
        for number, batch in enumerate(self.batches):
            count = len(batch.vertices)
            rotations = as_tensor(batch.rotations)
            lengths = (len(rotations), len(batch.subjects), len(batch.sequences))
            if set(lengths) != {count} or rotations.ndim != 4:
                raise ValueError(
                    f'batch {number}: found {count} vertices, rotations '
                    f'{tuple(rotations.shape)}, {lengths[1]} subjects and {lengths[2]} sequences, '
                    'expected one length, and rotations (N, K, 3, 3)'
                )
            joints = as_tensor(batch.joints)
            weight = torch.ones(joints.shape[:2], dtype=torch.float64)
            if batch.sample_weight is not None:
                weight = as_tensor(batch.sample_weight).cpu().double()
            subject = [self._number_subject(str(name)) for name in batch.subjects]
            keys = zip(map(str, batch.subjects), map(str, batch.sequences), strict=True)
            sequence = [
                self._sequence_number.setdefault(k, len(self._sequence_number)) for k in keys
            ]
            yield (
                batch.vertices, joints, weight, rotations[:, self.part_index].cpu().double(),
                torch.tensor(subject), torch.tensor(sequence),
            )  # fmt: skip

    def _number_subject(self, name: str) -> int:
        if name not in self._subject_number:
            self._subject_number[name] = len(self.subjects)
            self.subjects.append(name)
        return self._subject_number[name]


class WithoutGroups:
    """The same batches as :func:`fit_joint_regressor` takes them, less given offsets."""

    def __init__(self, frames: GroupedFrames, offsets: LabelOffsets | None = None) -> None:
        self.frames = frames
        self.offsets = offsets if offsets is not None and offsets.values.any() else None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for vertices, joints, weight, rotations, subject, _ in self.frames:
            if self.offsets is not None:
                index = self.offsets.index_of([self.frames.subjects[s] for s in subject])
                shift = (rotations @ self.offsets.values[index][..., None])[..., 0]
                joints = joints.double() - shift.to(joints.device)
            yield vertices, joints, weight
