"""Label offsets fitted together with a regressor, against closed forms and slow solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import NAMES
from scipy import stats
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from mmjrr.joints import SMPL_JOINTS
from mmjrr.regressors import BadFrameWarning, JointRegressor
from mmjrr.regressors.fitting.jackknife import (
    JackknifeCovariance,
    confidence_ellipse,
    deal_sequences,
    dof_of_differences,
    dof_of_means,
)
from mmjrr.regressors.fitting.label_offsets_fit import (
    GroupedBatch,
    estimate_label_offsets,
    fit_label_offsets,
    holm,
)
from mmjrr.regressors.label_offsets import CARRYING_PARTS, part_index_of

PARTS = [SMPL_JOINTS.index(CARRYING_PARTS[name]) for name in NAMES]


class Frames:
    """Random meshes of some subjects and sequences, joints of a random regressor, part rotations.

    Joints are offset by ``offsets`` (S, J, 3), and noisy; part of the noise is shared by the frames
    of a sequence.
    """

    def __init__(
        self,
        seed=0,
        subjects=3,
        sequences=5,
        frames=4,
        num_vertices=6,
        offset=0.0,
        noise=0.005,
        sequence_noise=0.0,
    ):
        rng = np.random.default_rng(seed)
        count = subjects * sequences * frames
        self.subject = np.repeat(np.arange(subjects), sequences * frames)
        self.sequence = np.tile(np.repeat(np.arange(sequences), frames), subjects)
        self.vertices = rng.normal(0, 0.3, (count, num_vertices, 3)) + [0.2, -0.1, 5.0]
        self.true = rng.dirichlet(np.full(num_vertices, 0.5), len(NAMES))
        self.rotations = Rotation.random(count * 24, random_state=rng).as_matrix()
        self.rotations = self.rotations.reshape(count, 24, 3, 3)
        offsets = rng.normal(0, 1, (subjects, len(NAMES), 3))
        self.offsets = offset * (offsets - offsets.mean(0))
        shared = rng.normal(0, sequence_noise, (subjects, sequences, len(NAMES), 3))
        inner = self.offsets[self.subject] + shared[self.subject, self.sequence]
        self.joints = self.true @ self.vertices + self.turned(inner)
        self.joints = self.joints + rng.normal(0, noise, self.joints.shape)

    def keep(self, rows):
        """Leave other frames out."""
        for name in ('subject', 'sequence', 'vertices', 'rotations', 'joints'):
            setattr(self, name, getattr(self, name)[rows])
        return self

    def turned(self, inner):
        return np.einsum('njab,njb->nja', self.rotations[:, PARTS], inner)

    def batches(self, size=7, keep=None):
        rows = np.arange(len(self.joints)) if keep is None else np.nonzero(keep)[0]
        return [
            GroupedBatch(
                torch.from_numpy(self.vertices[part]),
                torch.from_numpy(self.joints[part]),
                torch.from_numpy(self.rotations[part]),
                [f'S{s}' for s in self.subject[part]],
                [f'S{s}_{q}' for s, q in zip(self.subject[part], self.sequence[part], strict=True)],
            )
            for part in (rows[i : i + size] for i in range(0, len(rows), size))
        ]

    def fit(self, root=None, **options):
        options = dict(body_model='toy', tol=1e-9, max_vertex_distance=np.inf) | options
        return fit_label_offsets(self.batches(), NAMES, root, **options)


def minimize_by_slsqp(frames, root, candidates=None, in_mean=None):
    """Minimize by SciPy's SLSQP over weights and offsets; return both and the objective.

    ``candidates`` (J, V) are the vertices that may get weight; None: all. ``in_mean`` are the
    subjects whose offsets have the mean zero; None: all.
    """
    num_joints, num_vertices = frames.true.shape
    num_subjects = len(frames.offsets)
    middle = frames.vertices.mean(1, keepdims=True)
    vertices, joints = frames.vertices - middle, frames.joints - middle
    columns = []
    for j in range(num_joints):  # columns of the weights
        for v in range(num_vertices):
            error = np.zeros_like(joints)
            error[:, j] = vertices[:, v]
            columns.append(error)
    for s in range(num_subjects):  # columns of the offsets
        for j in range(num_joints):
            for axis in range(3):
                inner = np.zeros((len(joints), num_joints, 3))
                if NAMES[j] != root:
                    inner[frames.subject == s, j, axis] = 1.0
                columns.append(frames.turned(inner))
    a, b = np.stack(columns, -1), joints
    if root is not None:
        a, b = (x - x[:, [NAMES.index(root)]] for x in (a, b))
    a, b = a.reshape(-1, a.shape[-1]), b.ravel()
    num_weights = num_joints * num_vertices
    sums = np.hstack(
        [
            np.kron(np.eye(num_joints), np.ones(num_vertices)),
            np.zeros((num_joints, a.shape[1] - num_weights)),
        ]
    )
    means = np.zeros((3 * num_joints, a.shape[1]))
    for s in range(num_subjects) if in_mean is None else in_mean:
        start = num_weights + 3 * num_joints * s
        means[:, start : start + 3 * num_joints] = np.eye(3 * num_joints)
    constraints, target = (
        np.vstack([sums, means]),
        np.append(np.ones(num_joints), np.zeros(3 * num_joints)),
    )
    largest = np.ones(num_weights) if candidates is None else candidates.ravel().astype(float)
    q, c, scale = a.T @ a, a.T @ b, 1 / (b @ b)
    result = minimize(
        lambda x: scale * np.square(a @ x - b).sum(),
        np.append(largest / num_vertices, np.zeros(a.shape[1] - num_weights)),
        jac=lambda x: 2 * scale * (q @ x - c),
        bounds=[(0, x) for x in largest] + [(None, None)] * (a.shape[1] - num_weights),
        constraints={
            'type': 'eq',
            'fun': lambda x: constraints @ x - target,
            'jac': lambda x: constraints,
        },
        method='SLSQP',
        options={'ftol': 1e-16, 'maxiter': 2000},
    )
    offsets = result.x[num_weights:].reshape(num_subjects, num_joints, 3)
    return result.x[:num_weights].reshape(num_joints, -1), offsets, result.fun / scale


@pytest.mark.parametrize('root', [None, 'pelvis', 'head'])
def test_joint_minimum_agrees_with_slsqp(root):
    frames = Frames(offset=0.02, noise=0.02, seed=3)
    fit = frames.fit(root)
    _, offsets, objective = minimize_by_slsqp(frames, root)
    assert fit.converged and fit.dual_gap <= 1e-9
    num_joints = len(NAMES) - (root is not None)
    assert fit.rmse**2 * num_joints * len(frames.joints) == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(fit.estimates, offsets, atol=2e-6)


@pytest.mark.parametrize('root', [None, 'pelvis', 'head'])
def test_with_near_vertices_alone_the_joint_minimum_agrees_with_slsqp(root):
    frames = Frames(offset=0.02, noise=0.02, seed=3, num_vertices=8)
    free = frames.fit(root).fit_without_offsets.regressor.weight.numpy()
    regressed = free @ frames.vertices  # (N, J, 3)
    difference = regressed[:, :, None] - frames.vertices[:, None]
    distance = np.sqrt(np.square(difference).sum(-1).mean(0))  # (J, V)
    limit = float(np.median(distance))
    near = distance <= limit
    assert (near.sum(1) < 8).any() and (free[~near] > 0).any()
    fit = frames.fit(root, max_vertex_distance=limit)
    _, offsets, objective = minimize_by_slsqp(frames, root, near)
    assert fit.converged and fit.dual_gap <= 1e-9
    num_joints = len(NAMES) - (root is not None)
    assert fit.rmse**2 * num_joints * len(frames.joints) == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(fit.estimates, offsets, atol=2e-6)
    # The regressor fit to the labels has no limit.
    np.testing.assert_array_equal(fit.fit_without_offsets.regressor.weight.numpy(), free)


def test_a_distance_within_which_there_are_no_vertices_leaves_the_nearest_one():
    frames = Frames(offset=0.02)
    free = frames.fit().fit_without_offsets.regressor.weight.numpy()
    squared = np.square((free @ frames.vertices)[:, :, None] - frames.vertices[:, None]).sum(-1)
    nearest = squared.mean(0).argmin(1)
    fit = frames.fit(max_vertex_distance=1e-9)
    assert fit.converged and fit.dual_gap < 1e-12
    difference = frames.joints - frames.vertices[:, nearest]
    inner = np.einsum('njab,nja->njb', frames.rotations[:, PARTS], difference)
    means = np.stack([inner[frames.subject == s].mean(0) for s in range(3)])
    np.testing.assert_allclose(fit.estimates, means - means.mean(0), atol=1e-10)


def test_with_one_vertex_offsets_are_mean_differences_in_the_parts_frame():
    """The regressor cannot move, so each offset is a mean, less the mean over subjects."""
    frames = Frames(num_vertices=1, offset=0.02, subjects=4)
    difference = frames.joints - frames.vertices
    inner = np.einsum('njab,nja->njb', frames.rotations[:, PARTS], difference)
    means = np.stack([inner[frames.subject == s].mean(0) for s in range(4)])
    np.testing.assert_allclose(frames.fit().estimates, means - means.mean(0), atol=1e-10)


def test_subjects_with_different_numbers_of_frames_have_offsets_of_mean_zero():
    frames = Frames(offset=0.02, subjects=4)
    keep = np.random.default_rng(0).random(len(frames.joints)) < 0.2 + 0.2 * frames.subject
    batches = frames.batches(keep=keep)
    fit = fit_label_offsets(batches, NAMES, None, body_model='toy', max_vertex_distance=np.inf)
    np.testing.assert_allclose(fit.estimates.mean(0), 0, atol=1e-12)
    assert fit.n_frames.tolist() == [int(keep[frames.subject == s].sum()) for s in range(4)]


def test_nearly_exact_labels_give_the_planted_offsets_and_the_true_regressor():
    frames = Frames(offset=0.02, noise=1e-5)
    fit = frames.fit(min_offset=0.0, tol=1e-6)
    np.testing.assert_allclose(fit.estimates, frames.offsets, atol=2e-5)
    assert fit.significant.all()
    np.testing.assert_allclose(fit.fit.regressor.weight.numpy(), frames.true, atol=1e-4)
    assert fit.fit.rmse < 2e-5 < 0.01 < fit.fit_without_offsets.rmse


def test_a_joint_missing_from_some_frames_changes_only_its_own_offsets():
    frames = Frames(offset=0.02)
    complete = frames.fit()
    frames.joints[::3, 1] = np.nan
    partial = frames.fit()
    others = [0, 2, 3]
    np.testing.assert_allclose(
        partial.estimates[:, others], complete.estimates[:, others], atol=1e-9
    )
    assert np.abs(partial.estimates[:, 1] - complete.estimates[:, 1]).max() > 1e-5
    present = frames.batches()
    weighted = []
    for batch in present:
        weight = (~torch.isnan(batch.joints).any(-1)).double()
        weighted.append(
            GroupedBatch(batch.vertices, batch.joints.nan_to_num(0.3), batch.rotations,
                         batch.subjects, batch.sequences, weight)
        )  # fmt: skip
    by_weight = fit_label_offsets(
        weighted, NAMES, None, body_model='toy', tol=1e-9, max_vertex_distance=np.inf
    )
    np.testing.assert_allclose(by_weight.estimates, partial.estimates, atol=1e-9)


def test_covariance_is_that_of_fits_without_each_group_of_sequences():
    frames = Frames(offset=0.02, noise=0.02, sequences=6)
    fit = frames.fit()
    replicates = np.stack([
        fit_label_offsets(
            frames.batches(keep=frames.sequence != q), NAMES, None, body_model='toy', tol=1e-9,
            max_vertex_distance=np.inf,
        ).estimates
        for q in range(6)
    ])  # fmt: skip
    deviation = replicates - replicates.mean(0)
    expected = 5 / 6 * np.einsum('ksja,ksjb->sjab', deviation, deviation)
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-4, atol=1e-12)
    variances = np.diagonal(expected, axis1=-2, axis2=-1)
    np.testing.assert_allclose(fit.standard_error, np.sqrt(variances), rtol=1e-4)


def test_standard_error_is_that_of_sequence_means_not_of_frames():
    """With one vertex, two subjects' offsets are half the difference of means of sequence means."""
    frames = Frames(
        subjects=2, sequences=20, frames=50, num_vertices=1, noise=0.001, sequence_noise=0.01
    )
    inner = np.einsum(
        'njab,nja->njb', frames.rotations[:, PARTS], frames.joints - frames.vertices
    ).reshape(2, 20, 50, len(NAMES), 3)
    halves = (inner[0] - inner[1]).mean(1) / 2  # (20, J, 3), independent
    expected = halves.std(0, ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(frames.fit().standard_error[0], expected, rtol=1e-6)
    naive = 0.5 * np.sqrt(2) * inner.std((0, 1, 2), ddof=1) / np.sqrt(1000)
    assert (expected > 3 * naive).all()


@pytest.mark.slow
def test_without_offsets_false_positives_have_the_stated_rate():
    """60 data sets whose errors are correlated within sequences, with twelve tests each."""
    pvalues, flagged = [], 0
    for seed in range(60):
        frames = Frames(
            seed, sequences=8, frames=2, num_vertices=2, noise=0.002, sequence_noise=0.01
        )
        fit = frames.fit(min_offset=0.0, alpha=0.05, tol=1e-6)
        pvalues.append(fit.pvalues)
        flagged += bool(fit.significant.any())
    pvalues = np.array(pvalues)
    # Offsets of three subjects sum to zero, so only tests of different joints are independent.
    for level in (0.05, 0.2):
        rate = float((pvalues < level).mean())
        spread = np.sqrt(level * (1 - level) / (60 * len(NAMES)))
        assert abs(rate - level) < 4 * spread, (level, rate)
    assert stats.binom.sf(flagged - 1, 60, 0.05) > 1e-3


def test_pvalues_are_those_of_hotellings_test():
    rng = np.random.default_rng(0)
    sample = rng.normal(0, 1, (12, 3)) @ rng.normal(0, 1, (3, 3)) + 0.3
    replicates = (sample.sum(0) - sample) / 11  # means without each
    covariance = JackknifeCovariance.of_replicates(replicates[:, None, None], np.full((1, 1), 11.0))
    np.testing.assert_allclose(covariance.covariance[0, 0], np.cov(sample.T) / 12, rtol=1e-10)
    t_squared = 12 * sample.mean(0) @ np.linalg.solve(np.cov(sample.T), sample.mean(0))
    expected = stats.f.sf((12 - 3) / (3 * 11) * t_squared, 3, 9)
    assert covariance.pvalues(sample.mean(0)[None, None])[0, 0] == pytest.approx(expected)


def test_degrees_of_freedom_of_a_mean_count_the_groups_with_labels():
    has_labels = np.zeros((6, 2, 2), dtype=bool)
    has_labels[:, 0, 0] = has_labels[2:, 1, 0] = has_labels[3, 1, 1] = True
    assert dof_of_means(has_labels).tolist() == [[5, 0], [3, 0]]


def test_degrees_of_freedom_of_differences_match_mean_and_variance_of_the_sum_of_squares():
    """The covariance of the deviations, written out, against the formula."""
    rng = np.random.default_rng(0)
    groups = np.zeros((3, 9), dtype=bool)
    groups[0], groups[1, :4], groups[2, 2:7] = True, True, True
    means = rng.normal(0, 1, (9, 3, 1, 3)) * groups.T[:, :, None, None]
    variance = np.square(means - means.mean(0)).sum((0, 2, 3))
    for s, limit in enumerate((8, 3, 4)):
        covariance = np.zeros((9, 9))
        for t in range(3):
            size = groups[t].sum()
            projection = np.diag(groups[t].astype(float)) - np.outer(groups[t], groups[t]) / size
            share = ((s == t) - 1 / 3) ** 2
            covariance += share * variance[t] * projection / (size - 1)
        expected = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
        dof = dof_of_differences(means, groups.T[:, :, None])[s, 0]
        assert dof == pytest.approx(min(expected, limit))
    assert expected != pytest.approx(limit)


def test_equal_groups_have_exactly_one_degree_of_freedom_less_and_few_groups_lower_all():
    rng = np.random.default_rng(0)
    has_labels = np.ones((20, 4, 2), dtype=bool)
    means = rng.normal(0, 1, (20, 4, 2, 3))
    assert (dof_of_differences(means, has_labels) == 19).all()
    has_labels[4:, 3, 0] = False
    means[4:, 3, 0] = means[:4, 3, 0].mean(0)
    dof = dof_of_differences(means, has_labels)
    assert dof[3, 0] == 3 and (dof[:3, 0] < 19).all() and (dof[:3, 0] > 3).all()
    assert (dof[:, 1] == 19).all()
    assert (dof_of_differences(means[:, 2:], has_labels[:, 2:])[:, 0] == 3).all()  # two subjects
    has_labels[1:, 3, 0] = False  # the labels of one group say nothing about their variance
    assert dof_of_differences(means, has_labels)[:, 0].tolist() == [19, 19, 19, 0]
    assert (dof_of_differences(means[:, 2:], has_labels[:, 2:])[:, 0] == 0).all()


def test_two_subjects_have_the_pvalues_of_the_one_with_fewer_sequences():
    frames = Frames(subjects=2, sequences=12, offset=0.01, noise=0.01, sequence_noise=0.01)
    keep = (frames.subject == 0) | (frames.sequence < 6)
    options = dict(body_model='toy', max_vertex_distance=np.inf)
    fit = fit_label_offsets(frames.batches(keep=keep), NAMES, None, **options)
    np.testing.assert_allclose(fit.pvalues[0], fit.pvalues[1], rtol=1e-6)
    t_squared = np.einsum(
        'ja,jab,jb->j', fit.estimates[0], np.linalg.inv(fit.covariance[0]), fit.estimates[0]
    )
    np.testing.assert_allclose(fit.pvalues[0], stats.f.sf(t_squared * 3 / 15, 3, 3), rtol=1e-6)
    keep = (frames.subject == 0) | (frames.sequence < 2)
    few = fit_label_offsets(frames.batches(keep=keep), NAMES, None, **options)
    assert np.isnan(few.pvalues).all()


@pytest.mark.parametrize('root', [None, 'pelvis'])
def test_a_subject_with_one_sequence_is_not_part_of_the_mean_over_subjects(root):
    frames = Frames(subjects=4, sequences=6, offset=0.02, noise=0.02, seed=1)
    frames.keep((frames.subject < 3) | (frames.sequence == 0))
    fit = frames.fit(root)
    _, offsets, objective = minimize_by_slsqp(frames, root, in_mean=(0, 1, 2))
    weights = (len(NAMES) - (root is not None)) * len(frames.joints)
    assert fit.rmse**2 * weights == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(fit.estimates, offsets, atol=2e-6)
    joints = [name != root for name in NAMES]
    assert np.abs(fit.estimates.mean(0)[joints]).max() > 1e-4
    assert fit.is_tested[:3, joints].all() and not fit.is_tested[3].any()
    assert np.isnan(fit.standard_error[3]).all()
    assert (fit.has_offset == joints).all() and (fit.n_groups[3] == joints).all()


def test_a_subject_with_one_sequence_does_not_change_the_tests_of_others():
    """With one vertex the regressor cannot move, so that the others do not see the subject."""
    frames = Frames(subjects=4, sequences=8, num_vertices=1, offset=0.01, noise=0.02)
    frames.keep((frames.subject < 3) | (frames.sequence == 0))
    fit = frames.fit()
    alone = frames.keep(frames.subject < 3).fit()
    for name in ('estimates', 'covariance', 'dof', 'pvalues', 'adjusted_pvalues'):
        np.testing.assert_allclose(getattr(fit, name)[:3], getattr(alone, name), atol=1e-12)


def test_a_joint_that_only_one_subject_has_is_not_compared():
    frames = Frames(subjects=3, sequences=6, offset=0.02)
    frames.joints[frames.subject > 0, 1] = np.nan
    frames.joints[frames.subject == 2, 2] = np.nan
    fit = frames.fit()
    assert fit.has_offset.tolist() == [[1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1]]
    np.testing.assert_array_equal(fit.is_tested, fit.has_offset)
    assert fit.n_groups.tolist() == [[6, 6, 6, 6], [6, 0, 6, 6], [6, 0, 0, 6]]
    np.testing.assert_allclose(fit.estimates[:2, 2].sum(0), 0, atol=1e-12)
    assert not fit.estimates[:, 1].any() and not fit.estimates[2, 2].any()


def _coverage(num_sequences, runs):
    """Return how often ellipses hold the true offset of the first subject, in two coordinates.

    Offsets are means of normal sequence means less the mean over subjects, as with one vertex.
    """
    rng = np.random.default_rng(0)
    groups = np.arange(max(num_sequences))[:, None] < np.array(num_sequences)  # (K, S)
    values = np.where(groups[..., None], rng.normal(0, 1, (runs, *groups.shape, 3)), 0.0)
    values = values @ rng.normal(0, 1, (3, 3))
    total, count = values.sum(1), groups.sum(0)[:, None]
    left = np.maximum(count - groups[..., None], 1)  # (K, S, 1)
    own = (total[:, None] - values) / left  # (runs, K, S, 3), means without each group
    hits = 0
    for mean, replicates in zip(total / count, own, strict=True):
        has_labels = groups[:, :, None]
        dof = dof_of_differences(replicates[:, :, None], has_labels)
        used = [s for s, number in enumerate(num_sequences) if number > 1]
        relative = replicates - replicates[:, used].mean(1, keepdims=True)
        covariance = JackknifeCovariance.of_replicates(relative[:, :, None], dof)
        offset = (mean - mean[used].mean(0))[0, [0, 2]]
        plane = covariance.covariance[0, 0][np.ix_([0, 2], [0, 2])]
        long, short, angle = confidence_ellipse(plane, dof[0, 0])
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        along, across = offset @ [c, s], offset @ [-s, c]
        hits += (2 * along / long) ** 2 + (2 * across / short) ** 2 <= 1
    return hits / runs


@pytest.mark.parametrize('num_sequences', [(4, 4, 4), (6,) * 5, (16,) * 5, (16, 16, 1)])
def test_ellipses_hold_the_true_offset_at_their_level(num_sequences):
    coverage = _coverage(num_sequences, runs=1500)
    spread = 4 * np.sqrt(0.95 * 0.05 / 1500)
    assert 0.95 - spread <= coverage <= 0.95 + spread, coverage


@pytest.mark.parametrize('num_sequences', [(16, 16, 16, 16, 3), (16, 5, 4)])
def test_where_subjects_have_few_sequences_ellipses_are_not_too_small(num_sequences):
    coverage = _coverage(num_sequences, runs=1500)
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 1500) <= coverage < 0.995, coverage


