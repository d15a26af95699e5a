"""The contour silhouette on a CPU: loops over the edges of each image, compiled by Numba.

:mod:`mmjrr.rendering.contour.renderer` describes the method. An image's accumulation buffer fits
into the processor's cache, rows are summed only between their first and last edges, and all
computations are in float64, whatever the dtype of the coordinates. :func:`compare` and
:func:`compare_in_cells` go from vertices to the difference from a mask and its gradient without an
image in memory. Importing this module imports Numba.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmjrr.array_types import Array
from mmjrr.compiled_loops import CompiledLoops
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering.contour.topology import MeshTopology
from mmjrr.rendering.mask_cells_energy import normal_weights

#: Extents below this many pixels count as zero: the cuts of such an edge are at its ends. The value
#: is not imported from ``torch_backend``, because Numba's cache notices changes in this file only.
_TINY = 1e-20
#: Pieces of edges for which there is space at first; a body at 224 x 224 pixels has some 7,500.
_CAPACITY = 2**13

LOOPS = CompiledLoops(__file__, 'ContourSilhouette')
_compiled = LOOPS.compiled


def draw(
    pixels: Tensor,  # (B, V, 2), projected vertices, on the CPU
    tables: Tables,
    image_size: tuple[int, int],  # height, width
    supersampling: int,
) -> Tensor:  # (B, H, W)
    """Draw the coverage of every pixel, differentiable in ``pixels``.

    Args:
        pixels: Projected vertices.
        tables: The mesh's faces and edges.
        image_size: (height, width) in pixels.
        supersampling: k; areas are clamped separately in each of k x k parts of a pixel.
    """
    return _CompiledCoverage.apply(pixels, tables, image_size, supersampling)  # type: ignore[no-untyped-call]


class Tables(NamedTuple):
    """A mesh's faces and edges in the layout that the loops read."""

    # Unsigned indices need no test for negative ones.
    corners: Array  # (3, F) uint32
    edges: Array  # (2, E) uint32
    along: Array  # (E,) uint32, a face that runs along the edge, or F
    against: Array  # (E,) uint32, a face that runs against it, or F
    others: Array  # (N, 3) int32: edge, face and sign of further faces at an edge
    num_layers: int

    @classmethod
    def from_topology(cls, topology: MeshTopology) -> Tables:
        """Convert a mesh's topology."""
        corners, edges, faces, signs = (
            table.cpu().numpy().astype(np.int32)
            for table in (
                topology.corners, topology.edges, topology.edge_faces, topology.edge_signs
            )
        )  # fmt: skip
        all_edges, remaining = np.arange(edges.shape[1]), signs != 0
        first_faces = []
        for sign in (1, -1):
            has_sign = signs == sign
            slot, exists = has_sign.argmax(0), has_sign.any(0)
            face = np.where(exists, faces[slot, all_edges], corners.shape[1])
            first_faces.append(face.astype(np.uint32))
            remaining[slot[exists], all_edges[exists]] = False
        along, against = first_faces
        slot, edge = np.nonzero(remaining)
        others = np.stack([edge, faces[slot, edge], signs[slot, edge]], 1).astype(np.int32)
        corners, edges = corners.astype(np.uint32), edges.astype(np.uint32)
        return cls(corners, edges, along, against, others, topology.num_layers)


class _CompiledCoverage(torch.autograd.Function):
    """(B, V, 2) projected vertices -> (B, H, W) coverage."""

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, tables: Tables, image_size: tuple[int, int], k: int
    ) -> Tensor:
        *mesh, num_layers = tables
        height, width = image_size
        planes = pixels.detach().transpose(1, 2).contiguous()  # the layout of a body's vertices
        batch_size = len(planes)
        weights = planes.new_empty(batch_size, num_layers, tables.edges.shape[1], dtype=torch.int8)
        visible = planes.new_empty(batch_size, num_layers, height * k, width * k, dtype=torch.bool)
        coverage = planes.new_empty(batch_size, height, width)
        LOOPS.run(
            '_draw_images', batch_size, planes.numpy(), *mesh, k,
            coverage.numpy(), weights.numpy(), visible.numpy(),
        )  # fmt: skip
        ctx.edges, ctx.k = tables.edges, k
        ctx.save_for_backward(planes, weights, visible)
        return coverage

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        planes, weights, visible = ctx.saved_tensors
        result = torch.empty_like(planes)
        LOOPS.run(
            '_sweep_images', len(planes), planes.numpy(), ctx.edges, ctx.k, weights.numpy(),
            visible.numpy(), grad.detach().contiguous().numpy(), result.numpy(),
        )  # fmt: skip
        return result.transpose(1, 2), None, None, None


