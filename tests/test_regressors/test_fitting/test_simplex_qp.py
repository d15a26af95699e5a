"""The active-set method against SciPy's SLSQP on the same quadratic program."""

from __future__ import annotations

import numpy as np
import pytest
from dense_reference import NAMES, ROOTS, in_batches, minimize_by_slsqp, random_frames

from mmjrr.regressors.fitting.normal_equations import accumulate_normal_equations
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.simplex_qp import solve_simplex_qp
from mmjrr.regressors.fitting.stream import FrameStream


def quadratic(vertices, joints, root):
    stream = FrameStream(in_batches(vertices, joints), NAMES, root)
    return QuadraticObjective(accumulate_normal_equations(stream, 1 << 30))


@pytest.mark.parametrize('root', ROOTS)
def test_minimum_agrees_with_slsqp(root):
    vertices, joints, _ = random_frames(seed=11)
    objective = quadratic(vertices, joints, root)
    result = solve_simplex_qp(objective, tol=1e-10, max_iter=1000)
    _, expected = minimize_by_slsqp(vertices, joints, np.ones(joints.shape[:2]), root)
    assert result.dual_gap <= 1e-10
    assert objective.value(result.weight) == pytest.approx(expected, rel=1e-6)
    assert (result.weight >= 0).all()
    np.testing.assert_allclose(result.weight.sum(1), 1, atol=1e-14)


def test_minimum_does_not_depend_on_the_start():
    vertices, joints, _ = random_frames(seed=12)
    objective = quadratic(vertices, joints, 'mean')
    values = []
    for seed in range(3):
        start = np.random.default_rng(seed).dirichlet(np.ones(10), size=4)
        result = solve_simplex_qp(objective, 1e-10, 1000, start)
        values.append(objective.value(result.weight))
    assert values == pytest.approx([values[0]] * 3, rel=1e-9)


def test_iterations_stop_at_the_limit():
    vertices, joints, _ = random_frames(num_vertices=40)
    result = solve_simplex_qp(quadratic(vertices, joints, 'pelvis'), tol=1e-12, max_iter=1)
    assert result.dual_gap > 1e-12 and result.n_iter >= 1
