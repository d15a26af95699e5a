"""Slow reference implementations of silhouettes, which draw every face."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def clipped_coverage(
    pixels: Tensor, faces: np.ndarray, height: int, width: int, closed: bool, supersampling: int
) -> Tensor:
    """Draw as the contour renderer does, (V, 2) float64 -> (H, W), differentiable.

    Each face is clipped to each pixel it may touch; areas of front- and back-facing faces are
    summed separately and clamped at one; open meshes show the larger. With supersampling k the
    result is the mean of k x k parts of each pixel.
    """
    if supersampling > 1:
        size = height * supersampling, width * supersampling
        fine = clipped_coverage(pixels * supersampling, faces, *size, closed, 1)
        return fine.view(height, supersampling, width, supersampling).mean((1, 3))
    layers = {True: {}, False: {}}
    for face in faces.tolist():
        triangle = [pixels[i] for i in face]
        front = float(_signed_area(triangle)) < 0
        low = torch.stack(triangle).min(0)[0].floor().long().tolist()
        high = torch.stack(triangle).max(0)[0].ceil().long().tolist()
        for row in range(max(low[1], 0), min(high[1], height)):
            for column in range(max(low[0], 0), min(high[0], width)):
                part = _clip_to_pixel(triangle, row, column)
                if len(part) > 2:
                    cell = layers[front]
                    cell[row, column] = cell.get((row, column), 0) + _signed_area(part).abs()
    zero = pixels.new_zeros(())
    result = []
    for cell in (layers[True], layers[False])[: 1 if closed else 2]:
        values = [
            torch.as_tensor(cell.get((row, column), zero)).clamp(max=1)
            for row in range(height)
            for column in range(width)
        ]
        result.append(torch.stack(values).view(height, width))
    return result[0] if closed else torch.maximum(*result)


def filled(pixels: np.ndarray, faces: np.ndarray, size: int, factor: int = 8) -> np.ndarray:
    """Return the share of ``factor`` x ``factor`` points a pixel that any face covers, (H, W).

    Points are the centers of the subpixels; each face is cut at each row of them.
    """
    fine = size * factor
    corners = pixels[faces] * factor - 0.5  # sample (i, j) at (i, j)
    corners = np.take_along_axis(corners, np.argsort(corners[..., 1], 1)[..., None], 1)
    top, middle, bottom = corners.transpose(1, 0, 2)
    first = np.ceil(top[:, 1]).clip(0, fine).astype(int)
    count = (np.floor(bottom[:, 1]).clip(-1, fine - 1).astype(int) - first + 1).clip(0)
    face = np.repeat(np.arange(len(faces)), count)
    row = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count) + first[face]
    top, middle, bottom = top[face], middle[face], bottom[face]
    upper = (row < middle[:, 1])[:, None]
    long_side = _x_at(row, top, bottom)
    short_side = _x_at(row, np.where(upper, top, middle), np.where(upper, middle, bottom))
    left = np.ceil(np.minimum(long_side, short_side)).clip(0, fine).astype(int)
    right = np.floor(np.maximum(long_side, short_side)).clip(-1, fine - 1).astype(int) + 1
    change = np.zeros((fine, fine + 1), np.int32)
    some = right > left
    np.add.at(change, (row[some], left[some]), 1)
    np.add.at(change, (row[some], right[some]), -1)
    inside = change.cumsum(1)[:, :fine] > 0
    return inside.reshape(size, factor, size, factor).mean((1, 3))


def _x_at(row: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    rise = end[:, 1] - start[:, 1]
    part = (row - start[:, 1]) / np.where(rise > 0, rise, 1)
    return start[:, 0] + part * (end[:, 0] - start[:, 0])


def _signed_area(polygon: list[Tensor]) -> Tensor:
    total = polygon[0].new_zeros(())
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        total = total + (ax * by - bx * ay) / 2
    return total


def _clip_to_pixel(polygon: list[Tensor], row: int, column: int) -> list[Tensor]:
    """Clip by Sutherland and Hodgman's algorithm against the pixel's four borders."""
    for axis, border, side in ((0, column, 1), (0, column + 1, -1), (1, row, 1), (1, row + 1, -1)):
        kept = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            inside_a, inside_b = side * (a[axis] - border), side * (b[axis] - border)
            if inside_a >= 0:
                kept.append(a)
            if (inside_a > 0 and inside_b < 0) or (inside_a < 0 and inside_b > 0):
                kept.append(a + (b - a) * (inside_a / (inside_a - inside_b)))
        polygon = kept
        if not polygon:
            break
    return polygon
