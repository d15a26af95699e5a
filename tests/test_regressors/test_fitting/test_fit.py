"""fit_joint_regressor against slow, independent solvers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls
from small_body import small_body

from mmjrr.body_models import SMPL, LazyVertices, VertexMaker
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import fit_joint_regressor
from mmjrr.regressors.fitting.normal_equations import FrameStream, check

NAMES = ('pelvis', 'left_knee', 'right_knee', 'head')
ROOTS = ('pelvis', 'head', 'mean', None)


def toy(frames=40, num_vertices=10, num_joints=4, noise=0.03, seed=0):
    """Random meshes, joints of a random regressor plus noise, in metres, 5 m from the camera."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0, 0.3, (frames, num_vertices, 3)) + [0.2, -0.1, 5.0]
    true = rng.dirichlet(np.full(num_vertices, 0.3), num_joints)
    joints = true @ vertices + rng.normal(0, noise, (frames, num_joints, 3))
    return vertices, joints, true


def aligned_system(vertices, joints, weights, root, names=NAMES):
    """Rows ``sqrt(u) * (aligned e_j)`` written out one by one: ``A @ W.ravel() = b``."""
    num_joints, num_vertices = joints.shape[1], vertices.shape[1]
    rows, target = [], []
    for v, x, u in zip(vertices, joints, weights, strict=True):
        present = np.nonzero(u > 0)[0]
        if root not in (None, 'mean') and names.index(root) not in present:
            continue
        for j in present:
            share = np.zeros(num_joints)
            share[j] = 1.0
            if root == 'mean':
                share[present] -= u[present] / u[present].sum()
            elif root is not None:
                share[names.index(root)] -= 1.0
            for c in range(3):
                rows.append(np.sqrt(u[j]) * np.outer(share, v[:, c]).ravel())
                target.append(np.sqrt(u[j]) * share[present] @ x[present, c])
    assert len(rows[0]) == num_joints * num_vertices
    return np.array(rows), np.array(target)


def solve_slowly(vertices, joints, weights, root):
    """SciPy's general-purpose SLSQP on the system written out; weights and objective."""
    num_joints, num_vertices = joints.shape[1], vertices.shape[1]
    middle = vertices.mean(1, keepdims=True)  # changes no error, and spares SLSQP's digits
    a, b = aligned_system(vertices - middle, joints - middle, weights, root)
    q, c = a.T @ a, a.T @ b
    scale = 1 / (b @ b)
    sums = np.kron(np.eye(num_joints), np.ones(num_vertices))
    found = minimize(
        lambda x: scale * np.square(a @ x - b).sum(),
        np.full(num_joints * num_vertices, 1 / num_vertices),
        jac=lambda x: 2 * scale * (q @ x - c),
        bounds=[(0, 1)] * (num_joints * num_vertices),
        constraints={'type': 'eq', 'fun': lambda x: sums @ x - 1, 'jac': lambda x: sums},
        method='SLSQP',
        options={'ftol': 1e-16, 'maxiter': 2000},
    )
    return found.x.reshape(num_joints, num_vertices), found.fun / scale


def solve_by_nnls(vertices, joints):
    """Without alignment rows are apart: SciPy's NNLS on each, its sum as an overwhelming row."""
    middle = vertices.mean(1, keepdims=True)
    a = (vertices - middle).transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    heavy = np.full((1, vertices.shape[1]), 1e4)
    rows = []
    for j in range(joints.shape[1]):
        b = (joints[:, j] - middle[:, 0]).ravel()
        x, _ = nnls(np.vstack([a, heavy]), np.append(b, 1e4))
        rows.append(x / x.sum())
    return np.array(rows)


def objective_of(w, vertices, joints, weights, root):
    a, b = aligned_system(vertices, joints, weights, root)
    return np.square(a @ w.ravel() - b).sum()


def without_gauge(w, root):
    """Weights less what alignment cannot see: a shift common to all rows."""
    return w if root is None else w - w.mean(0)


