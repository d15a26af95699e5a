"""Term of the initial fits: a rotation stays near theirs where nothing else determines it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmjrr.joints import SMPL_JOINTS
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations
    from mmjrr.refinement.variables import Sharing

#: Smallest estimated standard deviation, degrees. An estimator that leaves a joint at rest in all
#: views does not know its rotation.
MIN_DEVIATION = 2.0


def initial_pose_energy(
    rotations: Tensor,  # (B, J, 3, 3)
    initial: Tensor,  # (B, J, 3, 3)
    deviation: Tensor,  # (J,), radians
) -> Tensor:  # (B,)
    r"""Sum the squared distances of rotations from initial ones, in units of their deviation.

    For an angle :math:`\theta` between both, :math:`\|R - R_0\|_F^2 / 2 = 4 \sin^2(\theta / 2)`,
    which is :math:`\theta^2` up to 4th order. If several initial rotations of one rotation are
    summed over, the minimum is their chordal mean.

    Args:
        rotations: Rotations of the fits.
        initial: Rotations of the initial fits.
        deviation: Standard deviation of the initial rotations' errors about each axis.
    """
    squares = (rotations - initial).square().sum((2, 3)) / 2
    return (squares / deviation.square()).sum(1)


def rotation_deviation(
    rotations: Tensor,  # (B, J, 3, 3)
    moment: Tensor,  # (B,) int64
) -> Tensor:  # (J,), radians
    """Estimate the errors of rotations from how far the views of a moment disagree.

    The result is the standard deviation about each axis, of one view. Errors that all views share,
    such as an estimator's habits, do not show in it. Frames with values that are not finite do not
    count.

    Args:
        rotations: Rotations of joints relative to their parents, which all views share.
        moment: Number of the moment of each frame.

    Raises:
        ValueError: No moment has two frames.
    """
    usable = rotations.isfinite().flatten(1).all(1)
    rotations, moment = rotations[usable].double(), moment[usable]
    moments, index = moment.unique(return_inverse=True)
    freedom = len(rotations) - len(moments)
    if freedom < 1:
        raise ValueError(
            'no moment has two views, from whose differences the errors of initial rotations could '
            'be estimated; give deviation in degrees'
        )
    counts = torch.bincount(index).to(rotations)
    sums = rotations.new_zeros(len(moments), *rotations.shape[1:]).index_add_(0, index, rotations)
    mean = (sums / counts[:, None, None, None])[index]
    squares = (rotations - mean).square().sum((2, 3)) / 2
    return (squares.sum(0) / freedom / 3).sqrt()


@ENERGY_TERMS.register_module()
class InitialPoseTerm(EnergyTerm):
    """Distance of the joints' rotations from those of the initial fits.

    Joints and masks tell little about how hands, feet, head and neck turn, and how a limb turns
    about its own axis; the initial fits do. Each joint counts by the accuracy of its initial
    rotations (:func:`initial_pose_energy`). The global orientation does not count.

    Args:
        deviation: Standard deviation in degrees of the initial rotations' errors about each axis,
            or a dict of it by SMPL joint. Default: None, which estimates it from the differences
            between the views of a moment (:func:`rotation_deviation`), and takes at least
            :data:`MIN_DEVIATION`.
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.

    Raises:
        ValueError: A deviation is not positive, or the joints are not all of SMPL's but the pelvis.
    """

    requires = ('initial_fits',)

    deviation: Tensor  # (23,), radians

    def __init__(
        self,
        deviation: float | Mapping[str, float] | None = None,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        missing = torch.full((len(SMPL_JOINTS) - 1,), math.nan)
        self.register_buffer('deviation', missing, persistent=False)
        self.is_known = False
        if deviation is not None:
            self._set_degrees(deviation)
        self.is_estimated = deviation is None

    def estimate(self, observed: Observations, moment: Tensor) -> dict[str, Any]:
        """Return the deviations in degrees by joint; nothing if they are given."""
        if not self.is_estimated:
            return {}
        try:
            radians = rotation_deviation(self._initial(observed), moment)
        except ValueError as error:
            raise ValueError(f'{self.name}: {error}') from error
        degrees = [max(round(v, 3), MIN_DEVIATION) for v in radians.rad2deg().tolist()]
        return dict(deviation=dict(zip(SMPL_JOINTS[1:], degrees, strict=True)))

    def set_estimates(self, values: Mapping[str, Any]) -> None:
        """Take the deviations."""
        if values:
            self._set_degrees(values['deviation'])

    def check_sharing(self, sharing: Sharing) -> None:
        """Refuse to balance the term where refinement starts at each frame's initial pose."""
        if sharing.pose == 'frame' and self.weight is None and self.has_weight:
            raise ValueError(
                f"{self.name}: found no weight with share: pose='frame', where the term is zero at "
                'the start and cannot be balanced: give weight=...'
            )

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, about the number of axes where deviations are right."""
        if not self.is_known:
            raise ValueError(f'{self.name}: the deviation is neither given nor estimated')
        rotations = bodies.rotations[:, 1:]
        return initial_pose_energy(rotations, self._initial(observed), self.deviation.to(rotations))

    def _initial(self, observed: Observations) -> Tensor:
        if observed.initial_rotations is None:
            raise ValueError(f'{self.name}: the observations have no initial rotations')
        return observed.initial_rotations[:, 1:]

    def _set_degrees(self, deviation: float | Mapping[str, float]) -> None:
        joints = SMPL_JOINTS[1:]
        if not isinstance(deviation, Mapping):
            deviation = dict.fromkeys(joints, deviation)
        if set(deviation) != set(joints):
            wrong = sorted(set(deviation) ^ set(joints))
            raise ValueError(f'deviation: unknown or missing {wrong}, expected {list(joints)}')
        values = [float(deviation[joint]) for joint in joints]
        if not all(0 < value < math.inf for value in values):
            raise ValueError(f'deviation: found {deviation}, expected positive degrees')
        self.deviation.copy_(torch.tensor(values).deg2rad())
        self.is_known = True
