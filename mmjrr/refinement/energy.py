"""The terms of the energy that refinement minimizes (paper, Sections 3.1 and 3.2).

Each function takes a batch and returns one value per sample, so samples do not influence one
another: the gradient for a sample is the same in a batch as alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Names of the terms, in the order in which they are reported.
TERMS = ('joint_3d', 'joint_2d', 'silhouette', 'adv_pose', 'adv_shape')


def joint_3d_energy(
    predicted: Tensor,  # (B, J, 3), meters
    target: Tensor,  # (B, J, 3), meters
    weight: Tensor,  # (B, J)
    root: int = 0,
) -> Tensor:  # (B,)
    """Sum the weighted squared distances of root-aligned joints over joints, in square meters.

    Args:
        predicted: Joints of the fits.
        target: Annotated joints.
        weight: Weights of the joints. The root's weight multiplies all others.
        root: Index of the root joint. Default: 0.
    """
    difference = (predicted - predicted[:, root : root + 1]) - (target - target[:, root : root + 1])
    # Joints cannot be aligned if the sample's root is not annotated.
    weight = weight * weight[:, root : root + 1]
    return (weight * difference.square().sum(-1)).sum(1)


def joint_2d_energy(
    predicted: Tensor,  # (B, J, 2), pixels of the crop
    target: Tensor,  # (B, J, 2), pixels of the crop
    weight: Tensor,  # (B, J)
    size: float,
) -> Tensor:  # (B,)
    """Sum the weighted squared distances of projected joints over joints.

    Distances are in units of ``size``, the crop's side in pixels.
    """
    return (weight * ((predicted - target) / size).square().sum(-1)).sum(1)


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


def adversarial_energy(plausibility: Tensor) -> Tensor:  # (B, K) -> (B,)
    """Sum LSGAN's ``(1 - D)^2`` over the discriminator's K outputs."""
    return (1 - plausibility).square().sum(1)


@dataclass
class EnergyTerms:
    """Unweighted values of the terms that are switched on, by name."""

    values: dict[str, Tensor]  # (B,) each
    silhouette: Tensor | None = None  # (B, H, W), the rendering for the silhouette term

    def total(self, weights: Mapping[str, float]) -> Tensor:  # ()
        """Return the weighted sum of the terms over all samples."""
        return torch.stack(
            [weights[name] * value.sum() for name, value in self.values.items()]
        ).sum()


class FitEnergy:
    """The energy's terms that are switched on, and how they are weighted.

    Args:
        terms: Options by term name (:data:`TERMS`). ``dict(weight=...)`` or a number is a fixed
            weight. ``dict(scale=...)`` chooses the weight so that the term's weighted mean over
            the first batch equals ``scale`` at the first iteration. ``None`` or ``False`` switches
            a term off. Terms that are not named have ``scale=1``.
        silhouette_levels: Sides in pixels of the blocks over which silhouette and mask are
            averaged before they are compared. Defaults to (1, 4).

    Raises:
        ValueError: A term or option is unknown, a weight or scale is negative or infinite, all
            terms are switched off, or a level is not a positive integer.

    Example:
        >>> energy = FitEnergy(terms=dict(silhouette=None, joint_2d=dict(weight=10.0)))
        >>> energy.enabled('silhouette'), energy.enabled('joint_2d')
        (False, True)
        >>> energy.balance(dict(joint_2d=2.0, joint_3d=4.0))
        {'joint_2d': 10.0, 'joint_3d': 0.25}
    """

    def __init__(
        self,
        terms: Mapping[str, dict | float | bool | None] | None = None,
        silhouette_levels: tuple[int, ...] = (1, 4),
    ) -> None:
        options = dict(terms or {})
        unknown = sorted(set(options) - set(TERMS))
        if unknown:
            raise ValueError(f'terms: unknown {unknown}, expected some of {list(TERMS)}')
        self.options: dict[str, dict[str, float]] = {}
        for name in TERMS:
            option = options.get(name, {})
            if option is None or option is False:
                continue
            if option is True:
                option = {}
            if isinstance(option, (int, float)):
                option = dict(weight=float(option))
            extra = sorted(set(option) - {'scale', 'weight'})
            if extra or len(option) > 1:
                raise ValueError(
                    f"terms[{name!r}]: expected one of 'scale' and 'weight', found {dict(option)}"
                )
            self.options[name] = {key: float(value) for key, value in option.items()}
            for key, value in self.options[name].items():
                if not 0 <= value < float('inf'):
                    raise ValueError(
                        f'terms[{name!r}]: {key}={value:g}, expected 0 or a positive number'
                    )
        if not self.options:
            raise ValueError('terms: every term is switched off, nothing to minimize')
        if not silhouette_levels or any(
            int(side) != side or side < 1 for side in silhouette_levels
        ):
            raise ValueError(f'silhouette_levels: found {silhouette_levels}, expected sides >= 1')
        self.silhouette_levels = tuple(int(side) for side in silhouette_levels)

    def enabled(self, *names: str) -> bool:
        """Tell whether any of the terms is switched on."""
        return any(name in self.options for name in names)

    def balance(self, first: Mapping[str, float]) -> dict[str, float]:
        """Return the weight of each term.

        Args:
            first: Each term's unweighted mean at the first iteration, by name.
        """
        weights = {}
        for name, value in first.items():
            option = self.options[name]
            if 'weight' in option:
                weights[name] = option['weight']
            else:
                # The mean can be zero (perfect fits): keep the weight finite.
                weights[name] = option.get('scale', 1.0) / max(value, 1e-8)
        return weights
