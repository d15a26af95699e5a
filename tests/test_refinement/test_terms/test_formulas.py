"""Each formula against a slow reference that loops over samples, joints and pixels, in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmjrr.datasets.synthetic.joint_angles import JOINT_ANGLES, pose_from_angles
from mmjrr.geometry import axis_angle_to_matrix, rotation_6d_to_matrix
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.refinement.terms import (
    Joint3DTerm,
    JointLimitsTerm,
    adversarial_energy,
    joint_2d_energy,
    joint_3d_energy,
    joint_limits_energy,
    silhouette_energy,
    smoothness_energy,
)
from mmjrr.refinement.terms.joint_limits import limits_of_joints


def slow_joint_3d(
    predicted: Tensor, target: Tensor, weight: Tensor, root: int | None = 0
) -> Tensor:
    values = []
    for p, t, w in zip(predicted, target, weight, strict=True):
        value = p.new_zeros(())
        for joint in range(len(p)):
            for axis in range(3):
                error = p[joint, axis] - t[joint, axis]
                if root is not None:
                    error = error - (p[root, axis] - t[root, axis])
                value = value + (1 if root is None else w[root]) * w[joint] * error**2
        values.append(value)
    return torch.stack(values)


def slow_joint_2d(predicted: Tensor, target: Tensor, weight: Tensor, size: float) -> Tensor:
    return torch.stack(
        [
            sum(
                w[j] * (((p[j, 0] - t[j, 0]) / size) ** 2 + ((p[j, 1] - t[j, 1]) / size) ** 2)
                for j in range(len(p))
            )
            for p, t, w in zip(predicted, target, weight, strict=True)
        ]
    )


def slow_silhouette(predicted: Tensor, target: Tensor, levels: tuple[int, ...]) -> Tensor:
    values = []
    for p, t in zip(predicted, target, strict=True):
        value = p.new_zeros(())
        for side in levels:
            rows, columns = p.shape[0] // side, p.shape[1] // side
            for r in range(rows):
                for c in range(columns):
                    block = (slice(r * side, (r + 1) * side), slice(c * side, (c + 1) * side))
                    value = value + (p[block].mean() - t[block].mean()) ** 2 / (rows * columns)
        values.append(value)
    return torch.stack(values)


def assert_same_values_and_gradients(fast, slow, variable: Tensor) -> None:
    for weight in (torch.ones(len(variable)), torch.rand(len(variable))):
        results = []
        for function in (fast, slow):
            x = variable.clone().requires_grad_()
            value = function(x)
            (weight.to(value) * value).sum().backward()
            results.append((value.detach(), x.grad))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize('shape', [(1, 3), (4, 17)])
def test_joint_terms_agree_with_their_references(shape: tuple[int, int]) -> None:
    batch, joints = shape
    x, y = torch.rand(2, batch, joints, 3, dtype=torch.float64)
    weight = (torch.rand(batch, joints, dtype=torch.float64) > 0.3).double()
    weight[:, 0] = 1
    for root in (0, joints - 1, None):
        assert_same_values_and_gradients(
            lambda p, root=root: joint_3d_energy(p, y, weight, root),
            lambda p, root=root: slow_joint_3d(p, y, weight, root),
            x,
        )
    x, y = 224 * torch.rand(2, batch, joints, 2, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda p: joint_2d_energy(p, y, weight, 224.0),
        lambda p: slow_joint_2d(p, y, weight, 224.0),
        x,
    )


@pytest.mark.parametrize('levels', [(1,), (1, 4), (2, 8), (5,)])
def test_silhouette_term_agrees_with_its_reference(levels: tuple[int, ...]) -> None:
    x, y = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda p: silhouette_energy(p, y, levels),
        lambda p: slow_silhouette(p, y, levels),
        x,
    )


def test_silhouette_term_takes_one_mask_for_all_and_gives_it_its_gradient() -> None:
    x = torch.rand(3, 9, 14, dtype=torch.float64)
    mask = torch.rand(1, 9, 14, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda m: silhouette_energy(x, m, [4, 1, 4]),
        lambda m: slow_silhouette(x, m.expand(3, -1, -1), (4, 1, 4)),
        mask,
    )
    assert silhouette_energy(x[:0], mask, (1, 4)).shape == (0,)


def test_joint_3d_does_not_see_a_common_shift_and_ignores_samples_without_root() -> None:
    x = torch.rand(2, 17, 3, dtype=torch.float64)
    weight = torch.ones(2, 17, dtype=torch.float64)
    weight[1, 0] = 0
    shifted = x + torch.tensor([0.3, -0.2, 5.0])
    assert joint_3d_energy(shifted, x, weight).abs().max() < 1e-24
    assert joint_3d_energy(torch.rand_like(x), x, weight)[1] == 0


def test_joint_3d_aligns_the_weighted_mean_of_the_named_joints() -> None:
    predicted, target = torch.rand(2, 2, 17, 3, dtype=torch.float64)
    weight = torch.rand(2, 17, dtype=torch.float64)
    names = ('left_hip', 'right_hip', 'spine')
    rows = [H36M_JOINTS_MMPOSE.index(name) for name in names]
    errors = (predicted - target).numpy()
    expected = [
        float(w @ np.square(e - np.average(e[rows], 0, w[rows])).sum(1))
        for e, w in zip(errors, weight.numpy(), strict=True)
    ]
    observed = SimpleNamespace(keypoints_3d=target, keypoints_3d_weight=weight)
    for root in (names, rows, ['left_hip', *rows[1:]]):
        term = Joint3DTerm(root=root)
        value = term(SimpleNamespace(joints=predicted), observed)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    by_name, by_index = Joint3DTerm(root='left_wrist'), Joint3DTerm(root=13)
    assert by_name.root == by_index.root == 13
    assert Joint3DTerm(root='mean').root == tuple(range(17))


def test_adversarial_term_is_lsgan_summed_over_outputs() -> None:
    value = adversarial_energy(torch.tensor([[1.0, 0.5, 0.0]]))
    assert value.tolist() == [0.0 + 0.25 + 1.0]


@pytest.mark.parametrize(
    ('formula', 'shape'),
    [
        (lambda x, y: joint_3d_energy(x, y, y[..., 0]), (2, 4, 3)),
        (lambda x, y: joint_2d_energy(x, y, y[..., 0], 9.0), (2, 4, 2)),
        (lambda x, y: silhouette_energy(x, y, (1, 2, 4)), (2, 5, 6)),
        (lambda x, y: adversarial_energy(x), (2, 5)),
        (lambda x, y: smoothness_energy(x, y.new_zeros(4).long(), torch.arange(4), 1), (4, 3, 3)),
    ],
)
def test_gradients_are_those_of_finite_differences(formula, shape: tuple[int, ...]) -> None:
    fixed = torch.Generator().manual_seed(0)
    x = torch.rand(shape, dtype=torch.float64, generator=fixed, requires_grad=True)
    target = x.detach() * 0.5
    assert torch.autograd.gradcheck(lambda v: formula(v, target), x)


LIMITS = dict(
    left_knee=((-5, 150), (-20, 20), (-10, 10)),
    right_elbow=((-90, 80), (0, 150), (-20, 20)),
    neck=((-40, 50), (-60, 60), (-30, 35)),
)


def slow_joint_limits(pose: np.ndarray) -> np.ndarray:  # (B, 72) axis-angle
    """Compute the term joint by joint; a joint without limits has its mirror image's."""
    values = np.zeros(len(pose))
    for row, vectors in enumerate(pose.reshape(len(pose), 24, 3)):
        for name, vector in zip(SMPL_JOINTS, vectors, strict=True):
            pairs = LIMITS.get(name)
            if name == 'right_knee':
                pairs, vector = LIMITS['left_knee'], vector * [1, -1, -1]
            for component, limits in zip(vector, pairs or (), strict=False):
                lower, upper = np.radians(limits)
                values[row] += max(component - upper, 0) ** 2 + max(lower - component, 0) ** 2
    return values


