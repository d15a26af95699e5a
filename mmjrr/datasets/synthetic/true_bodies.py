"""True bodies of the synthetic H36M in the world, and the labels of their joints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.motion import FRAME_RATE, sample_motion
from mmjrr.datasets.synthetic.people import People, make_people
from mmjrr.datasets.synthetic.posing import global_rotations
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.simulated_regressors import (
    label_joints,
    make_true_regressor,
)
from mmjrr.datasets.synthetic.subjects import Subject
from mmjrr.regressors import JointRegressor

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
from mmjrr.datasets.synthetic.sequence_plan import Take


@dataclass(frozen=True)
class World:
    """What all sequences share.

    Attributes:
        body: The free body, of which simulated fits are.
        truth: The true regressor for the free body.
        people: The people.
    """

    body: SMPL
    truth: JointRegressor
    people: People


@lru_cache(maxsize=1)
def make_world(seed: int, people: str = 'free_body') -> World:
    """Make the world of a seed; the last one is cached.

    Raises:
        ImportError: The package that the people need is not installed.
    """
    from mmjrr.body_models import free_body

    body = free_body()
    truth = make_true_regressor(seed, body)
    return World(body, truth, make_people(people, seed, truth, body))


@dataclass(frozen=True)
class TrueBodies:
    """True bodies of one subject at T moments, world frame, meters.

    Attributes:
        subject: The subject.
        frames: Raw frame numbers, counted from 1.
        times: (T,) seconds.
        pose: (T, 24, 3) axis-angle.
        rest_pelvis: (3,) pelvis of the rest pose.
        vertices: (T, V, 3).
        pelvis: (T, 3).
        labels: (T, 17, 3) labeled joints.
    """

    subject: Subject
    frames: tuple[int, ...]
    times: FloatArray
    pose: FloatArray
    rest_pelvis: FloatArray
    vertices: FloatArray
    pelvis: FloatArray
    labels: FloatArray


def make_true_bodies(
    world: World,
    seed: int,
    sequence: Take,
    frames: tuple[int, ...],
    ankle_offsets: bool = True,
    label_noise: float = 1.0,
) -> TrueBodies:
    """Pose the subject of a sequence in the world and label its joints."""
    subject = world.people.subject(sequence.subject, ankle_offsets)
    times = (np.array(frames) - 1) / FRAME_RATE
    motion = sample_motion(seed, sequence.subject, sequence.action, times)
    pose = np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)
    vertices = world.people.vertices(subject, pose)
    rest_pelvis = world.people.rest_pelvis(subject)
    shift = np.column_stack([motion.position - rest_pelvis[:2], -vertices[:, :, 2].min(1)])
    vertices = vertices + shift[:, None]  # the lowest point touches the floor
    rotations = global_rotations(pose)
    labels = np.stack([
        label_joints(world.people.regressor, vertices[i], rotations[i], subject,
                     stream(seed, 'label', sequence.name, frame), label_noise)
        for i, frame in enumerate(frames)
    ])  # fmt: skip
    pelvis = rest_pelvis + shift
    return TrueBodies(subject, frames, times, pose, rest_pelvis, vertices, pelvis, labels)


def root_aligned_distances_mm(
    joints: FloatArray,  # (T, J, 3), meters, root first
    expected: FloatArray,  # (T, J, 3)
) -> FloatArray:  # (T, J), millimeters
    """Measure distances between joints after moving the roots to the origin."""
    difference = (joints - joints[:, :1]) - (expected - expected[:, :1])
    return 1000 * np.linalg.norm(difference, axis=-1)
