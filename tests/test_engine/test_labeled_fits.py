"""Refined fits and labels: what is said of label offsets that could not be tested."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmjrr.engine.labeled_fits import untested_offsets
from mmjrr.regressors import LabelOffsets

NAMES = ('pelvis', 'left_knee', 'head')


def estimate(pvalues: list[list[float]], sequences: list[int]) -> Any:
    """Return the part of an estimate that tells what was tested."""
    subjects = [f'S{number}' for number in range(1, len(sequences) + 1)]
    return SimpleNamespace(
        offsets=LabelOffsets(subjects, NAMES, np.zeros((len(subjects), len(NAMES), 3))),
        pvalues=np.array(pvalues),
        n_sequences=np.array(sequences),
    )


def test_nothing_is_said_if_all_offsets_were_tested() -> None:
    assert untested_offsets(estimate([[np.nan, 0.1, 0.2]] * 2, [5, 4]), 'pelvis') == ''
    assert untested_offsets(estimate([[0.3, 0.1, 0.2]] * 2, [5, 4]), None) == ''


@pytest.mark.parametrize(
    ('pvalues', 'sequences', 'root', 'start', 'end'),
    [
        (
            [[np.nan] * 3] * 3,
            [5, 2, 1],
            None,
            '9 of 9 pairs',
            ': S2 has 2 sequences; S3 has 1 sequence',
        ),
        ([[np.nan] * 3] * 2, [5, 2], 'pelvis', '4 of 4 pairs', ': S2 has 2 sequences'),
        ([[0.5, np.nan, 0.1]] * 2, [9, 9], None, '2 of 6 pairs', 'sequences of the subject'),
    ],
)
def test_untested_offsets_are_counted_with_the_reason(
    pvalues: list[list[float]], sequences: list[int], root: str | None, start: str, end: str
) -> None:
    sentence = untested_offsets(estimate(pvalues, sequences), root)
    assert sentence.startswith(f'{start} of a subject and a joint could not be tested')
    assert sentence.endswith(end)