def batches(*arrays, size=7):
    for i in range(0, len(arrays[0]), size):
        yield tuple(torch.from_numpy(array[i : i + size]) for array in arrays)


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('seed', range(4))
def test_optimum_agrees_with_slsqp_to_1e_6(root, seed):
    vertices, joints, _ = toy(seed=seed)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, root, body_model='toy', tol=1e-9)
    ones = np.ones(joints.shape[:2])
    expected, objective = solve_slowly(vertices, joints, ones, root)
    assert fit.converged and fit.gap <= 1e-9
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    w = fit.regressor.weight.numpy()
    # With as many frames the optimum is unique but for the gauge, so the weights agree too.
    np.testing.assert_allclose(without_gauge(w, root), without_gauge(expected, root), atol=2e-6)
    assert objective_of(w, vertices, joints, ones, root) == pytest.approx(fit.objective, rel=1e-9)


@pytest.mark.parametrize('seed', range(4))
def test_unaligned_optimum_agrees_with_nnls_to_1e_6(seed):
    vertices, joints, _ = toy(seed=seed)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, None, body_model='toy', tol=1e-9)
    expected = solve_by_nnls(vertices, joints)
    np.testing.assert_allclose(fit.regressor.weight.numpy(), expected, atol=1e-6)
    objective = objective_of(expected, vertices, joints, np.ones(joints.shape[:2]), None)
    assert fit.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('as_weights', [False, True])
def test_missing_joints_agree_with_slsqp(root, as_weights):
    vertices, joints, _ = toy(frames=80, seed=5)
    missing = np.random.default_rng(6).random(joints.shape[:2]) < 0.25
    weights = (~missing).astype(float)
    if as_weights:
        data = batches(vertices, joints, weights)
    else:
        data = batches(vertices, np.where(missing[..., None], np.nan, joints))
    fit = fit_joint_regressor(data, NAMES, root, body_model='toy')
    w, objective = solve_slowly(vertices, joints, weights, root)
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(
        without_gauge(fit.regressor.weight.numpy(), root), without_gauge(w, root), atol=1e-4
    )
    if root in NAMES:
        others = [j for j in range(4) if j != NAMES.index(root)]
        used = ~missing[:, NAMES.index(root)] & ~missing[:, others].all(1)
    else:
        used = (~missing).sum(1) > (root == 'mean')
    assert (fit.n_frames, fit.n_dropped) == (used.sum(), (~used).sum())


@pytest.mark.parametrize('root', ROOTS)
def test_weights_that_all_differ_agree_with_slsqp(root):
    vertices, joints, _ = toy(frames=60, seed=7)
    weights = np.random.default_rng(8).uniform(0.1, 2.0, joints.shape[:2])
    fit = fit_joint_regressor(batches(vertices, joints, weights), NAMES, root, body_model='toy')
    w, objective = solve_slowly(vertices, joints, weights, root)
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(
        without_gauge(fit.regressor.weight.numpy(), root), without_gauge(w, root), atol=1e-4
    )


@pytest.mark.parametrize('root', ROOTS)
def test_residuals_are_the_aligned_errors(root):
    vertices, joints, _ = toy()
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, root, body_model='toy')
    error = fit.regressor(torch.from_numpy(vertices)).numpy() - joints
    if root == 'mean':
        error -= error.mean(1, keepdims=True)
    elif root is not None:
        error -= error[:, [NAMES.index(root)]]
    expected = np.sqrt(np.square(error).sum(-1).mean(0))
    np.testing.assert_allclose(fit.residual, expected, atol=1e-9)
    counted = [j for j in range(4) if NAMES[j] != root]
    assert fit.rms == pytest.approx(np.sqrt(np.square(expected[counted]).mean()))


@pytest.mark.parametrize('root', ROOTS)
def test_split_into_batches_does_not_change_a_bit(root):
    vertices, joints, _ = toy(frames=530, num_vertices=30)
    joints[::50, 1] = np.nan
    found = [
        fit_joint_regressor(batches(vertices, joints, size=size), NAMES, root, body_model='toy')
        for size in (1, 64, 530, 530)
    ]
    for other in found[1:]:
        assert torch.equal(found[0].regressor.weight, other.regressor.weight)
        assert (found[0].gap, found[0].objective) == (other.gap, other.objective)


