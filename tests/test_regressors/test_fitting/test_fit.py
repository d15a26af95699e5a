"""fit_joint_regressor against slow, independent solvers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import (
    NAMES,
    ROOTS,
    in_batches,
    minimize_by_nnls,
    minimize_by_slsqp,
    objective_of,
    random_frames,
    without_common_row,
)
from small_body import small_body

from mmjrr.body_models import SMPL, LazyVertices, VertexMaker
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import ConvergenceWarning, fit_joint_regressor


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('seed', range(4))
def test_optimum_agrees_with_slsqp_to_1e_6(root, seed):
    vertices, joints, _ = random_frames(seed=seed)
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, root, body_model='toy', tol=1e-9)
    ones = np.ones(joints.shape[:2])
    expected, objective = minimize_by_slsqp(vertices, joints, ones, root)
    assert fit.converged and fit.dual_gap <= 1e-9
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    w = fit.regressor.weight.numpy()
    # With 120 equations for 40 weights the minimizer is unique, except for a common row.
    np.testing.assert_allclose(
        without_common_row(w, root), without_common_row(expected, root), atol=2e-6
    )
    assert objective_of(w, vertices, joints, ones, root) == pytest.approx(fit.objective, rel=1e-9)


@pytest.mark.parametrize('seed', range(4))
def test_unaligned_optimum_agrees_with_nnls_to_1e_6(seed):
    vertices, joints, _ = random_frames(seed=seed)
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, None, body_model='toy', tol=1e-9)
    expected = minimize_by_nnls(vertices, joints)
    np.testing.assert_allclose(fit.regressor.weight.numpy(), expected, atol=1e-6)
    objective = objective_of(expected, vertices, joints, np.ones(joints.shape[:2]), None)
    assert fit.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('as_weights', [False, True])
def test_missing_joints_agree_with_slsqp(root, as_weights):
    vertices, joints, _ = random_frames(frames=80, seed=5)
    missing = np.random.default_rng(6).random(joints.shape[:2]) < 0.25
    weights = (~missing).astype(float)
    if as_weights:
        data = in_batches(vertices, joints, weights)
    else:
        data = in_batches(vertices, np.where(missing[..., None], np.nan, joints))
    fit = fit_joint_regressor(data, NAMES, root, body_model='toy')
    w, objective = minimize_by_slsqp(vertices, joints, weights, root)
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(
        without_common_row(fit.regressor.weight.numpy(), root),
        without_common_row(w, root),
        atol=1e-4,
    )
    if root in NAMES:
        others = [j for j in range(4) if j != NAMES.index(root)]
        used = ~missing[:, NAMES.index(root)] & ~missing[:, others].all(1)
    else:
        used = (~missing).sum(1) > (root == 'mean')
    assert (fit.n_frames, fit.n_dropped) == (used.sum(), (~used).sum())


@pytest.mark.parametrize('root', ROOTS)
def test_weights_that_all_differ_agree_with_slsqp(root):
    vertices, joints, _ = random_frames(frames=60, seed=7)
    weights = np.random.default_rng(8).uniform(0.1, 2.0, joints.shape[:2])
    fit = fit_joint_regressor(in_batches(vertices, joints, weights), NAMES, root, body_model='toy')
    w, objective = minimize_by_slsqp(vertices, joints, weights, root)
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(
        without_common_row(fit.regressor.weight.numpy(), root),
        without_common_row(w, root),
        atol=1e-4,
    )


@pytest.mark.parametrize('root', ROOTS)
def test_residuals_are_the_aligned_errors(root):
    vertices, joints, _ = random_frames()
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, root, body_model='toy')
    error = fit.regressor(torch.from_numpy(vertices)).numpy() - joints
    if root == 'mean':
        error -= error.mean(1, keepdims=True)
    elif root is not None:
        error -= error[:, [NAMES.index(root)]]
    expected = np.sqrt(np.square(error).sum(-1).mean(0))
    np.testing.assert_allclose(fit.joint_rmse, expected, atol=1e-9)
    counted = [j for j in range(4) if NAMES[j] != root]
    assert fit.rmse == pytest.approx(np.sqrt(np.square(expected[counted]).mean()))


@pytest.mark.parametrize('root', ROOTS)
def test_split_into_batches_does_not_change_a_bit(root):
    vertices, joints, _ = random_frames(frames=530, num_vertices=30)
    joints[::50, 1] = np.nan
    results = [
        fit_joint_regressor(in_batches(vertices, joints, size=size), NAMES, root, body_model='toy')
        for size in (1, 64, 530, 530)
    ]
    for other in results[1:]:
        assert torch.equal(results[0].regressor.weight, other.regressor.weight)
        assert (results[0].dual_gap, results[0].objective) == (other.dual_gap, other.objective)


def test_rows_lie_on_the_simplex_and_are_sparse():
    vertices, joints, _ = random_frames(frames=60, num_vertices=120, seed=2)
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, body_model='toy')
    w = fit.regressor.weight.numpy()
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(1), 1, atol=1e-12)
    assert fit.support_sizes == dict(zip(NAMES, (w > 0).sum(1).tolist(), strict=True))
    assert max(fit.support_sizes.values()) < 80  # of 120, at 180 equations a joint


@pytest.mark.parametrize('root', ROOTS)
def test_noiseless_joints_give_the_regressor_that_made_them(root):
    vertices, joints, true = random_frames(noise=0.0, frames=200)
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, root, body_model='toy')
    assert fit.converged
    np.testing.assert_allclose(
        without_common_row(fit.regressor.weight.numpy(), root),
        without_common_row(true, root),
        atol=1e-3,
    )
    assert fit.rmse < 1e-4


def test_linearly_dependent_vertices_reach_the_gap():
    rng = np.random.default_rng(3)
    basis = rng.normal(0, 0.3, (50, 6, 3))
    vertices = rng.dirichlet(np.full(6, 0.5), 12) @ basis  # 12 vertices of rank 6
    joints = rng.dirichlet(np.ones(6), 4) @ basis + rng.normal(0, 0.01, (50, 4, 3))
    twice = np.concatenate([vertices, vertices], axis=1)  # and each of them twice
    fit = fit_joint_regressor(in_batches(twice, joints), NAMES, body_model='toy')
    assert fit.converged
    _, objective = minimize_by_slsqp(vertices, joints, np.ones((50, 4)), 'pelvis')
    assert fit.objective == pytest.approx(objective, rel=2e-6)


def test_hundreds_of_nearly_dependent_vertices_reach_the_gap():
    rng = np.random.default_rng(4)
    vertices = rng.dirichlet(np.full(30, 0.1), 400) @ rng.normal(0, 0.3, (150, 30, 3))
    vertices += rng.normal(0, 1e-7, vertices.shape)
    joints = rng.dirichlet(np.full(400, 0.02), 4) @ vertices
    joints += rng.normal(0, 0.01, joints.shape)
    fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, body_model='toy')
    assert fit.converged and max(fit.support_sizes.values()) <= 40


@pytest.mark.parametrize('root', ['pelvis', 'mean'])
def test_alignment_ignores_each_frames_translation_of_the_joints(root):
    vertices, joints, _ = random_frames()
    moved = joints + np.random.default_rng(1).normal(0, 3.0, (len(joints), 1, 3))
    a = fit_joint_regressor(in_batches(vertices, joints), NAMES, root, body_model='toy', tol=1e-9)
    b = fit_joint_regressor(in_batches(vertices, moved), NAMES, root, body_model='toy', tol=1e-9)
    np.testing.assert_allclose(
        without_common_row(a.regressor.weight.numpy(), root),
        without_common_row(b.regressor.weight.numpy(), root),
        atol=1e-6,
    )


def test_float32_meshes_are_summed_in_float64():
    vertices, joints, _ = random_frames()
    vertices, joints = vertices.astype(np.float32), joints.astype(np.float32)
    single = fit_joint_regressor(in_batches(vertices, joints), NAMES, body_model='toy')
    double = fit_joint_regressor(
        in_batches(vertices.astype(float), joints.astype(float)), NAMES, body_model='toy'
    )
    assert torch.equal(single.regressor.weight, double.regressor.weight)


def test_vertex_ids_confine_the_support():
    vertices, joints, _ = random_frames()
    fit = fit_joint_regressor(
        in_batches(vertices, joints), NAMES, vertex_ids=[8, 1, 2, 5, 6], body_model='toy'
    )
    alone = fit_joint_regressor(
        in_batches(vertices[:, [1, 2, 5, 6, 8]], joints), NAMES, body_model='toy'
    )
    assert set(fit.regressor.support.tolist()) <= {1, 2, 5, 6, 8}
    assert fit.objective == alone.objective


def test_seventeen_joints_default_to_mmposes_order():
    vertices, joints, _ = random_frames(num_joints=17)
    fit = fit_joint_regressor(in_batches(vertices, joints), body_model='toy')
    assert fit.regressor.joint_names == H36M_JOINTS_MMPOSE
    assert fit.joint_rmse[0] == 0 and (fit.joint_rmse[1:] > 0).all()


@pytest.fixture(scope='module')
def maker(tmp_path_factory):
    """Return a maker of lazy vertices of a body with 60 of them."""
    path = tmp_path_factory.mktemp('smpl') / 'SMPL_NEUTRAL.npz'
    np.savez(path, **small_body())
    return VertexMaker(SMPL(path))


def posed(maker, frames=900, noise=0.03):
    """Return lazy vertices of random bodies, and joints that follow five vertices each."""
    rng = np.random.default_rng(1)
    lazy = maker(
        betas=rng.normal(size=(frames, 10)),
        body_pose=0.3 * rng.normal(size=(frames, 23, 3)),
        global_orient=rng.normal(size=(frames, 3)),
        transl=rng.normal(size=(frames, 3)) + [0, 0, 5],
    )
    truth = np.zeros((4, 60))
    for row in truth:
        row[rng.choice(60, 5, replace=False)] = rng.dirichlet(np.ones(5))
    joints = truth @ lazy.of().numpy() + noise * rng.normal(size=(frames, 4, 3))
    return lazy, joints


def list_of_batches(lazy, joints, size=70):
    return [
        (lazy[start : start + size], joints[start : start + size])
        for start in range(0, len(lazy), size)
    ]


def preselect_too_little(monkeypatch):
    """Sample and preselect so little that later passes have to add vertices."""
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SAMPLE_FRAMES', 3)
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._COLUMNS_FROM_GRADIENT', 4)
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._COLUMNS_FROM_MODEL', 1)


@pytest.mark.slow
@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('missing', [False, True])
@pytest.mark.parametrize('kind', ['tensors', 'lazy', 'both'])
def test_repeated_passes_reach_the_optimum_of_one_pass(root, missing, kind, maker, monkeypatch):
    preselect_too_little(monkeypatch)
    lazy, joints = posed(maker)
    if missing:
        joints[::3, 1] = np.nan
    passes: list[tuple[str, int]] = []  # name, frames read

    def progress(name, num_frames):
        if passes and passes[-1][0] == name and passes[-1][1] < num_frames:
            passes.pop()
        passes.append((name, num_frames))

    options = dict(body_model='toy', tol=1e-10, vertex_ids=range(1, 60))
    one_pass = fit_joint_regressor(in_batches(lazy.of().numpy(), joints), NAMES, root, **options)
    batches = [
        (vertices if kind == 'lazy' or (kind == 'both' and i % 2) else vertices.of(), part)
        for i, (vertices, part) in enumerate(list_of_batches(lazy, joints))
    ]
    fit = fit_joint_regressor(batches, NAMES, root, progress=progress, **options)
    names = [name for name, _ in passes]
    assert names[:3] == ['sampling', 'screening', 'objective and gradient']
    assert names[-2:] == ['normal equations', 'objective and gradient']
    assert {num_frames for _, num_frames in passes} == {900}
    assert fit.converged and fit.dual_gap < 1e-10
    assert fit.objective == pytest.approx(one_pass.objective, rel=1e-9)
    np.testing.assert_allclose(fit.joint_rmse, one_pass.joint_rmse, atol=1e-7)
    repeated, expected = (
        without_common_row(f.regressor.weight.numpy(), root) for f in (fit, one_pass)
    )
    np.testing.assert_allclose(repeated, expected, atol=1e-6)


def test_few_lazy_vertices_are_computed(maker, monkeypatch):
    preselect_too_little(monkeypatch)
    lazy, joints = posed(maker)
    requests = []  # frames, vertices
    of = LazyVertices.of

    def spy(self, ids=None):
        requests.append((len(self), 60 if ids is None else len(ids)))
        return of(self, ids)

    monkeypatch.setattr(LazyVertices, 'of', spy)
    assert fit_joint_regressor(list_of_batches(lazy, joints), NAMES, body_model='toy').converged
    # The sample of 3 frames, for screening and for the model.
    assert sum(frames for frames, vertices in requests if vertices == 60) == 6


def test_too_many_patterns_of_weights_raise_before_memory_runs_out():
    vertices, joints, _ = random_frames(frames=60)
    weights = np.random.default_rng(0).random(joints.shape[:2])
    with pytest.raises(MemoryError, match='max_bytes'):
        fit_joint_regressor(
            in_batches(vertices, joints, weights), NAMES, 'mean', body_model='toy', max_bytes=5000
        )


def test_stopping_above_the_tolerance_warns():
    vertices, joints, _ = random_frames(num_vertices=40)
    with pytest.warns(ConvergenceWarning, match='above tol=1.00e-06'):
        fit = fit_joint_regressor(in_batches(vertices, joints), NAMES, max_iter=1, body_model='toy')
    assert not fit.converged and fit.dual_gap > 1e-6


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(root='nose'), 'nose'),
        (dict(tol=0.0), 'tol'),
        (dict(joint_names=('a', 'b')), 'found 2 joint names, expected one for each of 4'),
        (dict(joint_names=None), 'joint_names'),
        (dict(vertex_ids=[10]), 'vertex_ids'),
    ],
)
def test_bad_arguments_are_refused(change, message):
    vertices, joints, _ = random_frames()
    arguments = dict(joint_names=NAMES, body_model='toy') | change
    with pytest.raises(ValueError, match=message):
        fit_joint_regressor(in_batches(vertices, joints), **arguments)
