"""The contour silhouette on a CPU: each image edge by edge, in loops that Numba compiles.

How it is drawn is told in :mod:`~mmjrr.rendering.contour`. An image's sums stay in the cache, rows
are summed from their first edge to their last, and all is computed in float64, whatever the
coordinates are. Importing this module imports Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import ceil, floor
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from mmjrr.rendering.contour.renderer import ContourSilhouette

#: Extents below this many pixels are taken as zero: the cuts of such an edge are at its ends. Not
#: imported from ``contour_torch``, as Numba's cache looks for changes in this file alone.
_TINY = 1e-20


class CompiledCoverage(torch.autograd.Function):
    """(B, V, 2) projected vertices -> (B, H, W) coverage."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, renderer: ContourSilhouette, tables: Tables) -> Tensor:
        k, (height, width) = renderer.supersampling, renderer.image_size
        planes = pixels.detach().transpose(1, 2).contiguous()  # as a body's vertices have them
        batch_size, layers = len(planes), renderer.num_layers
        weights = planes.new_empty(batch_size, layers, tables.edges.shape[1], dtype=torch.int8)
        shown = planes.new_empty(batch_size, layers, height * k, width * k, dtype=torch.bool)
        coverage = planes.new_empty(batch_size, height, width)
        _by_threads(
            _draw_images, batch_size, planes.numpy(), *tables, k,
            coverage.numpy(), weights.numpy(), shown.numpy(),
        )  # fmt: skip
        ctx.edges, ctx.k = tables.edges, k
        ctx.save_for_backward(planes, weights, shown)
        return coverage

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        planes, weights, shown = ctx.saved_tensors
        result = torch.empty_like(planes)
        _by_threads(
            _sweep_images, len(planes), planes.numpy(), ctx.edges, ctx.k, weights.numpy(),
            shown.numpy(), grad.detach().contiguous().numpy(), result.numpy(),
        )  # fmt: skip
        return result.transpose(1, 2), None, None


class Tables(NamedTuple):
    """A mesh's faces and edges, as the loops read them."""

    corners: np.ndarray  # (3, F) int32
    edges: np.ndarray  # (2, E) int32
    along: np.ndarray  # (E,) int32, a face that runs along the edge; F: there is none
    against: np.ndarray  # (E,) int32, a face that runs against it
    more: np.ndarray  # (N, 3) int32: edge, face and sign of what else is at an edge

    @classmethod
    def of(cls, renderer: ContourSilhouette) -> Tables:
        corners, edges, faces, signs = (
            table.cpu().numpy().astype(np.int32)
            for table in (
                renderer._corners, renderer._edges, renderer._edge_faces, renderer._edge_signs
            )
        )  # fmt: skip
        every, left = np.arange(edges.shape[1]), signs != 0
        found = []
        for sign in (1, -1):
            has = signs == sign
            slot, there = has.argmax(0), has.any(0)
            found.append(np.where(there, faces[slot, every], corners.shape[1]).astype(np.int32))
            left[slot[there], every[there]] = False
        along, against = found
        slot, edge = np.nonzero(left)
        more = np.stack([edge, faces[slot, edge], signs[slot, edge]], 1).astype(np.int32)
        return cls(corners, edges, along, against, more)


