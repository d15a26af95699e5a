"""Linear blend skinning: joints that follow their parents, and vertices that follow joints.

Loper et al., SMPL (SIGGRAPH Asia 2015), Equations 2 to 4. Values are those of ``smplx.lbs``; the
order of the work is another: all joints of one depth at once, and vertices with x, y and z apart,
so that all runs along contiguous memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class KinematicTree(nn.Module):
    """Joints that each move with a parent.

    Args:
        parents: the parent of each joint, which comes before it; -1 for the first joint, the root.
    """

    parents: Tensor  # (J,), the root's is the root
    order: Tensor  # (J,), joints by depth
    place: Tensor  # (J,), where each joint is among them

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
        self.sizes = [len(level) for level in levels]
        tables = {
            'parents': [0, *parents[1:]],
            'order': order,
            'place': [order.index(joint) for joint in range(len(order))],
        }
        for i, (above, level) in enumerate(zip(levels, levels[1:], strict=False), start=1):
            tables[f'parents_{i}'] = [above.index(parents[joint]) for joint in level]
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(table), persistent=False)

    def forward(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Pose the joints.

        Args:
            rotations: (B, J, 3, 3), each relative to the parent.
            joints: (B, J, 3), in the pose in which all rotations are none.

        Returns:
            The posed joints (B, J, 3), and what moves points from one pose to the other: rotations
            and translations (B, J, 3, 4).
        """
        offsets = joints - joints.index_select(1, self.parents)
        offsets = torch.cat([joints[:, :1], offsets[:, 1:]], 1)
        to_parent = torch.cat([rotations, offsets[..., None]], -1).transpose(0, 1)
        last_row = to_parent.new_zeros(*to_parent.shape[:2], 1, 4)
        last_row[..., 3] = 1
        # Joints first: those of one depth lie together.
        to_parent = torch.cat([to_parent.index_select(0, self.order), last_row], 2)
        levels = list(to_parent.split(self.sizes))
        for i in range(1, len(levels)):
            parents = levels[i - 1].index_select(0, self.get_buffer(f'parents_{i}'))
            turned = torch.bmm(parents.flatten(0, 1), levels[i].flatten(0, 1))
            levels[i] = turned.view_as(levels[i])
        posed = torch.cat(levels).index_select(0, self.place).transpose(0, 1)[:, :, :3]
        turned, moved = posed[..., :3], posed[..., 3:]
        transforms = torch.cat([turned, moved - turned @ joints[..., None]], -1)
        return moved[..., 0], transforms


def skin(shaped: Tensor, transforms: Tensor, weights: Tensor, transl: Tensor) -> Tensor:
    """Move each vertex by the weighted mean of the joints' transforms.

    Differentiable once, with respect to all but the weights.

    Args:
        shaped: (B, 3, V).
        transforms: (B, J, 3, 4).
        weights: (J, V).
        transl: (B, 3), added in the end.

    Returns:
        (B, 3, V).
    """
    top = transforms.flatten(2).transpose(1, 2)  # (B, 12, J)
    moved: Tensor = _Skin.apply(shaped, top, weights, transl)
    return moved


class _Skin(torch.autograd.Function):
    """By hand, as autograd keeps, stacks and sums the products of each coordinate apart."""

    @staticmethod
    def forward(
        ctx: Any, shaped: Tensor, top: Tensor, weights: Tensor, transl: Tensor
    ) -> Tensor:  # (B, 3, V), (B, 12, J), (J, V), (B, 3) -> (B, 3, V)
        blended = (top @ weights).unflatten(1, (3, 4))
        ctx.save_for_backward(shaped, blended, weights)
        x, y, z = shaped.split(1, 1)  # each (B, 1, V)
        in_x, in_y, in_z, shift = blended.unbind(2)  # each (B, 3, V)
        moved = torch.addcmul(shift, in_x, x).addcmul_(in_y, y).addcmul_(in_z, z)
        return moved.add_(transl[:, :, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        shaped, blended, weights = ctx.saved_tensors
        grad = grad.contiguous()
        to_x, to_y, to_z = blended[:, :, :3].unbind(1)  # each (B, 3, V)
        x, y, z = grad.split(1, 1)
        grad_shaped = (to_x * x).addcmul_(to_y, y).addcmul_(to_z, z)
        grad_blended = torch.empty_like(blended)
        torch.mul(grad[:, :, None], shaped[:, None], out=grad_blended[:, :, :3])
        grad_blended[:, :, 3] = grad
        return grad_shaped, grad_blended.flatten(1, 2) @ weights.T, None, grad.sum(2)
