"""Crops of masks by exact area averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from mmjrr.array_types import Array


def area_average_crop(
    mask: Array,  # (h, w)
    box: Sequence[float] | Array,  # x0, y0, x1, y1, pixels
    size: tuple[int, int],  # (height, width) of the crop
) -> Array:  # (height, width), float32 (float64 for a float64 mask)
    """Crop and resize a mask; each pixel of the crop is the exact mean over the area it covers.

    Mask pixel (row 0, column 0) covers [0, 1) x [0, 1); outside the image the mask is 0. Means
    over rectangles are separable, so two products with sparse matrices compute them. (NumPy's dense
    products are slower: in each worker process of a data loader they use all cores.) No value of
    the crop exceeds the mask's maximum.

    Raises:
        ValueError: The mask is not 2D, or ``box`` or ``size`` has no area.

    >>> area_average_crop(np.eye(2), (0.0, 0.0, 3.0, 2.0), (1, 2))
    array([[0.5       , 0.16666667]])
    """
    mask = np.asarray(mask)
    x0, y0, x1, y1 = (float(value) for value in box)
    if mask.ndim != 2:
        raise ValueError(f'mask: found shape {mask.shape}, expected (h, w)')
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise ValueError(f'box: found {(x0, y0, x1, y1)}, expected x1 > x0 and y1 > y0')
    if min(size) <= 0:
        raise ValueError(f'size: found {size}, expected a positive (height, width)')
    dtype = np.float64 if mask.dtype == np.float64 else np.float32
    rows, columns = _overlap(y0, y1, mask.shape[0]), _overlap(x0, x1, mask.shape[1])
    covered: Array = mask[rows, columns].astype(dtype)
    row_means = _cell_weights(y0, y1, size[0], rows).astype(dtype) @ covered
    means = _cell_weights(x0, x1, size[1], columns).astype(dtype) @ row_means.T
    # Rounding can make weights add up to slightly more than one.
    return np.minimum(np.ascontiguousarray(means.T), covered.max(initial=0))


def _cell_weights(start: float, stop: float, count: int, pixels: slice) -> csr_array:
    """Return the fraction (count, pixels) of each of ``count`` equal cells in each pixel."""
    number = pixels.stop - pixels.start
    edges = start + (stop - start) * np.arange(count + 1) / count
    first = np.clip(np.floor(edges[:-1]).astype(np.int64) - pixels.start, 0, number)
    last = np.clip(np.ceil(edges[1:]).astype(np.int64) - pixels.start, first, number)
    ends = np.cumsum(last - first)
    cell = np.repeat(np.arange(count), last - first)
    pixel = np.arange(len(cell)) - (ends - last)[cell]
    left = pixel + float(pixels.start)
    overlap = np.minimum(edges[cell + 1], left + 1) - np.maximum(edges[cell], left)
    weights = np.clip(overlap, 0, None) * (count / (stop - start))
    return csr_array((weights, pixel, np.append(0, ends)), shape=(count, number))


def _overlap(start: float, stop: float, length: int) -> slice:
    """Return the pixels along one axis of an image that an interval overlaps."""
    first = int(np.clip(np.floor(start), 0, length))
    return slice(first, int(np.clip(np.ceil(stop), first, length)))