def test_a_joint_is_tested_with_the_sequences_in_which_it_is_labeled():
    frames = Frames(subjects=2, sequences=20, frames=2, offset=0.02, noise=0.01)
    frames.joints[(frames.subject == 0) & (frames.sequence >= 5), 1] = np.nan
    frames.joints[(frames.subject == 1) & (frames.sequence >= 3), 1] = np.nan
    regressor = JointRegressor(torch.from_numpy(frames.true), NAMES, 'toy')
    result = estimate_label_offsets(frames.batches(), regressor, None)
    offset, covariance = result.estimates[:, 1], result.covariance[:, 1]
    t_squared = offset[0] @ np.linalg.solve(covariance[0], offset[0])
    assert result.pvalues[0, 1] == pytest.approx(stats.f.sf(t_squared * 2 / 12, 3, 2))
    assert np.isnan(result.pvalues[1, 1])
    assert np.isfinite(result.pvalues[:, [0, 2, 3]]).all()


def _false_alarms(num_sequences, runs=60):
    """Return the share of data sets without offsets in which a test at 5 % finds any."""
    flagged = 0
    for seed in range(runs):
        frames = Frames(
            seed, subjects=len(num_sequences), sequences=max(num_sequences), frames=2,
            num_vertices=2, noise=0.002, sequence_noise=0.01,
        )  # fmt: skip
        keep = frames.sequence < np.array(num_sequences)[frames.subject]
        fit = fit_label_offsets(
            frames.batches(keep=keep), NAMES, None, body_model='toy', alpha=0.05, min_offset=0.0,
            max_vertex_distance=np.inf,
        )  # fmt: skip
        flagged += bool(fit.significant.any())
    return flagged / runs