def test_rows_lie_on_the_simplex_and_are_sparse():
    vertices, joints, _ = toy(frames=60, num_vertices=120, seed=2)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, body_model='toy')
    w = fit.regressor.weight.numpy()
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(1), 1, atol=1e-12)
    assert fit.support_sizes == dict(zip(NAMES, (w > 0).sum(1).tolist(), strict=True))
    assert max(fit.support_sizes.values()) < 80  # of 120, with 180 equations for each


@pytest.mark.parametrize('root', ROOTS)
def test_noiseless_joints_give_the_regressor_that_made_them(root):
    vertices, joints, true = toy(noise=0.0, frames=200)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, root, body_model='toy')
    assert fit.converged
    np.testing.assert_allclose(
        without_gauge(fit.regressor.weight.numpy(), root), without_gauge(true, root), atol=1e-3
    )
    assert fit.rms < 1e-4


def test_linearly_dependent_vertices_reach_the_gap():
    rng = np.random.default_rng(3)
    basis = rng.normal(0, 0.3, (50, 6, 3))
    vertices = rng.dirichlet(np.full(6, 0.5), 12) @ basis  # 12 vertices of rank 6
    joints = rng.dirichlet(np.ones(6), 4) @ basis + rng.normal(0, 0.01, (50, 4, 3))
    twice = np.concatenate([vertices, vertices], axis=1)  # and each of them twice
    fit = fit_joint_regressor(batches(twice, joints), NAMES, body_model='toy')
    assert fit.converged
    _, objective = solve_slowly(vertices, joints, np.ones((50, 4)), 'pelvis')
    assert fit.objective == pytest.approx(objective, rel=2e-6)


def test_hundreds_of_nearly_dependent_vertices_reach_the_gap():
    rng = np.random.default_rng(4)
    vertices = rng.dirichlet(np.full(30, 0.1), 400) @ rng.normal(0, 0.3, (150, 30, 3))
    vertices += rng.normal(0, 1e-7, vertices.shape)
    joints = rng.dirichlet(np.full(400, 0.02), 4) @ vertices
    joints += rng.normal(0, 0.01, joints.shape)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, body_model='toy')
    assert fit.converged and max(fit.support_sizes.values()) <= 40


@pytest.mark.parametrize('root', ['pelvis', 'mean'])
def test_alignment_ignores_each_frames_translation_of_the_joints(root):
    vertices, joints, _ = toy()
    moved = joints + np.random.default_rng(1).normal(0, 3.0, (len(joints), 1, 3))
    a = fit_joint_regressor(batches(vertices, joints), NAMES, root, body_model='toy', tol=1e-9)
    b = fit_joint_regressor(batches(vertices, moved), NAMES, root, body_model='toy', tol=1e-9)
    np.testing.assert_allclose(
        without_gauge(a.regressor.weight.numpy(), root),
        without_gauge(b.regressor.weight.numpy(), root),
        atol=1e-6,
    )


def test_float32_meshes_are_summed_in_float64():
    vertices, joints, _ = toy()
    vertices, joints = vertices.astype(np.float32), joints.astype(np.float32)
    single = fit_joint_regressor(batches(vertices, joints), NAMES, body_model='toy')
    double = fit_joint_regressor(
        batches(vertices.astype(float), joints.astype(float)), NAMES, body_model='toy'
    )
    assert torch.equal(single.regressor.weight, double.regressor.weight)


def test_joint_weights_act_as_the_batches_weights_do():
    vertices, joints, _ = toy()
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    a = fit_joint_regressor(
        batches(vertices, joints), NAMES, None, weights=weights, body_model='toy'
    )
    per_frame = np.tile(weights, (len(vertices), 1))
    b = fit_joint_regressor(batches(vertices, joints, per_frame), NAMES, None, body_model='toy')
    np.testing.assert_allclose(a.regressor.weight, b.regressor.weight, atol=1e-12)
    assert a.objective == pytest.approx(b.objective)


def test_vertex_ids_confine_the_support():
    vertices, joints, _ = toy()
    fit = fit_joint_regressor(
        batches(vertices, joints), NAMES, vertex_ids=[8, 1, 2, 5, 6], body_model='toy'
    )
    alone = fit_joint_regressor(
        batches(vertices[:, [1, 2, 5, 6, 8]], joints), NAMES, body_model='toy'
    )
    assert set(fit.regressor.support.tolist()) <= {1, 2, 5, 6, 8}
    assert fit.objective == alone.objective


