"""Normal equations: the sums over frames to which a least-squares fit reduces.

Frames of one weight pattern ``k`` have joint weights ``s_n u_k`` and share the coupling matrix
``P_k`` (see :mod:`~mmjrr.regressors.fitting.alignment`). Written out, their part of the objective
``f(W) = sum_n tr(E_n^T P_n E_n)`` with ``E_n = W X_n - Y_n`` is

    f_k(W) = tr(P_k (W G W^T - W C^T - C W^T + S)),

    G = sum_n s_n X_n X_n^T   (V, V)   Gram matrix of the vertices, ``gram``
    C = sum_n s_n Y_n X_n^T   (J, V)   ``cross``
    S = sum_n s_n Y_n Y_n^T   (J, J)   ``joint_gram``

so memory does not grow with the frames. The fit needs nothing else of them.

Centering: the frame's mean vertex is subtracted from its vertices, and a point of the frame from
its joints. Rows of ``W`` sum to one, so this changes no aligned error. It keeps the distance to the
camera, whose squares would take digits from the body's, out of the sums.

Layout: each coordinate of a frame is a row. ``vertex_rows`` (3n, V) and ``joint_rows`` (3n, J) hold
the centered frames times ``sqrt(s_n)``, so that ``G = A^T A`` with ``A = vertex_rows``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.regressors.fitting.alignment import (
    Root,
    WeightPattern,
    center_joints,
    group_by_pattern,
)
from mmjrr.regressors.fitting.stream import FrameCounts, FrameStream, UsableFrames

#: Columns of a Gram matrix computed by one product.
_GRAM_BLOCK = 256


@dataclass
class NormalEquations:
    """Sums over all usable frames, one set for each weight pattern."""

    root: Root
    patterns: list[PatternEquations]
    counts: FrameCounts


@dataclass
class PatternEquations:
    """Sums over the frames of one weight pattern; V counts the selected columns."""

    joint_weight: FloatArray  # (J,)
    gram: GramMatrix  # (V, V)
    cross: Tensor  # (J, V), float64
    joint_gram: Tensor  # (J, J), float64


def accumulate_normal_equations(
    stream: FrameStream,
    max_bytes: int,
    columns: Tensor | None = None,
    visit: Callable[[UsableFrames, DesignRows], None] | None = None,
    require_all_joints: bool = True,
) -> NormalEquations:
    """Sum over all frames in one pass.

    Args:
        stream: The frames.
        max_bytes: Limit on the memory of all Gram matrices.
        columns: (C,) indices among the candidate vertices, the only ones to keep. None: all.
        visit: Function called with the frames of each block and their rows, for further sums.
        require_all_joints: Whether every joint must be present in some frame.

    Raises:
        ValueError: There are no frames or a joint is missing from all of them, although
            ``require_all_joints`` is set; or a batch is invalid.
        MemoryError: The weight patterns need more than ``max_bytes``.
    """
    patterns: dict[bytes, PatternEquations] = {}
    counts = FrameCounts()
    per_joint = False
    for frames in stream.usable_blocks('normal equations'):
        counts.add(frames)
        for rows in _design_rows(stream, frames, columns):
            if rows.pattern.key not in patterns:
                patterns[rows.pattern.key] = _empty_equations(rows)
            _add_rows(patterns[rows.pattern.key], rows)
            if visit is not None:
                visit(frames, rows)
        if stream.root != 'mean' and (per_joint or len(patterns) > len(stream.joint_names)):
            patterns = _regroup_by_joint(patterns)
            per_joint = True
        _check_memory(patterns, max_bytes)
    if require_all_joints:
        counts.require_all_joints(stream.joint_names, stream.root)
    return NormalEquations(stream.root, list(patterns.values()), counts)


def accumulate_pooled_equations(stream: FrameStream) -> NormalEquations | None:
    """Sum over all frames in one pass as if they shared one weight pattern.

    The pattern is the mean of the frames' patterns. Sums over frames in which a joint is present
    are scaled up to all frames, as if it were missing at random. This is an approximation for
    frames with missing joints; it needs one Gram matrix for any number of patterns.

    Returns:
        The equations; None if no frame is usable.
    """
    counts = FrameCounts()
    gram: GramMatrix | None = None
    num_rows = 0
    mean_weight = cross = joint_gram = torch.zeros(())
    for frames in stream.usable_blocks('sampling'):
        counts.add(frames)
        for rows in _design_rows(stream, frames):
            gram = gram or GramMatrix(rows.vertex_rows.shape[1], rows.vertex_rows.device)
            gram.add_rows(rows.vertex_rows)
            num_rows += len(rows.vertex_rows)
            mean_weight = mean_weight + len(rows.vertex_rows) * torch.from_numpy(
                rows.pattern.joint_weight
            )
            cross = cross + rows.joint_rows.T @ rows.vertex_rows
            joint_gram = joint_gram + rows.joint_rows.T @ rows.joint_rows
    if gram is None:
        return None
    mean_weight = mean_weight / num_rows
    share = torch.where(mean_weight > 0, mean_weight, 1.0).to(cross.device)  # of the frames
    pooled = PatternEquations(
        mean_weight.numpy(),
        gram,
        cross / share[:, None],
        joint_gram / torch.minimum(share, share[:, None]),
    )
    return NormalEquations(stream.root, [pooled], counts)


# -- rows of the least-squares system --------------------------------------------------------


@dataclass
class DesignRows:
    """Centered frames of one weight pattern, a row for each coordinate of a frame."""

    pattern: WeightPattern  # of n frames
    vertex_rows: Tensor  # (3n, V), float64
    joint_rows: Tensor  # (3n, J), float64


def _design_rows(
    stream: FrameStream, frames: UsableFrames, columns: Tensor | None = None
) -> Iterator[DesignRows]:
    """Center and scale the frames of a block, and yield them by weight pattern."""
    if not len(frames):
        return
    vertices = stream.select_vertices(frames.vertices, columns)
    # Coordinates before vertices, so that rows are contiguous.
    vertices = vertices.transpose(1, 2).contiguous().double()  # (n, 3, V)
    mesh_center = vertices.mean(2, keepdim=True)
    vertices = vertices - mesh_center
    present = torch.from_numpy(frames.joint_weight > 0).to(vertices.device)
    joints = center_joints(frames.joints, present, stream.root, mesh_center.transpose(1, 2))
    joints = joints.transpose(1, 2)  # (n, 3, J)
    for pattern in group_by_pattern(frames.joint_weight):
        is_whole_block = len(pattern.frames) == len(frames)
        index = slice(None) if is_whole_block else torch.from_numpy(pattern.frames)
        vertex_rows, joint_rows = vertices[index], joints[index]
        if (pattern.scale != 1).any():
            root_scale = torch.from_numpy(np.sqrt(pattern.scale)).to(vertices.device)
            vertex_rows = vertex_rows * root_scale[:, None, None]
            joint_rows = joint_rows * root_scale[:, None, None]
        yield DesignRows(pattern, vertex_rows.flatten(0, 1), joint_rows.flatten(0, 1))


def _empty_equations(rows: DesignRows) -> PatternEquations:
    num_vertices, num_joints = rows.vertex_rows.shape[1], rows.joint_rows.shape[1]
    return PatternEquations(
        rows.pattern.joint_weight,
        GramMatrix(num_vertices, rows.vertex_rows.device),
        rows.joint_rows.new_zeros(num_joints, num_vertices),
        rows.joint_rows.new_zeros(num_joints, num_joints),
    )


def _add_rows(equations: PatternEquations, rows: DesignRows) -> None:
    equations.gram.add_rows(rows.vertex_rows)
    equations.cross.addmm_(rows.joint_rows.T, rows.vertex_rows)
    equations.joint_gram.addmm_(rows.joint_rows.T, rows.joint_rows)


def _regroup_by_joint(patterns: dict[bytes, PatternEquations]) -> dict[bytes, PatternEquations]:
    """Replace the patterns by one for each joint, with that joint's weight alone.

    This bounds the number of Gram matrices by the number of joints. It is exact if the objective is
    a sum of independent terms of the joints: with a root joint or None, but not with ``'mean'``.
    """
    by_joint: dict[bytes, PatternEquations] = {}
    for equations in patterns.values():
        for joint in np.nonzero(equations.joint_weight)[0]:
            single = np.zeros_like(equations.joint_weight)
            single[joint] = 1.0
            key = single.tobytes()
            if key not in by_joint and np.array_equal(single, equations.joint_weight):
                by_joint[key] = equations
                continue
            if key not in by_joint:
                by_joint[key] = PatternEquations(
                    single,
                    GramMatrix(equations.gram.num_vertices, equations.gram.device),
                    torch.zeros_like(equations.cross),
                    torch.zeros_like(equations.joint_gram),
                )
            target, scale = by_joint[key], float(equations.joint_weight[joint])
            equations.gram.add_scaled_to(target.gram, scale)
            target.cross.add_(equations.cross, alpha=scale)
            target.joint_gram.add_(equations.joint_gram, alpha=scale)
    return by_joint


def _check_memory(patterns: dict[bytes, PatternEquations], max_bytes: int) -> None:
    num_bytes = sum(equations.gram.num_bytes for equations in patterns.values())
    if num_bytes > max_bytes:
        raise MemoryError(
            f'frames have {len(patterns)} patterns of joint weights (missing joints count as '
            f'weight zero), whose Gram matrices take {num_bytes / 2**30:.1f} GiB so far, more than '
            f'max_bytes={max_bytes / 2**30:.1f} GiB: leave out frames with missing joints, or pass '
            'vertex_ids='
        )


# -- Gram matrix -----------------------------------------------------------------------------


class GramMatrix:
    """``G = A^T A`` (V, V) in float64, of rows ``A`` that arrive in blocks.

    ``A`` itself is kept as long as it is smaller, with at most as many rows as columns. Otherwise
    ``G`` is kept: its blocks on and above the diagonal are accumulated, and mirrored when read.
    """

    def __init__(self, num_vertices: int, device: torch.device) -> None:
        self.num_vertices = num_vertices
        self.device = device
        self._row_blocks: list[Tensor] = []
        self._matrix: Tensor | None = None
        self._is_mirrored = True

    @property
    def num_bytes(self) -> int:
        """Memory in use."""
        num_rows = sum(map(len, self._row_blocks))
        return 8 * self.num_vertices * (num_rows if self._matrix is None else self.num_vertices)

    def add_rows(self, rows: Tensor) -> None:
        """Add rows (m, V), float64."""
        if self._matrix is not None:
            self._add_product(self._matrix, rows)
            return
        self._row_blocks.append(rows)
        if sum(map(len, self._row_blocks)) > self.num_vertices:
            self._to_matrix()

    def add_scaled_to(self, target: GramMatrix, scale: float) -> None:
        """Add ``scale`` times this matrix to ``target``."""
        if self._matrix is None:
            for rows in self._row_blocks:
                target.add_rows(rows * scale**0.5)
        else:
            target._to_matrix().add_(self._mirrored(), alpha=scale)

    @property
    def work_of_a_row(self) -> int:
        """Number of multiplications with which :meth:`rows_at` computes a row."""
        return self.num_vertices * sum(map(len, self._row_blocks))

    def rows_at(self, ids: IndexArray) -> FloatArray:
        """Return ``G[ids]`` (len(ids), V)."""
        index = torch.from_numpy(ids).to(self.device)
        if self._matrix is not None:
            result = self._mirrored()[index]
        else:
            shape = (len(ids), self.num_vertices)
            result = torch.zeros(shape, dtype=torch.float64, device=self.device)
            for rows in self._row_blocks:
                result.addmm_(rows[:, index].T, rows)
        return result.cpu().numpy()

    def diagonal(self) -> Tensor:
        """Return the diagonal of ``G`` (V,)."""
        if self._matrix is not None:
            return self._matrix.diagonal()
        result = torch.zeros(self.num_vertices, dtype=torch.float64, device=self.device)
        for rows in self._row_blocks:
            result += rows.square().sum(0)
        return result

    def _to_matrix(self) -> Tensor:
        """Replace ``A`` by ``G``, and return ``G``."""
        if self._matrix is None:
            shape = (self.num_vertices, self.num_vertices)
            self._matrix = torch.zeros(shape, dtype=torch.float64, device=self.device)
        while self._row_blocks:
            self._add_product(self._matrix, self._row_blocks.pop(0))
        return self._matrix

    def _add_product(self, matrix: Tensor, rows: Tensor) -> None:
        """Add ``rows^T rows`` on and above the block diagonal."""
        for start in range(0, self.num_vertices, _GRAM_BLOCK):
            block = slice(start, start + _GRAM_BLOCK)
            matrix[block, start:].addmm_(rows[:, block].T, rows[:, start:])
        self._is_mirrored = False

    def _mirrored(self) -> Tensor:
        """Return ``G`` with the part below the block diagonal filled in."""
        matrix = self._to_matrix()
        if not self._is_mirrored:
            for start in range(0, self.num_vertices, _GRAM_BLOCK):
                end = start + _GRAM_BLOCK
                matrix[end:, start:end] = matrix[start:end, end:].T
            self._is_mirrored = True
        return matrix
