"""Differences of silhouettes and masks, averaged over blocks of pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def silhouette_energy(
    silhouette: Tensor,  # (B, H, W)
    mask: Tensor,  # (B, H, W)
    levels: tuple[int, ...],
    weight: Tensor | None = None,  # (B, H, W)
) -> Tensor:  # (B,)
    """Sum, over levels, the mean squared difference of both images averaged over blocks.

    Args:
        silhouette: Rendered coverage in [0, 1].
        mask: Person masks in [0, 1].
        levels: Side of the blocks at each level, in pixels; 1 compares the images themselves.
            Pixels right of and below the last whole block do not count at that level.
        weight: Factor on the difference of each pixel. Default: None, 1.
    """
    if weight is not None:
        silhouette, mask = silhouette * weight, mask * weight
    return _SquaresOfBlocks.apply(silhouette, mask, levels)  # type: ignore[no-untyped-call]


class _SquaresOfBlocks(torch.autograd.Function):
    """:func:`silhouette_energy` with first-order gradients.

    Custom backward: it minimizes passes over the images (memory-bound).
    """

    @staticmethod
    def forward(ctx: Any, silhouette: Tensor, mask: Tensor, levels: tuple[int, ...]) -> Tensor:
        difference = silhouette - mask
        block_sums = [_block_sums(difference, side) for side in levels]
        ctx.scales = [
            1 / (s.shape[1] * s.shape[2] * side**4)
            for s, side in zip(block_sums, levels, strict=True)
        ]
        ctx.levels = levels
        ctx.save_for_backward(difference, *block_sums)
        return sum(
            scale * torch.linalg.vector_norm(s, dim=(1, 2)).square()
            for scale, s in zip(ctx.scales, block_sums, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        difference, *block_sums = ctx.saved_tensors
        grad = 2 * grad[:, None, None]
        pixel_scale = sum(s for s, side in zip(ctx.scales, ctx.levels, strict=True) if side == 1)
        result = difference * (pixel_scale * grad)
        for scale, s, side in zip(ctx.scales, block_sums, ctx.levels, strict=True):
            if side > 1:
                of_blocks = s * (scale * grad)
                _blocks(result, side).add_(of_blocks[:, :, None, :, None])
        return result, -result if ctx.needs_input_grad[1] else None, None


def _blocks(image: Tensor, side: int) -> Tensor:  # (B, H, W) -> (B, rows, side, columns, side)
    rows, columns = image.shape[1] // side, image.shape[2] // side
    cropped = image[:, : rows * side, : columns * side]
    return cropped.unflatten(2, (columns, side)).unflatten(1, (rows, side))


def _block_sums(image: Tensor, side: int) -> Tensor:  # (B, H, W) -> (B, rows, columns)
    if side == 1:
        return image
    return _blocks(image, side).sum(2).sum(3)  # rows first: their pixels are contiguous
