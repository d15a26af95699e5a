"""Active-set method that minimizes a quadratic function of weights with rows on the simplex.

The problem: minimize a convex quadratic ``f(W)``, ``W`` (J, V), subject to ``W >= 0`` and
``W 1 = 1``. The minimizer is sparse. As in the non-negative least squares of Lawson and Hanson
(Solving Least Squares Problems, 1974, chapter 23), the method keeps a *support*, the entries of
``W`` that may be nonzero:

1. Compute the gradient. Stop if the relative dual gap (see
   :func:`~mmjrr.regressors.fitting.objective.relative_dual_gap`) is at most ``tol``.
2. Let a vertex of steepest descent enter each row's support.
3. Minimize ``f`` on the support, the row sums fixed; entries that would turn negative leave.

``f`` falls in each iteration. Step 3 is tried in three ways, each only if the one before does not
lower ``f``: all negative entries leave at once, which is fastest; the step stops where the first
entry reaches zero (the ratio test of Lawson and Hanson), which never raises ``f``; and the ratio
test with one entering vertex, which lowers ``f`` except for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mmjrr.array_types import BoolArray, FloatArray, IndexArray
from mmjrr.regressors.fitting.objective import relative_dual_gap
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.threads import torch_threads

#: Multiple of the Hessian's mean diagonal that is added to its diagonal. This proximal term makes
#: the systems well-posed for linearly dependent vertices, as skinned vertices nearly are. It does
#: not change the minimizer, since it pulls towards the last iterate.
_PROXIMAL = 1e-11

#: A vertex enters a row whose part of the dual gap exceeds this multiple of the largest part.
_ENTERING_SHARE = 1e-3

_TINY = float(np.finfo(float).tiny)
_LARGEST = float(np.finfo(float).max)


@dataclass
class SimplexQPResult:
    """Result of :func:`solve_simplex_qp`.

    Attributes:
        weight: (J, V) rows on the simplex.
        dual_gap: Upper bound of ``(f - min f) / f``.
        n_iter: Systems solved.
    """

    weight: FloatArray
    dual_gap: float
    n_iter: int


def solve_simplex_qp(
    objective: QuadraticObjective,
    tol: float,
    max_iter: int,
    start: FloatArray | None = None,
    candidates: BoolArray | None = None,
) -> SimplexQPResult:
    """Minimize ``objective`` over weights with rows on the simplex.

    Args:
        objective: The function.
        tol: Relative dual gap at which to stop.
        max_iter: Systems to solve at most.
        start: (J, V) weights to start from. None: each row on the vertex nearest to its joint.
        candidates: (J, V) which vertices may get nonzero weight in each row; those of ``start``
            are among them. None: all.
    """
    with torch_threads(1):
        weight = objective.nearest_vertices() if start is None else start
        return _solve(objective, weight, tol, max_iter, candidates)


def gradient_at_candidates(gradient: FloatArray, candidates: BoolArray | None) -> FloatArray:
    """Return a gradient (J, V) that is larger than any other at vertices that get no weight.

    Args:
        gradient: (J, V)
        candidates: (J, V) which vertices may get nonzero weight in each row. None: all.
    """
    return gradient if candidates is None else np.where(candidates, gradient, _LARGEST)


def _solve(
    objective: QuadraticObjective,
    weight: FloatArray,
    tol: float,
    max_iter: int,
    candidates: BoolArray | None,
) -> SimplexQPResult:
    n_iter = 0
    while True:
        gradient = gradient_at_candidates(objective.gradient(weight), candidates)
        value = objective.value(weight)
        dual_gap = relative_dual_gap(weight, value, gradient, objective.joint_scatter)
        if dual_gap <= tol or n_iter >= max_iter:
            return SimplexQPResult(weight, dual_gap, n_iter)
        row_gaps = (weight * gradient).sum(1) - gradient.min(1)
        order = np.argsort(-row_gaps, kind='stable')
        entering_rows = order[row_gaps[order] > _ENTERING_SHARE * row_gaps.max()]
        for rows, minimize in (
            (entering_rows, _minimize_dropping_negatives),
            (entering_rows, _minimize_with_ratio_test),
            (order[:1], _minimize_with_ratio_test),
        ):
            support = weight > 0
            support[rows, gradient[rows].argmin(1)] = True
            candidate, num_solves = minimize(objective, weight, support)
            n_iter += num_solves
            if objective.change(weight, gradient, candidate - weight) < 0:
                weight = candidate
                break
        else:  # no way lowers f: rounding dominates, though the gap is above tol
            return SimplexQPResult(weight, dual_gap, n_iter)


def _minimize_dropping_negatives(
    objective: QuadraticObjective, weight: FloatArray, support: BoolArray
) -> tuple[FloatArray, int]:
    """Minimize on the support; while entries are negative, drop them and minimize again.

    Returns:
        The weights, and how many systems were solved. ``f`` may be higher than before.
    """
    num_solves = 0
    while True:
        rows, columns = np.nonzero(support)
        target = weight[rows, columns] + _newton_step(objective, weight, rows, columns)
        num_solves += 1
        weight = _with_entries(weight, rows, columns, target)
        if target.min() >= 0:
            return weight, num_solves
        support = weight > 0


def _minimize_with_ratio_test(
    objective: QuadraticObjective, weight: FloatArray, support: BoolArray
) -> tuple[FloatArray, int]:
    """Minimize on the support in steps that stop where the first entry reaches zero, and drop it.

    Returns:
        The weights, and how many systems were solved. ``f`` is no higher than before.
    """
    num_solves = 0
    while True:
        rows, columns = np.nonzero(support)
        entries, step = weight[rows, columns], _newton_step(objective, weight, rows, columns)
        num_solves += 1
        blocking = (step < 0) & (entries + step <= 0)
        if not blocking.any():
            return _with_entries(weight, rows, columns, entries + step), num_solves
        ratio = np.where(blocking, entries / np.where(blocking, -step, 1.0), np.inf)
        length = min(float(ratio.min()), 1.0)
        leaving = blocking & (ratio <= length * (1 + 1e-12))
        entries = entries + length * step
        entries[leaving] = 0.0
        support = support.copy()
        support[rows[leaving], columns[leaving]] = False
        if length > 0:
            weight = _with_entries(weight, rows, columns, entries)


def _with_entries(
    weight: FloatArray, rows: IndexArray, columns: IndexArray, entries: FloatArray
) -> FloatArray:
    """Return weights that are zero but for these entries, clipped at zero, rows summing to one."""
    weight = np.zeros_like(weight)
    weight[rows, columns] = entries.clip(min=0)
    return weight / weight.sum(1, keepdims=True)


def _newton_step(
    objective: QuadraticObjective, weight: FloatArray, rows: IndexArray, columns: IndexArray
) -> FloatArray:
    """Return the step of the entries ``w[rows, columns]`` to the minimum with row sums fixed."""
    step = np.zeros(len(rows))
    for block in objective.coupled_rows:
        inside = np.nonzero(np.isin(rows, block))[0]
        step[inside] = _coupled_newton_step(objective, weight, rows[inside], columns[inside])
    return step


def _coupled_newton_step(
    objective: QuadraticObjective, weight: FloatArray, rows: IndexArray, columns: IndexArray
) -> FloatArray:
    """Return the step for rows that depend on each other.

    Each row's largest weight is eliminated by the row sum. Differences between vertices remain as
    columns, which are far better conditioned than the vertices.
    """
    entries = weight[rows, columns]
    largest = {j: np.argmax(np.where(rows == j, entries, -1)) for j in np.unique(rows)}
    eliminated = np.array([largest[j] for j in rows])  # for each entry, that of its row
    free = np.nonzero(eliminated != np.arange(len(entries)))[0]
    step = np.zeros_like(entries)
    if not len(free):
        return step
    eliminated = eliminated[free]
    hessian = objective.hessian_at(rows, columns)
    hessian = hessian[free] - hessian[eliminated]
    hessian = hessian[:, free] - hessian[:, eliminated]
    gradient = objective.gradient_at(weight, rows, columns)
    step[free] = -_solve_positive(hessian, gradient[free] - gradient[eliminated])
    np.add.at(step, eliminated, -step[free])
    return step


def _solve_positive(matrix: FloatArray, right_side: FloatArray) -> FloatArray:
    """Solve ``(matrix + c I) x = right_side`` by Cholesky, with the smallest ``c`` that works.

    ``c`` starts at :data:`_PROXIMAL` times the mean diagonal. ``matrix`` is overwritten.
    """
    shift = max(_PROXIMAL * float(matrix.diagonal().mean()), _TINY)
    diagonal = np.arange(len(matrix))
    while True:
        matrix[diagonal, diagonal] += shift
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
        if not failed:
            right = torch.from_numpy(right_side)[:, None]
            return torch.cholesky_solve(right, factor)[:, 0].numpy()
        shift *= 10
