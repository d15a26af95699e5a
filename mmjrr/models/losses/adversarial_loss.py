"""Loss of discriminators, and of the poses and shapes that they judge."""

from __future__ import annotations

from torch import Tensor, nn

from mmjrr.refinement.terms import adversarial_energy
from mmjrr.registry import MODELS


@MODELS.register_module()
class LSGANLoss(nn.Module):
    """Least-squares loss of discriminators (Mao et al., LSGAN, ICCV 2017).

    The loss is the sum over a discriminator's outputs of their squared distance from the target,
    averaged over the batch.

    Args:
        loss_weight: Factor on the loss. Default: 1.

    Example:
        >>> import torch
        >>> from mmjrr.models import PoseDiscriminator
        >>> discriminator, loss = PoseDiscriminator(), LSGANLoss()
        >>> real, fake = torch.randn(2, 4, 24, 6)
        >>> discriminator_loss = loss(discriminator(real)) + loss(discriminator(fake), real=False)
        >>> pose_loss = loss(discriminator(fake))
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        plausibility: Tensor,  # (B, K), outputs of a discriminator
        real: bool = True,
    ) -> Tensor:  # ()
        """Return the loss against the target 1 (``real``) or 0."""
        target = 1.0 if real else 0.0
        return self.loss_weight * adversarial_energy(plausibility, target).mean()
