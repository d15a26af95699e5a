"""The quadratic program of :mod:`mmjrr.regressors.fitting.fit`: an active-set method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .normal_equations import Sums, alignment, coupling

#: Proximal weight of the restricted solves, relative to the mean diagonal of their Hessian. It
#: makes them well-posed where vertices are linearly dependent (skinned vertices nearly are), and
#: does not move the optimum: what it pulls towards is the last iterate.
_PROXIMAL = 1e-11

#: The gap is measured against f, or, where the fit is all but exact, against this share of the
#: joints' own sum of squares (an error of 1e-4 of their spread): below it, rounding rules.
_FLOOR = 1e-8

_TINY = float(np.finfo(float).tiny)


class Problem:
    """``f``, its gradient, and its Hessian on few vertices, from the sums of the stream."""

    def __init__(self, sums: Sums) -> None:
        self.root = sums.root
        self.grams = [group.gram for group in sums.groups]
        self.u = [group.u for group in sums.groups]
        self.p = [coupling(u, sums.root) for u in self.u]
        self.q = [group.q.cpu().numpy() for group in sums.groups]
        self.s = [group.s.cpu().numpy() for group in sums.groups]
        self.num_joints, self.num_vertices = self.q[0].shape
        self.linear = sum(p @ q for p, q in zip(self.p, self.q, strict=True))
        self._own_linear = self.linear
        self._slope: np.ndarray | None = None
        self._offset = 0.0
        self.constant = float(sum(np.sum(p * s) for p, s in zip(self.p, self.s, strict=True)))
        self._threads = torch.get_num_threads()
        joints = np.arange(self.num_joints)
        #: Rows that are coupled; without alignment each row is a problem of its own.
        self.blocks = [joints] if sums.root is not None else list(joints[:, None])
        # Rows of the Grams, fetched when a vertex is first weighed, and their square part.
        self._slot = np.full(self.num_vertices, -1)
        self.held = np.empty(0, dtype=np.int64)
        self._rows = [np.empty((0, self.num_vertices)) for _ in self.grams]
        self._square = [np.empty((0, 0)) for _ in self.grams]

    def _slots(self, ids: np.ndarray) -> np.ndarray:
        """Where the vertices' rows are held; fetches those that are not."""
        if len(ids) and self._slot[ids].min() < 0:
            new = ids[self._slot[ids] < 0]
            before = len(self.held)
            self.held = np.concatenate([self.held, new])
            held = len(self.held)
            self._slot[new] = np.arange(before, held)
            with threads(self._threads):
                fetched = [gram.rows_of(new) for gram in self.grams]
            for k, rows in enumerate(fetched):
                if held > len(self._rows[k]):
                    grown = np.empty((2 * held, self.num_vertices))
                    grown[:before] = self._rows[k][:before]
                    self._rows[k] = grown
                self._rows[k][before:held] = rows
                square = np.empty((held, held))
                square[:before, :before] = self._square[k]
                square[before:] = rows[:, self.held]
                square[:before, before:] = square[before:, :before].T
                self._square[k] = square
        return self._slot[ids]

    def moments(self, w: np.ndarray) -> list[np.ndarray]:
        """``sum E E^T`` ``(J, J)`` of each group, errors before alignment."""
        ids = np.nonzero(w.any(0))[0]
        slots, w = self._slots(ids), w[:, ids]
        out = []
        for q, s, square in zip(self.q, self.s, self._square, strict=True):
            cross = w @ q[:, ids].T
            out.append(_matmul(w, square[np.ix_(slots, slots)]) @ w.T - cross - cross.T + s)
        return out

    def value(self, w: np.ndarray) -> float:
        terms = zip(self.p, self.moments(w), strict=True)
        value = float(sum(np.sum(p * m) for p, m in terms))
        if self._slope is not None:
            value += self._offset + float(np.sum(self._slope * w))
        return max(value, 0.0)

    def change(self, w: np.ndarray, gradient: np.ndarray, step: np.ndarray) -> float:
        """``f(w + step) - f(w)``, where each row of ``step`` sums to zero; far more exact for small
        steps than the difference is. ``gradient`` is that at ``w``."""
        ids = np.nonzero(step.any(0))[0]
        slots, step = self._slots(ids), step[:, ids]
        # A number common to a row changes nothing but the rounding.
        common = (w * gradient).sum(1, keepdims=True)
        change = float(np.sum((gradient[:, ids] - common) * step))
        for p, square in zip(self.p, self._square, strict=True):
            change += float(np.sum((p @ step) * _matmul(step, square[np.ix_(slots, slots)])))
        return change

    def tilt(self, w: np.ndarray, value: float, gradient: np.ndarray) -> None:
        """Add a linear function to ``f``, which then has this value and gradient at ``w``.

        Of the gradient, a number common to all vertices of a row does not count.
        """
        self._slope, self._offset = None, 0.0
        self.linear = self._own_linear
        slope = gradient - self.gradient(w)
        slope -= slope.mean(1, keepdims=True)
        self._offset = value - self.value(w) - float(np.sum(slope * w))
        self._slope = slope
        self.linear = self._own_linear - slope / 2

    def errors(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """``f``, and its share of each joint ``(J,)``."""
        squares = np.zeros(self.num_joints)
        for u, moment in zip(self.u, self.moments(w), strict=True):
            align = alignment(u, self.root)
            squares += u * np.einsum('ij,jk,ik->i', align, moment, align)
        return self.value(w), squares.clip(min=0)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """``df/dW`` ``(J, V)``."""
        ids = np.nonzero(w.any(0))[0]
        slots = self._slots(ids)
        out = -self.linear
        for p, rows in zip(self.p, self._rows, strict=True):
            out += _matmul(p @ w[:, ids], rows[slots])
        return 2 * out

    def gradient_on(self, w: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """``df/dw[rows, ids]``, where ``w`` is zero but there."""
        columns, place = np.unique(ids, return_inverse=True)
        slots = self._slots(columns)
        out = -self.linear[:, columns]
        for p, square in zip(self.p, self._square, strict=True):
            out += _matmul(p @ w[:, columns], square[np.ix_(slots, slots)])
        return 2 * out[rows, place]

    def hessian(self, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Second derivatives of ``f`` in the weights ``w[rows, ids]``."""
        slots = self._slots(ids)
        out = np.zeros((len(ids), len(ids)))
        for p, square in zip(self.p, self._square, strict=True):
            out += p[np.ix_(rows, rows)] * square[np.ix_(slots, slots)]
        return 2 * out

    def start(self) -> np.ndarray:
        """Each row on the vertex nearest to its joint, in the frame of the sums."""
        w = np.zeros((self.num_joints, self.num_vertices))
        q = sum(self.q)
        spread = sum(gram.diagonal().cpu().numpy() for gram in self.grams)
        w[np.arange(self.num_joints), np.argmin(spread - 2 * q, axis=1)] = 1.0
        return w


def solve(
    problem: Problem, tol: float, max_iterations: int, start: np.ndarray | None = None
) -> tuple[np.ndarray, float, int]:
    """Active-set method on the product of simplices: weights ``(J, V)``, gap, iterations.

    As in Lawson and Hanson's NNLS: the vertices that promise most enter the support (one for each
    row), the quadratic problem restricted to the support is solved, and vertices whose weights
    would turn negative leave. ``f`` falls at every step, and the Frank-Wolfe gap
    ``sum_j (w_j g_j - min_v g_jv)``, an upper bound of ``f - optimum`` by convexity, says when to
    stop. Three ways of taking a step, each tried when the one before did not lower ``f``: all
    negative weights leave at once; the step stops where the first reaches zero; and the same with
    a single vertex entering, which always descends but for rounding. ``start``: weights to start
    from, by default each row on the vertex nearest to its joint.
    """
    with threads(1):
        start = problem.start() if start is None else start
        return _solve(problem, start, tol, max_iterations)


def relative_gap(w: np.ndarray, value: float, gradient: np.ndarray, constant: float) -> float:
    """Upper bound of ``(f - optimum) / f``; ``constant`` is the joints' own share of ``f``."""
    slack = (w * gradient).sum(1) - gradient.min(1)  # (J,), each >= 0
    # f is never negative, so where the fit is all but exact, f itself is the better bound.
    bound = min(max(float(slack.sum()), 0.0), value)
    return bound / max(value, _FLOOR * constant, _TINY)


def _solve(
    problem: Problem, w: np.ndarray, tol: float, max_iterations: int
) -> tuple[np.ndarray, float, int]:
    iterations = 0
    while True:
        gradient = problem.gradient(w)
        gap = relative_gap(w, problem.value(w), gradient, problem.constant)
        if gap <= tol or iterations >= max_iterations:
            return w, gap, iterations
        slack = (w * gradient).sum(1) - gradient.min(1)
        order = np.argsort(-slack, kind='stable')
        promising = order[slack[order] > 1e-3 * slack.max()]
        for rows, minimise in (
            (promising, _minimise_at_once),
            (promising, _minimise_carefully),
            (order[:1], _minimise_carefully),
        ):
            mask = w > 0
            mask[rows, gradient[rows].argmin(1)] = True
            candidate, solves = minimise(problem, w, mask)
            iterations += solves
            if problem.change(w, gradient, candidate - w) < 0:
                w = candidate
                break
        else:  # rounding: no descent is left, though the gap is above tol
            return w, gap, iterations


def _minimise_at_once(problem: Problem, w: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Minimise ``f`` over weights within ``mask``, less all that turn negative on the way."""
    solves = 0
    while True:
        rows, ids = np.nonzero(mask)
        target = w[rows, ids] + _restricted_step(problem, w, rows, ids)
        solves += 1
        w = _with(w, rows, ids, target)
        if target.min() >= 0:
            return w, solves
        mask = w > 0


def _minimise_carefully(
    problem: Problem, w: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, int]:
    """The same from ``w`` in steps that stop where a weight reaches zero: ``f`` never rises."""
    solves = 0
    while True:
        rows, ids = np.nonzero(mask)
        x, step = w[rows, ids], _restricted_step(problem, w, rows, ids)
        solves += 1
        blocked = (step < 0) & (x + step <= 0)
        if not blocked.any():
            return _with(w, rows, ids, x + step), solves
        ratio = np.where(blocked, x / np.where(blocked, -step, 1.0), np.inf)
        length = min(float(ratio.min()), 1.0)
        leaving = blocked & (ratio <= length * (1 + 1e-12))
        x = x + length * step
        x[leaving] = 0.0
        mask = mask.copy()
        mask[rows[leaving], ids[leaving]] = False
        if length > 0:
            w = _with(w, rows, ids, x)


def _with(w: np.ndarray, rows: np.ndarray, ids: np.ndarray, x: np.ndarray) -> np.ndarray:
    w = np.zeros_like(w)
    w[rows, ids] = x.clip(min=0)
    return w / w.sum(1, keepdims=True)


def _restricted_step(
    problem: Problem, w: np.ndarray, rows: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """Newton step of ``f`` in the weights ``w[rows, ids]``, each row's sum kept.

    The row's greatest weight is eliminated, which leaves differences of vertices as the columns:
    they are far better conditioned than the vertices.
    """
    step = np.zeros(len(rows))
    for block in problem.blocks:
        inside = np.nonzero(np.isin(rows, block))[0]
        step[inside] = _block_step(problem, w, rows[inside], ids[inside])
    return step


def _block_step(problem: Problem, w: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    x = w[rows, ids]
    greatest = {j: np.argmax(np.where(rows == j, x, -1)) for j in np.unique(rows)}
    pivot_of = np.array([greatest[j] for j in rows])
    free = np.nonzero(pivot_of != np.arange(len(x)))[0]
    step = np.zeros_like(x)
    if not len(free):
        return step
    pivot_of = pivot_of[free]
    hessian = problem.hessian(rows, ids)
    hessian = hessian[free] - hessian[pivot_of]
    hessian = hessian[:, free] - hessian[:, pivot_of]
    g = problem.gradient_on(w, rows, ids)
    reduced = g[free] - g[pivot_of]
    step[free] = -_solve_positive(hessian, reduced)
    np.add.at(step, pivot_of, -step[free])
    return step


def _solve_positive(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``x`` of ``(matrix + tiny multiple of the identity) x = right``, by Cholesky."""
    proximal = max(_PROXIMAL * float(matrix.diagonal().mean()), _TINY)
    diagonal = np.arange(len(matrix))
    while True:
        matrix[diagonal, diagonal] += proximal
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
        if not failed:
            return torch.cholesky_solve(torch.from_numpy(right)[:, None], factor)[:, 0].numpy()
        proximal *= 10


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` by torch, which :func:`threads` reaches; NumPy's BLAS would take them all."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads.

    The solve's matrices are so small that waiting for other threads costs more: on a busy machine,
    threads that spin for each other made it up to ten times slower. Once around the whole solve,
    as changing the number itself takes milliseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
