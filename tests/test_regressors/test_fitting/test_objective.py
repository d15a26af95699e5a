"""The objective, its gradient and the dual gap, from the frames and from the normal equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import (
    NAMES,
    ROOTS,
    aligned_system,
    in_batches,
    minimize_by_slsqp,
    objective_of,
    random_frames,
)
from small_body import small_body

from mmjrr.body_models import SMPL, VertexMaker
from mmjrr.regressors.fitting.normal_equations import accumulate_normal_equations
from mmjrr.regressors.fitting.objective import evaluate_objective, relative_dual_gap
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.stream import FrameStream


@pytest.fixture
def frames(tmp_path):
    """Lazy vertices, joints some of which are missing, weights, and a regressor."""
    np.savez(tmp_path / 'SMPL_NEUTRAL.npz', **small_body())
    rng = np.random.default_rng(1)
    lazy = VertexMaker(SMPL(tmp_path / 'SMPL_NEUTRAL.npz'))(
        betas=rng.normal(size=(300, 10)),
        body_pose=0.3 * rng.normal(size=(300, 23, 3)),
        global_orient=rng.normal(size=(300, 3)),
        transl=rng.normal(size=(300, 3)) + [0, 0, 5],
    )
    joints = lazy.of().numpy()[:, :4] + 0.03 * rng.normal(size=(300, 4, 3))
    weights = rng.random((300, 4))
    joints[::4, 2], weights[::4, 2] = np.nan, 0
    return lazy, joints, weights, rng.dirichlet(np.ones(60), size=4)


def value_and_gradient_by_autograd(w, vertices, joints, weights, root):
    w = torch.from_numpy(w).requires_grad_()
    a, b = aligned_system(vertices, joints, weights, root)
    value = (torch.from_numpy(a) @ w.flatten() - torch.from_numpy(b)).square().sum()
    (gradient,) = torch.autograd.grad(value, w)
    return value.item(), gradient.numpy()


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('is_lazy', [True, False])
def test_evaluation_gives_value_and_gradient_of_the_aligned_errors(frames, root, is_lazy):
    lazy, joints, weights, w = frames
    stream = FrameStream([(lazy if is_lazy else lazy.of(), joints, weights)], NAMES, root)
    evaluation = evaluate_objective(stream, w)
    value, gradient = value_and_gradient_by_autograd(w, lazy.of().numpy(), joints, weights, root)
    assert evaluation.value == pytest.approx(value, rel=1e-10)
    assert evaluation.joint_values.sum() == pytest.approx(value, rel=1e-10)
    difference = evaluation.gradient - gradient  # a constant in each row
    assert np.abs(difference - difference[:, :1]).max() < 1e-9 * np.abs(gradient).max()


@pytest.mark.parametrize('root', ROOTS)
def test_quadratic_objective_agrees_with_the_frames(root):
    vertices, joints, _ = random_frames(frames=60, num_vertices=12)
    weights = np.random.default_rng(2).uniform(0.1, 2, joints.shape[:2])
    rng = np.random.default_rng(3)
    w, other = rng.dirichlet(np.ones(12), size=(2, 4))
    w[:, 5:] = 0
    w /= w.sum(1, keepdims=True)
    stream = FrameStream(in_batches(vertices, joints, weights), NAMES, root)
    objective = QuadraticObjective(accumulate_normal_equations(stream, 1 << 30))
    value, gradient = value_and_gradient_by_autograd(w, vertices, joints, weights, root)
    assert objective.value(w) == pytest.approx(value, rel=1e-9)
    assert objective.joint_values(w).sum() == pytest.approx(value, rel=1e-9)
    difference = objective.gradient(w) - gradient  # vertices are centered: a constant in each row
    assert np.abs(difference - difference[:, :1]).max() < 1e-9 * np.abs(gradient).max()
    change = objective.change(w, objective.gradient(w), other - w)
    expected = objective_of(other, vertices, joints, weights, root) - value
    assert change == pytest.approx(expected, rel=1e-9)
    rows, columns = np.nonzero(w)
    a, _ = aligned_system(vertices - vertices.mean(1, keepdims=True), joints, weights, root)
    flat = rows * 12 + columns
    np.testing.assert_allclose(
        objective.hessian_at(rows, columns), 2 * (a.T @ a)[np.ix_(flat, flat)], atol=1e-10
    )


def test_matched_model_has_the_value_and_gradient_of_the_full_objective():
    vertices, joints, _ = random_frames(frames=90, num_vertices=12)
    w = np.random.default_rng(3).dirichlet(np.ones(12), size=4)
    full = evaluate_objective(FrameStream([(vertices, joints)], NAMES, 'mean'), w)
    sample = FrameStream([(vertices[::9], joints[::9])], NAMES, 'mean')
    model = QuadraticObjective(accumulate_normal_equations(sample, 1 << 30))
    for _ in range(2):  # a second call replaces the first
        model.match(w, full.value, full.gradient)
        assert model.value(w) == pytest.approx(full.value, rel=1e-12)
        difference = model.gradient(w) - full.gradient
        np.testing.assert_allclose(difference, np.tile(difference[:, :1], 12), atol=1e-10)


@pytest.mark.parametrize('root', ROOTS)
def test_dual_gap_bounds_the_distance_to_the_minimum(root):
    vertices, joints, _ = random_frames(seed=3)
    ones = np.ones(joints.shape[:2])
    minimizer, minimum = minimize_by_slsqp(vertices, joints, ones, root)
    rng = np.random.default_rng(0)
    for step in (0.0, 1e-3, 0.1, 1.0):
        w = (1 - step) * minimizer + step * rng.dirichlet(np.ones(10), size=4)
        evaluation = evaluate_objective(FrameStream([(vertices, joints)], NAMES, root), w)
        gap = relative_dual_gap(w, evaluation.value, evaluation.gradient, evaluation.joint_scatter)
        assert gap >= (evaluation.value - minimum) / evaluation.value - 1e-9
        assert gap < 1e-4 or step > 0
