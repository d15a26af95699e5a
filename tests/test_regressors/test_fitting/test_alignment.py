"""Alignment matrices against translations removed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.regressors.fitting.alignment import (
    alignment_matrix,
    coupling_matrix,
    group_by_pattern,
    resolve_root,
)

ROOTS = (2, 'mean', None)


def errors_and_weights(seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 2, 4)
    weights[1] = 0  # missing
    return rng.normal(size=(4, 3)), weights


def aligned_by_hand(errors, weights, root):
    if root == 'mean':
        return errors - np.average(errors, axis=0, weights=weights)
    return errors if root is None else errors - errors[root]


@pytest.mark.parametrize('root', ROOTS)
def test_alignment_matrix_removes_the_translation(root):
    errors, weights = errors_and_weights()
    aligned = alignment_matrix(weights, root) @ errors
    np.testing.assert_allclose(aligned, aligned_by_hand(errors, weights, root), atol=1e-15)


@pytest.mark.parametrize('root', ROOTS)
def test_coupling_matrix_gives_the_weighted_squares_of_aligned_errors(root):
    errors, weights = errors_and_weights()
    coupling = coupling_matrix(weights, root)
    squares = np.square(aligned_by_hand(errors, weights, root)).sum(1)
    assert np.trace(errors.T @ coupling @ errors) == pytest.approx(weights @ squares, rel=1e-14)
    np.testing.assert_array_equal(coupling, coupling.T)
    assert np.linalg.eigvalsh(coupling).min() > -1e-15


def test_mean_alignment_is_the_translation_of_least_squares():
    errors, weights = errors_and_weights()
    best = np.linalg.lstsq(
        np.sqrt(weights)[:, None], np.sqrt(weights)[:, None] * errors, rcond=None
    )[0]
    aligned = alignment_matrix(weights, 'mean') @ errors
    np.testing.assert_allclose(aligned, errors - best, atol=1e-14)


def test_frames_whose_weights_differ_by_a_factor_share_a_pattern():
    weights = np.array([[1.0, 0.0, 0.5], [0.3, 0.3, 0.3], [4.0, 0.0, 2.0]])
    first, second = group_by_pattern(weights)
    assert first.frames.tolist() == [0, 2] and second.frames.tolist() == [1]
    for pattern in (first, second):
        restored = pattern.scale[:, None] * pattern.joint_weight
        np.testing.assert_allclose(restored, weights[pattern.frames], rtol=1e-12)
    assert first.key != second.key


def test_roots_are_resolved_by_name():
    names = ('pelvis', 'head')
    assert [resolve_root(root, names) for root in ('head', 'mean', None)] == [1, 'mean', None]
    with pytest.raises(ValueError, match=r"root: found 'nose', expected 'mean', None or one of"):
        resolve_root('nose', names)
