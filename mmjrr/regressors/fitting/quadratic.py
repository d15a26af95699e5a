"""The objective as a quadratic function of the weights, given the normal equations.

With the sums ``G``, ``C``, ``S`` and the coupling matrix ``P`` of each weight pattern (see
:mod:`~mmjrr.regressors.fitting.normal_equations`)

    f(W)    = sum_k tr(P_k (W G_k W^T - W C_k^T - C_k W^T + S_k))
    df/dW   = 2 sum_k P_k (W G_k - C_k)                             (J, V)
    d²f / dw_iv dw_jw = 2 sum_k P_k[i, j] G_k[v, w].

Weights are sparse: few vertices have a nonzero weight in any row. Only their rows of the Gram
matrices are read, once, when a vertex first gets a nonzero weight.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.regressors.fitting.alignment import alignment_matrix, coupling_matrix
from mmjrr.regressors.fitting.normal_equations import GramMatrix, NormalEquations
from mmjrr.regressors.fitting.threads import matmul, torch_threads

#: Multiplications from which several threads save more than changing their number costs.
_WORK_FOR_THREADS = 10**8


class QuadraticObjective:
    """``f``, its gradient, and its Hessian on few vertices.

    A linear function can be added to it (:meth:`match`), which turns the objective of sampled
    frames into a local model of the objective of all frames.
    """

    def __init__(self, equations: NormalEquations) -> None:
        self.root = equations.root
        self.joint_weight = [pattern.joint_weight for pattern in equations.patterns]  # (J,) each
        self.coupling = [coupling_matrix(u, self.root) for u in self.joint_weight]  # (J, J) each
        self.cross = [pattern.cross.cpu().numpy() for pattern in equations.patterns]
        self.joint_gram = [pattern.joint_gram.cpu().numpy() for pattern in equations.patterns]
        self.num_joints, self.num_vertices = self.cross[0].shape
        #: ``sum_n tr(Y_n^T P_n Y_n)`` of the centered joints, the scale of ``f``.
        self.joint_scatter = float(
            sum(np.sum(p * s) for p, s in zip(self.coupling, self.joint_gram, strict=True))
        )
        #: Rows that are coupled. Without alignment each row is a problem of its own.
        joints = np.arange(self.num_joints)
        self.coupled_rows = [joints] if self.root is not None else list(joints[:, None])
        self._grams = _GramCache([pattern.gram for pattern in equations.patterns])
        self._coupled_cross = sum(p @ c for p, c in zip(self.coupling, self.cross, strict=True))
        # The linear function added by match(): offset + <slope, W>. half_linear is -1/2 of the
        # gradient at zero weights, both included.
        self._half_linear: FloatArray = self._coupled_cross
        self._slope: FloatArray | None = None
        self._offset = 0.0

    def value(self, weight: FloatArray) -> float:
        """Return ``f`` at ``weight`` (J, V)."""
        moments = zip(self.coupling, self._error_moments(weight), strict=True)
        value = float(sum(np.sum(p * moment) for p, moment in moments))
        if self._slope is not None:
            value += self._offset + float(np.sum(self._slope * weight))
        return max(value, 0.0)

    def joint_values(self, weight: FloatArray) -> FloatArray:
        """Return each joint's part (J,) of ``f`` at ``weight``, without the linear function."""
        values = np.zeros(self.num_joints)
        for u, moment in zip(self.joint_weight, self._error_moments(weight), strict=True):
            align = alignment_matrix(u, self.root)
            values += u * np.einsum('ij,jk,ik->i', align, moment, align)
        return values.clip(min=0)

    def gradient(self, weight: FloatArray) -> FloatArray:
        """Return ``df/dW`` (J, V)."""
        support = np.nonzero(weight.any(0))[0]
        half = -self._half_linear
        for p, gram_rows in zip(self.coupling, self._grams.rows(support), strict=True):
            half += matmul(p @ weight[:, support], gram_rows)
        return 2 * half

    def gradient_at(self, weight: FloatArray, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Return ``df/dw[rows, columns]`` for weights that are zero everywhere else."""
        support, position = np.unique(columns, return_inverse=True)
        half = -self._half_linear[:, support]
        for p, gram in zip(self.coupling, self._grams.square(support), strict=True):
            half += matmul(p @ weight[:, support], gram)
        return 2 * half[rows, position]

    def hessian_at(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Return the second derivatives of ``f`` in the weights ``w[rows, columns]``."""
        hessian = np.zeros((len(columns), len(columns)))
        for p, gram in zip(self.coupling, self._grams.square(columns), strict=True):
            hessian += p[np.ix_(rows, rows)] * gram
        return 2 * hessian

    def change(self, weight: FloatArray, gradient: FloatArray, step: FloatArray) -> float:
        """Return ``f(weight + step) - f(weight)`` for a step whose rows sum to zero.

        The result is exact even for small steps, for which a difference of two values of ``f``
        would be mostly rounding error.

        Args:
            weight: (J, V)
            gradient: (J, V) ``df/dW`` at ``weight``.
            step: (J, V)
        """
        columns = np.nonzero(step.any(0))[0]
        step = step[:, columns]
        # A constant in a row of the gradient changes nothing but the rounding.
        constant = (weight * gradient).sum(1, keepdims=True)
        change = float(np.sum((gradient[:, columns] - constant) * step))
        for p, gram in zip(self.coupling, self._grams.square(columns), strict=True):
            change += float(np.sum((p @ step) * matmul(step, gram)))
        return change

    def match(self, weight: FloatArray, value: float, gradient: FloatArray) -> None:
        """Add a linear function such that ``f`` has this value and gradient at ``weight``.

        It replaces the function added by an earlier call.

        Args:
            weight: (J, V) rows on the simplex.
            value: ``f`` to match.
            gradient: (J, V) ``df/dW`` to match, each row up to a constant.
        """
        self._slope, self._offset = None, 0.0
        self._half_linear = self._coupled_cross
        slope = gradient - self.gradient(weight)
        slope -= slope.mean(1, keepdims=True)
        self._offset = value - self.value(weight) - float(np.sum(slope * weight))
        self._slope = slope
        self._half_linear = self._coupled_cross - slope / 2

    def nearest_vertices(self) -> FloatArray:
        """Return weights (J, V) with each row on the vertex nearest to its joint on average."""
        squared_distance = self._grams.diagonal() - 2 * sum(self.cross)  # less |joint|²
        weight = np.zeros((self.num_joints, self.num_vertices))
        weight[np.arange(self.num_joints), np.argmin(squared_distance, axis=1)] = 1.0
        return weight

    def _error_moments(self, weight: FloatArray) -> list[FloatArray]:
        """Return ``sum_n s_n E_n E_n^T`` (J, J) of each pattern, before alignment."""
        support = np.nonzero(weight.any(0))[0]
        grams, weight = self._grams.square(support), weight[:, support]
        moments = []
        for cross, joint_gram, gram in zip(self.cross, self.joint_gram, grams, strict=True):
            mixed = weight @ cross[:, support].T
            moments.append(matmul(weight, gram) @ weight.T - mixed - mixed.T + joint_gram)
        return moments


class _GramCache:
    """Cache of the rows of Gram matrices."""

    def __init__(self, grams: list[GramMatrix]) -> None:
        num_vertices = grams[0].num_vertices
        self._grams = grams
        self._threads = torch.get_num_threads()  # outside of the solver, which uses one
        self._position = np.full(num_vertices, -1)  # of each vertex's row in the cache
        self._ids = np.empty(0, dtype=np.int64)  # vertices in the cache, in order of arrival
        self._rows = [np.empty((0, num_vertices)) for _ in grams]  # capacity doubles when exceeded
        self._square = [np.empty((0, 0)) for _ in grams]  # the rows' columns at self._ids

    def rows(self, ids: IndexArray) -> list[FloatArray]:
        """Return ``G[ids]`` (len(ids), V) of each matrix."""
        positions = self._positions_of(ids)
        return [rows[positions] for rows in self._rows]

    def square(self, ids: IndexArray) -> list[FloatArray]:
        """Return ``G[ids][:, ids]`` of each matrix."""
        positions = self._positions_of(ids)
        return [square[np.ix_(positions, positions)] for square in self._square]

    def diagonal(self) -> FloatArray:
        """Return the diagonal (V,) of the sum of all matrices."""
        return sum(gram.diagonal().cpu().numpy() for gram in self._grams)

    def _positions_of(self, ids: IndexArray) -> IndexArray:
        if len(ids) and self._position[ids].min() < 0:
            self._fetch(ids[self._position[ids] < 0])
        return self._position[ids]

    def _fetch(self, new_ids: IndexArray) -> None:
        old_size = len(self._ids)
        self._ids = np.concatenate([self._ids, new_ids])
        size = len(self._ids)
        self._position[new_ids] = np.arange(old_size, size)
        work = len(new_ids) * sum(gram.work_of_a_row for gram in self._grams)
        with torch_threads(self._threads) if work > _WORK_FOR_THREADS else nullcontext():
            fetched = [gram.rows_at(new_ids) for gram in self._grams]
        for k, new_rows in enumerate(fetched):
            if size > len(self._rows[k]):
                capacity = np.empty((2 * size, new_rows.shape[1]))
                capacity[:old_size] = self._rows[k][:old_size]
                self._rows[k] = capacity
            self._rows[k][old_size:size] = new_rows
            square = np.empty((size, size))
            square[:old_size, :old_size] = self._square[k]
            square[old_size:] = new_rows[:, self._ids]
            square[:old_size, old_size:] = square[old_size:, :old_size].T
            self._square[k] = square
