"""The energy that refinement minimizes (paper, Section 3.1 and 3.2), term by term.

Each function takes a batch and returns one value per sample, so that samples do not influence one
another: the sum over a batch has the same gradient for a sample as the sample alone.
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
    """Squared distance of root-aligned joints, summed over joints (square meters)."""
    difference = (predicted - predicted[:, root : root + 1]) - (target - target[:, root : root + 1])
    # Without the root no joint of the sample can be aligned.
    weight = weight * weight[:, root : root + 1]
    return (weight * difference.square().sum(-1)).sum(1)


def joint_2d_energy(
    predicted: Tensor,  # (B, J, 2), pixels of the crop
    target: Tensor,  # (B, J, 2), pixels of the crop
    weight: Tensor,  # (B, J)
    size: float,
) -> Tensor:  # (B,)
    """Squared distance of projected joints in units of the crop's side, summed over joints."""
    return (weight * ((predicted - target) / size).square().sum(-1)).sum(1)


def silhouette_energy(
    silhouette: Tensor,  # (B, H, W)
    mask: Tensor,  # (B, H, W)
    levels: tuple[int, ...],
) -> Tensor:  # (B,)
    """Sum the mean squared differences of both images and of their averages over blocks.

    ``levels`` holds the sides of the blocks, in pixels. Pixels right of and below the last whole
    block of a level do not count there.
    """
    return _SquaresOfBlocks.apply(silhouette, mask, levels)


class _SquaresOfBlocks(torch.autograd.Function):
    """:func:`silhouette_energy`, with its derivative by hand (first order only).

    Images are megabytes that the cache has not kept: each is read and written as few times as can
    be.
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
    return _blocks(image, side).sum(2).sum(3)  # rows first: these are contiguous


def adversarial_energy(plausibility: Tensor) -> Tensor:  # (B, K) -> (B,)
    """LSGAN's ``(1 - D)^2``, summed over the discriminator's outputs."""
    return (1 - plausibility).square().sum(1)


@dataclass
class EnergyTerms:
    """Values of the terms, each (B,), by name; switched-off terms are absent."""

    values: dict[str, Tensor]
    silhouette: Tensor | None = None  # (B, H, W), what was drawn for them

    def total(self, weights: Mapping[str, float]) -> Tensor:  # ()
        """Sum the weighted terms over terms and samples."""
        return torch.stack(
            [weights[name] * value.sum() for name, value in self.values.items()]
        ).sum()


class FitEnergy:
    """Which terms there are and how they are weighted.

    Args:
        terms: Term name to weight, or to a dict with any of ``scale`` (what the term's mean over
            the first batch is scaled to at the first iteration; defaults to 1) and ``weight`` (a
            fixed weight instead). ``None`` or ``False`` switches a term off; terms not named keep
            ``scale=1``.
        silhouette_levels: Sides in pixels of the blocks over which silhouette and mask are
            averaged before they are compared. Defaults to (1, 4).

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
        given = dict(terms or {})
        unknown = sorted(set(given) - set(TERMS))
        if unknown:
            raise ValueError(f'terms: unknown {unknown}, expected some of {list(TERMS)}')
        self.options: dict[str, dict[str, float]] = {}
        for name in TERMS:
            option = given.get(name, {})
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
            raise ValueError('terms: every term is switched off, nothing to minimise')
        if not silhouette_levels or any(
            int(side) != side or side < 1 for side in silhouette_levels
        ):
            raise ValueError(f'silhouette_levels: found {silhouette_levels}, expected sides >= 1')
        self.silhouette_levels = tuple(int(side) for side in silhouette_levels)

    def enabled(self, *names: str) -> bool:
        """Whether any of the terms is switched on."""
        return any(name in self.options for name in names)

    def balance(self, first: Mapping[str, float]) -> dict[str, float]:
        """Weights that bring each term to its scale, from its mean at the first iteration."""
        weights = {}
        for name, value in first.items():
            option = self.options[name]
            if 'weight' in option:
                weights[name] = option['weight']
            else:
                # A term that starts at zero (perfect fits) has no magnitude to scale by.
                weights[name] = option.get('scale', 1.0) / max(value, 1e-8)
        return weights
