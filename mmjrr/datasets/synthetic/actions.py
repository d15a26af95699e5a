"""Human3.6M's fifteen actions as movements of joint angles, in degrees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.performance import Performance


def _bend_trunk(p: Performance, flexion: FloatArray | float) -> None:
    p.add({f'spine{i}.flexion': flexion / 3 for i in (1, 2, 3)})


def _directions(p: Performance) -> None:
    p.add({
        'main_shoulder.flexion': p.wave(30, 95, 0.25) + p.vary(0),
        'main_shoulder.abduction': p.wave(0, 45, 0.17, 0.3),
        'main_elbow.flexion': p.wave(5, 45, 0.3, 0.6),
        'neck.turn': p.wave(-20, 20, 0.2),
        'spine2.turn': p.wave(-8, 8, 0.2),
    })  # fmt: skip


def _discussion(p: Performance) -> None:
    for side, shift in (('main', 0.0), ('other', 0.4)):
        p.add({
            f'{side}_shoulder.flexion': p.wave(5, 45, 0.4, shift) + p.vary(0),
            f'{side}_shoulder.abduction': p.wave(0, 30, 0.3, shift),
            f'{side}_shoulder.rotation': p.wave(-20, 35, 0.35, shift + 0.2),
            f'{side}_elbow.flexion': p.wave(40, 110, 0.5, shift + 0.1),
        })  # fmt: skip
    p.add({'neck.turn': p.wave(-25, 25, 0.15)})


def _sit(p: Performance) -> None:
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


def _eating(p: Performance) -> None:
    _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(0, 35, 0.3),
        'main_shoulder.rotation': p.wave(10, 40, 0.3),
        'main_elbow.flexion': p.wave(20, 85, 0.3),
        'neck.flexion': p.wave(0, 15, 0.3, 0.2),
    })  # fmt: skip


def _greeting(p: Performance) -> None:
    p.add({
        'main_shoulder.abduction': p.wave(40, 85, 0.3) + p.vary(0),
        'main_shoulder.flexion': p.wave(5, 40, 0.25, 0.3),
        'main_shoulder.rotation': p.wave(-60, -25, 0.9),
        'main_elbow.flexion': p.wave(35, 100, 0.9, 0.2),
        'other_elbow.flexion': p.vary(20),
    })  # fmt: skip
    _bend_trunk(p, p.wave(0, 25, 0.2))


def _phoning(p: Performance) -> None:
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


def _posing(p: Performance) -> None:
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


def _purchases(p: Performance) -> None:
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


def _sitting(p: Performance) -> None:
    _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(-10, 50, 0.2),
        'main_shoulder.abduction': p.wave(0, 40, 0.15),
        'main_elbow.flexion': p.wave(-20, 60, 0.25),
        'main_knee.flexion': p.wave(-35, 10, 0.1),
        'spine2.turn': p.wave(-10, 10, 0.15),
    })  # fmt: skip


def _sitting_down(p: Performance) -> None:
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


def _smoking(p: Performance) -> None:
    if p.rng.random() < 0.4:
        _sit(p)
    p.add({
        'main_shoulder.flexion': p.wave(5, 40, 0.25),
        'main_shoulder.rotation': p.wave(0, 35, 0.25),
        'main_elbow.flexion': p.wave(15, 112, 0.25),
        'other_shoulder.rotation': p.vary(20),
        'other_elbow.flexion': p.vary(35),
    })  # fmt: skip


def _photo(p: Performance) -> None:
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


def _waiting(p: Performance) -> None:
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


def _walk(p: Performance) -> FloatArray:
    """Walk on a circle with a gait cycle of about a second; return its phase, (T,) radians."""
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


def _walking(p: Performance) -> None:
    _walk(p)


def _walk_dog(p: Performance) -> None:
    _walk(p)
    p.add({'main_shoulder.flexion': p.wave(20, 50, 0.3), 'main_elbow.flexion': p.wave(0, 30, 0.4)})
    _bend_trunk(p, p.wave(0, 30, 0.2))


def _walk_together(p: Performance) -> None:
    _walk(p)
    p.add({
        'neck.turn': p.wave(0, 35, 0.2) * (1 if p.main == 'left' else -1),
        'main_shoulder.flexion': p.wave(0, 40, 0.25),
        'main_elbow.flexion': p.wave(0, 70, 0.3),
    })  # fmt: skip


#: H36M's fifteen actions by the names in its files.
ACTIONS: dict[str, Callable[[Performance], None]] = {
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