def compare(
    vertices: Tensor,  # (B, V, 3), meters, camera frame, all before the camera
    camera: PerspectiveCamera,  # of batch size B or 1; gradients of its intrinsics only
    tables: Tables,
    supersampling: int,
    mask: Tensor,  # (B, H, W)
    weight: Tensor | None,  # (B, H, W)
    levels: tuple[int, ...],
) -> Tensor:  # (B,)
    """Compute :func:`~mmjrr.rendering.silhouette_energy.silhouette_energy` of drawn silhouettes.

    Args:
        vertices: Vertices of the bodies.
        camera: Cameras of the masks.
        tables: The mesh's faces and edges.
        supersampling: As in :func:`draw`.
        mask: Person masks in [0, 1].
        weight: Weight of each pixel's difference; None: 1.
        levels: Sides of the blocks in pixels.

    Raises:
        ValueError: A projection is not finite.
    """
    images = mask if weight is None else weight
    no_cells = np.empty((0, 0, 0)), np.empty((0, 4)), np.empty((0, 0))
    target = _Target(
        mask.detach().contiguous().numpy(),
        images[: 0 if weight is None else None].detach().contiguous().numpy(),
        np.array(levels, np.int64),
        *no_cells,
    )
    return _compared(vertices, camera, tables, supersampling, target)


def compare_in_cells(
    vertices: Tensor,  # (B, V, 3), meters, camera frame, all before the camera
    camera: PerspectiveCamera,  # of batch size B or 1; gradients of its intrinsics only
    tables: Tables,
    supersampling: int,
    cells: Tensor,  # (B, N, N)
    box: Tensor,  # (B, 4)
    weight: Tensor,  # (B, H, W)
    blur: float,
) -> Tensor:  # (B,)
    """Compute :func:`~mmjrr.rendering.mask_cells_energy.mask_cells_energy` of drawn silhouettes.

    Args:
        vertices: As in :func:`compare`, and so are ``camera``, ``tables`` and ``supersampling``.
        camera: Cameras of the masks.
        tables: The mesh's faces and edges.
        supersampling: As in :func:`draw`.
        cells: The mask's probabilities in the cells of the box.
        box: Boxes of the mask head.
        weight: Weight of each pixel.
        blur: Standard deviation, in cells, by which the silhouette is blurred.

    Raises:
        ValueError: A projection is not finite.
    """
    count = cells.shape[-1]
    spread = np.empty((0, 0))
    if blur:
        spread = normal_weights(blur, count, torch.device('cpu'), torch.float64).numpy()
    images = weight.detach().contiguous().numpy()
    target = _Target(
        images,  # of which only the shape is used
        images,
        np.empty(0, np.int64),
        cells.detach().double().contiguous().numpy(),
        box.detach().double().contiguous().numpy(),
        spread,
    )
    return _compared(vertices, camera, tables, supersampling, target)


class _Target(NamedTuple):
    """What silhouettes are compared with: blocks of masks, or cells where there are no levels."""

    masks: Array  # (B, H, W)
    weights: Array  # (B, H, W), or (0, H, W) if all are 1
    levels: Array  # (L,) int64
    cells: Array  # (B, N, N) float64
    boxes: Array  # (B, 4) float64
    spread: Array  # (N, N) float64, symmetric: what each cell takes from each; (0, 0): no blur


def _compared(
    vertices: Tensor,
    camera: PerspectiveCamera,
    tables: Tables,
    supersampling: int,
    target: _Target,
) -> Tensor:  # (B,)
    count = len(vertices)
    distortion = camera.distortion
    return _CompiledComparison.apply(  # type: ignore[no-untyped-call]
        vertices,
        camera.focal_length.expand(count, 2),
        camera.principal_point.expand(count, 2),
        None if distortion is None else distortion.detach().expand(count, 5),
        camera.tangential_factor,
        tables,
        supersampling,
        target,
    )


class _CompiledComparison(torch.autograd.Function):
    """(B, V, 3) vertices and (B, 2) intrinsics -> (B,) differences from masks.

    The gradient is computed together with the value, while the image is in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vertices: Tensor,
        focal: Tensor,
        principal: Tensor,
        distortion: Tensor | None,
        tangential_factor: float,
        tables: Tables,
        k: int,
        target: _Target,
    ) -> Tensor:
        planes = vertices.detach().transpose(1, 2).contiguous()  # the layout of a body's vertices
        count = len(planes)
        lens = planes.new_zeros(count, 5) if distortion is None else distortion
        cameras = torch.cat([focal.detach(), principal.detach(), lens], 1).double()
        needs_gradient = any(ctx.needs_input_grad[:3])
        value = torch.empty(count, dtype=torch.float64)
        gradient = torch.empty_like(planes) if needs_gradient else planes[:0]
        of_cameras = torch.empty(count, 4, dtype=torch.float64)
        *mesh, num_layers = tables
        LOOPS.run(
            '_compare_images', count, planes.numpy(), cameras.numpy(), distortion is not None,
            tangential_factor, *mesh, num_layers, k, *target, value.numpy(), gradient.numpy(),
            of_cameras.numpy(),
        )  # fmt: skip
        if bool(torch.isinf(value).any()):
            raise ValueError('vertices: found projections that are not finite')
        if needs_gradient:
            ctx.save_for_backward(gradient, of_cameras.to(focal.dtype))
        return value.to(vertices.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradient, of_cameras = ctx.saved_tensors
        of_vertices = (gradient * grad[:, None, None]).transpose(1, 2)
        of_focal, of_principal = (of_cameras * grad[:, None]).split(2, 1)
        return of_vertices, of_focal, of_principal, *[None] * 5


# --- the loops ------------------------------------------------------------------------------------


@_compiled
def _clamped(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@_compiled
def _from_upper_end(pixels: Array, start: int, end: int, k: int) -> tuple[Any, Any, Any, Any, bool]:
    """Return the upper end's x and y, dx, the lower end's y, and whether the ends were swapped.

    Results are in subpixels, of which a pixel has k along each side.
    """
    x, y = k * np.float64(pixels[0, start]), k * np.float64(pixels[1, start])
    end_x, end_y = k * np.float64(pixels[0, end]), k * np.float64(pixels[1, end])
    if y <= end_y:
        return x, y, end_x - x, end_y, False
    return end_x, end_y, x - end_x, y, True


@_compiled
def _cells(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the first and last row or column within [0, size) that [low, high] reaches."""
    low, high = min(max(low, -1.0), float(size)), min(max(high, -1.0), float(size))
    first = floor(low)
    # An interval that ends on a grid line does not reach the cell beyond it.
    last = max(ceil(high) - 1, first)
    return max(first, 0), min(last, size - 1)