@pytest.mark.slow
@pytest.mark.parametrize(
    'num_sequences', [(20, 4), (20, 2), (20, 4, 4), (15, 15, 15, 15, 2), (15, 15, 15, 1)]
)
def test_subjects_with_few_sequences_raise_no_more_false_alarms(num_sequences):
    assert _false_alarms(num_sequences) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_with_three_sequences_nothing_can_be_tested():
    fit = Frames(offset=0.1, sequences=3).fit()
    assert np.isnan(fit.pvalues).all() and not fit.significant.any()
    assert not fit.offsets.values.any()


def test_offsets_below_the_minimum_or_not_significant_are_zero():
    frames = Frames(offset=0.02, sequences=12, noise=0.01)
    fit = frames.fit(min_offset=0.03)
    length = np.linalg.norm(fit.estimates, axis=-1)
    assert 0 < fit.significant.sum() < fit.significant.size
    np.testing.assert_array_equal(
        fit.significant, (fit.adjusted_pvalues <= 0.01) & (length >= 0.03)
    )
    expected = np.where(fit.significant[..., None], fit.estimates, 0)
    np.testing.assert_array_equal(fit.offsets.values.numpy(), expected)


def test_sequences_are_dealt_evenly_within_subjects():
    subject = np.array([0, 1, 0, 0, 1, 0, 0])
    group = deal_sequences(subject, np.arange(7)[::-1], max_groups=3)
    assert np.bincount(group[subject == 0]).tolist() == [2, 2, 1]
    assert np.bincount(group[subject == 1]).tolist() == [1, 1]


