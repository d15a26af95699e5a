"""Smooth motion within anatomical joint limits for H36M's actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.actions import ACTIONS
from mmjrr.datasets.synthetic.joint_angles import pose_from_angles
from mmjrr.datasets.synthetic.performance import Performance
from mmjrr.datasets.synthetic.seeding import stream

#: Frames per second of H36M's videos; frame numbers in file names count at this rate, from 1.
FRAME_RATE = 50


@dataclass(frozen=True)
class Motion:
    """Poses of one sequence at T moments.

    Attributes:
        body_pose: (T, 23, 3) axis-angle rotations of SMPL's joints without the pelvis.
        global_orient: (T, 3) axis-angle from SMPL's frame (y up, facing z) to the world (z up).
        position: (T, 2) position of the pelvis on the floor, meters.
    """

    body_pose: FloatArray
    global_orient: FloatArray
    position: FloatArray


def sample_motion(seed: int, subject: str, action: str, times: FloatArray) -> Motion:
    """Sample the poses of a subject who performs an action.

    Args:
        seed: Seed of the dataset.
        subject: Subject, such as ``'S1'``; subjects perform the same action differently.
        action: One of :data:`~mmjrr.datasets.synthetic.actions.ACTIONS`.
        times: (T,) seconds since the beginning of the sequence, in any order. The motion is a
            smooth function of time.

    Raises:
        ValueError: The action is unknown.
    """
    if action not in ACTIONS:
        raise ValueError(f'action: found {action!r}, expected one of {sorted(ACTIONS)}')
    times = np.asarray(times, dtype=np.float64)
    performance = Performance(stream(seed, 'motion', subject, action), times)
    ACTIONS[action](performance)
    body_pose = pose_from_angles(performance.limited_angles(), len(times))
    orient = Rotation.from_euler(
        'ZYX',
        np.stack([performance.heading, performance.roll, 90 + performance.pitch], 1),
        degrees=True,
    )
    return Motion(body_pose, orient.as_rotvec(), performance.position)
