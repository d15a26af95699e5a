"""Bootstrap intervals of mean errors, and of their differences between regressors.

Errors of neighboring frames, and of the views of one moment, are not independent; sequences are. An
interval is made from sums and numbers of errors of each sequence, without going back to the frames:

1. For each subject, draw as many of its sequences as it has, with replacement. Subjects are not
   drawn: Human3.6M has two test subjects, and an interval cannot tell how other people would do.
2. Divide the sum of all drawn sequences' errors by their number.
3. Repeat this :data:`N_RESAMPLES` times; the interval lies between percentiles of the results
   (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

A difference between two regressors is that of each frame's errors, so that what both share cancels.

If a subject has errors in one sequence only, every draw is that sequence, and nothing tells how its
errors vary. There is no interval then, as the other subjects' part alone is too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmjrr.array_types import Array, FloatArray, IndexArray
from mmjrr.io.mapped import release

from .protocols import FrameLabels

N_RESAMPLES = 9999
CONFIDENCE_LEVEL = 0.95
_SEED = 0
#: Resamples whose weights are in memory at a time.
_BLOCK = 512
#: Frames whose errors are added at a time.
_PIECE = 1 << 16

#: Errors with intervals, as :class:`~mmjrr.evaluation.protocols.FrameErrors` names them.
INTERVAL_ERRORS = ('mpjpe', 'pa_mpjpe')


@dataclass(frozen=True)
class ErrorInterval:
    """Bootstrap interval of a mean error, or of a difference of mean errors, in mm.

    Attributes:
        protocol: Name of the protocol.
        error: ``'mpjpe'`` or ``'pa_mpjpe'``.
        regressor: Name of the regressor.
        reference: Name of the regressor whose error is subtracted frame by frame; None for the
            error itself.
        value: The mean over all frames.
        low: Lower end of the interval.
        high: Upper end.
        sequences: Number of sequences from which resamples are drawn.
        subjects: Number of subjects of these sequences.
        confidence_level: Confidence level of the interval.
    """

    protocol: str
    error: str
    regressor: str
    reference: str | None
    value: float
    low: float
    high: float
    sequences: int
    subjects: int
    confidence_level: float = CONFIDENCE_LEVEL


def error_intervals(
    protocol: str, errors: Mapping[str, Mapping[str, Array]], labels: Sequence[FrameLabels]
) -> list[ErrorInterval]:
    """Compute intervals of MPJPE and PA-MPJPE and of their differences from the first regressor.

    Args:
        protocol: Name of the protocol.
        errors: By regressor, ``mpjpe`` (N,) and ``pa_mpjpe`` (N,) of the frames, in mm.
        labels: Subject and sequence of each frame.

    Returns:
        For each error, the regressors' intervals, then those of the differences. Empty if a frame
        has no subject or sequence. A mean has no interval if a subject has errors in one sequence
        only.
    """
    keys = ((frame.get('subject'), frame.get('sequence')) for frame in labels)
    number: dict[tuple[str | None, str | None], int] = {}
    key_numbers = np.fromiter(
        (number.setdefault(k, len(number)) for k in keys), np.int64, len(labels)
    )
    if not number or any(label is None for key in number for label in key):
        return []
    clusters = sorted((str(subject), str(sequence)) for subject, sequence in number)
    place = {key: index for index, key in enumerate(clusters)}
    cluster = np.array([place[str(key[0]), str(key[1])] for key in number])[key_numbers]
    subjects = sorted({subject for subject, _ in clusters})
    stratum = np.array([subjects.index(subject) for subject, _ in clusters])
    if np.bincount(stratum).max() < 2:
        return []
    intervals = []
    for error in INTERVAL_ERRORS:
        values = {name: np.asarray(of_frames[error]) for name, of_frames in errors.items()}
        first = next(iter(values))
        columns: list[tuple[str, str | None]] = [(name, None) for name in values]
        columns += [(name, first) for name in values if name != first]
        sums, counts = np.zeros((2, len(clusters), len(columns)))
        for start in range(0, len(labels), _PIECE):
            piece = slice(start, start + _PIECE)
            of_piece = [
                values[name][piece] - (0 if reference is None else values[reference][piece])
                for name, reference in columns
            ]
            for total, part in zip(
                (sums, counts),
                cluster_sums(np.stack(of_piece, 1), cluster[piece], len(clusters)),
                strict=True,
            ):
                total += part
            release(*values.values())
        means, ends = bootstrap_means(sums, counts, stratum)
        n_sequences = np.zeros((len(subjects), len(columns)))
        np.add.at(n_sequences, stratum, counts > 0)
        is_varied = (n_sequences != 1).all(0)
        for index, (name, reference) in enumerate(columns):
            if is_varied[index] and np.isfinite(ends[index]).all():
                intervals.append(
                    ErrorInterval(
                        protocol, error, name, reference, float(means[index]),
                        float(ends[index, 0]), float(ends[index, 1]), len(clusters), len(subjects),
                    )
                )  # fmt: skip
    return intervals


def cluster_sums(
    values: FloatArray, cluster: IndexArray, n_clusters: int
) -> tuple[FloatArray, FloatArray]:
    """Sum the values (N, K) that are not NaN in each cluster.

    Args:
        values: (N, K)
        cluster: (N,) number of each row's cluster.
        n_clusters: Number C of clusters.

    Returns:
        Sums (C, K), and the numbers of summed values (C, K).
    """
    defined = ~np.isnan(values)
    sums, counts = np.zeros((2, n_clusters, values.shape[1]))
    np.add.at(sums, cluster, np.where(defined, values, 0.0))
    np.add.at(counts, cluster, defined.astype(np.float64))
    return sums, counts


def bootstrap_means(
    sums: FloatArray,
    counts: FloatArray,
    stratum: IndexArray,
    *,
    n_resamples: int = N_RESAMPLES,
    confidence_level: float = CONFIDENCE_LEVEL,
    random_state: int = _SEED,
) -> tuple[FloatArray, FloatArray]:
    """Bootstrap means from sums of clusters, drawn with replacement within strata.

    Args:
        sums: (C, K) sum of the values of each cluster, for K quantities.
        counts: (C, K) numbers of values.
        stratum: (C,) number of each cluster's stratum.
        n_resamples: Number of resamples. Default: :data:`N_RESAMPLES`.
        confidence_level: Confidence level of the intervals. Default: 0.95.
        random_state: Seed. Default: 0.

    Returns:
        Means (K,), and the ends of their intervals (K, 2); NaN where there are no values.
    """
    rng = np.random.default_rng(random_state)
    members = [np.nonzero(stratum == s)[0] for s in np.unique(stratum)]
    resampled = np.empty((n_resamples, sums.shape[1]))
    with np.errstate(invalid='ignore', divide='ignore'):
        means = sums.sum(0) / counts.sum(0)
        for start in range(0, n_resamples, _BLOCK):
            size = min(_BLOCK, n_resamples - start)
            weight = np.zeros((size, len(sums)))
            for rows in members:
                weight[:, rows] = rng.multinomial(
                    len(rows), np.full(len(rows), 1 / len(rows)), size
                )
            resampled[start : start + size] = (weight @ sums) / (weight @ counts)
    tail = 50 * (1 - confidence_level)
    ends = np.full((sums.shape[1], 2), np.nan)
    for k in np.nonzero(np.isfinite(means))[0]:
        defined = resampled[:, k][np.isfinite(resampled[:, k])]
        ends[k] = np.percentile(defined, [tail, 100 - tail])
    return means, ends