def test_seventeen_joints_default_to_mmposes_order():
    vertices, joints, _ = toy(num_joints=17)
    fit = fit_joint_regressor(batches(vertices, joints), body_model='toy')
    assert fit.regressor.joint_names == H36M_JOINTS_MMPOSE
    assert fit.residual[0] == 0 and (fit.residual[1:] > 0).all()


def test_sums_do_not_grow_with_the_frames():
    from mmjrr.regressors.fitting.normal_equations import FrameStream, add_up

    held = []
    for frames in (600, 1200):
        vertices, joints, _ = toy(frames=frames, num_vertices=20)
        sums = add_up(FrameStream(batches(vertices, joints), NAMES, 'pelvis'), 1 << 30)
        held.append(sum(group.gram.bytes() for group in sums.groups))
    assert held == [8 * 20 * 20] * 2


@pytest.fixture(scope='module')
def maker(tmp_path_factory):
    """Of a body of 60 vertices."""
    path = tmp_path_factory.mktemp('smpl') / 'SMPL_NEUTRAL.npz'
    np.savez(path, **small_body())
    return VertexMaker(SMPL(path))


def posed(maker, frames=900, noise=0.03):
    """Random bodies and joints that follow five vertices each."""
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


def cut(lazy, joints, size=70):
    return [
        (lazy[start : start + size], joints[start : start + size])
        for start in range(0, len(lazy), size)
    ]


def small_steps(monkeypatch):
    """A sample so small, and so few vertices let in at a time, that the selection has to grow."""
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SAMPLE_FRAMES', 3)
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._ADMIT', 4)
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SELECT', 1)


@pytest.mark.parametrize('root', ROOTS)
@pytest.mark.parametrize('missing', [False, True])
@pytest.mark.parametrize('kind', ['tensors', 'lazy', 'both'])
def test_going_through_batches_repeatedly_ends_where_an_iterator_does(
    root, missing, kind, maker, monkeypatch
):
    small_steps(monkeypatch)
    lazy, joints = posed(maker)
    if missing:
        joints[::3, 1] = np.nan
    passes: list[str] = []
    done_in: dict[str, int] = {}

    def progress(stage, done):
        done_in[stage] = done
        if stage not in passes[-1:] or done <= last[0]:
            passes.append(stage)
        last[0] = done

    last = [0]
    options = dict(body_model='toy', tol=1e-10, vertex_ids=range(1, 60))
    once = fit_joint_regressor(batches(lazy.of().numpy(), joints), NAMES, root, **options)
    made = [
        (vertices if kind == 'lazy' or (kind == 'both' and i % 2) else vertices.of(), some)
        for i, (vertices, some) in enumerate(cut(lazy, joints))
    ]
    often = fit_joint_regressor(made, NAMES, root, progress=progress, **options)
    assert passes[:2] == ['select', 'check'] and passes[-2:] == ['sum up', 'check']
    assert often.converged and often.gap < 1e-10
    assert often.objective == pytest.approx(once.objective, rel=1e-9)
    assert np.allclose(often.residual, once.residual, atol=1e-7)
    found, expected = (f.regressor.weight.numpy() for f in (often, once))
    assert np.abs(without_gauge(found, root) - without_gauge(expected, root)).max() < 1e-6
    assert done_in['sum up'] == done_in['check'] == done_in['select'] == 900


def test_of_lazy_vertices_few_are_made(maker, monkeypatch):
    small_steps(monkeypatch)
    lazy, joints = posed(maker)
    asked = []
    of = LazyVertices.of

    def spy(self, ids=None):
        asked.append((len(self), 60 if ids is None else len(ids)))
        return of(self, ids)

    monkeypatch.setattr(LazyVertices, 'of', spy)
    assert fit_joint_regressor(cut(lazy, joints), NAMES, body_model='toy').converged
    assert sum(frames for frames, vertices in asked if vertices == 60) == 3  # the sample


