"""Which labels enter a regressor fit, by their weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mmjrr.refinement.label_weights import WeightedLabels, smallest_weights


@pytest.mark.parametrize('seed', range(8))
def test_the_mean_of_the_labels_taken_has_the_smallest_variance(seed: int) -> None:
    """Reference: all subsets of eight labels."""
    weight = np.random.default_rng(seed).choice([0.01, 0.05, 0.2, 0.5, 0.8, 1.0], 8)
    taken = weight[weight >= smallest_weights(weight[:, None])[0]]
    variances = {
        subset: sum(1 / w for w in subset) / len(subset) ** 2
        for size in range(1, 9)
        for subset in itertools.combinations(weight.tolist(), size)
    }
    assert sum(1 / taken) / len(taken) ** 2 == pytest.approx(min(variances.values()))


@pytest.mark.parametrize('weight', [1.0, 0.3, 1e-6])
def test_labels_of_equal_weights_are_all_taken(weight: float) -> None:
    weights = np.full((5, 2), weight, np.float32)
    weights[2, 1] = 0
    labels = WeightedLabels(
        [dict(keypoints_3d_weight=weights[:3]), dict(keypoints_3d_weight=weights[3:])]
    )
    assert (labels.smallest == np.float32(weight)).all()
    assert (labels.left_out, labels.count) == (0, 9)


def test_labels_that_are_left_out_are_nan() -> None:
    weights = np.array([[1.0, 0.3, 0.0], [1.0, 0.3, 0.0], [0.3, 0.3, 0.0]], np.float32)
    batch = dict(keypoints_3d=np.ones((3, 3, 3), np.float32), keypoints_3d_weight=weights)
    labels = WeightedLabels([batch])
    assert str(labels) == 'left out 1 of 6 labels, whose weights are small'
    missing = torch.isnan(labels.of(batch))
    assert missing.all(-1).tolist() == [[False, False, True]] * 2 + [[True, False, True]]
    assert np.isfinite(batch['keypoints_3d']).all()  # a copy was changed