@_compiled
def _in_row(
    row: int, x: float, y: float, dx: float, bottom: float
) -> tuple[float, float, float, float, float, bool]:
    """Cut an edge at a row's borders.

    Returns:
        The fraction of the edge above the row, the fraction in the row, x of the piece's left end,
        the piece's extent in x, the inverse of that extent, and whether the edge runs rightwards.
    """
    per_row = 1 / max(bottom - y, _TINY)
    above = _clamped((row - y) * per_row)
    share = _clamped((row + 1.0 - y) * per_row) - above
    x, dx = x + above * dx, share * dx
    return above, share, min(x, x + dx), abs(dx), 1 / max(abs(dx), _TINY), dx >= 0


@_compiled
def _in_pixel(column: int, left: float, per_pixel: float) -> tuple[float, float, float]:
    """Cut a row's piece at a pixel's borders.

    Returns:
        The pixel's left border relative to the piece's left end, and u at which the piece enters
        and leaves the pixel; u runs from 0 at the piece's left end to 1 at its right end.
    """
    border = column - left
    return border, _clamped(border * per_pixel), _clamped((border + 1) * per_pixel)


@_compiled
def _draw_images(
    pixels: Array,
    corners: Array,
    edges: Array,
    along: Array,
    against: Array,
    others: Array,
    k: int,
    coverage: Array,
    weights: Array,
    visible: Array,
    begin: int,
    end: int,
) -> None:
    """Draw images begin to end - 1 and store what their gradient needs.

    pixels (B, 2, V), coverage (B, H, W), weights (B, L, E), visible (B, L, k H, k W); visible is
    written only where there are pieces of edges.
    """
    layers, rows, columns = visible.shape[1:]
    sums = np.zeros((layers, rows * columns + 1))
    drawn = np.zeros(corners.shape[1] + 1, np.int8)  # the last stands for a missing face
    contour, ends = np.empty(edges.shape[1], np.int64), np.empty(edges.shape[1], np.int64)
    places, parts = np.empty((_CAPACITY, 2), np.uint32), np.empty((_CAPACITY, 4))
    first, last = np.empty(rows, np.int64), np.empty(rows, np.int64)
    for image in range(begin, end):
        first[:], last[:] = columns, -1  # range of the columns whose sums are not zero
        for layer in range(layers):
            # Slice outside the loop over edges: slicing updates a counter shared by all threads.
            of_corners, bounds = pixels[image], weights[image, layer]
            length = _contour(
                of_corners, corners, edges, along, against, others, layer, drawn, bounds, contour
            )
            listed = contour[:length]
            places, parts = _cut_edges(
                of_corners, edges, bounds, listed, k, first, last, columns, ends, places, parts
            )
            _add_pieces(places, parts, ends, length, sums[layer])
        _sum_rows(sums, first, last, k, coverage[image], visible[image])


@_compiled
def _contour(
    pixels: Array,
    corners: Array,
    edges: Array,
    along: Array,
    against: Array,
    others: Array,
    layer: int,
    drawn: Array,
    weights: Array,
    contour: Array,
) -> int:
    """Count the layer's faces along each edge minus those against it: the edge's weight.

    Layer 0 is the front. Seen from its outside a face has a negative area, as y points down.

    Returns:
        The number of edges whose weight is not zero, which are listed in ``contour``.
    """
    for face in range(corners.shape[1]):
        a, b, c = corners[0, face], corners[1, face], corners[2, face]
        x, y = np.float64(pixels[0, a]), np.float64(pixels[1, a])
        area = (pixels[0, b] - x) * (pixels[1, c] - y) - (pixels[1, b] - y) * (pixels[0, c] - x)
        drawn[face] = area < 0 if layer == 0 else area > 0
    sign = 1 if layer == 0 else -1
    weights[:] = 0
    for i in range(len(others)):
        weights[others[i, 0]] += sign * others[i, 2] * drawn[others[i, 1]]
    length = 0
    for edge in range(edges.shape[1]):
        weights[edge] += sign * (drawn[along[edge]] - drawn[against[edge]])
        contour[length] = edge  # overwritten unless the length grows: a branch takes longer
        length += weights[edge] != 0
    return length