def test_results_do_not_depend_on_batches_or_the_order_of_subjects():
    frames = Frames(offset=0.02, frames=40)
    once = frames.fit(tol=1e-6)
    split = fit_label_offsets(
        frames.batches(size=301), NAMES, None, body_model='toy', max_vertex_distance=np.inf
    )
    assert once.estimates.tobytes() == split.estimates.tobytes()
    assert once.covariance.tobytes() == split.covariance.tobytes()
    turned = Frames(offset=0.02, frames=40)
    for name in ('subject', 'sequence', 'vertices', 'rotations', 'joints'):
        setattr(turned, name, getattr(turned, name)[::-1].copy())
    reverse = turned.fit(tol=1e-9)
    assert reverse.offsets.subjects == once.offsets.subjects == ('S0', 'S1', 'S2')
    np.testing.assert_allclose(reverse.estimates, frames.fit().estimates, atol=1e-7)


def test_bad_frames_are_left_out():
    frames = Frames(offset=0.02, frames=10)
    expected = frames.fit(tol=1e-9)
    frames.vertices[17, 2] = np.nan
    with pytest.warns(UserWarning, match='left out 1 bad frames'):
        fit = frames.fit(tol=1e-9)
    assert list(fit.fit.bad_frames) == [17]
    assert fit.n_frames.tolist() == [49, 50, 50]
    assert np.abs(fit.estimates - expected.estimates).max() < 1e-3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(root='mean'), "root: found 'mean'"),
        (dict(alpha=0), 'alpha: found 0'),
        (dict(min_offset=-1), 'min_offset: found -1'),
        (dict(max_vertex_distance=0), 'max_vertex_distance: found 0'),
        (dict(max_vertex_distance=float('nan')), 'max_vertex_distance: found nan'),
        (dict(parts={'pelvis': 'pelvis'}), 'parts: found none for'),
        (dict(parts=dict.fromkeys(NAMES, 'nose')), r"parts: found \['nose'\]"),
    ],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Frames().fit(**options)


