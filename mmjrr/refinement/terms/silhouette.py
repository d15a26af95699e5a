"""Term of person masks: rendered silhouettes match them (paper, Section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmjrr.refinement.terms.base import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


def silhouette_energy(
    silhouette: Tensor,  # (B, H, W)
    mask: Tensor,  # (B, H, W)
    levels: tuple[int, ...],
) -> Tensor:  # (B,)
    """Sum, over levels, the mean squared difference of both images averaged over blocks.

    Args:
        silhouette: Rendered coverage in [0, 1].
        mask: Person masks in [0, 1].
        levels: Side of the blocks at each level, in pixels; 1 compares the images themselves.
            Pixels right of and below the last whole block do not count at that level.
    """
    return _SquaresOfBlocks.apply(silhouette, mask, levels)


class _SquaresOfBlocks(torch.autograd.Function):
    """:func:`silhouette_energy` with first-order gradients.

    Custom backward: it minimizes passes over the images (memory-bound).
    """

    @staticmethod
    def forward(ctx: Any, silhouette: Tensor, mask: Tensor, levels: tuple[int, ...]) -> Tensor:
        difference = silhouette - mask
        sums = [_sums_of_blocks(difference, side) for side in levels]
        ctx.scales = [
            1 / (s.shape[1] * s.shape[2] * side**4) for s, side in zip(sums, levels, strict=True)
        ]
        ctx.levels = levels
        ctx.save_for_backward(difference, *sums)
        return sum(  # type: ignore[return-value]
            scale * torch.linalg.vector_norm(s, dim=(1, 2)).square()
            for scale, s in zip(ctx.scales, sums, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        difference, *sums = ctx.saved_tensors
        grad = 2 * grad[:, None, None]
        whole = sum(s for s, side in zip(ctx.scales, ctx.levels, strict=True) if side == 1)
        result = difference * (whole * grad)
        for scale, s, side in zip(ctx.scales, sums, ctx.levels, strict=True):
            if side > 1:
                of_blocks = s * (scale * grad)
                _blocks(result, side).add_(of_blocks[:, :, None, :, None])
        return result, -result if ctx.needs_input_grad[1] else None, None


def _blocks(image: Tensor, side: int) -> Tensor:  # (B, H, W) -> (B, rows, side, columns, side)
    rows, columns = image.shape[1] // side, image.shape[2] // side
    whole = image[:, : rows * side, : columns * side]
    return whole.unflatten(2, (columns, side)).unflatten(1, (rows, side))


def _sums_of_blocks(image: Tensor, side: int) -> Tensor:  # (B, H, W) -> (B, rows, columns)
    if side == 1:
        return image
    return _blocks(image, side).sum(2).sum(3)  # rows first: their pixels are contiguous


@ENERGY_TERMS.register_module()
class SilhouetteTerm(EnergyTerm):
    """Squared differences of rendered silhouettes and masks: :func:`silhouette_energy`.

    Args:
        levels: Sides in pixels of the blocks over which silhouette and mask are averaged before
            they are compared. Defaults to (1, 4).
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.

    Raises:
        ValueError: A level is not a positive integer.
    """

    requires = ('silhouette', 'mask')

    def __init__(
        self,
        levels: Sequence[int] = (1, 4),
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        if not levels or any(int(side) != side or side < 1 for side in levels):
            raise ValueError(f'levels: found {levels}, expected sides >= 1')
        self.levels = tuple(int(side) for side in levels)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, in parts of the image's area."""
        assert observed.mask is not None
        return silhouette_energy(bodies.silhouette, observed.mask, self.levels)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse blocks that are larger than the image."""
        if max(self.levels) > min(image_size):
            raise ValueError(
                f'{self.name}: levels: found {self.levels}, expected blocks within the image of '
                f'{image_size}'
            )
