"""COCO annotations for training detectors, made from the masks of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.run_length import encode_rle
from mmjrr.io import atomic_write

if TYPE_CHECKING:
    from mmjrr.datasets import H36MFitsDataset


def write_coco(path: str | Path, dataset: H36MFitsDataset, margin: float = 0.0) -> int:
    """Write mask, box and area of one person per image as COCO annotations.

    Args:
        path: JSON file to write, whole or not at all; equal data give equal bytes.
        dataset: Dataset with a ``mask_file``. Frames whose mask is missing or empty are skipped.
        margin: Margin of boxes around masks on each side, relative to their longer side. A detector
            finds masks only within its boxes, so a detector trained on wide boxes does not cut off
            hands where a box is inaccurate. Default: 0.

    Returns:
        Number of images.

    Raises:
        ValueError: The dataset has no masks, or the margin is negative.
        DataError: The run-length code of a mask is damaged.
    """
    if dataset.masks is None:
        raise ValueError('mask_file: found None, expected a dataset with masks')
    if not margin >= 0:
        raise ValueError(f'margin: found {margin}, expected 0 or more')
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        name = dataset.imgname(index)
        if name not in dataset.masks:
            continue
        mask = np.asarray(dataset.masks[name]) >= 0.5
        if not mask.any():
            continue
        number = len(images) + 1
        height, width = mask.shape
        images.append({'id': number, 'file_name': name, 'height': height, 'width': width})
        people.append({
            'id': number,
            'image_id': number,
            'category_id': 1,
            'segmentation': {'size': [height, width], 'counts': encode_rle(mask).decode('ascii')},
            'bbox': _box(mask, margin),
            'area': int(mask.sum()),
            'iscrowd': 0,
        })  # fmt: skip
    content = {
        'images': images,
        'annotations': people,
        'categories': [{'id': 1, 'name': 'person'}],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, sort_keys=True) + '\n')
    return len(images)


def _box(mask: Array, margin: float) -> list[float]:
    """Return COCO's box within the image: x, y of the upper left corner, width, height (pixels)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]])
    high = np.array([columns[-1], rows[-1]]) + 1
    pixels = margin * (high - low).max()
    low = np.maximum(low - pixels, 0)
    high = np.minimum(high + pixels, mask.shape[::-1])
    return np.round([*low, *(high - low)], 2).tolist()
