"""Bootstrap intervals against SciPy's bootstrap and closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from mmjrr.evaluation.uncertainty import bootstrap_means, cluster_sums, error_intervals


def clustered(
    seed: int, clusters: int, frames: tuple[int, int] = (3, 30)
) -> tuple[np.ndarray, np.ndarray]:
    """Return values whose clusters have means and sizes of their own, and the clusters."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(*frames, clusters))
    means = rng.normal(60, 5, clusters)
    return means[cluster] + rng.normal(0, 3, len(cluster)), cluster


def test_interval_of_one_subject_is_scipys() -> None:
    values, cluster = clustered(0, 40)
    sums, counts = cluster_sums(values[:, None], cluster, 40)
    means, ends = bootstrap_means(sums, counts, np.zeros(40, dtype=np.int64))
    expected = stats.bootstrap(
        (sums[:, 0], counts[:, 0]),
        lambda s, n, axis=-1: s.sum(axis) / n.sum(axis),
        paired=True, vectorized=True, n_resamples=9999, method='percentile', random_state=1,
    )  # fmt: skip
    assert means[0] == pytest.approx(values.mean())
    # Quantiles of 9999 resamples differ by about 0.02 standard errors.
    tolerance = 0.08 * expected.standard_error
    assert ends[0, 0] == pytest.approx(expected.confidence_interval.low, abs=tolerance)
    assert ends[0, 1] == pytest.approx(expected.confidence_interval.high, abs=tolerance)


def test_interval_of_several_subjects_has_the_closed_forms_width() -> None:
    """With equal clusters the variance is a sum over subjects of population variances."""
    rng = np.random.default_rng(0)
    stratum = np.repeat([0, 1, 2], [50, 80, 120])
    sums = rng.normal([[60.0], [90.0], [40.0]], [[4.0], [10.0], [2.0]])[stratum]
    sums = sums + rng.normal(0, 1, (250, 1)) * np.array([4.0, 10.0, 2.0])[stratum][:, None]
    _, ends = bootstrap_means(sums, np.ones_like(sums), stratum)
    variance = sum(
        (stratum == s).sum() * sums[stratum == s].var() for s in range(3)
    ) / 250**2  # fmt: skip
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    np.testing.assert_allclose(ends[0], sums.mean() + np.array([-half, half]), atol=0.05 * half)


def test_intervals_contain_the_truth_at_about_their_level() -> None:
    inside = 0
    for seed in range(200):
        values, cluster = clustered(seed, 30, frames=(5, 6))
        sums, counts = cluster_sums(values[:, None], cluster, 30)
        _, ends = bootstrap_means(sums, counts, np.arange(30) % 2, n_resamples=999)
        inside += ends[0, 0] <= 60 <= ends[0, 1]
    assert 175 <= inside <= 198  # 190 are expected; the percentile method is slightly narrow


def test_errors_common_to_two_regressors_cancel_in_their_difference() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(60, 20, 400)
    errors = {
        name: dict(mpjpe=shared + shift, pa_mpjpe=shared + shift)
        for name, shift in (('J_std', 0.0), ('J_opt', rng.normal(-0.1, 0.2, 400)))
    }
    labels = [dict(subject=f'S{i % 2}', sequence=f'S{i % 2}_{i // 20}') for i in range(400)]
    intervals = error_intervals('paper', errors, labels)
    assert [(i.error, i.regressor, i.reference) for i in intervals] == [
        (error, *names)
        for error in ('mpjpe', 'pa_mpjpe')
        for names in (('J_std', None), ('J_opt', None), ('J_opt', 'J_std'))
    ]
    own, difference = intervals[1], intervals[2]
    expected = errors['J_opt']['mpjpe'] - errors['J_std']['mpjpe']
    assert difference.value == pytest.approx(expected.mean())
    assert difference.low < difference.value < difference.high < 0
    assert difference.high - difference.low < 0.05 * (own.high - own.low)
    assert (own.sequences, own.subjects) == (40, 2)
    assert json.dumps([vars(i) for i in intervals]) == json.dumps(
        [vars(i) for i in error_intervals('paper', errors, labels)]
    )


def test_frames_without_an_error_do_not_count() -> None:
    values, cluster = clustered(3, 10)
    holes = values.copy()
    holes[::4] = np.nan
    kept = ~np.isnan(holes)
    with_holes = cluster_sums(holes[:, None], cluster, 10)
    without = cluster_sums(values[kept, None], cluster[kept], 10)
    for estimate, expected in zip(with_holes, without, strict=True):
        np.testing.assert_array_equal(estimate, expected)
    means, ends = bootstrap_means(np.zeros((4, 1)), np.zeros((4, 1)), np.zeros(4, dtype=int))
    assert np.isnan(means).all() and np.isnan(ends).all()


@pytest.mark.parametrize(
    'missing', ['subject', 'sequence', 'second sequence', "another subject's second sequence"]
)
def test_without_sequences_there_are_no_intervals(missing: str) -> None:
    labels = [dict(subject='S1', sequence=f'S1_{i % 3}') for i in range(9)]
    if missing == 'second sequence':
        labels = [dict(subject='S1', sequence='S1_0')] * 9
    elif missing == "another subject's second sequence":
        labels[4] = dict(subject='S5', sequence='S5_0')
    else:
        labels[4] = {**labels[4], missing: None}
    ones = np.ones(9)
    errors = {'J': dict(mpjpe=ones, pa_mpjpe=ones)}
    assert error_intervals('paper', errors, labels) == []


def test_a_mean_whose_errors_are_of_one_sequence_of_a_subject_has_no_interval() -> None:
    labels = [dict(subject=f'S{i % 2}', sequence=f'S{i % 2}_{i // 10}') for i in range(40)]
    errors = dict(mpjpe=np.arange(40.0), pa_mpjpe=np.arange(40.0))
    errors['pa_mpjpe'][11::2] = np.nan  # the second subject has errors in its first sequence
    intervals = error_intervals('paper', {'J': errors}, labels)
    assert [interval.error for interval in intervals] == ['mpjpe']
    errors['pa_mpjpe'][1::2] = np.nan  # it has no errors, so that it is not part of the mean
    assert len(error_intervals('paper', {'J': errors}, labels)) == 2
