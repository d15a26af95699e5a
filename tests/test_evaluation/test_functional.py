"""Errors against closed forms and SciPy's alignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from mmjrr.evaluation.functional import (
    mpjpe,
    mpjpe_per_joint,
    pa_mpjpe,
    pa_mpjpe_per_joint,
    procrustes_align,
)


def skeletons(count: int, joints: int = 17, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, joints, 3))


def scipy_aligned(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One frame: rotation by SciPy's Kabsch, then the best scale for it."""
    offset, goal = pred - pred.mean(0), target - target.mean(0)
    rotation, _ = Rotation.align_vectors(goal, offset)
    turned = rotation.apply(offset)
    scale = (turned * goal).sum() / (turned**2).sum()
    return scale * turned + target.mean(0)


@pytest.mark.parametrize('joints', [3, 4, 14, 17])
def test_alignment_is_scipys_for_random_sets_reflected_ones_among_them(joints):
    pred, target = skeletons(60, joints), skeletons(60, joints, seed=1)
    pred[::3] = target[::3] * [-1, 1, 1]  # mirror images, which must not be undone
    expected = np.stack([scipy_aligned(p, t) for p, t in zip(pred, target, strict=True)])
    distances = np.linalg.norm(expected - target, axis=-1)
    np.testing.assert_allclose(pa_mpjpe(pred, target), distances.mean(1), atol=1e-9)
    if joints > 3:  # three points are flat: mirrored in their plane, two rotations are as good
        np.testing.assert_allclose(procrustes_align(pred, target), expected, atol=1e-9)
        np.testing.assert_allclose(pa_mpjpe_per_joint(pred, target), distances, atol=1e-9)


def test_residual_is_scipys_procrustes_disparity_where_no_reflection_helps():
    target = skeletons(20)
    pred = target + 0.2 * skeletons(20, seed=1)
    residual = (procrustes_align(pred, target) - torch.from_numpy(target)).square().sum((1, 2))
    spread = ((target - target.mean(1, keepdims=True)) ** 2).sum((1, 2))
    expected = [procrustes(t, p)[2] for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(residual.numpy() / spread, expected, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    scale=st.floats(0.01, 100),
    shift=st.floats(-1000, 1000),
)
def test_pa_error_of_a_similar_skeleton_is_zero(seed, angles, scale, shift):
    target = skeletons(1, seed=seed)
    pred = Rotation.from_rotvec(angles).apply(target[0])[None] * scale + shift
    assert pa_mpjpe(pred, target) < 1e-9


def test_mirror_image_of_a_solid_figure_is_not_similar_to_it():
    target = np.eye(3)[None] * [1.0, 2.0, 3.0]
    target = np.concatenate([target, np.zeros((1, 1, 3))], 1)
    assert pa_mpjpe(target * [-1, 1, 1], target) > 0.1
    flat = target * [1, 1, 0]
    assert pa_mpjpe(flat * [-1, 1, 1], flat) < 1e-9  # turning it over does


def test_mpjpe_of_a_shift_is_its_length_and_pa_mpjpe_zero():
    target = skeletons(4)
    pred = target + [3.0, 4.0, 12.0]
    np.testing.assert_allclose(mpjpe(pred, target), 13.0)
    np.testing.assert_allclose(mpjpe_per_joint(pred, target), 13.0)
    np.testing.assert_allclose(pa_mpjpe(pred, target), 0.0, atol=1e-12)


def test_coinciding_points_go_to_the_targets_centroid():
    target = skeletons(2)
    expected = np.linalg.norm(target - target.mean(1, keepdims=True), axis=-1)
    np.testing.assert_allclose(pa_mpjpe_per_joint(np.ones((2, 17, 3)), target), expected)


def test_weights_select_joints_whatever_the_others_hold():
    pred, target = skeletons(5), skeletons(5, seed=1)
    weight = np.ones((5, 17))
    weight[:, [2, 9]] = 0
    kept = np.flatnonzero(weight[0])
    broken = pred.copy()
    broken[:, 2] = np.nan
    for error in (mpjpe, pa_mpjpe):
        np.testing.assert_allclose(
            error(broken, target, weight), error(pred[:, kept], target[:, kept]), atol=1e-12
        )
    for error in (mpjpe_per_joint, pa_mpjpe_per_joint):
        errors = error(broken, target, weight)
        assert torch.isnan(errors[:, [2, 9]]).all()
        np.testing.assert_allclose(
            errors[:, kept], error(pred[:, kept], target[:, kept]), atol=1e-12
        )


def test_weight_two_counts_as_the_joint_twice():
    pred, target = skeletons(3, 6), skeletons(3, 6, seed=1)
    weight = np.ones((3, 6))
    weight[:, 4] = 2
    twice = [0, 1, 2, 3, 4, 4, 5]
    for error in (mpjpe, pa_mpjpe):
        np.testing.assert_allclose(
            error(pred, target, weight), error(pred[:, twice], target[:, twice]), atol=1e-12
        )


def test_frame_without_any_weight_is_nan_and_leaves_the_others_alone():
    pred, target, weight = skeletons(2), skeletons(2, seed=1), np.ones((2, 17))
    weight[0] = 0
    for error in (mpjpe, pa_mpjpe):
        errors = error(pred, target, weight)
        assert torch.isnan(errors[0])
        torch.testing.assert_close(errors[1:], error(pred[1:], target[1:]))


def test_float32_is_worked_in_float64_and_given_back():
    pred, target = skeletons(8) + 5000.0, skeletons(8, seed=1) + 5000.0
    single = [torch.from_numpy(x).float() for x in (pred, target)]
    errors = pa_mpjpe(*single)
    assert errors.dtype == torch.float32
    exact = pa_mpjpe(*(x.double() for x in single))
    assert exact.dtype == torch.float64
    torch.testing.assert_close(errors.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize('error', [mpjpe, mpjpe_per_joint, pa_mpjpe, pa_mpjpe_per_joint])
def test_bad_inputs_are_refused_with_their_values(error):
    good = torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match=r'pred, target: found \(2, 4, 3\) and \(2, 5, 3\)'):
        error(good, torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r'found \(4, 3\).*, expected \(B, J, 3\)'):
        error(good[0], good[0])
    with pytest.raises(ValueError, match=r'weight: found \(4,\), expected \(2, 4\)'):
        error(good, good, torch.ones(4))
    with pytest.raises(ValueError, match='weight: found negative'):
        error(good, good, -torch.ones(2, 4))
    broken = good.clone()
    broken[1, 3, 0] = float('nan')
    with pytest.raises(ValueError, match='pred: 1 joints are not finite, .* joint 3 of frame 1'):
        error(broken, good)
    with pytest.raises(ValueError, match='target: 1 joints are not finite'):
        error(good, broken)
