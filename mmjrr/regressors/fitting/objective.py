"""Objective and gradient at given weights, computed frame by frame, and the dual gap.

With errors ``E_n = W X_n - Y_n``, coupling matrices ``P_n`` and joint weights ``u_n``
(see :mod:`~mmjrr.regressors.fitting.alignment`),

    f(W) = sum_n tr(E_n^T P_n E_n),    df/dW = 2 sum_n P_n E_n X_n^T    (J, V).

A pass over the frames is cheap: errors need only the few vertices with nonzero weight, and products
of lazy vertices with ``X_n`` are sums over the body's joints, so no other vertex is computed. The
pass needs no Gram matrix, and certifies the weights of any solver: since ``f`` is convex, all
weights ``W*`` with rows on the simplex satisfy

    f(W) - f(W*) <= sum_j (w_j . g_j - min_v g_jv),    g = df/dW at W,

The right side is the Frank-Wolfe dual gap (Jaggi, ICML 2013). Adding a constant to a row of ``g``
does not change it, since rows of ``W`` sum to one; the gradient is computed up to such constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import FloatArray
from mmjrr.body_models import LazyVertices, VertexMaker
from mmjrr.regressors.fitting.alignment import (
    alignment_matrix,
    center_joints,
    coupling_matrix,
    group_by_pattern,
)
from mmjrr.regressors.fitting.stream import FrameCounts, FrameStream

#: Frames converted to float64 at a time; more would not stay in the processor's cache.
_CONVERTED_FRAMES = 32

#: The dual gap is divided by ``f``, but by no less than this share of the joints' scatter (errors
#: of 1e-4 of the skeleton's size): below it, rounding dominates ``f``.
_MIN_RELATIVE_OBJECTIVE = 1e-8

_TINY = float(np.finfo(float).tiny)


@dataclass
class ObjectiveEvaluation:
    """Objective, gradient and related sums at given weights.

    Attributes:
        value: ``f``, square meters.
        gradient: (J, V) ``df/dW`` over the candidate vertices, each row up to a constant.
        joint_values: (J,) part of each joint in ``f``.
        joint_scatter: ``sum_n tr(Y_n^T P_n Y_n)`` of the centered joints, the scale of ``f``.
        counts: Frames of the pass.
    """

    value: float
    gradient: FloatArray
    joint_values: FloatArray
    joint_scatter: float
    counts: FrameCounts


def evaluate_objective(
    stream: FrameStream, weight: FloatArray, require_all_joints: bool = True
) -> ObjectiveEvaluation:
    """Evaluate the objective at ``weight`` in one pass over all frames.

    Args:
        stream: The frames.
        weight: (J, V) rows on the simplex, over the candidate vertices.
        require_all_joints: Whether every joint must be present in some frame. Default: True.

    Raises:
        ValueError: There are no frames or a joint is missing from all of them, although
            ``require_all_joints`` is set; or a batch is invalid.
    """
    support = torch.from_numpy(np.nonzero(weight.any(0))[0])
    support_weight = torch.from_numpy(weight)[:, support]
    counts = FrameCounts()
    joint_scatter, joint_values = 0.0, np.zeros(len(weight))
    products = _VertexProducts(stream)
    for frames in stream.usable_blocks('objective and gradient'):
        counts.add(frames)
        if not len(frames):
            continue
        vertices = stream.select_vertices(frames.vertices, support).double()  # (n, S, 3)
        error = support_weight.to(vertices.device) @ vertices - frames.joints  # (n, J, 3)
        coupled_error = torch.zeros_like(error)  # P_n E_n
        for pattern in group_by_pattern(frames.joint_weight):
            index = torch.from_numpy(pattern.frames).to(error.device)
            scale = torch.from_numpy(pattern.scale).to(error.device)[:, None, None]
            coupling = torch.from_numpy(coupling_matrix(pattern.joint_weight, stream.root))
            coupling = coupling.to(error.device)
            coupled_error[index] = scale * (coupling @ error[index])
            align = torch.from_numpy(alignment_matrix(pattern.joint_weight, stream.root))
            align = align.to(error.device)
            squares = (scale * (align @ error[index]).square()).sum((0, 2))
            joint_values += pattern.joint_weight * squares.cpu().numpy()
            joints = center_joints(
                frames.joints[index],
                torch.from_numpy(frames.joint_weight[pattern.frames] > 0).to(error.device),
                stream.root,
                vertices[index].mean(1, keepdim=True),
            )
            joint_scatter += float((joints * (scale * (coupling @ joints))).sum())
        products.add(coupled_error, frames.vertices)
    if require_all_joints:
        counts.require_all_joints(stream.joint_names, stream.root)
    return ObjectiveEvaluation(
        float(joint_values.sum()), 2 * products.total(), joint_values, joint_scatter, counts
    )


def relative_dual_gap(
    weight: FloatArray, value: float, gradient: FloatArray, joint_scatter: float
) -> float:
    """Return an upper bound of ``(f - min f) / f``.

    Args:
        weight: (J, V) rows on the simplex.
        value: ``f`` at ``weight``.
        gradient: (J, V) ``df/dW`` at ``weight``, each row up to a constant.
        joint_scatter: As in :class:`ObjectiveEvaluation`.
    """
    row_gaps = (weight * gradient).sum(1) - gradient.min(1)  # (J,), each >= 0
    # min f >= 0, so f itself bounds the gap; the better bound where the fit is all but exact.
    dual_gap = min(max(float(row_gaps.sum()), 0.0), value)
    return dual_gap / max(value, _MIN_RELATIVE_OBJECTIVE * joint_scatter, _TINY)


class _VertexProducts:
    """Accumulates ``sum_n vectors_n X_n^T`` (J, V), each row up to a constant.

    The constant is left out because lazy vertices do without their translation, which adds the same
    to all vertices of a frame.
    """

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._coordinate_products: Tensor | None = None  # (3J, 3V)
        self._moments: dict[VertexMaker, Tensor] = {}

    def add(self, vectors: Tensor, vertices: Tensor | LazyVertices) -> None:
        """Add frames with ``vectors`` (n, J, 3), float64, and ``vertices`` (n, V, 3)."""
        if isinstance(vertices, LazyVertices):
            moments = vertices.moments(vectors.to(vertices.device))
            self._moments[vertices.maker] = self._moments.get(vertices.maker, 0.0) + moments
            return
        # Products of all pairs of coordinates, of which x-x, y-y and z-z are used. Thrice the
        # arithmetic of three products is still faster than transposing the vertices in memory.
        candidates = self.stream.select_vertices(vertices)
        if self._coordinate_products is None:
            shape = (3 * vectors.shape[1], 3 * candidates.shape[1])
            self._coordinate_products = torch.zeros(
                shape, dtype=torch.float64, device=candidates.device
            )
        for start in range(0, len(vectors), _CONVERTED_FRAMES):
            part = slice(start, start + _CONVERTED_FRAMES)
            self._coordinate_products.addmm_(
                vectors[part].flatten(1).T, candidates[part].double().flatten(1)
            )

    def total(self) -> FloatArray:
        """Return the sum over all frames added, (J, V) over the candidate vertices."""
        total = np.zeros((len(self.stream.joint_names), self.stream.num_candidates))
        if self._coordinate_products is not None:
            products = self._coordinate_products.unflatten(0, (-1, 3)).unflatten(2, (-1, 3))
            total += products.diagonal(dim1=1, dim2=3).sum(-1).cpu().numpy()
        ids = slice(None) if self.stream.vertex_ids is None else self.stream.vertex_ids.numpy()
        for maker, moments in self._moments.items():
            total += maker.products_of(moments).cpu().numpy()[:, ids]
        return total
