"""Why label offsets could not be tested, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjrr.regressors.fitting.jackknife import MAX_GROUPS, MIN_DOF
from mmjrr.regressors.fitting.label_offsets_fit import LabelOffsetsEstimate


def untested_pairs(estimate: LabelOffsetsEstimate) -> str:
    """Say how many pairs of a subject and a joint could not be tested, and why.

    Joints that no subject has do not count.

    Returns:
        A sentence; empty if all pairs were tested.
    """
    labeled = estimate.n_groups.any(0)
    untested = ~estimate.is_tested & labeled
    if not untested.any():
        return ''
    names = np.array([name.replace('_', ' ') for name in estimate.offsets.joint_names])
    is_grouped = estimate.n_sequences.max() > MAX_GROUPS
    one, several = ('group of sequences', 'groups of sequences') if is_grouped else (
        'sequence', 'sequences'
    )  # fmt: skip
    reasons: dict[tuple[str, str], list[str]] = {}  # subjects by reason and joints
    for s, subject in enumerate(estimate.offsets.subjects):
        count = estimate.n_groups[s]
        few = count <= MIN_DOF
        alone = ~few & ~estimate.has_offset[s]
        uncertain = ~few & ~alone & (estimate.dof[s] < MIN_DOF)
        cases = [
            (f'{n} {one if n == 1 else several}' if n else 'no labels', few & (count == n))
            for n in np.unique(count[untested[s]]).tolist()
        ]
        cases += [('alone', alone), ('uncertain', uncertain)]
        cases += [('singular', ~few & ~alone & ~uncertain)]
        for reason, of_subject in cases:
            at = untested[s] & of_subject
            if at.any():
                all_joints = labeled if reason == 'no labels' else labeled & (count > 0)
                joints = '' if (at == all_joints).all() else _listed(names[at].tolist(), 3)
                reasons.setdefault((reason, joints), []).append(subject)
    listed = '; '.join(_reason(*key, subjects) for key, subjects in reasons.items())
    total = len(untested) * labeled.sum()
    found = (
        f'None of the {total} pairs of a subject and a joint could be tested'
        if not estimate.is_tested.any()
        else f'{untested.sum()} of {total} pairs could not be tested'
    )
    return (
        f'{found}, which takes labels in at least {MIN_DOF + 1} {several} of the subject: {listed}.'
    )


def _reason(reason: str, joints: str, subjects: list[str]) -> str:
    """Say why offsets of subjects are not tested at some joints; at all, if the text is empty."""
    listed = _listed(subjects)
    if reason == 'uncertain':
        return f'{listed} would be compared with too few sequences of other subjects' + (
            f' at {joints}' if joints else ''
        )
    if reason == 'singular':
        return f'the covariance of {listed} is singular' + (f' at {joints}' if joints else '')
    if reason == 'alone':
        return f'only {listed} has labels' + (f' of {joints}' if joints else '')
    link = ' of ' if reason == 'no labels' else ' with labels of '
    verb = 'has' if len(subjects) == 1 else 'have'
    return f'{listed} {verb} {reason}' + (f'{link}{joints}' if joints else '')


def _listed(names: Sequence[str], limit: int | None = None) -> str:
    """Join names; more than ``limit`` are counted.

    >>> _listed(['S1', 'S5', 'S6']), _listed(['head', 'thorax'], limit=1)
    ('S1, S5 and S6', '2 joints')
    """
    if limit is not None and len(names) > limit:
        return f'{len(names)} joints'
    return ' and '.join(filter(None, [', '.join(names[:-1]), *names[-1:]]))
