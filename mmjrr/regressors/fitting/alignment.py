"""Alignment: removing a frame's translation from its joint errors.

A frame has joint errors ``E`` (J, 3) and non-negative joint weights ``u`` (J,), zero where a joint
is missing. Alignment is a linear map ``T`` (J, J) of the errors, chosen by ``root``:

====================  =================================================================
``root``              row ``j`` of ``T E``
====================  =================================================================
index of a joint      ``E_j - E_root``
``'mean'``            ``E_j - (sum_i u_i E_i) / (sum_i u_i)``, which minimizes the term below
``None``              ``E_j``
====================  =================================================================

The frame's term of the objective is

    sum_j u_j |(T E)_j|^2 = tr(E^T P E),    P = T^T diag(u) T,

with the positive semi-definite *coupling matrix* ``P`` (J, J). ``T`` does not change when ``u`` is
multiplied by a positive factor, and ``P`` is multiplied by it. Frames whose weights differ by a
factor alone therefore share one *weight pattern*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import FloatArray, IndexArray

#: How translation is removed: by the joint of this index, by the weighted mean, or not at all.
Root: TypeAlias = int | Literal['mean'] | None

#: Decimals to which weights are rounded when patterns are compared.
_PATTERN_DECIMALS = 12


def resolve_root(root: str | None, joint_names: Sequence[str]) -> Root:
    """Replace the name of a root joint by its index.

    Raises:
        ValueError: ``root`` is not ``'mean'``, None or one of ``joint_names``.
    """
    if root is None or root == 'mean':
        return root  # type: ignore[return-value]
    if root not in joint_names:
        raise ValueError(
            f"root: found {root!r}, expected 'mean', None or one of {list(joint_names)}"
        )
    return list(joint_names).index(root)


def alignment_matrix(joint_weight: FloatArray, root: Root) -> FloatArray:
    """Return ``T`` (J, J) for joint weights ``u`` (J,)."""
    align = np.eye(len(joint_weight))
    if root == 'mean':
        align -= joint_weight / joint_weight.sum()
    elif root is not None:
        align[:, root] -= 1.0
    return align


def coupling_matrix(joint_weight: FloatArray, root: Root) -> FloatArray:
    """Return ``P = T^T diag(u) T`` (J, J) for joint weights ``u`` (J,)."""
    diagonal = np.diag(joint_weight)
    if root is None:
        return diagonal
    if root == 'mean':
        return diagonal - np.outer(joint_weight, joint_weight) / joint_weight.sum()
    align = alignment_matrix(joint_weight, root)
    return align.T @ diagonal @ align


def center_joints(
    joints: Tensor,  # (n, J, 3)
    present: Tensor,  # (n, J), bool
    root: Root,
    mesh_center: Tensor,  # (n, 1, 3)
) -> Tensor:
    """Subtract one point of each frame from its joints; missing joints become zero.

    If alignment removes the translation, the choice of the point does not change the objective. The
    root joint or the joints' mean keeps the numbers small even if joints and vertices are in
    different frames of reference. Without alignment, the point must be the one that is subtracted
    from the vertices, ``mesh_center``.

    Returns:
        (n, J, 3)
    """
    present = present[..., None]
    center = mesh_center
    if root == 'mean':
        count = present.sum(1, keepdim=True)
        center = torch.where(present, joints, 0.0).sum(1, keepdim=True) / count
    elif root is not None:
        center = joints[:, [root]]
    return torch.where(present, joints - center, torch.zeros_like(joints))


@dataclass(frozen=True)
class WeightPattern:
    """Frames whose joint weights are ``scale * joint_weight``.

    Attributes:
        key: Identifies the pattern across blocks of frames.
        joint_weight: (J,), its largest entry is one.
        frames: (n,) indices of the frames.
        scale: (n,) factor of each frame.
    """

    key: bytes
    joint_weight: FloatArray
    frames: IndexArray
    scale: FloatArray


def group_by_pattern(joint_weight: FloatArray) -> list[WeightPattern]:
    """Group frames by the pattern of their weights, in order of first appearance.

    Args:
        joint_weight: (n, J), at least one positive entry in each row.
    """
    scale = joint_weight.max(1)
    normalized = (joint_weight / scale[:, None]).round(_PATTERN_DECIMALS)
    frames_of: dict[bytes, list[int]] = {}
    for frame, row in enumerate(normalized):
        frames_of.setdefault(row.tobytes(), []).append(frame)
    return [
        WeightPattern(key, normalized[frames[0]], np.array(frames), scale[frames])
        for key, frames in frames_of.items()
    ]
