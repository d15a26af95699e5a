"""Bootstrap over subjects, against fits to frames that are repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import NAMES, random_frames
from scipy import stats

from mmjrr.regressors import GroupedBatch, fit_joint_regressor
from mmjrr.regressors.fitting.subject_bootstrap import SubjectBootstrap, bootstrap_over_subjects

SUBJECTS = 4
FRAMES = 30


def example(seed=0, noise=0.03, equal=False):
    vertices, joints, _ = random_frames(frames=SUBJECTS * FRAMES, noise=noise, seed=seed)
    if equal:
        vertices, joints = (np.tile(a[:FRAMES], (SUBJECTS, 1, 1)) for a in (vertices, joints))
    subject = np.repeat(np.arange(SUBJECTS), FRAMES)
    batches = [
        GroupedBatch(
            torch.from_numpy(vertices[rows]),
            torch.from_numpy(joints[rows]),
            torch.eye(3).expand(len(rows), 24, 3, 3),
            [f'S{s}' for s in subject[rows]],
            [f'S{s}' for s in subject[rows]],
        )
        for rows in np.array_split(np.arange(len(joints)), 7)
    ]
    return vertices, joints, subject, batches


def fit(vertices, joints, root, tol=1e-9):
    batch = (torch.from_numpy(vertices), torch.from_numpy(joints))
    return fit_joint_regressor(iter([batch]), NAMES, root, body_model='toy', tol=tol).regressor


@pytest.mark.parametrize('root', [None, 'pelvis', 'mean'])
def test_replicates_are_fits_to_the_frames_of_drawn_subjects(root):
    vertices, joints, subject, batches = example()
    regressor = fit(vertices, joints, root)
    mesh = torch.from_numpy(np.random.default_rng(9).normal(0, 0.3, (10, 3)))
    result = bootstrap_over_subjects(batches, regressor, mesh, root, n_resamples=6, tol=1e-9)
    draws = np.random.default_rng(0).multinomial(SUBJECTS, np.full(SUBJECTS, 1 / SUBJECTS), 6)
    for counts, replicate in zip(draws, result.replicates, strict=True):
        rows = np.concatenate(
            [np.tile(np.nonzero(subject == s)[0], count) for s, count in enumerate(counts)]
        )
        expected = (fit(vertices[rows], joints[rows], root).weight @ mesh).numpy()
        if root is not None:
            expected = expected - expected.mean(0)
        np.testing.assert_allclose(replicate, expected, atol=2e-5)


def test_interval_of_a_mean_is_scipys():
    """On an edge of length one, a joint's place is the mean of its labels'."""
    subjects, frames = 6, 4
    rng = np.random.default_rng(0)
    places = rng.uniform(0.3, 0.7, (subjects, 1)) + rng.normal(0, 0.05, (subjects, frames))
    vertices = np.zeros((subjects * frames, 2, 3))
    vertices[:, 1, 0] = 1
    labels = np.zeros((subjects * frames, 2, 3))
    labels[:, 0, 0] = places.ravel()
    labels[:, 1, 0] = 1 - places.ravel()
    names = [f'S{s}' for s in range(subjects) for _ in range(frames)]
    batch = GroupedBatch(
        torch.from_numpy(vertices), torch.from_numpy(labels),
        torch.eye(3).expand(len(names), 24, 3, 3), names, names,
    )  # fmt: skip
    regressor = fit_joint_regressor(
        iter([(batch.vertices, batch.joints)]), ('a', 'b'), None, body_model='toy', tol=1e-9
    ).regressor
    result = bootstrap_over_subjects(
        [batch], regressor, batch.vertices[0], None, n_resamples=999, tol=1e-9
    )
    of_subjects = places.mean(1)
    expected = stats.bootstrap(
        (of_subjects,), np.mean, n_resamples=9999, method='percentile', random_state=1
    )
    np.testing.assert_allclose(result.joints[:, 0], [places.mean(), 1 - places.mean()], atol=1e-6)
    atol = 0.1 * expected.standard_error
    np.testing.assert_allclose(result.interval()[0, 0], expected.confidence_interval, atol=atol)
    distances = np.abs(expected.bootstrap_distribution - of_subjects.mean())
    np.testing.assert_allclose(result.radius(), np.quantile(distances, 0.95), atol=atol)


@pytest.mark.parametrize(('subjects', 'lowest', 'highest'), [(5, 0.81, 0.90), (40, 0.92, 0.97)])
def test_few_subjects_have_a_radius_that_is_too_small(subjects, lowest, highest):
    """A bootstrap's variance is (S - 1) / S of the usual estimate, and knows no t distribution."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        of_subjects = rng.normal(0, 1, (subjects, 3))
        draws = rng.multinomial(subjects, np.full(subjects, 1 / subjects), 199) / subjects
        mean = of_subjects.mean(0)
        result = SubjectBootstrap(('a',), mean[None], (draws @ of_subjects)[:, None], subjects)
        covered.append(np.linalg.norm(mean) <= result.radius()[0])
    assert lowest < np.mean(covered) < highest


