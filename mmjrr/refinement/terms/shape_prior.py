"""Term of shapes: coefficients near the body model's mean shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


@ENERGY_TERMS.register_module()
class ShapePriorTerm(EnergyTerm):
    """Sum of the squared shape coefficients, which are in standard deviations of the population.

    Each frame counts, so a subject's shape is held as strongly as errors require that all of its
    masks share, such as outlines that are always too wide.

    Args:
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.
    """

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, about the number of coefficients in the mean over people."""
        return bodies.betas.square().sum(1)
