"""Sums over frames against products of the whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import NAMES, ROOTS, in_batches, objective_of, random_frames

from mmjrr.regressors.fitting.normal_equations import (
    GramMatrix,
    accumulate_normal_equations,
    accumulate_pooled_equations,
)
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.stream import FrameStream


def frames_with_missing_joints(root, num_patterns=3, frames=300):
    vertices, joints, _ = random_frames(frames=frames, num_vertices=30)
    weights = np.ones((frames, 4))
    for k in range(1, num_patterns):
        weights[k::num_patterns, 1 + k % 3] = 0
    weights *= np.random.default_rng(0).uniform(0.5, 2, (frames, 1))
    return vertices, joints, weights


@pytest.mark.parametrize('num_rows', [100, 900])  # below and above the number of columns
def test_gram_matrix_is_the_product_of_its_rows(num_rows):
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(num_rows, 600)))
    gram = GramMatrix(600, rows.device)
    for part in rows.split(70):
        gram.add_rows(part)
    dense = (rows.T @ rows).numpy()
    ids = np.array([3, 599, 300])
    np.testing.assert_allclose(gram.rows_at(ids), dense[ids], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gram.diagonal(), np.diag(dense), rtol=1e-12)
    target = GramMatrix(600, rows.device)
    target.add_rows(rows[:50])
    gram.add_scaled_to(target, 0.5)
    expected = 0.5 * dense + (rows[:50].T @ rows[:50]).numpy()
    np.testing.assert_allclose(target.rows_at(ids), expected[ids], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('num_patterns', [1, 3])
@pytest.mark.parametrize('root', ROOTS)
def test_normal_equations_give_the_objective_of_the_frames(root, num_patterns):
    vertices, joints, weights = frames_with_missing_joints(root, num_patterns)
    stream = FrameStream(in_batches(vertices, joints, weights), NAMES, root)
    equations = accumulate_normal_equations(stream, 1 << 30)
    w = np.random.default_rng(1).dirichlet(np.ones(30), size=4)
    expected = objective_of(w, vertices, joints, weights, root)
    assert QuadraticObjective(equations).value(w) == pytest.approx(expected, rel=1e-9)


def test_columns_select_the_vertices_of_the_sums():
    vertices, joints, _ = random_frames(num_vertices=20)
    columns = torch.tensor([17, 2, 5])
    stream = FrameStream([(vertices, joints)], NAMES, 'mean')
    (selected,) = accumulate_normal_equations(stream, 1 << 30, columns).patterns
    alone = FrameStream([(vertices[:, [17, 2, 5]], joints)], NAMES, 'mean')
    (expected,) = accumulate_normal_equations(alone, 1 << 30).patterns
    ids = np.arange(3)
    np.testing.assert_array_equal(selected.gram.rows_at(ids), expected.gram.rows_at(ids))
    assert torch.equal(selected.cross, expected.cross)


def test_memory_does_not_grow_with_the_frames():
    sizes = []
    for frames in (600, 1200):
        vertices, joints, _ = random_frames(frames=frames, num_vertices=20)
        stream = FrameStream(in_batches(vertices, joints), NAMES, 'pelvis')
        equations = accumulate_normal_equations(stream, 1 << 30)
        sizes.append(sum(pattern.gram.num_bytes for pattern in equations.patterns))
    assert sizes == [8 * 20 * 20] * 2


@pytest.mark.parametrize('root', ['pelvis', None])
def test_many_patterns_are_regrouped_by_joint(root):
    vertices, joints, _ = random_frames(frames=600, num_vertices=20)
    weights = np.random.default_rng(0).uniform(0.1, 2, joints.shape[:2])
    stream = FrameStream(in_batches(vertices, joints, weights), NAMES, root)
    equations = accumulate_normal_equations(stream, 1 << 30)
    assert len(equations.patterns) <= 4
    w = np.random.default_rng(1).dirichlet(np.ones(20), size=4)
    expected = objective_of(w, vertices, joints, weights, root)
    assert QuadraticObjective(equations).value(w) == pytest.approx(expected, rel=1e-9)


def test_pooled_equations_are_exact_where_no_joint_is_missing():
    vertices, joints, _ = random_frames(frames=300, num_vertices=20)
    stream = FrameStream([(vertices, joints)], NAMES, 'mean')
    pooled = accumulate_pooled_equations(stream)
    w = np.random.default_rng(1).dirichlet(np.ones(20), size=4)
    expected = objective_of(w, vertices, joints, np.ones((300, 4)), 'mean')
    assert QuadraticObjective(pooled).value(w) == pytest.approx(expected, rel=1e-9)
