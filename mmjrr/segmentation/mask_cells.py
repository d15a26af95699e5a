"""The cells of a mask head: from probabilities in a box to pixels of the image, and back.

A mask head predicts one probability for each of N x N cells of a person's box. mmdet and
torchvision paste them into the image by bilinear interpolation between the centers of the cells,
with zeros beyond the outermost ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjrr.array_types import Array

#: Cells along each side of Mask R-CNN's mask head (He et al., ICCV 2017, Figure 4).
MASK_HEAD_CELLS = 28


def paste_cells(
    cells: Array,  # (N, N), 0 to 1
    box: Sequence[float] | Array,  # x0, y0, x1, y1, pixels
    size: tuple[int, int],  # (h, w) of the image
) -> Array:  # (h, w) float64
    """Interpolate the cells of a box at the centers of an image's pixels, as mmdet does.

    >>> paste_cells(np.array([[0.0, 1.0], [0.0, 1.0]]), (0, 0, 4, 4), (4, 4))[1].tolist()
    [0.0, 0.25, 0.75, 0.75]
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    rows = _interpolation((np.arange(size[0]) + 0.5 - y0) / (y1 - y0) * len(cells), len(cells))
    columns = _interpolation(
        (np.arange(size[1]) + 0.5 - x0) / (x1 - x0) * cells.shape[1], cells.shape[1]
    )
    pasted = rows @ cells @ columns.T
    inside_y = (np.arange(size[0]) + 1 > y0) & (np.arange(size[0]) < y1)
    inside_x = (np.arange(size[1]) + 1 > x0) & (np.arange(size[1]) < x1)
    return pasted * inside_y[:, None] * inside_x


def cells_of_pasted_mask(
    mask: Array,  # (h, w), 0 to 1
    box: Sequence[float] | Array,  # x0, y0, x1, y1, pixels
    count: int = MASK_HEAD_CELLS,
) -> Array:  # (count, count) float64
    """Recover the cells from a pasted soft mask, by interpolation at their centers.

    The error is that of the interpolation, which is small for boxes of at least two pixels a cell.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    centers = (np.arange(count) + 0.5) / count
    height, width = mask.shape
    rows = _interpolation(np.clip(y0 + (y1 - y0) * centers, 0.5, height - 0.5), height)
    columns = _interpolation(np.clip(x0 + (x1 - x0) * centers, 0.5, width - 0.5), width)
    return rows @ mask @ columns.T


def _interpolation(position: Array, count: int) -> Array:  # (P,) -> (P, count)
    """Return linear weights of samples whose centers are at 0.5, 1.5, ..."""
    distance = np.abs(position[:, None] - (np.arange(count) + 0.5))
    return np.clip(1 - distance, 0, None)
