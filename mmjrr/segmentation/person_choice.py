"""Choice of the annotated person among the people that a detector reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjrr.array_types import Array

#: Margin of the joints' box on each side, since head, hands and feet reach beyond the joints.
_MARGIN = 0.1


class Choice(NamedTuple):
    """Index of an instance, and its overlap with the annotated person (0 to 1)."""

    instance: int
    overlap: float


def choose_person(
    boxes: Array,  # (N, 4): x0, y0, x1, y1, pixels
    scores: Array,  # (N,)
    masks: Array | None = None,  # (N, h, w) uint8, 0 to 255
    joints: Array | None = None,  # (J, 2), pixels
    weights: Array | None = None,  # (J,): joints of weight 0 are not used
    box: Sequence[float] | None = None,  # x0, y0, x1, y1
) -> Choice | None:
    """Choose the instance that overlaps the annotated person most; ties go to the highest score.

    With joints, the overlap is the mean of two values: the fraction of joints on the instance's
    mask (or, without masks, in its box), and the IoU of its box with the joints' box, which has a
    margin of a tenth on each side. Without joints, it is the IoU with ``box``. Without either, the
    instance with the highest score is chosen with an overlap of 1.

    Returns:
        The choice, or None if there is no instance.

    >>> boxes = np.array([[0., 0, 10, 10], [20, 0, 30, 10]])
    >>> choose_person(boxes, np.array([0.9, 0.3]), joints=np.array([[22., 2], [28, 9]])).instance
    1
    """
    if not len(boxes):
        return None
    overlap = np.ones(len(boxes))
    if joints is not None:
        labeled = np.ones(len(joints), bool) if weights is None else np.asarray(weights) > 0
        joints = np.asarray(joints, dtype=np.float64)[labeled]
    if joints is not None and len(joints):
        inside = _in_boxes(boxes, joints) if masks is None else _on_masks(masks, joints)
        overlap = (inside.mean(1) + _iou(boxes, _wide_box(joints))) / 2
    elif box is not None:
        overlap = _iou(boxes, np.asarray(box, dtype=np.float64))
    index = int(np.lexsort((-np.asarray(scores), -overlap))[0])
    return Choice(index, float(overlap[index]))


def _in_boxes(boxes: Array, joints: Array) -> Array:  # (N, J) bool
    return ((joints >= boxes[:, None, :2]) & (joints <= boxes[:, None, 2:])).all(-1)


def _on_masks(masks: Array, joints: Array) -> Array:  # (N, J) bool
    height, width = masks.shape[1:]
    columns, rows = np.floor(joints).astype(int).T
    within = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    on = masks[:, rows.clip(0, height - 1), columns.clip(0, width - 1)] >= 128
    return on & within


def _wide_box(joints: Array) -> Array:  # (4,)
    low, high = joints.min(0), joints.max(0)
    margin = _MARGIN * (high - low).max()
    return np.concatenate([low - margin, high + margin])


def _iou(boxes: Array, box: Array) -> Array:  # (N,)
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)