def _by_threads(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run a loop over the images: a part of them here, the others by threads of their own."""
    parts = max(min(torch.get_num_threads(), count), 1)
    if parts == 1:
        loop(*arguments, 0, count)
        return
    cuts = [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(loop, *arguments, *cut) for cut in cuts[1:]]
        loop(*arguments, *cuts[0])
        for other in others:
            other.result()


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    options = dict(nogil=True, error_model='numpy')
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder that a cache could be written to
        return numba.njit(**options)(function)


@_compiled
def _clamped(value):
    return min(max(value, 0.0), 1.0)


@_compiled
def _from_upper_end(pixels, start, end, k):
    """Of an edge x and y of its upper end, dx to the lower one, whose y, and whether it is turned,
    all in parts of pixels."""
    x, y = k * np.float64(pixels[0, start]), k * np.float64(pixels[1, start])
    end_x, end_y = k * np.float64(pixels[0, end]), k * np.float64(pixels[1, end])
    if y <= end_y:
        return x, y, end_x - x, end_y, False
    return end_x, end_y, x - end_x, y, True


@_compiled
def _cells(low, high, size):
    """The first and last row or column within [0, size) that low ... high reaches."""
    low, high = min(max(low, -1.0), float(size)), min(max(high, -1.0), float(size))
    first = floor(low)
    # What ends on a grid line does not reach the cell beyond it.
    last = max(ceil(high) - 1, first)
    return max(first, 0), min(last, size - 1)


@_compiled
def _in_row(row, x, y, dx, bottom):
    """Of an edge's piece in a row: which part of the edge is above it, the piece's share of it, x
    of its left end, its extent, which part of it a pixel's width is, and whether it runs to the
    right."""
    per_row = 1 / max(bottom - y, _TINY)
    above = _clamped((row - y) * per_row)
    share = _clamped((row + 1.0 - y) * per_row) - above
    x, dx = x + above * dx, share * dx
    return above, share, min(x, x + dx), abs(dx), 1 / max(abs(dx), _TINY), dx >= 0


@_compiled
def _in_pixel(column, left, per_pixel):
    """Of a row's piece the pixel's left border, seen from the piece's left end, and where the piece
    enters the pixel and leaves it, as u, which runs from 0 at its left end to 1 at its right."""
    border = column - left
    return border, _clamped(border * per_pixel), _clamped((border + 1) * per_pixel)


@_compiled
def _draw_images(
    pixels, corners, edges, along, against, more, k, coverage, weights, shown, begin, end
):
    """Coverage of images begin ... end - 1, and what their gradient needs.

    pixels (B, 2, V), coverage (B, H, W), weights (B, L, E), shown (B, L, k H, k W); shown is
    written where there are pieces of edges.
    """
    layers, height, width = shown.shape[1:]
    sums = np.zeros((layers, height, width))
    drawn = np.zeros(corners.shape[1] + 1, np.int8)  # the last: no face
    first, last = np.empty(height, np.int64), np.empty(height, np.int64)
    for image in range(begin, end):
        first[:], last[:] = width, -1  # columns of sums that are not zero
        for layer in range(layers):
            # Made here, as a part of an array is counted, for all threads, when it is made.
            corner_pixels, bounds, areas = pixels[image], weights[image, layer], sums[layer]
            _boundary(corner_pixels, corners, edges, along, against, more, layer, drawn, bounds)
            for edge in range(edges.shape[1]):
                if bounds[edge] != 0:
                    _add_edge(corner_pixels, edges, edge, k, bounds[edge], areas, first, last)
        _sum_rows(sums, first, last, k, coverage[image], shown[image])


@_compiled
def _boundary(pixels, corners, edges, along, against, more, layer, drawn, weights):
    """How often each edge bounds the faces of a layer, along minus against its direction.

    Layer 0 is the front. Seen from its outside a face has a negative area, as y points down.
    """
    for face in range(corners.shape[1]):
        a, b, c = corners[0, face], corners[1, face], corners[2, face]
        x, y = np.float64(pixels[0, a]), np.float64(pixels[1, a])
        area = (pixels[0, b] - x) * (pixels[1, c] - y) - (pixels[1, b] - y) * (pixels[0, c] - x)
        drawn[face] = area < 0 if layer == 0 else area > 0
    sign = 1 if layer == 0 else -1
    for edge in range(edges.shape[1]):
        weights[edge] = sign * (drawn[along[edge]] - drawn[against[edge]])
    for i in range(len(more)):
        weights[more[i, 0]] += sign * more[i, 2] * drawn[more[i, 1]]


@_compiled
def _add_edge(pixels, edges, edge, k, weight, sums, first, last):
    """Add what a boundary edge covers to the sums (k H, k W) of a layer."""
    height, width = sums.shape
    x, y, dx, bottom, turned = _from_upper_end(pixels, edges[0, edge], edges[1, edge], k)
    if min(x, x + dx) >= width:
        return
    if turned:
        weight = -weight
    upper, lower = _cells(y, bottom, height)
    for row in range(upper, lower + 1):
        left, extent, per_pixel = _in_row(row, x, y, dx, bottom)[2:5]
        # Heights are differences of coordinates, not parts of dy, so that they add up in every row.
        area = weight * (min(bottom, row + 1.0) - max(y, float(row)))
        if left < 0:  # beyond the image's border all pixels of the row are right of it
            sums[row, 0] += _in_pixel(0, left, per_pixel)[1] * area
            first[row], last[row] = 0, max(last[row], 0)
        leftmost, rightmost = _cells(left, left + extent, width)
        if rightmost < leftmost:
            continue
        first[row] = min(first[row], leftmost)
        last[row] = max(last[row], min(rightmost + 1, width - 1))
        for column in range(leftmost, rightmost + 1):
            border, u_begin, u_end = _in_pixel(column, left, per_pixel)
            part = (u_end - u_begin) * area
            # The mean distance to the left border is what the pixel loses, and only pixels further
            # right receive: the next one, from which the sum along the row carries it on.
            carried = (0.5 * (u_begin + u_end) * extent - border) * part
            sums[row, column] += part - carried
            if column + 1 < width:
                sums[row, column + 1] += carried


@_compiled
def _sum_rows(sums, first, last, k, coverage, shown):
    """Coverage (H, W) of the sums' running sums, and where it changes with them; clears the sums.

    Clamped at one nothing changes; of two layers the larger one counts, of equal ones the front.
    """
    layers = len(sums)
    height, width = coverage.shape
    for line in range(height):
        coverage[line] = 0
        for row in range(line * k, line * k + k):
            if last[row] < 0:
                continue
            begin, end = first[row] // k, last[row] // k + 1
            front, back = 0.0, 0.0
            for pixel in range(begin, end):
                seen = 0.0
                for column in range(pixel * k, pixel * k + k):
                    front += sums[0, row, column]
                    sums[0, row, column] = 0
                    if layers == 1:
                        shown[0, row, column] = front <= 1
                    else:
                        back += sums[1, row, column]
                        sums[1, row, column] = 0
                        shown[0, row, column] = front <= 1 and front >= back
                        shown[1, row, column] = back <= 1 and back > front
                    seen += _clamped(max(front, back))
                coverage[line, pixel] += seen
            rest = _clamped(max(front, back)) * k
            for pixel in range(end, width):
                coverage[line, pixel] += rest
        for pixel in range(width):
            coverage[line, pixel] /= k * k  # in the end, so that what is full is one


@_compiled
def _sweep_images(pixels, edges, k, weights, shown, grad, result, begin, end):
    """Gradients (B, 2, V) of the vertices: what the edges of images begin ... end - 1 sweep."""
    for image in range(begin, end):
        swept = result[image]
        swept[:] = 0
        for layer in range(weights.shape[1]):
            corner_pixels, bounds = pixels[image], weights[image, layer]
            visible, upstream = shown[image, layer], grad[image]
            for edge in range(edges.shape[1]):
                if bounds[edge] != 0:
                    _sweep_edge(
                        corner_pixels, edges, edge, k, bounds[edge], visible, upstream, swept
                    )


@_compiled
def _sweep_edge(pixels, edges, edge, k, weight, shown, grad, result):
    """A piece that moves sweeps its length x its normal displacement, in the pixel it lies in."""
    height, width = shown.shape
    x, y, dx, bottom, turned = _from_upper_end(pixels, edges[0, edge], edges[1, edge], k)
    if min(x, x + dx) >= width:
        return
    upper_end, lower_end = edges[0, edge], edges[1, edge]
    if turned:
        upper_end, lower_end, weight = lower_end, upper_end, -weight
    total = at_lower = 0.0
    upper, lower = _cells(y, bottom, height)
    for row in range(upper, lower + 1):
        above, share, left, extent, per_pixel, rightwards = _in_row(row, x, y, dx, bottom)
        leftmost, rightmost = _cells(left, left + extent, width)
        for column in range(leftmost, rightmost + 1):
            if not shown[row, column]:
                continue
            _, u_begin, u_end = _in_pixel(column, left, per_pixel)
            middle = 0.5 * (u_begin + u_end)
            swept = grad[row // k, column // k] * share * (u_end - u_begin)
            total += swept
            at_lower += swept * (above + share * (middle if rightwards else 1 - middle))
    # Lengths in pixels, of which k parts are one.
    across, down = weight * dx / k, weight * (bottom - y) / k
    result[0, upper_end] -= (total - at_lower) * down
    result[1, upper_end] += (total - at_lower) * across
    result[0, lower_end] -= at_lower * down
    result[1, lower_end] += at_lower * across
