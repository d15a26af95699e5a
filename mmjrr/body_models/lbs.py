"""Linear blend skinning (Loper et al., SMPL, SIGGRAPH Asia 2015, Equations 2 to 4).

Results equal those of ``smplx.lbs``. All joints of one depth are posed together, and vertices are
stored as separate planes of x, y and z, so that memory is read contiguously. Where gradients are
needed on a CPU, the compiled loops of :mod:`mmjrr.body_models.numba_lbs` compute the same in less
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmjrr.frame_products import product

if TYPE_CHECKING:
    from mmjrr.body_models.numba_lbs import SparseWeights


class KinematicTree(nn.Module):
    """A tree of joints, each of which moves with its parent.

    Args:
        parents: Parent of each joint, whose index is smaller than the joint's. The root comes
            first and has the parent -1.
    """

    parents: Tensor  # (J,), with the root as its own parent
    order: Tensor  # (J,), joints sorted by depth
    inverse_order: Tensor  # (J,), index of each joint in `order`

    def __init__(self, parents: Sequence[int]) -> None:
        super().__init__()
        depths = [0]
        for parent in parents[1:]:
            depths.append(depths[parent] + 1)
        levels = [
            [joint for joint, depth in enumerate(depths) if depth == level]
            for level in range(max(depths) + 1)
        ]
        order = sum(levels, [])
        self.level_sizes = [len(level) for level in levels]
        self._parents = np.array(parents, np.int64)
        tables = {
            'parents': [0, *parents[1:]],
            'order': order,
            'inverse_order': [order.index(joint) for joint in range(len(order))],
        }
        for i, (above, level) in enumerate(pairwise(levels), start=1):
            tables[f'parents_{i}'] = [above.index(parents[joint]) for joint in level]
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(table), persistent=False)

    def forward(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Pose the joints.

        Args:
            rotations: (B, J, 3, 3), relative to the parent.
            joints: (B, J, 3), in the rest pose, where all rotations are the identity.

        Returns:
            Posed joints (B, J, 3), and transforms (B, J, 3, 4), each a rotation and a translation
            that take points from the rest pose to the pose.
        """
        loops = compiled_loops(rotations, joints)
        if loops is not None:
            posed_joints: tuple[Tensor, Tensor] = loops.pose(rotations, joints, self._parents)
            return posed_joints
        offsets = joints - joints.index_select(1, self.parents)
        offsets = torch.cat([joints[:, :1], offsets[:, 1:]], 1)
        to_parent = torch.cat([rotations, offsets[..., None]], -1).transpose(0, 1)
        last_row = to_parent.new_zeros(*to_parent.shape[:2], 1, 4)
        last_row[..., 3] = 1
        # The joint axis comes first, so that the joints of one depth are contiguous.
        to_parent = torch.cat([to_parent.index_select(0, self.order), last_row], 2)
        levels = list(to_parent.split(self.level_sizes))
        for i in range(1, len(levels)):
            parents = levels[i - 1].index_select(0, self.get_buffer(f'parents_{i}'))
            to_root = torch.bmm(parents.flatten(0, 1), levels[i].flatten(0, 1))
            levels[i] = to_root.view_as(levels[i])
        posed = torch.cat(levels).index_select(0, self.inverse_order).transpose(0, 1)[:, :, :3]
        rotations, positions = posed[..., :3], posed[..., 3:]
        transforms = torch.cat([rotations, positions - rotations @ joints[..., None]], -1)
        return positions[..., 0], transforms


def skin(
    shaped: Tensor,
    transforms: Tensor,
    weights: Tensor,
    transl: Tensor,
    sparse_weights: SparseWeights | None = None,
) -> Tensor:
    """Transform each vertex by the weighted mean of the joints' transforms.

    Only first-order gradients are available, for all arguments except ``weights``.

    Args:
        shaped: (B, 3, V), vertices in the rest pose.
        transforms: (B, J, 3, 4), from the rest pose to the pose.
        weights: (J, V), skinning weights.
        transl: (B, 3), added to the result.
        sparse_weights: The weights in the form in which compiled loops read them. Default: None,
            the loops are not used.

    Returns:
        Posed vertices (B, 3, V).
    """
    loops = None if sparse_weights is None else compiled_loops(shaped, transforms, transl)
    if loops is not None:
        skinned: Tensor = loops.skin(shaped, transforms, sparse_weights, transl)
        return skinned
    rows = transforms.flatten(2).transpose(1, 2)  # (B, 12, J)
    vertices: Tensor = _Skin.apply(shaped, rows, weights, transl)  # type: ignore[no-untyped-call]
    return vertices


def compiled_loops(*tensors: Tensor) -> ModuleType | None:
    """Return :mod:`~mmjrr.body_models.numba_lbs` if it supports these tensors.

    It is used on a CPU where a gradient is needed, if Numba can be imported.
    """
    if not torch.is_grad_enabled() or not any(value.requires_grad for value in tensors):
        return None
    dtype = tensors[0].dtype
    if dtype not in (torch.float32, torch.float64) or any(
        value.device.type != 'cpu' or value.dtype != dtype for value in tensors
    ):
        return None
    return _import_numba_lbs()


@lru_cache(maxsize=1)
def _import_numba_lbs() -> ModuleType | None:
    try:
        from mmjrr.body_models import numba_lbs
    except Exception:  # Numba is missing or broken: the operations of PyTorch do the same
        return None
    return numba_lbs


class _Skin(torch.autograd.Function):
    """Skinning.

    Custom backward: it avoids the intermediates that autograd would keep.
    """

    @staticmethod
    def forward(
        ctx: Any, shaped: Tensor, transforms: Tensor, weights: Tensor, transl: Tensor
    ) -> Tensor:  # (B, 3, V), (B, 12, J), (J, V), (B, 3) -> (B, 3, V)
        blended = product(transforms.flatten(0, 1), weights).unflatten(0, (-1, 3, 4))
        ctx.save_for_backward(shaped, blended, weights)
        x, y, z = shaped.split(1, 1)  # (B, 1, V) each
        column_x, column_y, column_z, translation = blended.unbind(2)  # (B, 3, V) each
        vertices = torch.addcmul(translation, column_x, x)
        vertices = vertices.addcmul_(column_y, y).addcmul_(column_z, z)
        return vertices.add_(transl[:, :, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        shaped, blended, weights = ctx.saved_tensors
        grad = grad.contiguous()
        row_x, row_y, row_z = blended[:, :, :3].unbind(1)  # (B, 3, V) each
        grad_x, grad_y, grad_z = grad.split(1, 1)
        grad_shaped = (row_x * grad_x).addcmul_(row_y, grad_y).addcmul_(row_z, grad_z)
        grad_blended = torch.empty_like(blended)
        torch.mul(grad[:, :, None], shaped[:, None], out=grad_blended[:, :, :3])
        grad_blended[:, :, 3] = grad
        of_rows = product(grad_blended.flatten(0, 2), weights.T).unflatten(0, (-1, 12))
        return grad_shaped, of_rows, None, grad.sum(2)