def test_check_gives_value_and_gradient_of_the_aligned_errors(maker):
    lazy, joints = posed(maker, frames=300)
    rng = np.random.default_rng(2)
    w = rng.dirichlet(np.ones(60), size=4)
    weights = rng.random((300, 4))
    joints[::4, 2], weights[::4, 2] = np.nan, 0
    for root in ROOTS:
        found = []
        for vertices in (lazy, lazy.of()):
            stream = FrameStream([(vertices, joints, weights)], NAMES, root)
            found.append(check(stream, w))
        vertices = lazy.of()
        free = torch.from_numpy(w).requires_grad_()
        a, b = aligned_system(vertices.numpy(), joints, weights, root)
        value = (torch.from_numpy(a) @ free.flatten() - torch.from_numpy(b)).square().sum()
        (gradient,) = torch.autograd.grad(value, free)
        for one in found:
            assert one.value == pytest.approx(float(value), rel=1e-10)
            off = one.gradient - gradient.numpy()
            assert np.abs(off - off[:, :1]).max() < 1e-9 * np.abs(gradient.numpy()).max()


def test_batches_that_change_between_passes_are_refused(monkeypatch):
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SAMPLE_FRAMES', 100)
    vertices, joints, _ = toy(frames=300)

    class Shrinking:
        size = 300

        def __iter__(self):
            yield vertices[: self.size], joints[: self.size]
            self.size -= 1

    with pytest.raises(ValueError, match='300 frames when first gone through, now 299'):
        fit_joint_regressor(Shrinking(), NAMES, body_model='toy')


@pytest.mark.parametrize('total', [1, 5, 8, 9, 15, 16, 17, 100, 1000])
def test_a_sample_is_evenly_taken(total):
    vertices, joints, _ = toy(frames=total)
    numbered = vertices * 0 + np.arange(total)[:, None, None]
    some, is_all = FrameStream(batches(numbered, joints, size=3), NAMES, 'pelvis').sample(8)
    taken = some.vertices[:, 0, 0].tolist()
    assert is_all == (total <= 8) and len(taken) == min(total, 8)
    steps = np.diff([*taken, total]) / (total / len(taken))
    assert steps.min() > 0.5 and steps.max() < 2.1


def test_too_many_patterns_of_weights_raise_before_memory_runs_out():
    vertices, joints, _ = toy(frames=60)
    weights = np.random.default_rng(0).random(joints.shape[:2])
    with pytest.raises(MemoryError, match='max_bytes'):
        fit_joint_regressor(
            batches(vertices, joints, weights), NAMES, 'mean', body_model='toy', max_bytes=5000
        )


def test_stopping_short_is_said():
    vertices, joints, _ = toy(num_vertices=40)
    fit = fit_joint_regressor(batches(vertices, joints), NAMES, max_iterations=1, body_model='toy')
    assert not fit.converged and fit.gap > 1e-6


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(root='nose'), 'nose'),
        (dict(tol=0.0), 'tol'),
        (dict(joint_names=('a', 'b')), '2 joint names for 4'),
        (dict(joint_names=None), 'joint_names'),
        (dict(weights=[1.0, 1.0]), 'weights'),
        (dict(vertex_ids=[10]), 'vertex_ids'),
    ],
)
def test_bad_arguments_are_refused(change, message):
    vertices, joints, _ = toy()
    arguments = dict(joint_names=NAMES, body_model='toy') | change
    with pytest.raises(ValueError, match=message):
        fit_joint_regressor(batches(vertices, joints), **arguments)


def test_bad_batches_are_refused():
    vertices, joints, _ = toy()

    def fit(*batch):
        fit_joint_regressor([batch], NAMES, body_model='toy')

    with pytest.raises(ValueError, match='no frames'):
        fit_joint_regressor([], NAMES)
    with pytest.raises(ValueError, match='items'):
        fit(vertices)
    with pytest.raises(ValueError, match='same N'):
        fit(vertices, joints[1:])
    with pytest.raises(ValueError, match='not all finite'):
        fit(np.where(vertices > 5.5, np.nan, vertices), joints)
    with pytest.raises(ValueError, match='infinity'):
        fit(vertices, np.where(joints > 5.2, np.inf, joints))
    with pytest.raises(ValueError, match='negative'):
        fit(vertices, joints, -np.ones((40, 4)))
    never = joints.copy()
    never[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"\['head'\] are missing from every frame"):
        fit(vertices, never)
    never[:, 0] = np.nan
    with pytest.raises(ValueError, match='40 were dropped'):
        fit(vertices, never)