def test_equal_subjects_have_intervals_without_width():
    vertices, joints, _, batches = example(equal=True)
    mesh = torch.from_numpy(vertices[0])
    result = bootstrap_over_subjects(batches, fit(vertices, joints, None), mesh, None, tol=1e-9)
    assert result.n_subjects == SUBJECTS
    assert result.radius().max() < 1e-5
    assert np.ptp(result.interval(), axis=-1).max() < 1e-5


def test_intervals_grow_with_the_noise_and_hold_the_joints():
    widths = []
    for noise in (0.01, 0.03):
        vertices, joints, _, batches = example(noise=noise)
        mesh = torch.from_numpy(vertices[0])
        result = bootstrap_over_subjects(batches, fit(vertices, joints, None), mesh, None)
        interval = result.interval()
        inside = (interval[..., 0] <= result.joints) & (result.joints <= interval[..., 1])
        assert inside.mean() > 0.8
        widths.append(np.ptp(interval, axis=-1).mean())
    assert widths[1] > 2 * widths[0] > 0


@pytest.mark.parametrize('is_passed', [True, False])
def test_bad_frames_of_the_fit_are_left_out(is_passed):
    vertices, joints, _, batches = example()
    mesh = torch.from_numpy(vertices[1])
    regressor = fit(vertices, joints, None)
    labels = batches[0].joints[3].clone()
    batches[0].joints[3] = torch.nan  # the frame is dropped
    expected = bootstrap_over_subjects(batches, regressor, mesh, None, n_resamples=20)
    batches[0].joints[3] = labels
    batches[0].vertices[3] *= 30
    bad_frames = {3: 'absurd'} if is_passed else None
    result = bootstrap_over_subjects(
        batches, regressor, mesh, None, bad_frames=bad_frames, n_resamples=20
    )
    np.testing.assert_array_equal(result.replicates, expected.replicates)


@pytest.mark.parametrize('root', [None, 'pelvis', 'mean'])
def test_what_subjects_do_not_say_about_a_joint_is_nan(root):
    vertices, joints, subject, batches = example()
    mesh = torch.from_numpy(vertices[0])
    regressor = fit(vertices, joints, root)
    first = 0
    for batch in batches:
        of_batch = subject[first : first + len(batch.subjects)]
        first += len(of_batch)
        batch.joints[of_batch > 0, 1] = torch.nan  # one subject has it
        batch.joints[of_batch > 1, 2] = torch.nan  # two subjects have it
    result = bootstrap_over_subjects(batches, regressor, mesh, root, n_resamples=100)
    draws = np.random.default_rng(0).multinomial(SUBJECTS, np.full(SUBJECTS, 1 / SUBJECTS), 100)
    is_known = np.isfinite(result.replicates).all(-1)
    assert not is_known[:, 1].any() and np.isnan(result.radius()[1])
    assert 0 < is_known[:, 2].sum() < 100
    np.testing.assert_array_equal(is_known[:, 2], draws[:, :2].any(1))
    assert is_known[:, [0, 3]].all()
    assert np.isfinite(result.radius()[[0, 2, 3]]).all()
    assert np.isfinite(result.interval()[[0, 2, 3]]).all() and np.isnan(result.interval()[1]).all()


def test_one_subject_is_too_few():
    vertices, joints, _, batches = example()
    one = [
        GroupedBatch(b.vertices, b.joints, b.rotations, ['S1'] * len(b.subjects), b.sequences)
        for b in batches
    ]
    with pytest.raises(ValueError, match='expected at least two'):
        bootstrap_over_subjects(one, fit(vertices, joints, None), torch.zeros(10, 3), None)