def test_an_iterator_and_a_single_subject_are_refused():
    frames = Frames(subjects=1)
    with pytest.raises(ValueError, match='found an iterator'):
        fit_label_offsets(iter(frames.batches()), NAMES, None)
    with pytest.raises(ValueError, match=r"subjects: found \['S0'\], expected at least two"):
        frames.fit()


def test_holm_is_the_step_down_procedure():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random((3, 4)) ** 3
        p[0, 1] = np.nan
        adjusted = holm(p)
        assert np.isnan(adjusted[0, 1])
        tested = np.sort(p[~np.isnan(p)])
        for alpha in (0.01, 0.05, 0.3):
            # Reject the smallest as long as each is at most alpha over the number that remain.
            number = 0
            while number < 11 and tested[number] <= alpha / (11 - number):
                number += 1
            rejected = set(tested[:number])
            assert {x for x in p.ravel() if x in rejected} == set(p[adjusted <= alpha])


def test_part_index_names_the_segment_that_carries_a_joint():
    expected = [SMPL_JOINTS.index(name) for name in ('pelvis', 'left_knee', 'right_shoulder')]
    assert list(part_index_of(['left_hip', 'left_ankle', 'right_elbow'])) == expected


@pytest.mark.parametrize('root', [None, 'pelvis'])
def test_offsets_from_a_fixed_regressor_are_mean_differences_in_the_parts_frame(root):
    frames = Frames(offset=0.02, subjects=2, sequences=6)
    frames.joints[3, 1] = np.nan
    regressor = JointRegressor(torch.from_numpy(frames.true), NAMES, 'toy')
    result = estimate_label_offsets(frames.batches(), regressor, root)
    difference = frames.joints - frames.true @ frames.vertices
    if root is not None:
        difference = difference - difference[:, [NAMES.index(root)]]
    inner = np.einsum('njab,nja->njb', frames.rotations[:, PARTS], difference)

    def means(keep):
        return np.stack([np.nanmean(inner[keep & (frames.subject == s)], 0) for s in range(2)])

    np.testing.assert_allclose(result.estimates, means(np.ones(len(inner), bool)), atol=1e-12)
    replicates = np.stack([means(frames.sequence != q) for q in range(6)])
    deviation = replicates - replicates.mean(0)
    expected = 5 / 6 * np.einsum('ksja,ksjb->sjab', deviation, deviation)
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-8, atol=1e-18)
    assert result.significant.any()
    again = estimate_label_offsets(iter(frames.batches(size=100)), regressor, root)
    np.testing.assert_allclose(again.estimates, result.estimates, atol=1e-14)


