"""Differences of silhouettes and masks in the cells of a mask head.

These are operations of PyTorch, which run on any device. On a CPU, ``compare_in_cells`` of the
contour renderer has the same in compiled loops.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def mask_cells_energy(
    silhouette: Tensor,  # (B, H, W)
    cells: Tensor,  # (B, N, N)
    box: Tensor,  # (B, 4): x0, y0, x1, y1 in pixels
    weight: Tensor | None = None,  # (B, H, W)
    blur: float = 0.0,
) -> Tensor:  # (B,)
    r"""Sum squared differences in the cells of a mask head, and the silhouette outside its box.

    A mask head (He et al., Mask R-CNN, ICCV 2017) predicts one probability for each of N x N cells
    of a person's box. With :math:`s_c` the silhouette's mean over a cell of area :math:`a`, and
    :math:`o_p` the part of pixel :math:`p` outside the box, the energy is

    .. math:: \frac{1}{H W} \left( a \sum_c w_c (s_c - m_c)^2 + \sum_p o_p w_p s_p^2 \right)

    where :math:`w_c` is the weight's mean over the cell, 0 outside the image. It equals
    :func:`~mmjrr.rendering.silhouette_energy.silhouette_energy` at level 1 if the cells are pixels
    and the box is the image.

    A network that is not sure where an outline lies gives probabilities that rise slowly across it:
    the mean of the masks that it considers. Thin parts, such as hands, then have small
    probabilities, and a sharp silhouette would shrink away from them. With ``blur``, :math:`s_c` is
    the mean over neighboring cells too, with the weights of a normal distribution.

    Args:
        silhouette: Rendered coverage in [0, 1].
        cells: The mask's probabilities in the cells of the box, top row first.
        box: Box of the mask head, which may extend beyond the image.
        weight: Weight of each pixel. Default: None, 1.
        blur: Standard deviation, in cells, by which the silhouette is blurred. Default: 0.
    """
    height, width = silhouette.shape[1:]
    count = cells.shape[-1]
    rows = _cells_of_pixels(box[:, 1], box[:, 3], count, height)  # (B, N, H)
    columns = _cells_of_pixels(box[:, 0], box[:, 2], count, width)  # (B, N, W)
    inside = (rows.sum(1) * ((box[:, 3] - box[:, 1]) / count)[:, None])[:, :, None] * (
        columns.sum(1) * ((box[:, 2] - box[:, 0]) / count)[:, None]
    )[:, None]
    outside = 1 - inside
    if weight is None:
        cell_weight = rows.sum(2)[:, :, None] * columns.sum(2)[:, None]
    else:
        cell_weight = mask_in_cells(weight, box, count)
        outside = outside * weight
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / count**2
    if blur:
        spread = normal_weights(blur, count, rows.device, rows.dtype)
        rows, columns = spread @ rows, spread @ columns
    difference = rows @ silhouette @ columns.transpose(1, 2) - cells
    in_cells = area * (cell_weight * difference.square()).sum((1, 2))
    return (in_cells + (outside * silhouette.square()).sum((1, 2))) / (height * width)


def mask_in_cells(
    mask: Tensor,  # (B, H, W)
    box: Tensor,  # (B, 4)
    count: int,
) -> Tensor:  # (B, count, count)
    """Return the exact means of images over the cells of boxes; outside the image they are 0."""
    rows = _cells_of_pixels(box[:, 1], box[:, 3], count, mask.shape[1])
    columns = _cells_of_pixels(box[:, 0], box[:, 2], count, mask.shape[2])
    return rows @ mask @ columns.transpose(1, 2)


def _cells_of_pixels(start: Tensor, stop: Tensor, count: int, length: int) -> Tensor:
    """Return the part (B, count, length) of each of ``count`` equal cells that lies in a pixel."""
    steps = torch.arange(count + 1, dtype=start.dtype, device=start.device) / count
    edges = start[:, None] + (stop - start)[:, None] * steps
    left = torch.arange(length, dtype=start.dtype, device=start.device)
    overlap = torch.minimum(edges[:, 1:, None], left + 1) - torch.maximum(edges[:, :-1, None], left)
    return overlap.clamp_min(0) / (edges[:, 1:, None] - edges[:, :-1, None])


@lru_cache
def normal_weights(
    deviation: float, count: int, device: torch.device, dtype: torch.dtype
) -> Tensor:  # (count, count)
    """Return what each of ``count`` cells takes from each; beyond the edges everything is 0.

    The weights are copied to a device once, since a copy makes the host wait.
    """
    steps = torch.arange(1 - count, count, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / deviation).square())
    weights /= weights.sum()
    cells = torch.arange(count)
    return weights[cells[:, None] - cells + count - 1].to(device, dtype)