@_compiled
def _cut_edges(
    pixels: Array,
    edges: Array,
    weights: Array,
    contour: Array,
    k: int,
    first: Array,
    last: Array,
    columns: int,
    ends: Array,
    places: Array,
    parts: Array,
) -> tuple[Array, Array]:
    """Cut the edges of a contour into pieces, one for each cell that an edge crosses.

    A cell is one of the k x k parts of a pixel. An edge also has a piece for each row in which it
    extends beyond the image's left border; the piece belongs to the row's first cell.

    Args:
        pixels: (2, V), projected vertices.
        edges: (2, E), their vertices.
        weights: (E,), their weights.
        contour: (N,), the edges to cut.
        k: Number of cells along each side of a pixel.
        first: (k H,), first column of each row to which a piece contributes; updated.
        last: (k H,), the last of these columns; updated.
        columns: k W, number of columns of cells.
        ends: (E,), receives the end of each edge's range of pieces.
        places: (P, 2), receives each piece's cell and pixel.
        parts: (P, 4), receives each piece's share of its edge, this share times the piece's mean
            position on the edge (0 at the upper end, 1 at the lower one), and the weighted areas
            that it adds to its cell and to the next one.

    Returns:
        ``places`` and ``parts``; larger ones if the pieces did not fit.
    """
    count = _cut_as_fits(
        pixels, edges, weights, contour, k, first, last, columns, ends, places, parts
    )
    if count > len(places):
        places, parts = np.empty((2 * count, 2), np.uint32), np.empty((2 * count, 4))
        _cut_as_fits(pixels, edges, weights, contour, k, first, last, columns, ends, places, parts)
    return places, parts


