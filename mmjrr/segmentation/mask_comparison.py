"""Intersection over union (IoU) of masks with other masks of the same images."""

from __future__ import annotations

from typing import Any

from mmjrr.array_types import Array
from mmjrr.datasets.masks import Masks
from mmjrr.errors import DataError


def compare_masks(predicted: Masks, truth: Masks) -> dict[str, Any]:
    """Compute the IoU of predicted masks with true ones; soft masks are thresholded at one half.

    Returns:
        Dict with these keys:

        - ``frames``: number of images with a true mask.
        - ``missing``: number of these images without a predicted mask.
        - ``iou``: mean IoU over ``frames``, in which a missing mask counts as 0.
        - ``worst``: image with the lowest IoU among those with both masks.
        - ``worst_iou``: its IoU.

    Raises:
        DataError: Sizes differ, or no image has both masks.
    """
    ious: dict[str, float] = {}
    for key in truth.keys():
        if key in predicted:
            ious[key] = mask_iou(predicted[key], truth[key], key)
    if not ious:
        raise DataError(f'{predicted.paths[0]} and {truth.paths[0]} have no image in common')
    worst = min(ious, key=lambda key: ious[key])
    return dict(
        frames=len(truth),
        missing=len(truth) - len(ious),
        iou=sum(ious.values()) / len(truth),
        worst=worst,
        worst_iou=ious[worst],
    )


def mask_iou(first: Array, second: Array, name: str = 'masks') -> float:
    """Return the intersection over union of two masks (h, w); 1 if both are empty.

    Args:
        first: A mask; values from one half on are foreground.
        second: The other mask.
        name: Name of the image, for the error message.

    Raises:
        DataError: The shapes differ.
    """
    if first.shape != second.shape:
        raise DataError(
            f'{name}: found masks of shapes {first.shape} and {second.shape}, expected equal shapes'
        )
    first, second = first >= 0.5, second >= 0.5
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
