"""Masks of a data set as the COCO annotations that detectors are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjrr.datasets.run_length import encode_rle
from mmjrr.io import atomic_write

if TYPE_CHECKING:
    from mmjrr.datasets import H36MFitsDataset


def write_coco(path: str | Path, dataset: H36MFitsDataset, margin: float = 0.0) -> int:
    """Write one person an image: mask, box, area.

    Args:
        path: JSON file to write, whole or not at all; equal data give equal bytes.
        dataset: With a ``mask_file``. Frames without a mask, or with an empty one, are left out.

        margin: By which boxes are wider than masks on each side, as a share of their longer side.
            A detector looks for the mask inside its box only, so that one which learns wide boxes
            cuts no hands off where it places them badly. Defaults to 0.

    Returns:
        The number of images written.

    Raises:
        ValueError: the data set has no masks, or the margin is negative.
        DataError: a mask's code is broken.
    """
    if dataset.masks is None:
        raise ValueError('the data set has no mask_file')
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


def _box(mask: np.ndarray, margin: float) -> list[float]:
    """COCO's box, inside the image: x, y of the upper left corner, width, height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]])
    high = np.array([columns[-1], rows[-1]]) + 1
    wider = margin * (high - low).max()
    low = np.maximum(low - wider, 0)
    high = np.minimum(high + wider, mask.shape[::-1])
    return np.round([*low, *(high - low)], 2).tolist()
