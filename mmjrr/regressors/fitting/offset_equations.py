"""Normal equations of regressor weights and label offsets together.

Frame ``n`` shows subject ``s``, whose label of joint ``j`` is off by ``R_nj o_sj`` (see
:mod:`mmjrr.regressors.label_offsets`). With the alignment of the fit, where ``d_j`` (J,) takes the
aligned error of joint ``j`` from all errors (``e_j``, or ``e_j - e_root``), the objective is

    f(W, o) = sum_n sum_j u_nj |d_j^T (W X_n - Y_n) + R_nj o_sj|^2,    sum_s o_sj = 0,

and the root joint has no offset. The sum is over the subjects of
:func:`~mmjrr.regressors.fitting.jackknife.subjects_of_mean`. ``f`` is quadratic in ``o``. With the
sums over a subject's frames

    N_sj = sum u_nj,    H_sj = sum u_nj X_n^T R_nj   (V, 3),    K_sj = sum u_nj Y_n^T R_nj   (J, 3),
    h_sj(W) = (d_j^T (W X - Y) summed) = H_sj^T W^T d_j - K_sj^T d_j   (3,)

the best offsets are ``o_sj = -sum_t M_st h_tj`` with ``M = diag(1/N) - (1/N)(1/N)^T / sum(1/N)``
for these subjects (and ``M_ss = 1/N`` for others), and

    min_o f(W, o) = f(W, 0) - sum_j sum_st M_st <h_sj, h_tj>

is quadratic in ``W``: for joint ``j`` the Gram matrix is ``G_j - sum_st M_st H_sj H_tj^T``, and
likewise for the other sums. (Eliminating a block of a least-squares problem in this way is the
theorem of Frisch, Waugh and Lovell.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import BoolArray, FloatArray, IndexArray
from mmjrr.regressors.fitting.alignment import Root
from mmjrr.regressors.fitting.jackknife import subjects_of_mean
from mmjrr.regressors.fitting.normal_equations import (
    DesignRows,
    GramMatrix,
    NormalEquations,
    PatternEquations,
    accumulate_normal_equations,
)
from mmjrr.regressors.fitting.stream import FrameBlock, FrameStream, UsableFrames

#: Names of a frame's attributes in the stream.
ROTATIONS, SUBJECT, SEQUENCE = 'part_rotations', 'subject', 'sequence'


class GroupedStream(FrameStream):
    """A stream of frames whose subjects, sequences and part rotations are known.

    Batches are tuples ``(vertices, joints, sample_weight, part_rotations (N, J, 3, 3), subject
    (N,), sequence (N,))``, the last two as whole numbers. If :attr:`offsets` is set, they are
    subtracted from the joints.
    """

    #: (S, J, 3) label offsets, meters; None subtracts nothing.
    offsets: FloatArray | None = None
    #: (N,) Whether each sequence is used; None uses all.
    selected_sequences: BoolArray | None = None

    def usable(self, block: FrameBlock) -> UsableFrames:
        """Select the frames that enter the objective, and subtract the offsets."""
        if self.selected_sequences is not None:
            selected = torch.from_numpy(self.selected_sequences)[block.attributes[SEQUENCE]]
            block = block[torch.nonzero(selected)[:, 0]]
        frames = super().usable(block)
        if self.offsets is None or not len(frames):
            return frames
        offsets = torch.from_numpy(self.offsets)[frames.attributes[SUBJECT]]  # (n, J, 3)
        shift = (frames.attributes[ROTATIONS] @ offsets[..., None])[..., 0]
        return replace(frames, joints=frames.joints - shift.to(frames.joints.device))

    def _validate_batch(self, batch: object, batch_index: int, first_frame: int) -> FrameBlock:
        assert isinstance(batch, tuple)
        vertices, joints, weight, rotations, subject, sequence = batch
        block = super()._validate_batch((vertices, joints, weight), batch_index, first_frame)
        block.attributes = {ROTATIONS: rotations, SUBJECT: subject, SEQUENCE: sequence}
        return block


@dataclass
class OffsetEquations:
    """Sums over all usable frames, over C selected columns.

    Attributes:
        equations: Sums without offsets, a pattern for each joint.
        total_weight: (S, J) ``N``.
        n_frames: (S,) number of frames.
        has_labels: (K, S, J) whether each group of sequences has labels of a subject and joint.
        vertex_sums: (S, J, 3, C) ``H``, transposed.
        joint_sums: (S, J, 3, J) ``K``, transposed.
    """

    equations: NormalEquations
    total_weight: FloatArray
    n_frames: IndexArray
    has_labels: BoolArray
    vertex_sums: FloatArray
    joint_sums: FloatArray

    @property
    def root(self) -> Root:
        """How translation is removed; not ``'mean'``."""
        return self.equations.root

    def elimination(self, joint: int) -> FloatArray:
        """Return ``M`` (S, S) of a joint; subjects without it have zeros."""
        if joint == self.root:
            return np.zeros((len(self.total_weight),) * 2)
        present = self.total_weight[:, joint] > 0
        inverse = np.where(present, 1 / np.where(present, self.total_weight[:, joint], 1.0), 0.0)
        if not present.any():
            return np.diag(inverse)
        in_mean = np.where(subjects_of_mean(self.has_labels)[:, joint], inverse, 0.0)
        elimination: FloatArray = np.diag(inverse) - np.outer(in_mean, in_mean) / in_mean.sum()
        return elimination

    def without(self, part: OffsetEquations) -> OffsetEquations:
        """Return the sums over all frames but those of ``part``.

        The means of offsets remain over the same subjects (``has_labels`` is that of all frames).
        """
        if not part.equations.patterns:
            return self
        patterns = [
            PatternEquations(
                whole.joint_weight,
                GramDifference(whole.gram, less.gram),
                whole.cross - less.cross,
                whole.joint_gram - less.joint_gram,
            )
            if less.joint_weight.any()
            else whole
            for whole, less in zip(self.equations.patterns, part.equations.patterns, strict=True)
        ]
        remaining = self.total_weight - part.total_weight
        return OffsetEquations(
            NormalEquations(self.root, patterns, self.equations.counts),
            np.where(remaining > 1e-9 * self.total_weight, remaining, 0.0),
            self.n_frames - part.n_frames,
            self.has_labels,
            self.vertex_sums - part.vertex_sums,
            self.joint_sums - part.joint_sums,
        )

    def best_offsets(self, weight: FloatArray) -> FloatArray:
        """Return the offsets (S, J, 3) that minimize ``f`` for weights (J, C)."""
        offsets = np.zeros(self.joint_sums.shape[:3])
        for joint in range(len(weight)):
            offsets[:, joint] = -self.elimination(joint) @ self._moments(joint, weight)
        return offsets

    def subject_means(self, weight: FloatArray) -> FloatArray:
        """Return the mean (S, J, 3) of each subject's labels less the joints of weights (J, C).

        It is zero where a subject has no labels of a joint, and at the root joint.
        """
        means = np.zeros(self.joint_sums.shape[:3])
        for joint in range(len(weight)):
            count = self.total_weight[:, joint, None]
            moments = self._moments(joint, weight)
            means[:, joint] = np.where(count > 0, -moments / np.where(count > 0, count, 1.0), 0.0)
        return means

    def _moments(self, joint: int, weight: FloatArray) -> FloatArray:
        """Return ``h`` (S, 3) of a joint."""
        d = aligned_row(joint, len(weight), self.root)
        moments: FloatArray = (
            self.vertex_sums[:, joint] @ (d @ weight) - self.joint_sums[:, joint] @ d
        )
        return moments

    def reduced(self) -> NormalEquations:
        """Return the normal equations of the weights, the offsets eliminated."""
        patterns = []
        for joint, pattern in enumerate(self.equations.patterns):
            if pattern.joint_weight.any():
                patterns.append(self._reduced_pattern(joint, pattern))
        return NormalEquations(self.root, patterns, self.equations.counts)

    def _reduced_pattern(self, joint: int, pattern: PatternEquations) -> PatternEquations:
        eigenvalues, vectors = np.linalg.eigh(self.elimination(joint))
        factor = (vectors * np.sqrt(eigenvalues.clip(min=0))).T  # M = factor^T factor
        vertices = np.tensordot(factor, self.vertex_sums[:, joint], 1)  # (S, 3, C)
        joints = np.tensordot(factor, self.joint_sums[:, joint], 1)  # (S, 3, J)
        v = torch.from_numpy(vertices.reshape(-1, vertices.shape[-1])).to(pattern.cross.device)
        y = torch.from_numpy(joints.reshape(-1, joints.shape[-1])).to(pattern.cross.device)
        return PatternEquations(
            pattern.joint_weight,
            ReducedGram(pattern.gram, v),
            pattern.cross - y.T @ v,
            pattern.joint_gram - y.T @ y,
        )


class GramDifference(GramMatrix):
    """The difference of two Gram matrices (C, C)."""

    def __init__(self, whole: GramMatrix, part: GramMatrix) -> None:
        super().__init__(whole.num_vertices, whole.device)
        self._whole, self._part = whole, part

    def rows_at(self, ids: IndexArray) -> FloatArray:
        """Return rows (len(ids), C)."""
        return self._whole.rows_at(ids) - self._part.rows_at(ids)

    def diagonal(self) -> Tensor:
        """Return the diagonal (C,)."""
        return self._whole.diagonal() - self._part.diagonal()


class ReducedGram(GramMatrix):
    """``G - F^T F`` for a Gram matrix ``G`` (C, C) that others share, and few rows ``F`` (K, C)."""

    def __init__(self, gram: GramMatrix, rows: Tensor) -> None:
        super().__init__(gram.num_vertices, gram.device)
        self._gram, self._rows = gram, rows

    def rows_at(self, ids: IndexArray) -> FloatArray:
        """Return ``(G - F^T F)[ids]`` (len(ids), C)."""
        index = torch.from_numpy(ids).to(self.device)
        rows: FloatArray = (self._rows[:, index].T @ self._rows).cpu().numpy()
        return self._gram.rows_at(ids) - rows

    def diagonal(self) -> Tensor:
        """Return the diagonal (C,)."""
        return self._gram.diagonal() - self._rows.square().sum(0)


def aligned_row(joint: int, num_joints: int, root: Root) -> FloatArray:
    """Return ``d_j`` (J,), which takes the aligned error of a joint from all errors."""
    row = np.zeros(num_joints)
    row[joint] = 1.0
    if isinstance(root, int):
        row[root] -= 1.0
    return row


def accumulate_offset_equations(
    stream: GroupedStream,
    num_subjects: int,
    group: IndexArray,
    max_bytes: int,
    columns: Tensor,
    require_all_joints: bool = True,
) -> OffsetEquations:
    """Sum over all frames in one pass.

    Args:
        stream: The frames, with their joints as labeled (``stream.offsets`` is None).
        num_subjects: Number S of subjects.
        group: (N,) number of the group of each sequence.
        max_bytes: Limit on the memory of all Gram matrices.
        columns: (C,) indices among the candidate vertices, the only ones to keep.
        require_all_joints: Whether every joint must be present in some frame. Default: True.

    Raises:
        ValueError: There are no frames or a joint is missing from all of them, although
            ``require_all_joints`` is set; or a batch is invalid.
        MemoryError: The weight patterns need more than ``max_bytes``.
    """
    num_columns, num_joints = len(columns), len(stream.joint_names)
    total_weight = np.zeros((num_subjects, num_joints))
    n_frames = np.zeros(num_subjects, dtype=np.int64)
    has_labels = np.zeros((int(group.max()) + 1, num_subjects, num_joints), dtype=bool)
    sums = torch.zeros(num_subjects, num_joints * 3, num_columns + num_joints, dtype=torch.float64)

    def add(frames: UsableFrames, rows: DesignRows) -> None:
        pattern = rows.pattern
        index = torch.from_numpy(pattern.frames)
        root_scale = torch.from_numpy(np.sqrt(pattern.scale))  # the rows contain it once
        joint_weight = torch.from_numpy(pattern.joint_weight)
        rotations = frames.attributes[ROTATIONS][index].double()  # (n, J, 3, 3)
        weighted = rotations * (root_scale[:, None] * joint_weight)[..., None, None]
        design = torch.cat([rows.vertex_rows, rows.joint_rows], 1).unflatten(0, (-1, 3)).cpu()
        subject = frames.attributes[SUBJECT][index]
        groups = group[frames.attributes[SEQUENCE][index].numpy()]
        for s in subject.unique().tolist():
            of_subject = subject == s
            r = weighted[of_subject].permute(1, 3, 0, 2).flatten(0, 1).flatten(1)  # (3 J, 3 n)
            sums[s].addmm_(r, design[of_subject].flatten(0, 1))
            total_weight[s] += pattern.scale[of_subject.numpy()].sum() * pattern.joint_weight
            n_frames[s] += int(of_subject.sum())
            has_labels[np.unique(groups[of_subject.numpy()]), s] |= pattern.joint_weight > 0

    equations = accumulate_normal_equations(stream, max_bytes, columns, add, require_all_joints)
    all_sums = sums.unflatten(1, (num_joints, 3)).numpy()
    return OffsetEquations(
        NormalEquations(stream.root, list(_by_joint(equations)), equations.counts),
        total_weight,
        n_frames,
        has_labels,
        all_sums[..., :num_columns],
        all_sums[..., num_columns:],
    )


def _by_joint(equations: NormalEquations) -> Iterator[PatternEquations]:
    """Yield a pattern for each joint; joints with the same weights share their sums."""
    patterns = equations.patterns
    if not patterns:  # no usable frames
        return
    weights = np.stack([pattern.joint_weight for pattern in patterns])  # (K, J)
    shared: dict[bytes, PatternEquations] = {}
    for joint in range(weights.shape[1]):
        of_patterns = np.ascontiguousarray(weights[:, joint])
        single = np.zeros(weights.shape[1])
        if of_patterns.any():
            single[joint] = 1.0
        key = of_patterns.tobytes()
        if key not in shared:
            shared[key] = _weighted_sum(patterns, of_patterns)
        yield replace(shared[key], joint_weight=single)


def _weighted_sum(patterns: list[PatternEquations], weights: FloatArray) -> PatternEquations:
    if len(patterns) == 1 and weights[0] == 1:
        return patterns[0]
    first = patterns[0]
    total = PatternEquations(
        weights,
        GramMatrix(first.gram.num_vertices, first.gram.device),
        torch.zeros_like(first.cross),
        torch.zeros_like(first.joint_gram),
    )
    for pattern, weight in zip(patterns, weights.tolist(), strict=True):
        if weight:
            pattern.gram.add_scaled_to(total.gram, weight)
            total.cross.add_(pattern.cross, alpha=weight)
            total.joint_gram.add_(pattern.joint_gram, alpha=weight)
    return total
