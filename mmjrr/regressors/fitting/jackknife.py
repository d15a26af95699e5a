"""Covariance of label offsets by a jackknife over groups of sequences, and tests.

Neighboring frames are not independent, sequences are. The sequences of each subject are dealt to K
groups, and the joint fit is repeated K times, each time without one group (delete-a-group
jackknife; Kott, Journal of Official Statistics 2001). With the offsets ``o_k`` of these fits,

    V = (K - 1) / K sum_k (o_k - mean) (o_k - mean)^T

is the covariance of the offsets with errors clustered by sequence. Each fit chooses its own nonzero
weights. A sandwich formula, which keeps them fixed, is too small: in simulations without offsets it
declares 10% of a joint's offsets significant at the level 1e-4.

**Degrees of freedom.** A mean over a subject's own frames has one degree of freedom less than there
are groups with labels of that subject and joint. In the joint fit, offsets are differences of a
subject's mean and the mean over the subjects, so that the error of a weakly observed subject is
part of all offsets. With the part ``V_t`` of subject ``t`` in the trace of ``V``, and the set
``G_t`` of its groups, ``V`` is a sum of squares ``|d|^2`` of which ``d`` has the covariance
``sum_t V_t C_t / n_t``. Here ``C_t`` is the projection that subtracts the mean over ``G_t`` and
drops the other groups, and ``n_t = |G_t| - 1``. A chi-squared distribution with the mean and the
variance of ``|d|^2`` has

    dof = 2 mean^2 / variance = (sum_t V_t)^2 / sum_tu V_t V_u tr(C_t C_u) / (n_t n_u),

    tr(C_t C_u) = m - m / |G_t| - m / |G_u| + m^2 / (|G_t| |G_u|),    m = |G_t and G_u|

degrees of freedom (Satterthwaite, Biometrics Bulletin 1946; without common groups, the denominator
is his ``sum_t V_t^2 / n_t``). If all subjects have the same groups it is ``n_t``. An offset never
gets more than ``n_t`` of its own subject, and of two subjects, whose offsets are opposite, both get
the smaller one. Hotelling's test with such degrees of freedom is that of Nel and van der Merwe
(Communications in Statistics 1986).

**Subjects with one group.** The variance of a subject's mean is unknown if all its labels of a
joint are in one group. As part of the mean over the subjects it would make the variance of all
offsets unknown. That mean is therefore over the subjects with at least two groups
(:func:`subjects_of_mean`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, fdtri

from mmjrr.array_types import BoolArray, FloatArray, IndexArray

#: Largest number of groups.
MAX_GROUPS = 20

#: Smallest degrees of freedom with which an offset, of three coordinates, can be tested.
MIN_DOF = 3


def deal_sequences(
    subject_of_sequence: IndexArray, order: IndexArray, max_groups: int = MAX_GROUPS
) -> IndexArray:
    """Deal the sequences of each subject to groups in turn.

    Args:
        subject_of_sequence: (N,) number of each sequence's subject.
        order: (N,) permutation in which sequences are dealt.
        max_groups: Largest number of groups. Default: :data:`MAX_GROUPS`.

    Returns:
        (N,) group of each sequence. There are as many groups as a subject has sequences, at most
        ``max_groups``.
    """
    num_groups = min(int(np.bincount(subject_of_sequence).max()), max_groups)
    group = np.empty(len(order), dtype=np.int64)
    for subject in np.unique(subject_of_sequence):
        of_subject = order[subject_of_sequence[order] == subject]
        group[of_subject] = np.arange(len(of_subject)) % num_groups
    return group


def subjects_of_mean(has_labels: BoolArray) -> BoolArray:
    """Return the subjects (S, J) over which the mean of a joint's offsets is zero.

    These are the subjects with labels in at least two groups; or all with labels, if there are
    fewer than two such subjects.

    Args:
        has_labels: (K, S, J) whether each group has labels of a subject and joint.
    """
    has_two = has_labels.sum(0) >= 2
    result: BoolArray = np.where(has_two.sum(0) >= 2, has_two, has_labels.any(0))
    return result


def dof_of_means(has_labels: BoolArray) -> FloatArray:
    """Return the degrees of freedom (S, J) of offsets that are means over their own subject.

    Args:
        has_labels: (K, S, J) whether each group has labels of a subject and joint.
    """
    return np.maximum(has_labels.sum(0) - 1.0, 0.0)


def dof_of_differences(means: FloatArray, has_labels: BoolArray) -> FloatArray:
    """Return the degrees of freedom (S, J) of subjects' means less the mean over subjects.

    Args:
        means: (K, S, J, 3) means of each subject without each group.
        has_labels: (K, S, J) whether each group has labels of a subject and joint.

    Returns:
        Zero for subjects with labels in a single group, whose variance is unknown; and for all
        subjects with a joint, if fewer than two of them have labels in several groups.
    """
    own = dof_of_means(has_labels)
    in_mean = subjects_of_mean(has_labels)
    variance = np.square(means - means.mean(0)).sum((0, 3))  # (S, J), up to a common factor
    result = np.zeros_like(own)
    for joint in range(own.shape[1]):
        (subjects,) = np.nonzero(in_mean[:, joint])
        if own[subjects, joint].all():
            groups = has_labels[:, subjects, joint].T.astype(float)
            result[subjects, joint] = _dof_of_joint(variance[subjects, joint], groups)
    return result


def _dof_of_joint(variance: FloatArray, groups: FloatArray) -> FloatArray:
    """Return the degrees of freedom (S,) of one joint's offsets.

    Args:
        variance: (S,) of each subject's mean.
        groups: (S, K) one for the groups with labels of a subject, else zero.
    """
    count = len(variance)
    size, common = groups.sum(1), groups @ groups.T
    own = size - 1
    trace = common * (1 - 1 / size - 1 / size[:, None] + common / np.outer(size, size))
    result = np.empty(count)
    for s in range(count):
        part = np.square((np.arange(count) == s) - 1 / count) * variance  # V_t
        limit = own.min() if count == 2 else own[s]
        spread = part @ (trace / np.outer(own, own)) @ part
        is_weaker = (own < limit).any() and spread > 0
        result[s] = min(limit, part.sum() ** 2 / spread) if is_weaker else limit
    return result


@dataclass
class JackknifeCovariance:
    """Covariances of offsets, and tests of whether an offset is zero.

    Attributes:
        covariance: (S, J, 3, 3) square meters.
        dof: (S, J) degrees of freedom of each covariance.
    """

    covariance: FloatArray
    dof: FloatArray

    @classmethod
    def of_replicates(cls, replicates: FloatArray, dof: FloatArray) -> JackknifeCovariance:
        """Compute the covariance from the offsets (K, S, J, 3) fitted without each group."""
        deviation = replicates - replicates.mean(0)
        factor = (len(replicates) - 1) / len(replicates)
        return cls(factor * np.einsum('ksja,ksjb->sjab', deviation, deviation), dof)

    def pvalues(self, offsets: FloatArray) -> FloatArray:
        """Test each offset (S, J, 3) by Hotelling's T².

        Returns:
            (S, J); NaN where the covariance is singular or has fewer than :data:`MIN_DOF` degrees
            of freedom.
        """
        result = np.full(offsets.shape[:2], np.nan)
        for s, j in np.ndindex(*result.shape):
            covariance, dof = self.covariance[s, j], float(self.dof[s, j])
            if dof < MIN_DOF or np.linalg.matrix_rank(covariance) < 3:
                continue
            t_squared = float(offsets[s, j] @ np.linalg.solve(covariance, offsets[s, j]))
            result[s, j] = fdtrc(3, dof - 2, t_squared * (dof - 2) / (3 * dof))
        return result


def confidence_ellipse(
    covariance: FloatArray, dof: float, confidence_level: float = 0.95
) -> tuple[float, float, float]:
    """Return the ellipse around an estimate in two dimensions that holds the true value.

    The squared radius in standard deviations is Hotelling's ``2 dof / (dof - 1) F``, where ``F`` is
    the quantile of the F distribution with 2 and ``dof - 1`` degrees of freedom. With a known
    covariance it would be that of a chi-squared distribution, which is smaller.

    Args:
        covariance: (2, 2) estimated covariance.
        dof: Its degrees of freedom, more than 1.
        confidence_level: Probability that the ellipse holds the true value. Default: 0.95.

    Returns:
        The longest and the shortest diameter, and the angle of the longest from the first axis to
        the second, degrees.

    >>> width, height, angle = confidence_ellipse(np.diag([4.0, 1.0]), 1e9)
    >>> round(width, 2), round(height, 2), round(abs(angle))
    (9.79, 4.9, 0)
    """
    values, vectors = np.linalg.eigh(covariance)
    radius = np.sqrt(2 * dof / (dof - 1) * fdtri(2, dof - 1, confidence_level))
    short, long = 2 * radius * np.sqrt(values.clip(min=0))
    return float(long), float(short), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
