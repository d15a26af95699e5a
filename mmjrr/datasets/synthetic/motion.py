"""Smooth motion within anatomical joint limits, for the actions that H36M names.

A pose is given by anatomical angles in degrees (``'left_shoulder.abduction'``), all of them zero
for a person who stands upright with the arms hanging. :data:`JOINT_ANGLES` says how they turn into
SMPL's rotations and how far each may go. Angles of the right side have the same meaning as the
left's (flexion is flexion): the conversion mirrors them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.joints import SMPL_JOINTS

#: Frames per second of H36M's videos; frame numbers in file names count at this rate, from 1.
FRAME_RATE = 50

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointAngle:
    """One anatomical angle of a joint: a rotation about an axis of the parent's frame.

    Attributes:
        name: the angle's name, e.g. ``'flexion'``.
        axis: ``'X'`` (to the body's left), ``'Y'`` (up) or ``'Z'`` (forwards).
        sign: direction in which the angle grows about that axis, for the left side and the trunk.
        zero: angle at SMPL's T-pose, degrees (the abduction of the shoulder is 90 there).
        low: lower limit, degrees.
        high: upper limit, degrees.
    """

    name: str
    axis: str
    sign: int
    zero: float
    low: float
    high: float


# Limits are those of everyday motion, somewhat inside the active ranges that clinical tables give
# for adults (e.g. American Academy of Orthopaedic Surgeons: hip flexion 120, knee flexion 135 to
# 150, elbow flexion 150, shoulder flexion 180, plantar flexion 50, trunk flexion 80 in all).
_VERTEBRA = (
    JointAngle('flexion', 'X', 1, 0, -10, 28),
    JointAngle('turn', 'Y', 1, 0, -15, 15),  # to the left
    JointAngle('bend', 'Z', -1, 0, -12, 12),  # to the left
)
_SIDE: dict[str, tuple[JointAngle, ...]] = {
    'hip': (
        JointAngle('flexion', 'X', -1, 0, -20, 120),
        JointAngle('abduction', 'Z', 1, 0, -15, 45),
        JointAngle('rotation', 'Y', 1, 0, -30, 40),  # outwards
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
        JointAngle('rotation', 'X', 1, 0, -60, 70),  # inwards
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
#: hands (the toes and the fingers) stay as they are in the template; its pelvis is the root.
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

#: Every angle by name, ``joint.angle``.
ANGLES: dict[str, JointAngle] = {
    f'{joint}.{angle.name}': angle for joint, angles in JOINT_ANGLES.items() for angle in angles
}


@dataclass(frozen=True)
class Motion:
    """Poses of one sequence at T moments.

    Attributes:
        body_pose: (T, 23, 3) axis-angle rotations, SMPL's joints without the pelvis.
        global_orient: (T, 3) axis-angle from SMPL's frame (y up, facing z) to the world (z up).
        position: (T, 2) metres, where on the floor the pelvis is.
    """

    body_pose: Array
    global_orient: Array
    position: Array


def sample_motion(seed: int, subject: str, action: str, times: Array) -> Motion:
    """Poses of a subject performing an action.

    Args:
        seed: the data set's seed.
        subject: e.g. ``'S1'``; people perform the same action differently.
        action: one of :data:`ACTIONS`.
        times: (T,) seconds since the sequence began. The motion is a smooth function of time, so
            any moments in any order may be asked for.

    Raises:
        ValueError: the action is not known.
    """
    if action not in ACTIONS:
        raise ValueError(f'unknown action {action!r}; known: {sorted(ACTIONS)}')
    times = np.asarray(times, dtype=np.float64)
    performance = _Performance(stream(seed, 'motion', subject, action), times)
    ACTIONS[action](performance)
    body_pose = pose_from_angles(performance.limited_angles(), len(times))
    orient = Rotation.from_euler(
        'ZYX',
        np.stack([performance.heading, performance.roll, 90 + performance.pitch], 1),
        degrees=True,
    )
    return Motion(body_pose, orient.as_rotvec(), performance.position)


def pose_from_angles(angles: Mapping[str, Array], num_frames: int) -> Array:
    """SMPL's body pose from anatomical angles.

    Args:
        angles: (T,) degrees by ``joint.angle``; what is left out is zero.
        num_frames: T.

    Returns:
        (T, 23, 3) axis-angle rotations.

    Raises:
        ValueError: an angle's name is not known.
    """
    unknown = sorted(set(angles) - set(ANGLES))
    if unknown:
        raise ValueError(f'unknown angles {unknown}; known: {sorted(ANGLES)}')
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


def soft_limit(value: Array, low: float, high: float) -> Array:
    """Value kept within (low, high), unchanged in the middle 80% and smooth everywhere.

    >>> soft_limit(np.array([0.0, 60.0, 500.0]), -20.0, 120.0).round(6).tolist()
    [0.0, 60.0, 120.0]
    """
    margin = 0.1 * (high - low)
    inner = np.clip(value, low + margin, high - margin)
    return inner + margin * np.tanh((value - inner) / margin)


class _Performance:
    """How one subject performs one action once: named angles over time, and where the body is."""

    def __init__(self, rng: np.random.Generator, times: Array) -> None:
        self.rng = rng
        self.times = times
        self.phase = rng.uniform(0, 2 * np.pi)
        self.tempo = rng.uniform(0.85, 1.15)
        sides = ['left', 'right']
        rng.shuffle(sides)
        self.main, self.other = sides  # the side that acts, and the one that rests
        # Standing at ease, then everybody's own posture, then a slow sway of every joint.
        self.angles: dict[str, Array] = {}
        for name, angle in ANGLES.items():
            scale = (angle.high - angle.low) / 100
            self.angles[name] = rng.normal(0, 3 * scale) + self.drift(3 * scale)
        for side in ('left', 'right'):
            self.add({f'{side}_shoulder.abduction': 14, f'{side}_elbow.flexion': 14})
            self.add(
                {f'{side}_knee.flexion': 6, f'{side}_hip.flexion': 4, f'{side}_hip.abduction': 4}
            )
            self.add({f'{side}_hip.rotation': 6})
        self.heading = rng.uniform(-180, 180) + self.drift(12)
        self.pitch = self.drift(2) + rng.normal(0, 2)
        self.roll = self.drift(1.5)
        self.position = rng.uniform(-0.5, 0.5, 2) + np.stack(
            [self.drift(0.05), self.drift(0.05)], 1
        )

    def drift(self, amplitude: float) -> Array:
        """A slow smooth random curve: three sinusoids below 0.6 Hz; (T,), about N(0, amplitude)."""
        hertz = self.rng.uniform(0.08, 0.6, 3)
        phase = self.rng.uniform(0, 2 * np.pi, 3)
        waves = np.sin(2 * np.pi * hertz * self.times[:, None] + phase)
        return amplitude * np.sqrt(2 / 3) * waves.sum(1)

    def wave(self, low: float, high: float, hertz: float, shift: float = 0.0) -> Array:
        """A movement to and fro between two angles, (T,); `shift` in turns."""
        turn = 2 * np.pi * (hertz * self.tempo * self.times + shift) + self.phase
        return low + (high - low) * (0.5 + 0.5 * np.sin(turn))

    def vary(self, value: float, spread: float = 8.0) -> float:
        """A value that differs from performance to performance."""
        return float(self.rng.normal(value, spread))

    def add(self, angles: Mapping[str, Array | float]) -> None:
        """Add to angles. ``main_`` and ``other_`` stand for the acting and the resting side."""
        for name, value in angles.items():
            for role, side in (('main_', self.main), ('other_', self.other)):
                if name.startswith(role):
                    name = f'{side}_{name[len(role) :]}'
            self.angles[name] = self.angles[name] + value

    def limited_angles(self) -> dict[str, Array]:
        """The angles within their limits; the collar follows an arm raised beyond 60 degrees."""
        angles = dict(self.angles)
        for side in ('left', 'right'):
            raised = np.maximum(
                angles[f'{side}_shoulder.flexion'], angles[f'{side}_shoulder.abduction']
            )
            angles[f'{side}_collar.elevation'] = (
                angles[f'{side}_collar.elevation'] + 0.2 * np.logaddexp(0, (raised - 60) / 10) * 10
            )
        return {
            name: soft_limit(value, ANGLES[name].low, ANGLES[name].high)
            for name, value in angles.items()
        }


def _bend_trunk(p: _Performance, flexion: Array | float) -> None:
    p.add({f'spine{i}.flexion': flexion / 3 for i in (1, 2, 3)})


def _directions(p: _Performance) -> None:
    p.add({
        'main_shoulder.flexion': p.wave(30, 95, 0.25) + p.vary(0),
        'main_shoulder.abduction': p.wave(0, 45, 0.17, 0.3),
        'main_elbow.flexion': p.wave(5, 45, 0.3, 0.6),
        'neck.turn': p.wave(-20, 20, 0.2),
        'spine2.turn': p.wave(-8, 8, 0.2),
    })  # fmt: skip


def _discussion(p: _Performance) -> None:
    for side, shift in (('main', 0.0), ('other', 0.4)):
        p.add({
            f'{side}_shoulder.flexion': p.wave(5, 45, 0.4, shift) + p.vary(0),
            f'{side}_shoulder.abduction': p.wave(0, 30, 0.3, shift),
            f'{side}_shoulder.rotation': p.wave(-20, 35, 0.35, shift + 0.2),
            f'{side}_elbow.flexion': p.wave(40, 110, 0.5, shift + 0.1),
        })  # fmt: skip
    p.add({'neck.turn': p.wave(-25, 25, 0.15)})


def _sit(p: _Performance) -> None:
    spread = p.vary(8, 5)
    for side in ('left', 'right'):
        p.add({
            f'{side}_hip.flexion': p.vary(78, 6),
            f'{side}_hip.abduction': spread,
            f'{side}_knee.flexion': p.vary(82, 10),
            f'{side}_shoulder.flexion': p.vary(25, 5),
            f'{side}_elbow.flexion': p.vary(45),
        })  # fmt: skip
    _bend_trunk(p, p.vary(12, 6))


def _eating(p: _Performance) -> None:
    _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(0, 35, 0.3),
        'main_shoulder.rotation': p.wave(10, 40, 0.3),
        'main_elbow.flexion': p.wave(20, 85, 0.3),
        'neck.flexion': p.wave(0, 15, 0.3, 0.2),
    })  # fmt: skip


def _greeting(p: _Performance) -> None:
    p.add({
        'main_shoulder.abduction': p.wave(40, 85, 0.3) + p.vary(0),
        'main_shoulder.flexion': p.wave(5, 40, 0.25, 0.3),
        'main_shoulder.rotation': p.wave(-60, -25, 0.9),
        'main_elbow.flexion': p.wave(35, 100, 0.9, 0.2),
        'other_elbow.flexion': p.vary(20),
    })  # fmt: skip
    _bend_trunk(p, p.wave(0, 25, 0.2))


def _phoning(p: _Performance) -> None:
    if p.rng.random() < 0.5:
        _sit(p)
    p.add({
        'main_shoulder.flexion': p.vary(35),
        'main_shoulder.abduction': p.vary(18),
        'main_shoulder.rotation': p.vary(10),
        'main_elbow.flexion': p.wave(100, 118, 0.2),
        'neck.bend': -8.0 if p.main == 'right' else 8.0,
        'other_shoulder.flexion': p.wave(0, 25, 0.3),
        'other_elbow.flexion': p.wave(10, 60, 0.3),
    })  # fmt: skip


def _posing(p: _Performance) -> None:
    p.add({
        'other_shoulder.abduction': p.vary(35),
        'other_shoulder.rotation': p.vary(40),
        'other_elbow.flexion': p.vary(75),
        'main_shoulder.abduction': p.wave(20, 120, 0.2),
        'main_shoulder.flexion': p.wave(0, 40, 0.15),
        'main_elbow.flexion': p.wave(10, 90, 0.25),
        'main_hip.abduction': p.vary(10),
        'main_hip.rotation': p.vary(10),
        'spine2.bend': p.wave(-8, 8, 0.2),
    })  # fmt: skip


def _purchases(p: _Performance) -> None:
    depth = p.wave(0, 1, 0.2)
    for side in ('left', 'right'):
        p.add({
            f'{side}_hip.flexion': 65 * depth,
            f'{side}_knee.flexion': 70 * depth,
            f'{side}_ankle.plantarflexion': -12 * depth,
            f'{side}_shoulder.flexion': 15 + 50 * depth,
            f'{side}_elbow.flexion': p.vary(30),
        })  # fmt: skip
    _bend_trunk(p, 10 + 40 * depth)
    p.pitch = p.pitch + 15 * depth


def _sitting(p: _Performance) -> None:
    _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(-10, 50, 0.2),
        'main_shoulder.abduction': p.wave(0, 40, 0.15),
        'main_elbow.flexion': p.wave(-20, 60, 0.25),
        'main_knee.flexion': p.wave(-35, 10, 0.1),
        'spine2.turn': p.wave(-10, 10, 0.15),
    })  # fmt: skip


def _sitting_down(p: _Performance) -> None:
    for side in ('left', 'right'):
        p.add({
            f'{side}_hip.flexion': p.vary(104, 6),
            f'{side}_hip.abduction': p.vary(12),
            f'{side}_knee.flexion': p.vary(70, 12),
            f'{side}_ankle.plantarflexion': p.vary(10),
            f'{side}_shoulder.flexion': p.vary(38),
            f'{side}_elbow.flexion': p.wave(20, 60, 0.2),
        })  # fmt: skip
    _bend_trunk(p, p.wave(8, 30, 0.2))
    p.pitch = p.pitch - 14  # on the floor, leaning back


def _smoking(p: _Performance) -> None:
    if p.rng.random() < 0.4:
        _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(5, 40, 0.25),
        'main_shoulder.rotation': p.wave(0, 35, 0.25),
        'main_elbow.flexion': p.wave(15, 112, 0.25),
        'other_shoulder.rotation': p.vary(20),
        'other_elbow.flexion': p.vary(35),
    })  # fmt: skip


def _photo(p: _Performance) -> None:
    crouch = max(0.0, p.vary(0.3, 0.4))
    for side in ('left', 'right'):
        p.add({
            f'{side}_shoulder.flexion': p.vary(58, 6),
            f'{side}_shoulder.rotation': p.vary(28),
            f'{side}_elbow.flexion': p.vary(85, 10),
            f'{side}_hip.flexion': 40 * crouch,
            f'{side}_knee.flexion': 55 * crouch,
        })  # fmt: skip
    _bend_trunk(p, p.wave(0, 20, 0.2))
    p.heading = p.heading + p.wave(-25, 25, 0.1)


def _waiting(p: _Performance) -> None:
    if p.rng.random() < 0.5:  # arms crossed
        for side in ('left', 'right'):
            p.add({
                f'{side}_shoulder.flexion': p.vary(26, 4),
                f'{side}_shoulder.rotation': p.vary(48, 5),
                f'{side}_elbow.flexion': p.vary(76, 6),
            })  # fmt: skip
    else:
        p.add({'main_elbow.flexion': p.wave(0, 80, 0.15), 'main_shoulder.rotation': p.vary(15)})
    p.add({
        'main_hip.abduction': p.wave(-4, 8, 0.12),
        'main_knee.flexion': p.wave(0, 25, 0.12),
        'main_hip.flexion': p.wave(0, 14, 0.12),
        'neck.turn': p.wave(-30, 30, 0.1),
    })  # fmt: skip


def _walk(p: _Performance) -> Array:
    """A gait cycle of about a second on a circle; returns the cycle's phase, (T,) radians."""
    cycle = 2 * np.pi * 0.95 * p.tempo * p.times + p.phase
    stride = p.vary(1.0, 0.1)
    for side, phase in (('left', cycle), ('right', cycle + np.pi)):
        p.add({
            f'{side}_hip.flexion': 5 + 24 * stride * np.cos(phase),
            f'{side}_knee.flexion': 50 * stride * (0.5 + 0.5 * np.cos(phase - 1.5 * np.pi)) ** 2,
            f'{side}_ankle.plantarflexion': -4 + 22 * (0.5 + 0.5 * np.cos(phase - 3.77)) ** 4,
            f'{side}_shoulder.flexion': -18 * stride * np.cos(phase),
            f'{side}_elbow.flexion': 10 - 8 * np.cos(phase),
        })  # fmt: skip
    p.add({'spine2.turn': 5 * np.cos(cycle)})
    radius, turning = p.rng.uniform(0.8, 1.4), (1 if p.main == 'left' else -1)
    around = p.phase + turning * 1.15 * stride * p.tempo * p.times / radius
    p.position = radius * np.stack([np.cos(around), np.sin(around)], 1)
    # SMPL faces its z axis, which the upright rotation turns to the world's -y.
    p.heading = np.degrees(around) + turning * 90 + 90
    p.pitch = p.pitch + 2
    return cycle


def _walking(p: _Performance) -> None:
    _walk(p)


def _walk_dog(p: _Performance) -> None:
    _walk(p)
    p.add({'main_shoulder.flexion': p.wave(20, 50, 0.3), 'main_elbow.flexion': p.wave(0, 30, 0.4)})
    _bend_trunk(p, p.wave(0, 30, 0.2))


def _walk_together(p: _Performance) -> None:
    _walk(p)
    p.add({
        'neck.turn': p.wave(0, 35, 0.2) * (1 if p.main == 'left' else -1),
        'main_shoulder.flexion': p.wave(0, 40, 0.25),
        'main_elbow.flexion': p.wave(0, 70, 0.3),
    })  # fmt: skip


#: H36M's fifteen actions, by the names that its files carry.
ACTIONS: dict[str, Callable[[_Performance], None]] = {
    'Directions': _directions,
    'Discussion': _discussion,
    'Eating': _eating,
    'Greeting': _greeting,
    'Phoning': _phoning,
    'Photo': _photo,
    'Posing': _posing,
    'Purchases': _purchases,
    'Sitting': _sitting,
    'SittingDown': _sitting_down,
    'Smoking': _smoking,
    'Waiting': _waiting,
    'WalkDog': _walk_dog,
    'WalkTogether': _walk_together,
    'Walking': _walking,
}
