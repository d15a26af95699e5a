"""Term of anatomical limits: no knee bends forward, no elbow backward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mmjrr.geometry import matrix_to_axis_angle
from mmjrr.joints import SMPL_JOINTS
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations

#: Limits (low, high) in degrees of each component of a joint's rotation vector, by SMPL joint. The
#: axes are those of SMPL's T-pose: x to the body's left, y up, z forward. Joints of the left side
#: stand for both sides; those of the right side are mirrored. Joints that are not named are free.
#:
#: The hinges (knee, elbow) have the active range of motion that the American Academy of
#: Orthopaedic Surgeons gives for adults (knee flexion 150, elbow flexion 150, pronation and
#: supination 80) and some play about the other axes. A rotation vector's components are not
#: anatomical angles where a joint turns about several axes, so the other joints have wide limits
#: that contain the ranges of their angles.
JOINT_LIMITS: dict[str, tuple[tuple[float, float], ...]] = {
    'spine1': ((-30, 60), (-40, 40), (-35, 35)),
    'spine2': ((-30, 60), (-40, 40), (-35, 35)),
    'spine3': ((-30, 60), (-40, 40), (-35, 35)),
    'neck': ((-60, 60), (-70, 70), (-45, 45)),
    'head': ((-60, 60), (-70, 70), (-45, 45)),
    'left_hip': ((-140, 45), (-70, 70), (-50, 80)),
    'left_knee': ((-5, 155), (-20, 20), (-20, 20)),
    'left_ankle': ((-35, 60), (-35, 35), (-40, 40)),
    'left_collar': ((-40, 40), (-45, 35), (-25, 45)),
    'left_shoulder': ((-120, 120), (-140, 80), (-115, 105)),
    'left_elbow': ((-90, 90), (-155, 5), (-45, 45)),
    'left_wrist': ((-45, 45), (-45, 45), (-95, 95)),
}

#: Limits of a joint that is free.
_FREE = ((-math.inf, math.inf),) * 3


def joint_limits_energy(
    rotations: Tensor,  # (B, 24, 3, 3), the global orientation first
    low: Tensor,  # (23, 3), radians
    high: Tensor,  # (23, 3), radians
) -> Tensor:  # (B,)
    """Sum the squares by which components of rotation vectors exceed their limits.

    Values are in square radians. The global orientation has no limits.
    """
    vector = matrix_to_axis_angle(rotations[:, 1:])
    excess = (vector - high).clamp_min(0) + (low - vector).clamp_min(0)
    return excess.square().sum((1, 2))


def limits_of_joints(
    limits: Mapping[str, Sequence[Sequence[float]] | None],
) -> tuple[Tensor, Tensor]:  # (23, 3) twice, float64, radians
    """Return the lower and upper limits of SMPL's 23 joints, both sides.

    Args:
        limits: Limits in degrees as in :data:`JOINT_LIMITS`. None frees a joint. An entry of the
            right side, None too, replaces the mirrored one of the left.

    Raises:
        ValueError: A joint is unknown, or its limits are not three pairs (low, high).

    >>> low, high = limits_of_joints(dict(left_elbow=((-90, 80), (-150, 0), (-20, 20))))
    >>> right_elbow = torch.rad2deg(torch.stack([low[18], high[18]])).round()
    >>> (right_elbow + 0).tolist()  # without the sign of zero
    [[-90.0, 0.0, -20.0], [80.0, 150.0, 20.0]]
    >>> low, high = limits_of_joints(dict(JOINT_LIMITS, right_elbow=None))
    >>> low[18].tolist(), high[18].tolist()
    ([-inf, -inf, -inf], [inf, inf, inf])
    """
    unknown = sorted(set(limits) - set(SMPL_JOINTS[1:]))
    if unknown:
        raise ValueError(f'limits: unknown {unknown}, expected some of {list(SMPL_JOINTS[1:])}')
    bounds = torch.tensor([-math.inf, math.inf], dtype=torch.float64).repeat(23, 3, 1)
    # Left before right, so that an entry of the right side replaces the mirrored one.
    for name in sorted(limits):
        given = limits[name]
        of_axes = _FREE if given is None else given
        pairs = torch.tensor([list(pair) for pair in of_axes], dtype=torch.float64)
        if pairs.shape != (3, 2) or not bool((pairs[:, 0] < pairs[:, 1]).all()):
            raise ValueError(
                f'limits: {name}: found {limits[name]}, expected a pair (low, high) in degrees for '
                'each of x, y, z'
            )
        bounds[SMPL_JOINTS.index(name) - 1] = pairs.deg2rad()
        if name.startswith('left_'):
            # The mirror image of a rotation turns the other way about y and z.
            mirrored = torch.stack([pairs[0], -pairs[1].flip(0), -pairs[2].flip(0)])
            bounds[SMPL_JOINTS.index(name.replace('left', 'right')) - 1] = mirrored.deg2rad()
    return bounds[..., 0], bounds[..., 1]


@ENERGY_TERMS.register_module()
class JointLimitsTerm(EnergyTerm):
    """Excess of joint rotations over anatomical limits: :func:`joint_limits_energy`.

    The term is not balanced unless ``scale`` is given, since it is zero for most poses.

    Args:
        limits: Limits that replace or complete :data:`JOINT_LIMITS`, by SMPL joint, in degrees.
            ``None`` for a joint frees it. An entry of the left side stands for both sides unless
            the right side has its own. Default: None, :data:`JOINT_LIMITS` as they are.
        name: As in :class:`EnergyTerm`, and so are ``weight`` (default: 10) and ``scale``.

    Raises:
        ValueError: A joint is unknown, or its limits are not three pairs (low, high).
    """

    default_weight: ClassVar[float | None] = 10.0

    low: Tensor  # (23, 3), radians
    high: Tensor  # (23, 3), radians

    def __init__(
        self,
        limits: Mapping[str, Sequence[Sequence[float]] | None] | None = None,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        chosen = {**JOINT_LIMITS, **(limits or {})}
        low, high = limits_of_joints(chosen)
        self.register_buffer('low', low.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer('high', high.to(torch.get_default_dtype()), persistent=False)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in square radians."""
        return joint_limits_energy(bodies.rotations, self.low, self.high)
