"""Weights of joint labels in regressor fits, where a label counts once or not at all.

The energy multiplies the squared error of a label by its weight, so weights are inverse variances
up to a factor. A regressor fit with a weight for each label would need a Gram matrix for each
pattern of weights. Instead, labels whose weight is too small are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array


def smallest_weights(weight: Array) -> Array:  # (N, J) -> (J,)
    """Return the smallest weight of each joint with which a label enters a regressor fit.

    Of the labels of a joint, those ``n`` of largest weights are taken whose mean has the smallest
    variance, ``sum(1 / w) / n**2``. Then a label is left out if its weight is less than about half
    the harmonic mean of the weights of the labels that are taken. Labels of equal weights are all
    taken.

    Args:
        weight: Weights of the labels of all frames. Labels without a positive weight are missing.

    Returns:
        Positive weights; infinity for a joint without labels.

    >>> smallest_weights(np.array([[1.0, 0.3], [0.7, 0.3], [0.02, 0.0]]))
    array([0.7, 0.3])
    """
    smallest = np.full(weight.shape[1], np.inf, weight.dtype)
    for joint, column in enumerate(weight.T):
        values, counts = np.unique(column[column > 0], return_counts=True)
        if not len(values):
            continue
        values, counts = values[::-1].astype(np.float64), counts[::-1]
        variance = (counts / values).cumsum() / counts.cumsum() ** 2
        best = len(values) - 1 - int(np.argmin(variance[::-1]))  # the last of equal ones
        smallest[joint] = values[best]
    return smallest


class WeightedLabels:
    """Labels that enter a regressor fit; the others are NaN.

    Args:
        batches: Batches of all frames with ``keypoints_3d`` (B, J, 3), meters, and
            ``keypoints_3d_weight`` (B, J).

    Attributes:
        smallest: (J,) the smallest weight of each joint, see :func:`smallest_weights`.
        left_out: Number of labels with a positive weight that are left out.
        count: Number of labels with a positive weight.
    """

    def __init__(self, batches: Iterable[Mapping[str, Array]]) -> None:
        weight = np.concatenate([np.array(batch['keypoints_3d_weight']) for batch in batches])
        self.smallest = smallest_weights(weight)
        self.count = int((weight > 0).sum())
        self.left_out = self.count - int((weight >= self.smallest).sum())

    def __str__(self) -> str:
        return f'left out {self.left_out} of {self.count} labels, whose weights are small'

    def of(self, batch: Mapping[str, Array]) -> Tensor:  # (B, J, 3)
        """Return a copy of a batch's labels, NaN where they are missing or left out."""
        joints = torch.from_numpy(batch['keypoints_3d']).clone()
        joints[torch.from_numpy(~(batch['keypoints_3d_weight'] >= self.smallest))] = float('nan')
        return joints
