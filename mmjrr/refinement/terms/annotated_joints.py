"""Terms of annotated joints, in 3D and in the image (paper, Section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


def joint_3d_energy(
    predicted: Tensor,  # (B, J, 3), meters
    target: Tensor,  # (B, J, 3), meters
    weight: Tensor,  # (B, J)
    root: int | tuple[int, ...] | None = 0,
) -> Tensor:  # (B,)
    """Sum the weighted squared distances of root-aligned joints over joints, in square meters.

    Args:
        predicted: Joints of the fits.
        target: Annotated joints.
        weight: Weights of the joints. The root's weight multiplies all others.
        root: Index of the root joint, or None for absolute positions. With several indices, the
            weighted mean of these joints is aligned. Default: 0.
    """
    if isinstance(root, tuple):
        share = weight[:, root] / weight[:, root].sum(1, keepdim=True).clamp_min(1e-12)
        center = (share[..., None] * (predicted - target)[:, root]).sum(1, keepdim=True)
        usable = (share > 0).any(1, keepdim=True)
        return (weight * usable * (predicted - target - center).square().sum(-1)).sum(1)
    if root is None:
        return (weight * (predicted - target).square().sum(-1)).sum(1)
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


@ENERGY_TERMS.register_module()
class Joint3DTerm(EnergyTerm):
    """Squared distances of regressed from annotated 3D joints: :func:`joint_3d_energy`.

    Args:
        root: Index of the joint at which both are aligned, or None for absolute positions.
            Default: 0, the pelvis.
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.
    """

    def __init__(
        self,
        root: int | None = 0,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        self.root = root

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in square meters."""
        return joint_3d_energy(
            bodies.joints, observed.keypoints_3d, observed.keypoints_3d_weight, self.root
        )


@ENERGY_TERMS.register_module()
class Joint2DTerm(EnergyTerm):
    """Squared distances of projected from annotated 2D joints: :func:`joint_2d_energy`."""

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in squares of the crop's side."""
        return joint_2d_energy(
            bodies.joints_2d,
            observed.keypoints_2d,
            observed.keypoints_2d_weight,
            float(max(bodies.image_size)),
        )
