"""Fit of a joint regressor to meshes and joints: a convex quadratic program with a certified gap.

**Objective.** Frames ``n`` have vertices ``X_n`` (V, 3), joints ``Y_n`` (J, 3) and joint weights
``u_n`` (J,). For a regressor ``W`` (J, V), minimize the weighted squares of the aligned errors,

    f(W) = sum_n sum_j u_nj |(T_n (W X_n - Y_n))_j|^2    subject to  W >= 0,  W 1 = 1,

where ``T_n`` removes the frame's translation (:mod:`~mmjrr.regressors.fitting.alignment`).
Alignment couples the rows of ``W``, so all rows are fitted together.

**Certificate.** Since ``f`` is convex, its gradient bounds the distance of ``f(W)`` from the
minimum: the dual gap (:mod:`~mmjrr.regressors.fitting.objective`). A fit ends when the gap,
relative to ``f``, is at most ``tol``.

**One pass** (batches from an iterator, or few frames). Accumulate the normal equations of all V
vertices, V² numbers, and solve the quadratic program with them.

**Repeated passes** (batches that can be iterated again). The minimizer has a few hundred vertices
with nonzero weight, so most of those V² numbers are not needed:

0. *Screening.* Exclude frames with outlying errors (:mod:`~mmjrr.regressors.fitting.screening`).
1. *Sampling.* The objective of :data:`_SAMPLE_FRAMES` evenly spaced frames, over all vertices, is a
   model of ``f`` that fits in memory. Minimize it.
2. *Evaluation.* Compute ``f``, its gradient over all vertices, and the gap in a pass over all
   frames.
3. *Model step.* Add a linear function to the model, so that its value and gradient at ``W`` equal
   those of ``f``, and minimize the model again. While the gap is large, take its minimizer as the
   next ``W`` and go to step 2.
4. *Preselection.* Select C columns: the vertices with nonzero weight in ``W`` and in the model's
   minimizer, and in each row the vertices of steepest descent of the model at its minimizer and of
   ``f`` at ``W``.
5. *Restricted fit.* Accumulate the normal equations of these columns, C² numbers, in a pass over
   all frames. Solve, and go to step 2, whose gradient reveals missing vertices.

**Precision.** Errors are a hundredth of the body's size, and their squares 1e-4 of the terms that
cancel in ``f``. A gap of 1e-6 of ``f`` needs sums exact to 1e-10 of these terms, so all sums are
float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.body_models import LazyVertices
from mmjrr.regressors.fitting.normal_equations import (
    accumulate_normal_equations,
    accumulate_pooled_equations,
)
from mmjrr.regressors.fitting.objective import evaluate_objective, relative_dual_gap
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.screening import exclude_outliers
from mmjrr.regressors.fitting.simplex_qp import solve_simplex_qp
from mmjrr.regressors.fitting.stream import FrameCounts, FrameStream
from mmjrr.regressors.joint_regressor import JointRegressor

#: Number of frames of the model. Their rows take less memory than the Gram matrix of SMPL's 6890
#: vertices.
_SAMPLE_FRAMES = 512

#: Relative gap of the model's minimizer, as a multiple of the current gap.
_MODEL_TOL = 1e-3

#: Model steps are taken while the relative gap exceeds this, ...
_MODEL_GAP = 0.05
#: ... but at most this number of them.
_MODEL_STEPS = 4

#: Number of vertices of steepest descent selected per row, by the gradients of the model and ``f``.
_COLUMNS_FROM_MODEL = 48
_COLUMNS_FROM_GRADIENT = 4

#: Relative gap of restricted fits, as a multiple of ``tol``.
_RESTRICTED_TOL = 0.3

#: Largest number of rounds of model steps and restricted fits.
_MAX_ROUNDS = 20


class ConvergenceWarning(UserWarning):
    """Warning that a fit stopped above its tolerance."""


class BadFrameWarning(UserWarning):
    """Warning that a fit excluded bad frames."""


@dataclass(frozen=True)
class JointRegressorFit:
    """Result of :func:`fit_joint_regressor`.

    Attributes:
        regressor: The fitted regressor, float64.
        dual_gap: Upper bound of ``(f - min f) / f``. The denominator is at least 1e-8 of the
            joints' sum of squares.
        joint_rmse: (J,) root mean square error of each joint after alignment, meters; zero for
            the root joint.
        rmse: The same over all joints but the root, meters.
        objective: ``f``, square meters.
        support_sizes: Number of vertices with nonzero weight, by joint name.
        n_frames: Number of frames used.
        n_dropped: Number of frames excluded: root joint missing, too few joints, or bad.
        bad_frames: Problem of each bad frame, by its number in the order of the batches.
        n_iter: Number of linear systems solved.
        converged: Whether ``dual_gap`` reached the tolerance.
    """

    regressor: JointRegressor
    dual_gap: float
    joint_rmse: FloatArray
    rmse: float
    objective: float
    support_sizes: dict[str, int] = field(repr=False)
    n_frames: int
    n_dropped: int
    bad_frames: dict[int, str] = field(repr=False)
    n_iter: int
    converged: bool


def fit_joint_regressor(
    batches: Iterable[Sequence[Tensor | LazyVertices]],
    joint_names: str | Sequence[str] | None = None,
    root: str | None = 'pelvis',
    *,
    body_model: str = 'smpl',
    vertex_ids: Tensor | Sequence[int] | None = None,
    tol: float = 1e-6,
    max_iter: int = 20000,
    max_bytes: int = 4 * 2**30,
    on_bad_frame: str = 'skip',
    provenance: dict[str, Any] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> JointRegressorFit:
    """Fit ``W``, with rows on the simplex, such that ``W @ vertices`` is close to ``joints``.

    Memory does not grow with the number of frames. Re-iterable batches (a list, any iterable but an
    iterator) are traversed several times: a fit to 512 sampled frames preselects a few hundred
    vertices, all frames are fitted on those, and a pass over all vertices adds any that are missing
    until ``tol`` is reached. For :class:`~mmjrr.body_models.LazyVertices`, only selected vertices
    are computed.

    An iterator is traversed once. This needs one Gram matrix of all vertices, (V, V) float64
    (380 MB for SMPL), for each pattern of joint weights (missing joints have weight zero); if
    ``root`` is a joint's name or None, at most one for each joint. Both ways reach the same
    optimum, to ``tol``.

    Args:
        batches: Tuples ``(vertices (N, V, 3), joints (N, J, 3))``, meters, or
            ``(vertices, joints, sample_weight (N, J))``; tensors or arrays, vertices also lazy. A
            joint with a NaN coordinate or weight zero is missing from its frame.
        joint_names: Names of the joints, or of an order. Default: MMPose's 17 joints.
        root: Removal of each frame's translation. A joint's name subtracts that joint, and frames
            without it are dropped. ``'mean'`` subtracts the weighted mean of the present joints,
            which is the best translation. None subtracts nothing, for frames with a known
            translation. If a translation is removed, adding the same vector to all rows changes no
            error, so compare such regressors root-aligned too. Default: ``'pelvis'``.
        body_model: Name of the body. Default: ``'smpl'``.
        vertex_ids: Vertices that may get nonzero weight. Default: None, all.
        tol: Relative dual gap to reach. Default: 1e-6.
        max_iter: Largest number of linear systems to solve. Default: 20000.
        max_bytes: Limit on the memory of the Gram matrices. Default: 4 GiB.
        on_bad_frame: ``'skip'`` excludes bad frames, lists them in the result and warns;
            ``'raise'`` raises ValueError. A frame is bad if a vertex is NaN or infinite, or a joint
            is infinite. If batches are re-iterable, a frame is also bad if its error under a robust
            fit is more than 5 times the median and more than 30 mm
            (:mod:`~mmjrr.regressors.fitting.screening`). Default: ``'skip'``.
        provenance: Description of the data, kept with the regressor. Default: None.
        progress: Function called every 256 frames with the name of the pass ('sampling',
            'screening', 'normal equations', 'objective and gradient') and the number of frames
            read in it. Default: None.

    Warns:
        ConvergenceWarning: The fit does not reach ``tol``; ``converged`` is False.
        BadFrameWarning: Frames are excluded; the message has their number and the first problem.

    Raises:
        ValueError: An argument or a batch is invalid, there are no frames, or a joint is missing
            from all of them.
        MemoryError: The patterns of joint weights need more than ``max_bytes``.
    """
    if not tol > 0:
        raise ValueError(f'tol: found {tol}, expected a positive number')
    if on_bad_frame not in ('skip', 'raise'):
        raise ValueError(f"on_bad_frame: found {on_bad_frame!r}, expected 'skip' or 'raise'")
    stream = FrameStream(batches, joint_names, root, vertex_ids, on_bad_frame, progress)
    if stream.is_reiterable:
        solution = _fit_repeated_passes(stream, tol, max_iter, max_bytes)
    else:
        solution = _fit_one_pass(stream, tol, max_iter, max_bytes)
    converged = bool(solution.dual_gap <= tol)
    if not converged:
        warnings.warn(
            f'fit_joint_regressor stopped after {solution.n_iter} iterations at a relative dual '
            f'gap of {solution.dual_gap:.2e}, above tol={tol:.2e}',
            ConvergenceWarning,
            stacklevel=2,
        )

    counts = solution.counts
    warn_of_bad_frames(
        'fit_joint_regressor', solution.bad_frames, counts.n_frames + counts.n_dropped
    )

    weight = np.zeros((len(stream.joint_names), stream.num_vertices))
    ids = slice(None) if stream.vertex_ids is None else stream.vertex_ids.numpy()
    weight[:, ids] = solution.weight
    regressor = JointRegressor(
        weight,
        stream.joint_names,
        body_model,
        {
            'made_by': 'mmjrr.regressors.fit_joint_regressor',
            'root': root,
            'n_frames': counts.n_frames,
            'n_bad_frames': len(solution.bad_frames),
            'dual_gap': float(solution.dual_gap),
            **(provenance or {}),
        },
    )
    total_weight = counts.total_weight
    return JointRegressorFit(
        regressor=regressor,
        dual_gap=float(solution.dual_gap),
        joint_rmse=np.sqrt(solution.joint_values / np.where(total_weight > 0, total_weight, 1)),
        rmse=float(np.sqrt(solution.joint_values.sum() / total_weight.sum())),
        objective=float(solution.value),
        support_sizes=regressor.support_sizes,
        n_frames=counts.n_frames,
        n_dropped=counts.n_dropped,
        bad_frames=solution.bad_frames,
        n_iter=solution.n_iter,
        converged=converged,
    )


def find_bad_frames(stream: FrameStream, max_iter: int = 20000) -> dict[int, str]:
    """Return the problem of each frame that a fit to the stream excludes as bad, by its number.

    Args:
        stream: Frames that can be traversed more than once. Its ``bad_frames`` become these.
        max_iter: Largest number of linear systems of each fit of the screening.

    Raises:
        ValueError: There are no frames, a batch is invalid, or a frame is bad and
            ``stream.on_bad_frame`` is ``'raise'``.
    """
    sample, _ = stream.sample(_SAMPLE_FRAMES)
    exclude_outliers(stream, sample, max_iter)
    return dict(stream.bad_frames)


def warn_of_bad_frames(function: str, bad_frames: Mapping[int, str], num_frames: int) -> None:
    """Warn the caller of a function that it left out bad frames, if there are any."""
    if bad_frames:
        frame, problem = next(iter(bad_frames.items()))
        warnings.warn(
            f'{function} left out {len(bad_frames)} bad frames of {num_frames}; '
            f'frame {frame}: {problem}',
            BadFrameWarning,
            stacklevel=3,
        )


@dataclass
class _Solution:
    weight: FloatArray  # (J, V) over the candidate vertices
    dual_gap: float
    value: float  # f
    joint_values: FloatArray  # (J,) part of each joint in f
    n_iter: int
    counts: FrameCounts
    bad_frames: dict[int, str]


def _fit_one_pass(stream: FrameStream, tol: float, max_iter: int, max_bytes: int) -> _Solution:
    """Fit with the normal equations of all candidate vertices."""
    equations = accumulate_normal_equations(stream, max_bytes)
    objective = QuadraticObjective(equations)
    result = solve_simplex_qp(objective, tol, max_iter)
    return _Solution(
        result.weight,
        result.dual_gap,
        objective.value(result.weight),
        objective.joint_values(result.weight),
        result.n_iter,
        equations.counts,
        stream.bad_frames,
    )


def _fit_repeated_passes(
    stream: FrameStream, tol: float, max_iter: int, max_bytes: int
) -> _Solution:
    """Fit with the normal equations of preselected vertices; see the steps above."""
    sample, is_all = stream.sample(_SAMPLE_FRAMES)
    if is_all:
        stream = stream.with_frames(sample)
    exclude_outliers(stream, sample, max_iter)
    if is_all:
        return _fit_one_pass(stream, tol, max_iter, max_bytes)
    sample = stream.without_bad_frames(sample)
    sample_equations = accumulate_pooled_equations(stream.with_frames(sample))
    if sample_equations is None:  # no sampled frame is usable
        return _fit_one_pass(stream, tol, max_iter, max_bytes)
    del sample
    model = QuadraticObjective(sample_equations)
    result = solve_simplex_qp(model, _MODEL_TOL, max_iter)
    weight, n_iter = result.weight, result.n_iter
    columns = np.empty(0, dtype=np.int64)
    for round_index in range(_MAX_ROUNDS + 1):
        full = evaluate_objective(stream, weight)
        dual_gap = relative_dual_gap(weight, full.value, full.gradient, full.joint_scatter)
        if dual_gap <= tol or n_iter >= max_iter or round_index == _MAX_ROUNDS:
            break

        frame_ratio = sample_equations.counts.n_frames / full.counts.n_frames
        model.match(weight, frame_ratio * full.value, frame_ratio * full.gradient)
        model_tol = max(_MODEL_TOL * dual_gap, _RESTRICTED_TOL * tol)
        result = solve_simplex_qp(model, model_tol, max_iter - n_iter, weight)
        n_iter += result.n_iter
        if dual_gap > _MODEL_GAP and round_index < _MODEL_STEPS:
            weight = result.weight
            continue

        preselected = [
            columns,
            np.nonzero(weight.any(0) | result.weight.any(0))[0],
            _steepest_columns(model.gradient(result.weight), _COLUMNS_FROM_MODEL),
            _steepest_columns(full.gradient, _COLUMNS_FROM_GRADIENT),
        ]
        columns = np.unique(np.concatenate(preselected))
        equations = accumulate_normal_equations(stream, max_bytes, torch.from_numpy(columns))
        restricted = solve_simplex_qp(
            QuadraticObjective(equations),
            _RESTRICTED_TOL * tol,
            max_iter - n_iter,
            weight[:, columns],
        )
        n_iter += restricted.n_iter
        weight = np.zeros_like(weight)
        weight[:, columns] = restricted.weight
    return _Solution(
        weight, dual_gap, full.value, full.joint_values, n_iter, full.counts, stream.bad_frames
    )


def _steepest_columns(gradient: FloatArray, count: int) -> IndexArray:
    """Return the ``count`` vertices of steepest descent of each row, together."""
    return np.unique(np.argsort(gradient, axis=1, kind='stable')[:, :count])