@pytest.mark.parametrize('root', [None, 'pelvis'])
def test_an_absurd_mesh_does_not_move_the_offsets_from_a_fixed_regressor(root):
    frames = Frames(offset=0.02, subjects=2, sequences=6)
    regressor = JointRegressor(torch.from_numpy(frames.true), NAMES, 'toy')
    good = np.arange(len(frames.joints)) != 3
    expected = estimate_label_offsets(frames.batches(keep=good), regressor, root)
    frames.vertices[3] *= 20
    with pytest.warns(BadFrameWarning, match='left out 1 bad frames of 48; frame 3: error of'):
        result = estimate_label_offsets(frames.batches(), regressor, root)
    np.testing.assert_allclose(result.estimates, expected.estimates, atol=1e-14)
    np.testing.assert_allclose(result.covariance, expected.covariance, atol=1e-18)
    assert result.n_frames.tolist() == expected.n_frames.tolist() == [23, 24]


def test_fixed_regressors_need_their_own_root_and_some_frames():
    frames = Frames()
    regressor = JointRegressor(torch.from_numpy(frames.true), NAMES, 'toy')
    with pytest.raises(ValueError, match="root: found 'mean'"):
        estimate_label_offsets(frames.batches(), regressor, 'mean')
    with pytest.raises(ValueError, match='no frames'):
        estimate_label_offsets([], regressor)
