"""Boxes of persons that the caller of an inferencer passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.geometry import MAX_PIXEL, padded_box, square_box


def check_boxes(boxes: Any, names: list[str] | None) -> dict[str, Array] | list[Array]:
    """Return boxes (N, 4) of each image, in order or by name.

    Raises:
        ValueError: A box is wrong, or the boxes do not match the images.
    """
    if isinstance(boxes, Mapping):
        checked = {str(name): _boxes(value, str(name)) for name, value in boxes.items()}
        for name in names or []:
            boxes_of(checked, name)
        return checked
    if not isinstance(boxes, (Sequence, np.ndarray)) or isinstance(boxes, str):
        raise ValueError(
            f'bboxes: found {type(boxes).__name__}, expected a list, or a dict by image name'
        )
    if names is not None and len(boxes) != len(names):
        raise ValueError(
            f'bboxes: found boxes of {len(boxes)} images, expected {len(names)}, one or a list of '
            'them for each image'
        )
    return [_boxes(value, f'image {number}') for number, value in enumerate(boxes)]


def _boxes(value: Any, where: str) -> Array:  # (N, 4)
    try:
        boxes = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'bboxes: {where}: found {value!r:.80}, expected numbers') from error
    if boxes.size == 0:
        return np.zeros((0, 4))
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(
            f'bboxes: {where}: found shape {boxes.shape}, expected (N, 4): x0, y0, x1, y1'
        )
    boxes = boxes[:, :4]
    if not ((np.abs(boxes) < MAX_PIXEL).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
        raise ValueError(
            f'bboxes: {where}: found {boxes.tolist()!r:.80}, expected x1 > x0 and y1 > y0, in '
            'pixels'
        )
    return boxes


def boxes_of(boxes: Mapping[str, Array], name: str) -> Array:  # (N, 4)
    """Return the boxes of an image.

    Raises:
        ValueError: It has none, not even an empty list.
    """
    if name not in boxes:
        raise ValueError(f'bboxes: found none for {name!r}; give an empty list for no person')
    return boxes[name]


def square_around(box: Array, padding: float) -> tuple[float, float, float, float]:
    """Return the square with a box's center, and with its longer side times ``padding``."""
    x0, y0, x1, y1 = (float(value) for value in box)
    square = square_box(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0))
    return padded_box(square, padding)
