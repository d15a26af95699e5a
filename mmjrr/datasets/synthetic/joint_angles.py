"""Anatomical joint angles, their limits, and their conversion to SMPL's rotations.

A pose is described by anatomical angles in degrees (``'left_shoulder.abduction'``), all of them
zero for a person who stands upright with the arms hanging. :data:`JOINT_ANGLES` defines their axes
and limits. Angles have the same meaning on both sides (flexion is flexion); the conversion mirrors
those of the right side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mmjrr.array_types import FloatArray
from mmjrr.joints import SMPL_JOINTS


@dataclass(frozen=True)
class JointAngle:
    """Anatomical angle of a joint: a rotation about an axis of the parent's frame.

    Attributes:
        name: Name of the angle, such as ``'flexion'``.
        axis: ``'X'`` (to the body's left), ``'Y'`` (up) or ``'Z'`` (forward).
        sign: Direction in which the angle grows about the axis, for the left side and the trunk.
        zero: Angle at SMPL's T-pose in degrees (90 for the abduction of the shoulder).
        low: Lower limit, degrees.
        high: Upper limit, degrees.
    """

    name: str
    axis: str
    sign: int
    zero: float
    low: float
    high: float


# Limits are those of everyday motion, within the active ranges of adults in clinical tables (e.g.
# American Academy of Orthopaedic Surgeons: hip flexion 120, knee flexion 135 to 150, elbow flexion
# 150, shoulder flexion 180, plantar flexion 50, total trunk flexion 80).
_VERTEBRA = (
    JointAngle('flexion', 'X', 1, 0, -10, 28),
    JointAngle('turn', 'Y', 1, 0, -15, 15),  # to the left
    JointAngle('bend', 'Z', -1, 0, -12, 12),  # to the left
)

_SIDE: dict[str, tuple[JointAngle, ...]] = {
    'hip': (
        JointAngle('flexion', 'X', -1, 0, -20, 120),
        JointAngle('abduction', 'Z', 1, 0, -15, 45),
        JointAngle('rotation', 'Y', 1, 0, -30, 40),  # outward
    ),
    'knee': (JointAngle('flexion', 'X', 1, 0, 0, 140),),
    'ankle': (
        JointAngle('plantarflexion', 'X', 1, 0, -20, 40),
        JointAngle('eversion', 'Z', 1, 0, -12, 12),
    ),
    'collar': (
        JointAngle('protraction', 'Y', -1, 0, -12, 18),
        JointAngle('elevation', 'Z', 1, 0, -6, 25),
    ),
    'shoulder': (
        JointAngle('flexion', 'X', -1, 0, -40, 150),
        JointAngle('abduction', 'Z', 1, 90, 6, 140),
        JointAngle('rotation', 'X', 1, 0, -60, 70),  # inward
    ),
    'elbow': (
        JointAngle('flexion', 'Y', -1, 0, 0, 140),
        JointAngle('pronation', 'X', 1, 0, -60, 60),
    ),
    'wrist': (
        JointAngle('deviation', 'Y', -1, 0, -20, 25),
        JointAngle('flexion', 'Z', -1, 0, -45, 45),
    ),
}

#: Angles of each SMPL joint, in the order in which their rotations are multiplied. SMPL's feet and
#: hands (toes and fingers) do not move; its pelvis is the root.
JOINT_ANGLES: dict[str, tuple[JointAngle, ...]] = {
    **{name: _VERTEBRA for name in ('spine1', 'spine2', 'spine3')},
    'neck': (
        JointAngle('flexion', 'X', 1, 0, -20, 30),
        JointAngle('turn', 'Y', 1, 0, -35, 35),
        JointAngle('bend', 'Z', -1, 0, -20, 20),
    ),
    'head': (
        JointAngle('flexion', 'X', 1, 0, -15, 20),
        JointAngle('turn', 'Y', 1, 0, -30, 30),
        JointAngle('bend', 'Z', -1, 0, -15, 15),
    ),
    **{f'{side}_{name}': angles for side in ('left', 'right') for name, angles in _SIDE.items()},
}

#: All angles by name, ``joint.angle``.
ANGLES: dict[str, JointAngle] = {
    f'{joint}.{angle.name}': angle for joint, angles in JOINT_ANGLES.items() for angle in angles
}


def pose_from_angles(angles: Mapping[str, FloatArray], num_frames: int) -> FloatArray:
    """Convert anatomical angles to SMPL's body pose.

    Args:
        angles: (T,) degrees by ``joint.angle``; missing angles are zero.
        num_frames: T.

    Returns:
        (T, 23, 3) axis-angle rotations.

    Raises:
        ValueError: The name of an angle is unknown.
    """
    unknown = sorted(set(angles) - set(ANGLES))
    if unknown:
        raise ValueError(f'angles: found {unknown}, expected some of {sorted(ANGLES)}')
    pose = np.zeros((num_frames, len(SMPL_JOINTS) - 1, 3))
    for joint, joint_angles in JOINT_ANGLES.items():
        euler = np.zeros((num_frames, len(joint_angles)))
        for column, angle in enumerate(joint_angles):
            value = angles.get(f'{joint}.{angle.name}', np.zeros(num_frames)) - angle.zero
            mirrored = joint.startswith('right_') and angle.axis != 'X'
            euler[:, column] = value * angle.sign * (-1 if mirrored else 1)
        order = ''.join(angle.axis for angle in joint_angles)
        rotation = Rotation.from_euler(order, euler, degrees=True)
        pose[:, SMPL_JOINTS.index(joint) - 1] = rotation.as_rotvec()
    return pose


def soft_limit(value: FloatArray, low: float, high: float) -> FloatArray:
    """Limit values smoothly to (low, high); those in the middle 80% are unchanged.

    >>> soft_limit(np.array([0.0, 60.0, 500.0]), -20.0, 120.0).round(6).tolist()
    [0.0, 60.0, 120.0]
    """
    margin = 0.1 * (high - low)
    inner = np.clip(value, low + margin, high - margin)
    return inner + margin * np.tanh((value - inner) / margin)
