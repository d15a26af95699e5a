"""Fits leave out bad frames, list them, and are the same without them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from dense_reference import NAMES, ROOTS, in_batches, random_frames
from meshes_in_motion import moving_sphere, true_weights

from mmjrr.regressors import BadFrameWarning, fit_joint_regressor

FRAMES = 700  # more than are sampled


def fit(vertices, joints, root='pelvis', **options):
    batches = list(in_batches(vertices, joints, size=64))
    return fit_joint_regressor(batches, NAMES, root, body_model='toy', **options)


def spoiled(kind, frames=FRAMES, bad=(3, 100, 640)):
    """Random frames, some of them bad, and which."""
    vertices, joints, _ = random_frames(frames=frames)
    rng = np.random.default_rng(1)
    for frame in bad:
        if kind == 'absurd shape':
            vertices[frame] = 5 + 10 * rng.normal(size=vertices[frame].shape)
        elif kind == 'wrong joints':
            joints[frame] += rng.normal(0, 1.0, joints[frame].shape)
        elif kind == 'millimeters':
            joints[frame] *= 1000
        elif kind == 'NaN vertex':
            vertices[frame, 2, 1] = np.nan
        else:
            joints[frame, 1, 0] = np.inf
    return vertices, joints, list(bad)


KINDS = ('absurd shape', 'wrong joints', 'millimeters', 'NaN vertex', 'infinite joint')


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('kind', KINDS)
def test_bad_frames_are_listed_and_do_not_change_the_fit(kind, root):
    vertices, joints, bad = spoiled(kind)
    with pytest.warns(BadFrameWarning, match='left out 3 bad frames of 700; frame 3: '):
        result = fit(vertices, joints, root, tol=1e-9)
    assert sorted(result.bad_frames) == bad
    assert (result.n_frames, result.n_dropped) == (FRAMES - 3, 3)
    expected = fit(np.delete(vertices, bad, 0), np.delete(joints, bad, 0), root, tol=1e-9)
    assert result.converged
    assert result.objective == pytest.approx(expected.objective, rel=1e-8)


@pytest.mark.parametrize('frames', [60, 512])  # all of which are sampled
def test_bad_frames_of_short_streams_are_listed(frames):
    vertices, joints, bad = spoiled('millimeters', frames, bad=(7, 31))
    with pytest.warns(BadFrameWarning):
        result = fit(vertices, joints)
    assert sorted(result.bad_frames) == bad


@pytest.mark.parametrize('kind', KINDS)
def test_bad_frames_raise_where_asked(kind):
    vertices, joints, _ = spoiled(kind)
    with pytest.raises(ValueError, match='frame 3: '):
        fit(vertices, joints, on_bad_frame='raise')
    with pytest.raises(ValueError, match="on_bad_frame: found 'ignore'"):
        fit(vertices, joints, on_bad_frame='ignore')


def test_an_iterator_leaves_out_frames_that_are_not_finite():
    vertices, joints, bad = spoiled('NaN vertex')
    with pytest.warns(BadFrameWarning):
        result = fit_joint_regressor(in_batches(vertices, joints), NAMES, body_model='toy')
    expected = fit_joint_regressor(
        in_batches(np.delete(vertices, bad, 0), np.delete(joints, bad, 0)), NAMES, body_model='toy'
    )
    assert sorted(result.bad_frames) == bad
    assert result.objective == pytest.approx(expected.objective, rel=1e-9)


def test_a_tenth_of_the_frames_may_be_bad():
    vertices, joints, bad = spoiled('absurd shape', bad=range(5, FRAMES, 10))
    with pytest.warns(BadFrameWarning, match='70 bad frames'):
        result = fit(vertices, joints)
    assert sorted(result.bad_frames) == bad


def test_clean_frames_are_all_used_and_nothing_warns():
    vertices, joints, _ = random_frames(frames=FRAMES)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        result = fit(vertices, joints)
    assert result.bad_frames == {} and result.n_frames == FRAMES


def test_exact_joints_are_all_used():
    vertices, joints, _ = random_frames(frames=FRAMES, noise=0.0)
    assert fit(vertices, joints, tol=1e-3).bad_frames == {}
    assert torch.isfinite(fit(vertices, joints, tol=1e-3).regressor.weight).all()


@pytest.mark.parametrize('root', [None, 'mean'])
def test_a_joint_of_one_person_alone_makes_no_frame_bad(root):
    motion = moving_sphere()
    joints = true_weights(3, motion.vertices.shape[1]) @ motion.vertices
    joints += 0.002 * np.random.default_rng(0).normal(size=joints.shape)
    joints[[name != 'person_1' for name in motion.person], 2] = np.nan
    batches = [(motion.vertices, joints)]
    result = fit_joint_regressor(batches, list('abc'), root, body_model='toy')
    assert not result.bad_frames and result.rmse < 0.004