@_compiled
def _cut_as_fits(
    pixels: Array,
    edges: Array,
    weights: Array,
    contour: Array,
    k: int,
    first: Array,
    last: Array,
    columns: int,
    ends: Array,
    places: Array,
    parts: Array,
) -> int:
    """Do what :func:`_cut_edges` does, but store no more pieces than fit; return their number."""
    pixel_of_column = np.arange(columns) // k
    rows, count, capacity = len(first), 0, len(places)
    for number in range(len(contour)):
        edge = contour[number]
        weight = float(weights[edge])
        x, y, dx, bottom, swapped = _from_upper_end(pixels, edges[0, edge], edges[1, edge], k)
        upper, lower = _cells(y, bottom, rows)
        if min(x, x + dx) >= columns:
            lower = upper - 1
        if swapped:
            weight = -weight
        for row in range(upper, lower + 1):
            above, share, left, extent, per_pixel, rightwards = _in_row(row, x, y, dx, bottom)
            # Heights are differences of coordinates, not parts of dy, so that they add up in every
            # row.
            area = weight * (min(bottom, row + 1.0) - max(y, float(row)))
            line = (row // k) * (columns // k)
            if left < 0:  # all cells of the row lie right of the part beyond the image's border
                if count < capacity:
                    places[count, 0], places[count, 1] = row * columns, line
                    parts[count, 0], parts[count, 1], parts[count, 3] = 0, 0, 0
                    parts[count, 2] = _in_pixel(0, left, per_pixel)[1] * area
                count += 1
                first[row], last[row] = 0, max(last[row], 0)
            leftmost, rightmost = _cells(left, left + extent, columns)
            if rightmost < leftmost:
                continue
            first[row] = min(first[row], leftmost)
            last[row] = max(last[row], min(rightmost + 1, columns - 1))
            for column in range(leftmost, rightmost + 1):
                border, u_begin, u_end = _in_pixel(column, left, per_pixel)
                length, middle = u_end - u_begin, 0.5 * (u_begin + u_end)
                if count < capacity:
                    places[count, 0] = row * columns + column
                    places[count, 1] = line + pixel_of_column[column]
                    parts[count, 0] = share * length
                    parts[count, 1] = (
                        share * length * (above + share * (middle if rightwards else 1 - middle))
                    )
                    # A piece's mean distance to the cell's left border, times its height, is
                    # missing from the cell and goes to the next one, from which the cumulative sum
                    # carries it on.
                    carried = (middle * extent - border) * length * area
                    parts[count, 2] = length * area - carried
                    parts[count, 3] = carried if column + 1 < columns else 0.0
                count += 1
        ends[number] = count
    return count


@_compiled
def _add_pieces(places: Array, parts: Array, ends: Array, length: int, sums: Array) -> None:
    """Add the pieces of a contour of ``length`` edges to the sums (k H k W + 1,) of a layer."""
    if length > 0:
        for piece in range(ends[length - 1]):
            cell = places[piece, 0]
            sums[cell] += parts[piece, 2]
            sums[cell + 1] += parts[piece, 3]


@_compiled
def _sum_rows(
    sums: Array, first: Array, last: Array, k: int, coverage: Array, visible: Array
) -> None:
    """Turn sums into coverage (H, W) by cumulative sums, set ``visible``, and clear the sums.

    ``visible`` tells where a layer determines the coverage: its sum is not clamped at one and is
    the larger of two layers' sums. If they are equal, the front layer counts.
    """
    for line in range(len(coverage)):
        if len(sums) == 1 and k == 2:
            _sum_two_rows(sums[0], first, last, line, coverage[line], visible[0])
        else:
            _sum_line(sums, first, last, k, line, coverage, line, visible)


@_compiled
def _sum_line(
    sums: Array,
    first: Array,
    last: Array,
    k: int,
    line: int,
    coverage: Array,
    target: int,
    visible: Array,
) -> None:
    """Do what :func:`_sum_rows` does for one line of pixels, to the line ``target`` of coverage."""
    layers, width = len(sums), coverage.shape[1]
    columns = width * k
    coverage[target] = 0
    for row in range(line * k, line * k + k):
        if last[row] < 0:
            continue
        begin, end = first[row] // k, last[row] // k + 1
        front, back = 0.0, 0.0
        for pixel in range(begin, end):
            covered = 0.0
            for column in range(pixel * k, pixel * k + k):
                front += sums[0, row * columns + column]
                sums[0, row * columns + column] = 0
                if layers == 1:
                    visible[0, row, column] = front <= 1
                else:
                    back += sums[1, row * columns + column]
                    sums[1, row * columns + column] = 0
                    visible[0, row, column] = front <= 1 and front >= back
                    visible[1, row, column] = back <= 1 and back > front
                covered += _clamped(max(front, back))
            coverage[target, pixel] += covered
        rest = _clamped(max(front, back)) * k
        for pixel in range(end, width):
            coverage[target, pixel] += rest
    for pixel in range(width):
        coverage[target, pixel] /= k * k  # last, so that full pixels are exactly one


@_compiled
def _sum_two_rows(
    sums: Array, first: Array, last: Array, line: int, coverage: Array, visible: Array
) -> None:
    """Do what :func:`_sum_line` does for one layer and k = 2.

    A processor adds to the sums of both rows of cells at the same time.
    """
    coverage[:] = 0
    row, width = 2 * line, len(coverage)
    upper_row, lower_row = visible[row], visible[row + 1]
    start, columns = row * 2 * width, 2 * width
    begin, end = min(first[row], first[row + 1]) // 2, max(last[row], last[row + 1]) // 2 + 1
    upper = lower = 0.0
    for pixel in range(begin, end):
        # Unsigned indices need no test for negative ones.
        left, right = np.uint64(2 * pixel), np.uint64(2 * pixel + 1)
        a, b = np.uint64(start + 2 * pixel), np.uint64(start + 2 * pixel + 1)
        c, d = np.uint64(start + columns + 2 * pixel), np.uint64(start + columns + 2 * pixel + 1)
        upper += sums[a]
        lower += sums[c]
        upper_row[left], lower_row[left] = upper <= 1, lower <= 1
        of_upper, of_lower = _clamped(upper), _clamped(lower)
        upper += sums[b]
        lower += sums[d]
        upper_row[right], lower_row[right] = upper <= 1, lower <= 1
        sums[a] = sums[b] = sums[c] = sums[d] = 0
        of_upper += _clamped(upper)
        of_lower += _clamped(lower)
        coverage[pixel] = (of_upper + of_lower) / 4
    rest = (_clamped(upper) * 2 + _clamped(lower) * 2) / 4
    for pixel in range(end, width):
        coverage[pixel] = rest


@_compiled
def _sweep_images(
    pixels: Array,
    edges: Array,
    k: int,
    weights: Array,
    visible: Array,
    grad: Array,
    result: Array,
    begin: int,
    end: int,
) -> None:
    """Compute the vertices' gradients (B, 2, V) of images begin to end - 1."""
    rows, columns = visible.shape[2:]
    ends = np.empty(edges.shape[1], np.int64)
    places, parts = np.empty((_CAPACITY, 2), np.uint32), np.empty((_CAPACITY, 4))
    first, last = np.empty(rows, np.int64), np.empty(rows, np.int64)  # not read
    for image in range(begin, end):
        swept, upstream = result[image], grad[image].reshape(-1)
        swept[:] = 0
        for layer in range(weights.shape[1]):
            of_corners, bounds = pixels[image], weights[image, layer]
            listed = np.nonzero(bounds)[0]
            places, parts = _cut_edges(
                of_corners, edges, bounds, listed, k, first, last, columns, ends, places, parts
            )
            _sweep_edges(
                of_corners, edges, bounds, listed, ends, places, parts,
                visible[image, layer].reshape(-1), upstream, swept,
            )  # fmt: skip


@_compiled
def _sweep_edges(
    pixels: Array,
    edges: Array,
    weights: Array,
    contour: Array,
    ends: Array,
    places: Array,
    parts: Array,
    visible: Array,
    grad: Array,
    result: Array,
) -> None:
    """Add a contour's gradient: a piece that moves sweeps the area length x normal displacement.

    visible (k H k W,), grad (H W,), result (2, V).
    """
    begin = 0
    for number in range(len(contour)):
        edge = contour[number]
        total = at_lower = 0.0
        for piece in range(begin, ends[number]):
            # A product takes less time than a branch that cannot be predicted.
            upstream = visible[places[piece, 0]] * grad[places[piece, 1]]
            total += upstream * parts[piece, 0]
            at_lower += upstream * parts[piece, 1]
        begin = ends[number]
        upper_end, lower_end, weight = edges[0, edge], edges[1, edge], float(weights[edge])
        if pixels[1, upper_end] > pixels[1, lower_end]:
            upper_end, lower_end, weight = lower_end, upper_end, -weight
        # Lengths in pixels.
        across = weight * (np.float64(pixels[0, lower_end]) - np.float64(pixels[0, upper_end]))
        down = weight * (np.float64(pixels[1, lower_end]) - np.float64(pixels[1, upper_end]))
        result[0, upper_end] -= (total - at_lower) * down
        result[1, upper_end] += (total - at_lower) * across
        result[0, lower_end] -= at_lower * down
        result[1, lower_end] += at_lower * across


@_compiled
def _compare_images(
    planes: Array,
    cameras: Array,
    distorted: bool,
    factor: float,
    corners: Array,
    edges: Array,
    along: Array,
    against: Array,
    others: Array,
    layers: int,
    k: int,
    masks: Array,
    weights: Array,
    levels: Array,
    cells: Array,
    boxes: Array,
    spread: Array,
    value: Array,
    gradient: Array,
    of_cameras: Array,
    begin: int,
    end: int,
) -> None:
    """Compare silhouettes begin to end - 1 with masks; the gradient is that of the value.

    planes (B, 3, V); cameras (B, 9): focal lengths, principal point, k1, k2, k3, p1, p2; masks,
    weights, levels, cells, boxes and spread as in _Target; value (B,), infinite if a projection is
    not finite; gradient (B, 3, V), or (0, 3, V) if none is needed; of_cameras (B, 4), the gradient
    of focal lengths and principal point.
    """
    height, width = masks.shape[1:]
    weighted = len(weights) > 0
    num_vertices, num_edges = planes.shape[2], edges.shape[1]
    rows, columns = height * k, width * k
    sums = np.zeros((layers, rows * columns + 1))
    drawn = np.zeros(corners.shape[1] + 1, np.int8)  # the last stands for a missing face
    first, last = np.empty(rows, np.int64), np.empty(rows, np.int64)
    visible = np.empty((layers, rows, columns), np.bool_)
    bounds = np.empty((layers, num_edges), np.int8)
    contours, lengths = np.empty((layers, num_edges), np.int64), np.empty(layers, np.int64)
    ends = np.empty((layers, num_edges), np.int64)
    places = [np.empty((_CAPACITY, 2), np.uint32) for _ in range(layers)]
    parts = [np.empty((_CAPACITY, 4)) for _ in range(layers)]
    pixels, swept = np.empty((2, num_vertices)), np.zeros((2, num_vertices))
    difference = np.empty((height, width))
    blocks = np.zeros((len(levels), height, width))
    squares = np.empty(width)
    num_cells = cells.shape[1]
    row_parts, column_parts = np.empty((num_cells, height)), np.empty((num_cells, width))
    row_ranges, column_ranges = np.empty((2, num_cells, 2), np.int64)
    rows_inside, columns_inside = np.empty(height), np.empty(width)
    lines = np.empty((num_cells, width))
    for image in range(begin, end):
        points, camera, mask = planes[image], cameras[image], masks[image]
        weight = weights[image] if weighted else mask  # not read unless weighted
        if not _project(points, camera, distorted, factor, pixels):
            value[image] = np.inf
            continue
        first[:], last[:] = columns, -1  # range of the columns whose sums are not zero
        for layer in range(layers):
            length = _contour(
                pixels, corners, edges, along, against, others, layer, drawn, bounds[layer],
                contours[layer],
            )  # fmt: skip
            lengths[layer] = length
            places[layer], parts[layer] = _cut_edges(
                pixels, edges, bounds[layer], contours[layer, :length], k, first, last, columns,
                ends[layer], places[layer], parts[layer],
            )  # fmt: skip
            _add_pieces(places[layer], parts[layer], ends[layer], length, sums[layer])
        _sum_rows(sums, first, last, k, difference, visible)
        if len(levels) > 0:
            value[image] = _compare_blocks(
                mask, weight, weighted, levels, difference, blocks, squares
            )
            if len(gradient) == 0:
                continue
            _gradient_of_coverage(weight, weighted, levels, blocks, first, last, k, difference)
        else:
            box = boxes[image]
            _overlaps(box[1], box[3], row_parts, row_ranges, rows_inside)
            _overlaps(box[0], box[2], column_parts, column_ranges, columns_inside)
            value[image] = _compare_cells(
                difference, weight, cells[image], box, spread, row_parts, row_ranges, rows_inside,
                column_parts, column_ranges, columns_inside, squares, lines,
            )  # fmt: skip
            if len(gradient) == 0:
                continue
            _gradient_in_cells(
                weight, row_parts, row_ranges, rows_inside, columns_inside, lines, first, last, k,
                difference,
            )  # fmt: skip
        for layer in range(layers):
            _sweep_edges(
                pixels, edges, bounds[layer], contours[layer, : lengths[layer]], ends[layer],
                places[layer], parts[layer], visible[layer].reshape(-1), difference.reshape(-1),
                swept,
            )  # fmt: skip
        gradient[image], of_cameras[image] = 0, 0
        for layer in range(layers):
            _sweep_projection(
                edges, contours[layer, : lengths[layer]], points, camera, distorted, factor, swept,
                gradient[image], of_cameras[image],
            )  # fmt: skip


@_compiled
def _project(points: Array, camera: Array, distorted: bool, factor: float, pixels: Array) -> bool:
    """Project (3, V) points to (2, V) pixels; return whether all are finite."""
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    k1, k2, k3, p1, p2 = camera[4], camera[5], camera[6], camera[7], camera[8]
    num_finite = 0
    for i in range(points.shape[1]):
        inverse = 1 / np.float64(points[2, i])
        x, y = points[0, i] * inverse, points[1, i] * inverse
        if distorted:
            r2 = x * x + y * y
            scale = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + factor * (p1 * y + p2 * x)
            x, y = x * scale + p2 * r2, y * scale + p1 * r2
        x, y = x * fx + cx, y * fy + cy
        pixels[0, i], pixels[1, i] = x, y
        num_finite += abs(x) + abs(y) < np.inf
    return num_finite == points.shape[1]


@_compiled
def _compare_blocks(
    mask: Array,
    weight: Array,
    weighted: bool,
    levels: Array,
    difference: Array,
    blocks: Array,
    squares: Array,
) -> float:
    """Return the value, and replace the coverage (H, W) by its weighted difference from the mask.

    blocks (L, H, W) receives the sums of the difference over each level's blocks.
    """
    height, width = difference.shape
    squares[:] = 0
    for row in range(height):
        for column in range(width):
            d = difference[row, column] - mask[row, column]
            if weighted:
                d *= weight[row, column]
            difference[row, column] = d
            squares[column] += d * d
    sum_of_squares = 0.0
    for column in range(width):
        sum_of_squares += squares[column]
    value = 0.0
    for level in range(len(levels)):
        side = levels[level]
        rows, columns = height // side, width // side
        total = sum_of_squares if side == 1 else 0.0
        if side > 1:
            for row in range(rows):
                squares[:] = 0
                for line in range(row * side, row * side + side):
                    for column in range(width):
                        squares[column] += difference[line, column]
                for block in range(columns):
                    s = 0.0
                    for column in range(block * side, block * side + side):
                        s += squares[column]
                    blocks[level, row, block] = s
                    total += s * s
        value += total / (rows * columns * side**4)
    return value


@_compiled
def _gradient_of_coverage(
    weight: Array,
    weighted: bool,
    levels: Array,
    blocks: Array,
    first: Array,
    last: Array,
    k: int,
    difference: Array,
) -> None:
    """Replace the difference by the value's gradient with respect to the coverage.

    Only pixels between the first and last edges of their row are replaced; no others are read.
    """
    height, width = difference.shape
    scale_of_pixels = 0.0
    for level in range(len(levels)):
        if levels[level] == 1:
            scale_of_pixels += 2 / (height * width)
    for row in range(height):
        begin, end = width, -1
        for i in range(row * k, row * k + k):
            begin, end = min(begin, first[i] // k), max(end, last[i] // k)
        for column in range(begin, end + 1):
            difference[row, column] *= scale_of_pixels
        for level in range(len(levels)):
            side = levels[level]
            rows, columns = height // side, width // side
            if side == 1 or row >= rows * side:
                continue
            scale, block_row = 2 / (rows * columns * side**4), row // side
            for block in range(begin // side, min(end // side + 1, columns)):
                g = scale * blocks[level, block_row, block]
                for column in range(block * side, block * side + side):
                    difference[row, column] += g  # also outside the range, where nothing reads it
        if weighted:
            for column in range(begin, end + 1):
                difference[row, column] *= weight[row, column]


@_compiled
def _overlaps(start: float, stop: float, parts: Array, ranges: Array, inside: Array) -> None:
    """Compute which part of each of N equal cells from start to stop lies in each of L pixels.

    parts (N, L), set only within the cell's range of pixels, ranges (N, 2); inside (L,), how much
    of a pixel lies in the cells.
    """
    count, length = parts.shape
    inside[:] = 0
    for cell in range(count):
        low = start + (stop - start) * (cell / count)
        high = start + (stop - start) * ((cell + 1) / count)
        # Comparisons with NaN are false, and give the whole range.
        begin = floor(min(low, float(length))) if low > 0 else 0
        end = length
        if high < length:
            end = ceil(high) if high > 0 else 0
        ranges[cell, 0], ranges[cell, 1] = begin, max(begin, end)
        for pixel in range(begin, end):
            overlap = max(min(high, pixel + 1.0) - max(low, float(pixel)), 0.0)
            inside[pixel] += overlap
            parts[cell, pixel] = overlap / (high - low)


@_compiled
def _compare_cells(
    coverage: Array,
    weight: Array,
    cells: Array,
    box: Array,
    spread: Array,
    row_parts: Array,
    row_ranges: Array,
    rows_inside: Array,
    column_parts: Array,
    column_ranges: Array,
    columns_inside: Array,
    squares: Array,
    lines: Array,
) -> float:
    """Return the value, and compute each row of cells' gradient on a line of pixels: lines (N, W).

    coverage and weight (H, W); parts, ranges and inside as :func:`_overlaps` computes them.
    """
    height, width = coverage.shape
    count = len(cells)
    squares[:] = 0
    for row in range(height):
        row_inside = rows_inside[row]
        for column in range(width):
            s = coverage[row, column]
            outside = 1 - row_inside * columns_inside[column]
            squares[column] += outside * weight[row, column] * s * s
    outside_box = 0.0
    for column in range(width):
        outside_box += squares[column]
    means, weights = np.empty((count, count)), np.empty((count, count))
    line, line_of_weights = np.empty(width), np.empty(width)
    for i in range(count):
        line[:] = 0
        line_of_weights[:] = 0
        for row in range(row_ranges[i, 0], row_ranges[i, 1]):
            part = row_parts[i, row]
            for column in range(width):
                line[column] += part * coverage[row, column]
                line_of_weights[column] += part * weight[row, column]
        for j in range(count):
            mean = mean_weight = 0.0
            for column in range(column_ranges[j, 0], column_ranges[j, 1]):
                part = column_parts[j, column]
                mean += part * line[column]
                mean_weight += part * line_of_weights[column]
            means[i, j], weights[i, j] = mean, mean_weight
    if len(spread) > 0:
        means = _product(_product(spread, means), spread)  # symmetric
    area = (box[2] - box[0]) * (box[3] - box[1]) / (count * count)
    in_cells = 0.0
    for i in range(count):
        for j in range(count):
            d = means[i, j] - cells[i, j]
            in_cells += weights[i, j] * d * d
            means[i, j] = 2 * area / (height * width) * weights[i, j] * d
    if len(spread) > 0:
        means = _product(_product(spread, means), spread)
    lines[:] = 0
    for i in range(count):
        for j in range(count):
            for column in range(column_ranges[j, 0], column_ranges[j, 1]):
                lines[i, column] += column_parts[j, column] * means[i, j]
    return (area * in_cells + outside_box) / (height * width)


@_compiled
def _product(a: Array, b: Array) -> Array:
    """Return the product of two (N, N) matrices, in an order that no library chooses."""
    result = np.zeros((len(a), len(a)))
    for i in range(len(a)):
        for k in range(len(a)):
            for j in range(len(a)):
                result[i, j] += a[i, k] * b[k, j]
    return result


@_compiled
def _gradient_in_cells(
    weight: Array,
    row_parts: Array,
    row_ranges: Array,
    rows_inside: Array,
    columns_inside: Array,
    lines: Array,
    first: Array,
    last: Array,
    k: int,
    coverage: Array,
) -> None:
    """Replace the coverage by the value's gradient, between the first and last edges of a row."""
    height, width = coverage.shape
    scale = 2 / (height * width)
    for row in range(height):
        begin, end = width, -1
        for i in range(row * k, row * k + k):
            begin, end = min(begin, first[i] // k), max(end, last[i] // k)
        row_inside = rows_inside[row]
        for column in range(begin, end + 1):
            outside = 1 - row_inside * columns_inside[column]
            coverage[row, column] *= scale * outside * weight[row, column]
        for cell in range(len(row_ranges)):
            if row_ranges[cell, 0] <= row < row_ranges[cell, 1]:
                part = row_parts[cell, row]
                for column in range(begin, end + 1):
                    coverage[row, column] += part * lines[cell, column]


@_compiled
def _sweep_projection(
    edges: Array,
    contour: Array,
    points: Array,
    camera: Array,
    distorted: bool,
    factor: float,
    swept: Array,
    gradient: Array,
    of_camera: Array,
) -> None:
    """Turn gradients (2, V) of pixels into those of points (3, V), and clear them.

    Only the vertices of the contour's edges have gradients other than 0; the others' are not set.
    """
    fx, fy = camera[0], camera[1]
    k1, k2, k3, p1, p2 = camera[4], camera[5], camera[6], camera[7], camera[8]
    for edge in contour:
        for corner in range(2):
            i = edges[corner, edge]
            across, down = swept[0, i], swept[1, i]
            if across == 0 and down == 0:
                continue
            swept[0, i], swept[1, i] = 0, 0
            inverse = 1 / np.float64(points[2, i])
            x, y = points[0, i] * inverse, points[1, i] * inverse
            gx, gy = across * fx, down * fy
            u, v = x, y
            if distorted:
                r2 = x * x + y * y
                scale = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + factor * (p1 * y + p2 * x)
                slope = 2 * (k1 + r2 * (2 * k2 + 3 * k3 * r2))  # of the radial part over x / x
                scale_x, scale_y = slope * x + factor * p2, slope * y + factor * p1
                u, v = x * scale + p2 * r2, y * scale + p1 * r2
                gx, gy = (
                    gx * (scale + x * scale_x + 2 * p2 * x) + gy * (y * scale_x + 2 * p1 * x),
                    gx * (x * scale_y + 2 * p2 * y) + gy * (scale + y * scale_y + 2 * p1 * y),
                )
            of_camera[0] += across * u
            of_camera[1] += down * v
            of_camera[2] += across
            of_camera[3] += down
            gradient[0, i], gradient[1, i] = gx * inverse, gy * inverse
            gradient[2, i] = -(gx * x + gy * y) * inverse