def test_joint_limits_agree_with_rotation_vectors_of_scipy() -> None:
    generator = np.random.default_rng(0)
    pose = generator.normal(size=(5, 24, 3))
    matrices = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(5, 24, 3, 3)
    vectors = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(5, 72)
    value = joint_limits_energy(torch.from_numpy(matrices), *limits_of_joints(LIMITS))
    np.testing.assert_allclose(value, slow_joint_limits(vectors), rtol=1e-10, atol=1e-12)
    assert value.min() > 0


def test_gradients_of_joint_limits_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    pose_6d = torch.randn(2, 24, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    bounds = limits_of_joints(LIMITS)
    assert torch.autograd.gradcheck(
        lambda p: joint_limits_energy(rotation_6d_to_matrix(p), *bounds), pose_6d
    )


def test_gradients_of_joint_limits_vanish_at_the_t_pose() -> None:
    pose = torch.zeros(1, 24, 3, dtype=torch.float64, requires_grad=True)
    term = JointLimitsTerm().double()
    joint_limits_energy(axis_angle_to_matrix(pose), term.low, term.high).sum().backward()
    assert pose.grad is not None
    assert not pose.grad.any()


def test_everyday_angles_are_within_the_joint_limits_and_a_knee_bent_forward_is_not() -> None:
    term = JointLimitsTerm().double()

    def value(**angles: float) -> float:
        named = {name.replace('__', '.'): np.array([degrees]) for name, degrees in angles.items()}
        pose = np.concatenate([np.zeros((1, 1, 3)), pose_from_angles(named, 1)], 1)
        rotations = axis_angle_to_matrix(torch.from_numpy(pose))
        return float(joint_limits_energy(rotations, term.low, term.high))

    for joint, joint_angles in JOINT_ANGLES.items():
        for angle in joint_angles:
            for degrees in (angle.low, angle.high):
                assert value(**{f'{joint}__{angle.name}': degrees}) < 1e-12, (joint, angle.name)
    for side in ('left', 'right'):
        bent = value(**{f'{side}_knee__flexion': -35})
        assert bent == pytest.approx(np.radians(30) ** 2)
        assert value(**{f'{side}_elbow__flexion': -35}) == pytest.approx(np.radians(30) ** 2)


def slow_smoothness(joints: Tensor, video: list, frame: list, max_gap: int) -> Tensor:
    values = []
    for row in range(len(joints)):
        same = [i for i in range(len(joints)) if video[i] == video[row]]
        before = [i for i in same if frame[i] < frame[row]]
        after = [i for i in same if frame[i] > frame[row]]
        value = joints.new_zeros(())
        if before and after:
            p, n = max(before, key=lambda i: frame[i]), min(after, key=lambda i: frame[i])
            if frame[row] - frame[p] <= max_gap and frame[n] - frame[row] <= max_gap:
                part = (frame[row] - frame[p]) / (frame[n] - frame[p])
                for joint in range(joints.shape[1]):
                    line = (1 - part) * joints[p, joint] + part * joints[n, joint]
                    value = value + ((joints[row, joint] - line) ** 2).sum()
        values.append(value)
    return torch.stack(values)


def test_smoothness_agrees_with_its_reference() -> None:
    video = [0, 1, 0, 0, 1, 0, 1, 0, 2, 0]
    frame = [6, 11, 1, 16, 1, 11, 6, 31, 6, 33]  # of video 0: 1, 6, 11, 16 and, too far, 31, 33
    joints = torch.rand(10, 4, 3, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda x: smoothness_energy(x, torch.tensor(video), torch.tensor(frame), 10),
        lambda x: slow_smoothness(x, video, frame, 10),
        joints,
    )
    values = smoothness_energy(joints, torch.tensor(video), torch.tensor(frame), 10)
    assert torch.nonzero(values).flatten().tolist() == [0, 5, 6]
    short = smoothness_energy(joints[:2], torch.tensor(video[:2]), torch.tensor(frame[:2]), 10)
    assert short.tolist() == [0, 0]


def test_uniform_motion_is_smooth_whatever_the_order_and_the_gaps() -> None:
    frame = torch.tensor([30, 1, 4, 11, 6])
    velocity, start = torch.rand(2, 17, 3, dtype=torch.float64)
    joints = start + frame[:, None, None] * velocity
    values = smoothness_energy(joints, torch.zeros(5, dtype=torch.int64), frame, 50)
    assert values.max() < 1e-24
