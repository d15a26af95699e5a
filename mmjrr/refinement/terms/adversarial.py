"""Terms of the discriminators of poses and shapes (paper, Section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


def adversarial_energy(
    plausibility: Tensor,  # (B, K), outputs of a discriminator
    target: float = 1.0,
) -> Tensor:  # (B,)
    """Sum LSGAN's ``(target - D)^2`` over the discriminator's K outputs."""
    return (target - plausibility).square().sum(1)


@ENERGY_TERMS.register_module()
class PoseAdversarialTerm(EnergyTerm):
    """Implausibility of poses: :func:`adversarial_energy` of the pose discriminator."""

    requires = ('plausibility',)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, 0 to 25."""
        return adversarial_energy(bodies.plausibility[0])


@ENERGY_TERMS.register_module()
class ShapeAdversarialTerm(EnergyTerm):
    """Implausibility of shapes: :func:`adversarial_energy` of the shape discriminator."""

    requires = ('plausibility',)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, 0 to 1."""
        return adversarial_energy(bodies.plausibility[1])
