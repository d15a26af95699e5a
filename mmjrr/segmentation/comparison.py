"""Agreement of masks with other masks of the same images."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjrr.datasets.masks import Masks
from mmjrr.errors import DataError


def compare_masks(found: Masks, truth: Masks) -> dict[str, Any]:
    """Measure the IoU of masks with true ones; soft masks are thresholded at one half.

    Returns:
        ``frames`` with a true mask; ``lacking``, how many of them have none in ``found`` and count
        as 0; ``iou``, the mean; ``worst``, its image, and ``worst_iou``, over those that are there.

    Raises:
        DataError: Sizes differ, or no image has both masks.
    """
    values: dict[str, float] = {}
    for key in truth.keys():
        if key in found:
            values[key] = mask_iou(found[key], truth[key], key)
    if not values:
        raise DataError(f'{found.paths[0]} and {truth.paths[0]} have no image in common')
    worst = min(values, key=lambda key: values[key])
    return dict(
        frames=len(truth),
        lacking=len(truth) - len(values),
        iou=sum(values.values()) / len(truth),
        worst=worst,
        worst_iou=values[worst],
    )


def mask_iou(first: np.ndarray, second: np.ndarray, name: str = 'masks') -> float:
    """Return the intersection over union of two masks (h, w); 1 if both are empty."""
    if first.shape != second.shape:
        raise DataError(f'{name}: found masks of {first.shape} and {second.shape}')
    first, second = first >= 0.5, second >= 0.5
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
