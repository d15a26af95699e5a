"""Fits a joint regressor to meshes and joints: a quadratic program over simplices, exactly.

Frames ``n`` with vertices ``V_n`` ``(V, 3)``, joints ``X_n`` ``(J, 3)`` and weights ``u_n``
``(J,)``; regressor ``W`` ``(J, V)`` with rows ``w_j`` on the simplex; error
``e_nj = w_j V_n - X_nj``. Minimised is

    f(W) = sum_n sum_j u_nj |e_nj - t_n|^2

where ``t_n`` is the error of the root joint, the (weighted) mean error of the frame's joints, or
zero. Either way a frame's term is ``tr(E_n^T P_n E_n)`` with a positive semi-definite ``P_n``
``(J, J)`` that depends on ``u_n`` alone, so frames of equal weights share the sums

    G = sum A_n A_n^T (V, V),   Q = sum Y_n A_n^T (J, V),   S = sum Y_n Y_n^T (J, J).

``A_n`` and ``Y_n`` are vertices and joints less the frame's mean vertex; as rows sum to one, this
changes no error, and it keeps the body's place in the room out of the sums. ``P`` couples the
rows, so all are solved at once.

Precision: the errors sought are a hundredth of the body's size, and their squares 1e-4 of the
terms that cancel in ``f``; an optimality gap of 1e-6 of ``f`` needs the sums to about 1e-10. They
are kept in float64; float32 sums (1e-7 at best) would not do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from mmjrr.body_models import LazyVertices
from mmjrr.regressors.joint_regressor import JointRegressor

from .normal_equations import FrameStream, Seen, Sums, add_up, check, pool
from .simplex_qp import Problem, relative_gap, solve

#: Frames of the sample that stands for all of them, evenly taken: so few that their sums are kept
#: as rows.
_SAMPLE_FRAMES = 512

#: Relative gap of fits to the sample, as a part of the gap that is left.
_TOL_SAMPLE = 1e-3

#: Gap down to which the weights are what the sample says, and how often it is asked at most.
_ROUGH = 0.05
_GUESSES = 4

#: Vertices of each row that promise most to the sample, selected besides those that are weighed.
_SELECT = 48

#: Vertices of each row that promise most to all frames, selected, too.
_ADMIT = 4

_ROUNDS = 20


@dataclass(frozen=True)
class JointRegressorFit:
    """What :func:`fit_joint_regressor` found.

    Args:
        regressor: the fitted regressor, float64.
        gap: upper bound of ``(f - optimum) / f``: the Frank-Wolfe duality gap over ``f`` (or over
            1e-8 of the joints' sum of squares, where ``f`` is below that).
        residual: ``(J,)`` root mean square error of each joint after alignment, metres; zero for
            the root joint.
        rms: the same over all joints but the root, metres.
        objective: ``f``, square metres.
        support_sizes: how many vertices each joint weighs, by name.
        n_frames: frames used.
        n_dropped: frames left out: no joint present, or the root joint missing.
        iterations: restricted problems solved.
        converged: whether ``gap`` reached the tolerance.
    """

    regressor: JointRegressor
    gap: float
    residual: np.ndarray
    rms: float
    objective: float
    support_sizes: dict[str, int] = field(repr=False)
    n_frames: int
    n_dropped: int
    iterations: int
    converged: bool


def fit_joint_regressor(
    batches: Iterable[Sequence[Tensor | LazyVertices]],
    joint_names: str | Sequence[str] | None = None,
    root: str | None = 'pelvis',
    *,
    body_model: str = 'smpl',
    weights: Tensor | Sequence[float] | None = None,
    vertex_ids: Tensor | Sequence[int] | None = None,
    tol: float = 1e-6,
    max_iterations: int = 20000,
    max_bytes: int = 4 * 2**30,
    device: str | torch.device | None = None,
    provenance: dict[str, Any] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> JointRegressorFit:
    """Fit ``W`` of ``W @ vertices ~ joints``, rows on the simplex, all rows jointly.

    Memory does not grow with the frames. Batches that can be gone through again (a list, any
    iterable but an iterator) are, some times, each time for little work: two thousand frames select
    some hundreds of vertices, all frames are fitted with these, and a check over all vertices lets
    others in, until ``tol`` is reached. Given as :class:`~mmjrr.body_models.LazyVertices`, no more
    vertices are made than each step weighs. An iterator is gone through once, with sums over all
    pairs of vertices: a ``(V, V)`` float64 matrix (380 MB for SMPL), and as much again where frames
    differ in their missing joints. Frames whose joint weights differ by more than a common factor
    need sums for each pattern of weights; with ``root`` a joint's name or None, never more than one
    for each joint. Both ways end at the same optimum, to ``tol``.

    Args:
        batches: tuples ``(vertices (N, V, 3), joints (N, J, 3))`` or, with weights of the single
            joints, ``(vertices, joints, weights (N, J))``, metres, tensors or arrays. The vertices
            may be lazy ones. A joint
            with a NaN coordinate or weight zero is missing from its frame.
        joint_names: names of the joints, or of an order. Default: MMPose's for 17 joints.
        root: how each frame's translation is removed: a joint's name subtracts that joint (frames
            without it are dropped); ``'mean'`` the weighted mean of the joints present, which is
            the best translation; None nothing, where the translation is known. With a
            translation removed, a shift common to all rows goes unseen (a gauge), and only the
            rows' positivity and sparsity hold it: measure distances between regressors
            root-aligned too. Default ``'pelvis'``.
        body_model: name of the body. Default ``'smpl'``.
        weights: ``(J,)`` weight of each joint, times those of the batches. Default: one.
        vertex_ids: vertices that may be weighed. Default: all. Memory falls with their square.
        tol: relative optimality gap to reach. Default 1e-6.
        max_iterations: restricted problems to solve at most. Default 20000.
        max_bytes: memory that the matrices may take. Default 4 GiB.
        device: where the sums are made. Default: the vertices' device.
        provenance: kept with the regressor.
        progress: called after each 256 frames with what is being done ('select', 'sum up',
            'check') and how many frames were gone through so far.

    Returns:
        The fit; ``.converged`` is False, and a warning logged, if ``tol`` was not reached.

    Raises:
        ValueError: no frames, shapes that do not fit, vertices not finite, negative weights, an
            unknown root, a joint never observed, or a bad argument.
        MemoryError: too many patterns of missing joints for ``max_bytes``.
    """
    if not tol > 0:
        raise ValueError(f'tol must be positive, found {tol}')
    stream = FrameStream(batches, joint_names, root, weights, vertex_ids, device, progress)
    if stream.repeatable:
        found = _fit_selected(stream, tol, max_iterations, max_bytes)
    else:
        found = _fit_sums(add_up(stream, max_bytes), tol, max_iterations)
    if not found.gap <= tol:
        print_log(
            f'fit_joint_regressor stopped after {found.iterations} iterations at a relative gap of '
            f'{found.gap:.2e}, above tol={tol:.2e}',
            logger='current',
            level=logging.WARNING,
        )

    full = np.zeros((len(stream.names), stream.num_all_vertices))
    ids = slice(None) if stream.vertex_ids is None else stream.vertex_ids.numpy()
    full[:, ids] = found.w
    seen, total = found.seen, found.seen.total_weight
    regressor = JointRegressor(
        full,
        stream.names,
        body_model,
        {
            'made_by': 'mmjrr.regressors.fit_joint_regressor',
            'root': root,
            'n_frames': seen.n_frames,
            'gap': float(found.gap),
            **(provenance or {}),
        },
    )
    return JointRegressorFit(
        regressor=regressor,
        gap=float(found.gap),
        residual=np.sqrt(found.squares / np.where(total > 0, total, 1)),
        rms=float(np.sqrt(found.squares.sum() / total.sum())),
        objective=float(found.value),
        support_sizes=regressor.support_sizes,
        n_frames=seen.n_frames,
        n_dropped=seen.n_dropped,
        iterations=found.iterations,
        converged=bool(found.gap <= tol),
    )


@dataclass
class _Found:
    w: np.ndarray  # (J, V)
    gap: float
    value: float
    squares: np.ndarray  # (J,), share of each joint in f
    iterations: int
    seen: Seen


def _fit_sums(sums: Sums, tol: float, max_iterations: int) -> _Found:
    """Solve with the sums over all vertices."""
    problem = Problem(sums)
    w, gap, iterations = solve(problem, tol, max_iterations)
    value, squares = problem.errors(w)
    return _Found(w, gap, value, squares, iterations, sums.seen)


def _fit_selected(stream: FrameStream, tol: float, max_iterations: int, max_bytes: int) -> _Found:
    """Solve by a sample of the frames, and then over a selection of vertices.

    The sums of a sample over all vertices fit into memory. Its ``f``, tilted by a linear function
    to have the value and gradient of all frames' at some weights, stands for theirs in the
    neighbourhood: of all frames, only how curved ``f`` is is then guessed. Its minimum is where
    value and gradient are looked at next, some times. Close to the optimum, where the guess no
    longer does, it tells which vertices matter, and the frames are fitted with these: sums over a
    selection of C vertices cost C^2 a frame, against the V^2 of sums over all. A check over all
    vertices gives the gap, and lets others in.
    """
    some, is_all = stream.sample(_SAMPLE_FRAMES)
    if is_all:
        return _fit_sums(add_up(stream.over(some), max_bytes), tol, max_iterations)
    sums = pool(stream.over(some))
    if sums is None:  # nothing to guess from
        return _fit_sums(add_up(stream, max_bytes), tol, max_iterations)
    del some
    model = Problem(sums)
    w, _, iterations = solve(model, _TOL_SAMPLE, max_iterations)
    selection = np.empty(0, dtype=np.int64)
    for number in range(_ROUNDS + 1):
        checked = check(stream, w)
        gap = relative_gap(w, checked.value, checked.gradient, checked.constant)
        if gap <= tol or iterations >= max_iterations or number == _ROUNDS:
            break
        scale = sums.seen.n_frames / checked.seen.n_frames
        model.tilt(w, scale * checked.value, scale * checked.gradient)
        goal = max(_TOL_SAMPLE * gap, 0.3 * tol)
        guess, _, more = solve(model, goal, max_iterations - iterations, w)
        iterations += more
        if gap > _ROUGH and number < _GUESSES:
            w = guess
            continue
        near = [
            selection,
            np.nonzero(w.any(0) | guess.any(0))[0],
            _promising(model.gradient(guess), _SELECT),
            _promising(checked.gradient, _ADMIT),
        ]
        selection = np.unique(np.concatenate(near))
        problem = Problem(add_up(stream, max_bytes, torch.from_numpy(selection), 'sum up'))
        few, _, more = solve(problem, 0.3 * tol, max_iterations - iterations, w[:, selection])
        iterations += more
        w = np.zeros_like(w)
        w[:, selection] = few
    return _Found(w, gap, checked.value, checked.squares, iterations, checked.seen)


def _promising(gradient: np.ndarray, count: int) -> np.ndarray:
    """Vertices along which ``f`` falls most, for each row."""
    return np.unique(np.argsort(gradient, axis=1, kind='stable')[:, :count])
