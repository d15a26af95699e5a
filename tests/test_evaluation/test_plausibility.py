"""Implausible predictions give a warning with an explanation; plausible ones give none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import mmjrr
from mmjrr.evaluation.plausibility import check_plausibility, doubt_mesh, root_aligned_error
from mmjrr.joints import H36M_JOINTS_MMPOSE as NAMES

RNG = np.random.default_rng(0)
FRAMES, CAMERAS = 120, ('54138969', '55011271', '58860488', '60457274')
#: A standing body, camera frame: x to the image's right, y down, meters.
SKELETON = np.array(
    [
        [0, 0, 0], [-0.13, 0, 0], [-0.14, 0.45, 0.03], [-0.14, 0.9, 0],
        [0.13, 0, 0], [0.14, 0.45, 0.03], [0.14, 0.9, 0], [0, -0.24, 0.02],
        [0, -0.5, 0], [0, -0.6, 0.06], [0, -0.7, 0.02], [0.16, -0.45, 0], [0.2, -0.18, 0.05],
        [0.25, 0.05, 0.15], [-0.16, -0.45, 0], [-0.2, -0.18, 0.05], [-0.25, 0.05, 0.15],
    ]
)  # fmt: skip
Joints = np.ndarray  # (N, 17, 3)


def poses() -> Joints:
    """Different people facing different ways, limbs bent at random."""
    bent = SKELETON + 0.12 * RNG.normal(size=(FRAMES, 17, 3)) * (np.arange(17) > 0)[:, None]
    angles = RNG.uniform(0, 360, (FRAMES, 1))
    turns = Rotation.from_euler('y', angles, degrees=True).as_matrix()
    return np.einsum('nij,nkj->nki', turns, bent) + [0, 0, 5]


TARGET = poses()
PREDICTED = TARGET + 0.03 * RNG.normal(size=TARGET.shape)  # about 50 mm off
WEIGHT = np.ones((FRAMES, 17))
LABELS = [
    dict(subject='S9' if row < FRAMES / 2 else 'S11', sequence=f'take {row // 20}',
         camera=CAMERAS[row // 5 % 4])
    for row in range(FRAMES)
]  # fmt: skip


def check(predicted: Joints, labels: list[dict[str, str]] = LABELS) -> str:
    return '\n'.join(check_plausibility(predicted, TARGET, WEIGHT, NAMES, labels))


def turned(angle: float, axis: str) -> Callable[[Joints], Joints]:
    matrix = Rotation.from_euler(axis, angle, degrees=True).as_matrix()
    return lambda joints: joints @ matrix.T


def legs_swapped(joints: Joints) -> Joints:
    return joints[:, [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]]


def in_the_world(joints: Joints) -> Joints:
    cameras = np.array([label['camera'] for label in LABELS])
    matrices = dict(zip(CAMERAS, Rotation.random(4, random_state=1).as_matrix(), strict=True))
    return np.stack([j @ matrices[c].T for j, c in zip(joints, cameras, strict=True)])


def one_camera_turned(joints: Joints) -> Joints:
    flips = [[1, -1, -1] if label['camera'] == CAMERAS[2] else [1, 1, 1] for label in LABELS]
    return joints * np.array(flips)[:, None]


def test_plausible_predictions_are_left_alone() -> None:
    assert check(PREDICTED) == ''
    assert check_plausibility(PREDICTED, TARGET, WEIGHT, NAMES) == ()
    assert check_plausibility(PREDICTED[:1], TARGET[:1], WEIGHT[:1], NAMES) == ()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (turned(180, 'x'), r'MPJPE \(\d+ mm\) is far above PA-MPJPE .*180° about x \(y up in pl'),
        (turned(-90, 'x'), r'turned by 90° about x \(z up in place of y down\), MPJPE would be'),
        (turned(90, 'z'), 'turned by -90° about z, MPJPE would be'),
        (turned(37, 'y'), r'turned by 37° about \(-?0.0\d, -1.00, -?0.0\d\), MPJPE would be'),
        (in_the_world, "turned by each camera's rotation .*world frame"),
        (one_camera_turned, f'camera {CAMERAS[2]} has an MPJPE .*180° about x'),
        (legs_swapped, 'with legs swapped, MPJPE would be'),
        (lambda joints: joints * [-1, 1, 1], 'mirrored, MPJPE would be'),
        (lambda joints: joints * 10, r'multiplied by 0.1 \(decimeters in place of meters\)'),
        (lambda joints: joints * 1000, r'multiplied by 0.001 \(millimeters in place of meters\)'),
        (lambda joints: joints[::-1], r'1[12]\d of 120 predictions fit another frame better'),
    ],
    ids=['upside down', 'z up', 'rolled', 'any angle', 'world frame', 'one camera', 'legs',
         'mirrored', 'decimeters', 'millimeters', 'reversed order'],
)  # fmt: skip
def test_a_change_that_makes_predictions_agree_is_named(
    change: Callable[[Joints], Joints], message: str
) -> None:
    (sentence,) = check_plausibility(change(PREDICTED), TARGET, WEIGHT, NAMES, LABELS)
    assert re.search(message, sentence), sentence
    if 'would be' in sentence:
        left = float(re.findall(r'would be (\d+) mm', sentence)[-1])
        own = 1000 * root_aligned_error(PREDICTED, TARGET, WEIGHT, NAMES).mean()
        assert left == pytest.approx(own, rel=0.25)


def test_a_poor_model_gives_a_warning_without_an_explanation() -> None:
    poor = TARGET + 0.15 * RNG.normal(size=TARGET.shape)
    assert 'PA-MPJPE is' in check(poor) and 'nothing that was tried explains it' in check(poor)


def test_bodies_in_one_point_are_counted() -> None:
    flat = PREDICTED.copy()
    flat[:3] = flat[:3, :1]
    assert '3 of 120 predictions have all joints at one point' in check(flat)


@pytest.mark.parametrize('step', [1, -1])
def test_rows_off_by_one_within_a_sequence_are_reported(step: int) -> None:
    """A person who walks: neighboring frames are alike."""
    count = 60
    swing = np.sin(np.arange(count) / 3)[:, None, None] * (np.arange(17) > 0)[:, None]
    moving = SKELETON + 0.2 * swing * [0.3, 0.1, 1] + [0, 0, 5]
    labels = [dict(subject='S9', sequence='walk', camera=CAMERAS[0])] * count
    weight = np.ones((count, 17))
    noise = 0.01 * RNG.normal(size=moving.shape)
    assert check_plausibility(moving + noise, moving, weight, NAMES, labels) == ()
    shifted = np.roll(moving, -step, 0) + noise
    (sentence,) = check_plausibility(shifted, moving, weight, NAMES, labels)
    assert f'fit the frame {"after" if step > 0 else "before"} their own better' in sentence


def test_joints_that_are_not_annotated_take_no_part() -> None:
    weight = WEIGHT.copy()
    weight[:, 3] = 0
    spoiled = PREDICTED.copy()
    spoiled[:, 3] += 100
    assert check_plausibility(spoiled, TARGET, weight, NAMES, LABELS) == ()
    error = root_aligned_error(spoiled, TARGET, weight, NAMES)
    used = [joint for joint in range(17) if joint != 3]
    points, goal = (x[:, used] - x[:, :1] for x in (PREDICTED, TARGET))
    np.testing.assert_allclose(error, np.linalg.norm(points - goal, axis=-1).mean(1))


@pytest.mark.slow
def test_warnings_follow_an_evaluation_and_change_no_score(tiny_set: Path) -> None:
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        content = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    plain = mmjrr.evaluate(content, tiny_set, 'free_body_h36m')
    assert plain.notes == () and 'Implausible' not in str(plain)
    half = Rotation.from_euler('x', 180, degrees=True)
    content['pose'] = content['pose'].copy()
    content['pose'][:, :3] = (half * Rotation.from_rotvec(content['pose'][:, :3])).as_rotvec()
    result = mmjrr.evaluate(content, tiny_set, 'free_body_h36m')
    assert 'Implausible: MPJPE (' in str(result) and '180° about x' in result.notes[0]
    assert result.to_dict()['notes'] == list(result.notes)
    key = 'free_body_h36m/paper/PA-MPJPE'
    assert result.metrics()[key] == pytest.approx(plain.metrics()[key], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda pose: np.rad2deg(pose), 'with angles in degrees in place of radians'),
        (lambda pose: matrices(pose).swapaxes(-1, -2), 'with matrices transposed'),
        (lambda pose: -pose, 'with inverse rotations'),
    ],
    ids=['degrees', 'transposed matrices', 'inverse rotations'],
)  # fmt: skip
def test_parameters_in_degrees_or_transposed_are_reported(
    tiny_set: Path, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        content = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    plain = mmjrr.evaluate(content, tiny_set, 'free_body_h36m').metrics()
    result = mmjrr.evaluate(
        {**content, 'pose': change(content['pose'])}, tiny_set, 'free_body_h36m'
    )
    (note,) = result.notes
    assert message in note
    assert f'MPJPE would be {plain["free_body_h36m/paper/MPJPE"]:.0f} mm' in note


def matrices(pose: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)


@pytest.mark.parametrize('scale', [0.0, 1e-12])
def test_joints_at_one_point_have_no_size_to_correct(scale: float) -> None:
    text = check(TARGET[:, :1] + scale * (TARGET - TARGET[:, :1]))
    assert f'{FRAMES} of {FRAMES} predictions have all joints at one point' in text
    assert 'multiplied' not in text


def test_an_annotation_in_another_unit_is_named_alone() -> None:
    (sentence,) = check_plausibility(PREDICTED, TARGET / 1000, WEIGHT, NAMES, LABELS)
    assert 'within 1.01 mm' in sentence and 'annotation_unit of the metric' in sentence
    few = WEIGHT * (np.arange(17) < 3)
    small = '\n'.join(check_plausibility(PREDICTED, TARGET / 1000, few, NAMES))
    assert 'annotation_unit' not in small


def test_vertices_without_an_explanation_may_be_of_another_mesh() -> None:
    notes = check_plausibility(TARGET + 0.15 * RNG.normal(size=TARGET.shape), TARGET, WEIGHT, NAMES)
    (doubted,) = doubt_mesh(notes, 'smpl')
    assert doubted.endswith("explains it; the predicted vertices may not be those of the "
                            "regressors' mesh, 'smpl'")  # fmt: skip
    assert doubt_mesh(['mirrored, MPJPE would be 50 mm'], 'smpl') == (
        'mirrored, MPJPE would be 50 mm',
    )
