from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmjrr.datasets.synthetic.actions import ACTIONS
from mmjrr.datasets.synthetic.joint_angles import ANGLES, JOINT_ANGLES, pose_from_angles, soft_limit
from mmjrr.datasets.synthetic.motion import sample_motion
from mmjrr.datasets.synthetic.posing import global_rotations, local_pose
from mmjrr.joints import SMPL_JOINTS

DOWN, FORWARD, LEFT = (0, -1, 0), (0, 0, 1), (1, 0, 0)


def bone_direction(joint: str, rest: tuple[int, int, int], **degrees: float) -> np.ndarray:
    angles = {f'{joint}.{name}': np.array([value]) for name, value in degrees.items()}
    # Arms hang when every angle is zero.
    if joint.endswith('shoulder'):
        angles.setdefault(f'{joint}.abduction', np.array([0.0]))
    pose = pose_from_angles(angles, 1)[0, SMPL_JOINTS.index(joint) - 1]
    return Rotation.from_rotvec(pose).apply(rest)


@pytest.mark.parametrize(
    ('joint', 'rest', 'angle', 'expected'),
    [
        ('left_hip', DOWN, 'flexion', FORWARD),
        ('right_hip', DOWN, 'flexion', FORWARD),
        ('left_knee', DOWN, 'flexion', (0, 0, -1)),
        ('left_hip', DOWN, 'abduction', LEFT),
        ('right_hip', DOWN, 'abduction', (-1, 0, 0)),
        ('left_shoulder', LEFT, 'flexion', FORWARD),
        ('right_shoulder', (-1, 0, 0), 'flexion', FORWARD),
        ('left_shoulder', LEFT, 'abduction', LEFT),
        ('right_shoulder', (-1, 0, 0), 'abduction', (-1, 0, 0)),
        ('left_elbow', LEFT, 'flexion', FORWARD),
        ('right_elbow', (-1, 0, 0), 'flexion', FORWARD),
        ('left_ankle', FORWARD, 'plantarflexion', DOWN),
        ('spine1', (0, 1, 0), 'flexion', FORWARD),
        ('neck', FORWARD, 'turn', LEFT),
        ('spine2', (0, 1, 0), 'bend', LEFT),
    ],
)
def test_angles_of_ninety_degrees_move_bones_the_way_their_names_say(joint, rest, angle, expected):
    np.testing.assert_allclose(bone_direction(joint, rest, **{angle: 90}), expected, atol=1e-12)


def test_arms_hang_when_their_angles_are_zero():
    np.testing.assert_allclose(bone_direction('left_shoulder', LEFT), DOWN, atol=1e-12)
    np.testing.assert_allclose(bone_direction('right_shoulder', (-1, 0, 0)), DOWN, atol=1e-12)


@pytest.mark.parametrize('action', sorted(ACTIONS))
def test_motion_stays_within_the_limits(action):
    motion = sample_motion(3, 'S5', action, np.arange(0, 20, 0.25))
    for joint, angles in JOINT_ANGLES.items():
        pose = motion.body_pose[:, SMPL_JOINTS.index(joint) - 1]
        if len(angles) == 2:  # SciPy wants a third axis, about which nothing may turn
            third = next(axis for axis in 'XYZ' if axis not in {a.axis for a in angles})
            order = angles[0].axis + angles[1].axis + third
        elif len(angles) == 1:
            order = 'XYZ'
        else:
            order = ''.join(angle.axis for angle in angles)
        euler = Rotation.from_rotvec(pose).as_euler(order, degrees=True)
        for column, angle in enumerate(angles):
            mirrored = joint.startswith('right_') and angle.axis != 'X'
            value = euler[:, column] * angle.sign * (-1 if mirrored else 1) + angle.zero
            if order == 'XZX':  # proper Euler angles: the middle one comes out positive
                continue
            assert value.min() >= angle.low - 1e-6, (joint, angle.name)
            assert value.max() <= angle.high + 1e-6, (joint, angle.name)


def test_shoulder_angles_stay_within_the_limits():
    from mmjrr.datasets.synthetic.performance import Performance
    from mmjrr.datasets.synthetic.seeding import stream

    for action, act in ACTIONS.items():
        performance = Performance(stream(1, 'motion', 'S1', action), np.arange(0, 20, 0.25))
        act(performance)
        for name, value in performance.limited_angles().items():
            assert ANGLES[name].low <= value.min() and value.max() <= ANGLES[name].high, (
                action,
                name,
            )


@pytest.mark.parametrize('action', ['Walking', 'Greeting', 'SittingDown'])
def test_motion_is_smooth(action):
    times = np.arange(0, 10, 1 / 50)
    motion = sample_motion(0, 'S1', action, times)
    pose = np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)
    rotations = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(len(times), 24, 3, 3)
    steps = np.swapaxes(rotations[:-1], -1, -2) @ rotations[1:]
    speed = Rotation.from_matrix(steps.reshape(-1, 3, 3)).magnitude().reshape(-1, 24) * 50
    assert speed.max() < np.radians(600)  # a kick is faster
    walked = np.linalg.norm(np.diff(motion.position, axis=0), axis=1) * 50
    assert walked.max() < 2.0
    if action == 'Walking':
        assert walked.min() > 0.7


def test_walkers_look_where_they_go():
    times = np.arange(0, 10, 1 / 50)
    motion = sample_motion(0, 'S1', 'Walking', times)
    facing = Rotation.from_rotvec(motion.global_orient[:-1]).apply(FORWARD)[:, :2]
    going = np.diff(motion.position, axis=0)
    cosine = (
        (facing * going).sum(1) / np.linalg.norm(facing, axis=1) / np.linalg.norm(going, axis=1)
    )
    assert cosine.min() > 0.95


def test_people_stand_upright():
    motion = sample_motion(0, 'S1', 'Waiting', np.arange(0, 10, 0.5))
    up = Rotation.from_rotvec(motion.global_orient).apply((0, 1, 0))
    assert up[:, 2].min() > np.cos(np.radians(20))


def test_motion_does_not_depend_on_which_moments_are_asked_for():
    times = np.array([0.0, 0.5, 7.0])
    together = sample_motion(0, 'S1', 'Eating', times)
    alone = sample_motion(0, 'S1', 'Eating', times[2:])
    np.testing.assert_array_equal(together.body_pose[2:], alone.body_pose)


def test_people_and_seeds_differ():
    times = np.array([0.0])
    poses = [
        sample_motion(seed, subject, 'Posing', times).body_pose
        for seed, subject in ((0, 'S1'), (0, 'S5'), (1, 'S1'))
    ]
    assert not np.allclose(poses[0], poses[1]) and not np.allclose(poses[0], poses[2])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="action: found 'Flying'"):
        sample_motion(0, 'S1', 'Flying', np.zeros(1))
    with pytest.raises(ValueError, match='left_knee.twist'):
        pose_from_angles({'left_knee.twist': np.zeros(1)}, 1)


def test_soft_limit_is_increasing_and_bounded():
    value = soft_limit(np.linspace(-300, 300, 2001), -20, 120)
    assert np.all(np.diff(value) >= 0) and value.min() >= -20 and value.max() <= 120


def test_local_pose_inverts_global_rotations():
    pose = np.random.default_rng(0).normal(0, 0.4, (3, 24, 3))
    np.testing.assert_allclose(local_pose(global_rotations(pose)), pose, atol=1e-10)
