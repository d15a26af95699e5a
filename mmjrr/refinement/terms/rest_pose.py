"""Term of poses without an estimator: rotations near the rest pose, as joint limits allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmjrr.geometry import matrix_to_axis_angle
from mmjrr.refinement.terms.energy_term import PosedBodies
from mmjrr.refinement.terms.joint_limits import JointLimitsTerm
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations

#: Standard deviation in degrees of joints without limits, which are SMPL's hands and feet: its
#: fingers and toes.
UNLIMITED_DEVIATION = 10.0


def rest_pose_energy(
    rotations: Tensor,  # (B, 24, 3, 3), the global orientation first
    low: Tensor,  # (23, 3), radians
    high: Tensor,  # (23, 3), radians
) -> Tensor:  # (B,)
    """Sum the squares of rotation vectors' components, in units of half their limits.

    A component at its limit is thus two standard deviations from the rest pose. The limit is that
    of the component's sign, since knees and elbows bend to one side. Joints without limits have the
    standard deviation :data:`UNLIMITED_DEVIATION`. The global orientation does not count.
    """
    vector = matrix_to_axis_angle(rotations[:, 1:])
    deviation = torch.where(vector < 0, -low, high) / 2
    unlimited = math.radians(UNLIMITED_DEVIATION)
    deviation = torch.where(deviation.isfinite(), deviation, unlimited)
    return (vector / deviation).square().sum((1, 2))


@ENERGY_TERMS.register_module()
class RestPoseTerm(JointLimitsTerm):
    """Distance of the joints' rotations from the rest pose: :func:`rest_pose_energy`.

    A prior of poses for fits that no estimator made. It keeps hands and feet straight where masks
    do not show them, and shares the bend of the trunk among its joints. The limits must contain
    zero.

    Args:
        limits: As in :class:`JointLimitsTerm`. A joint that ``None`` frees has the standard
            deviation of joints without limits.
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.
    """

    default_weight = None

    def __init__(
        self,
        limits: Mapping[str, Sequence[Sequence[float]] | None] | None = None,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(limits, name, weight, scale)
        if bool((self.low >= 0).any()) or bool((self.high <= 0).any()):
            raise ValueError('limits: expected each low limit below and each high one above zero')

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in squared standard deviations."""
        return rest_pose_energy(bodies.rotations, self.low, self.high)
