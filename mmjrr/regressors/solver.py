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
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from .frame_sums import Frames, FrameStream, Sums, add_up, value_and_gradient
from .joint_regressor import JointRegressor
from .simplex_qp import Problem, relative_gap, solve

#: Vertices are selected by fits to this many frames at most, evenly taken: first over all vertices,
#: then over a selection.
_FEW_FRAMES, _SAMPLE_FRAMES = 1024, 4096

#: Relative gap of these fits.
_TOL_SELECT = 1e-4

#: Vertices of each row selected for their gradient, besides those that are weighed.
_SELECT = 64

#: Vertices of each row added to the selection when the check finds that they would lower ``f``.
_ADMIT = 32

_ROUNDS = 12


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
    batches: Iterable[Sequence[Tensor]],
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
    iterable but an iterator) are, three times or more, each time for little work: a few thousand
    frames select some hundreds of vertices, all frames are fitted with these, and a check over all
    vertices lets others in, until ``tol`` is reached. An iterator is gone through once, with sums
    over all pairs of vertices: a ``(V, V)`` float64 matrix (380 MB for SMPL), and as much again
    where frames differ in their missing joints. Frames whose joint weights differ by more than a
    common factor need sums for each pattern of weights; with ``root`` a joint's name or None, never
    more than one for each joint. Both ways end at the same optimum, to ``tol``.

    Args:
        batches: tuples ``(vertices (N, V, 3), joints (N, J, 3))`` or, with weights of the single
            joints, ``(vertices, joints, weights (N, J))``, metres, tensors or arrays. A joint
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
        sums = add_up(stream, max_bytes)
        sums.require_joints(stream.names)
        found = _fit_sums(sums, tol, max_iterations)
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
    total = found.sums.total_weight
    regressor = JointRegressor(
        full,
        stream.names,
        body_model,
        {
            'made_by': 'mmjrr.regressors.fit_joint_regressor',
            'root': root,
            'n_frames': found.sums.n_frames,
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
        n_frames=found.sums.n_frames,
        n_dropped=found.sums.n_dropped,
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
    sums: Sums
    constant: float
    near: np.ndarray  # vertices that are weighed, or nearly


def _fit_sums(
    sums: Sums, tol: float, max_iterations: int, start: np.ndarray | None = None
) -> _Found:
    """Solve with the sums over all vertices."""
    problem = Problem(sums)
    w, gap, iterations = solve(problem, tol, max_iterations, start)
    value, squares = problem.errors(w)
    near = _near(w, problem.gradient(w))
    return _Found(w, gap, value, squares, iterations, sums, problem.constant, near)


def _near(w: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Vertices that are weighed, or promise most to a row."""
    promise = np.argsort(gradient, axis=1, kind='stable')[:, :_SELECT]
    return np.union1d(promise, np.nonzero(w.any(0))[0])


def _fit_selected(stream: FrameStream, tol: float, max_iterations: int, max_bytes: int) -> _Found:
    """Solve over a selection of vertices, and let in what the check over all vertices asks for.

    The selection comes from fits to some of the frames, few over all vertices, then more. Sums over
    a selection of C vertices cost C^2 a frame, the check J V, against the V^2 of sums over all.
    """
    sample = _Sample()
    sums = add_up(stream, max_bytes, stage='select', each=sample.add, only_rows=True)
    sums.require_joints(stream.names)
    if sums.groups:  # few frames: all is known
        return _fit_sums(sums, tol, max_iterations)
    found = _fit_sample(stream, sample, max_iterations, max_bytes)
    del sample  # hundreds of megabytes
    iterations = found.iterations
    found = _fit_growing(stream, found, tol, max_iterations - iterations, max_bytes)
    return replace(found, iterations=iterations + found.iterations)


def _fit_sample(
    stream: FrameStream, sample: _Sample, max_iterations: int, max_bytes: int
) -> _Found:
    """From which vertices to start."""
    some = sample.frames()
    few = stream.over(some[:: -(-len(some) // _FEW_FRAMES)])
    found = _fit_sums(add_up(few, max_bytes), _TOL_SELECT, max_iterations)
    if sample.step == 1:  # these are all frames, which come next
        return found
    iterations = found.iterations
    found = _fit_growing(stream.over(some), found, _TOL_SELECT, max_iterations, max_bytes)
    return replace(found, iterations=iterations + found.iterations)


def _fit_growing(
    stream: FrameStream, found: _Found, tol: float, max_iterations: int, max_bytes: int
) -> _Found:
    """Starting from the vertices near to another fit, and letting others in."""
    selection, w = found.near, found.w
    iterations = 0
    for _ in range(_ROUNDS):
        sums = add_up(stream, max_bytes, torch.from_numpy(selection), stage='sum up')
        found = _fit_sums(sums, 0.3 * tol, max_iterations, w[:, selection])
        iterations += found.iterations
        w = np.zeros((len(stream.names), stream.num_vertices))
        w[:, selection] = found.w
        value, gradient = value_and_gradient(stream, w, stage='check')
        gap = relative_gap(w, value, gradient, found.constant)
        near = np.union1d(selection, _near(w, gradient))
        found = replace(found, w=w, gap=gap, value=value, iterations=iterations, near=near)
        promise = (w * gradient).sum(1, keepdims=True) - gradient
        promise[:, selection] = 0
        best = np.argsort(-promise, axis=1, kind='stable')[:, :_ADMIT]
        admitted = best[np.take_along_axis(promise, best, 1) > 0]
        if gap <= tol or iterations >= max_iterations or not len(admitted):
            break
        selection = np.union1d(selection, admitted)
    return found


class _Sample:
    """Every ``step``-th frame of a stream; the step doubles whenever they become too many."""

    def __init__(self) -> None:
        self.step = 1
        self._seen = 0
        self._taken: list[Frames] = []

    def add(self, frames: Frames) -> None:
        taken = frames[-self._seen % self.step :: self.step]
        self._taken.append(Frames.cat([taken, taken[:0]]))  # a copy
        self._seen += len(frames)
        while sum(map(len, self._taken)) > _SAMPLE_FRAMES:
            self._taken = [Frames.cat(self._taken)[::2]]
            self.step *= 2

    def frames(self) -> Frames:
        return Frames.cat(self._taken)
