"""Refined fits and labels, to which a regressor and label offsets are fitted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.engine.labeled_fits import GroupedFits, untested_offsets
from mmjrr.regressors import LabelOffsets

NAMES = ('pelvis', 'left_knee', 'head')


def test_labels_of_small_weights_do_not_enter_the_fit_with_offsets() -> None:
    batch = dict(
        imgname=np.array(
            [f'S1/S1_Walking_1.54138969/S1_Walking_1.54138969_{n:06d}.jpg' for n in range(3)]
        ),
        keypoints_3d=np.ones((3, 17, 3), np.float32),
        keypoints_3d_weight=np.ones((3, 17), np.float32),
        global_orient=np.zeros((3, 3), np.float32),
        body_pose=np.zeros((3, 69), np.float32),
        betas=np.zeros((3, 10), np.float32),
        transl=np.zeros((3, 3), np.float32),
    )
    batch['keypoints_3d_weight'][1, 4] = 0.02
    (grouped,) = GroupedFits(lambda: iter([batch]), free_body())
    assert torch.isnan(grouped.joints).all(-1).nonzero().tolist() == [[1, 4]]


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
