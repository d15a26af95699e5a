"""The contour silhouette in plain PyTorch, on any device: operations over all edges at once.

How it is drawn is told in :mod:`~mmjrr.rendering.contour`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmjrr.rendering.base import FAR
from mmjrr.rendering.ranges import Spread, compact, spread

if TYPE_CHECKING:
    from mmjrr.rendering.contour.renderer import ContourSilhouette

#: Extents below this many pixels are taken as zero: the cuts of such an edge are at its ends.
_TINY = 1e-20

#: Without waiting, room for edges and pieces is made for so many times those of given bodies.
_SPARE = 1.5

#: And so many on top: few things vary more.
_EXTRA = 1024


class ContourCoverage(torch.autograd.Function):
    """(B, V, 2) projected vertices -> (B, H, W) coverage."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, renderer: ContourSilhouette) -> Tensor:
        k, room = renderer.supersampling, renderer._room
        batch_size, (height, width) = len(pixels), renderer.image_size
        num_layers = renderer.num_layers
        edges = _boundary_edges(renderer, pixels, room)
        rows = _cut_at_rows(edges, (height, width), k, room)
        parts, pieces = _accumulate(rows, num_layers * batch_size, (height, width), k, room)
        shown = _shown(parts.view(k * k, num_layers, -1), pieces)
        parts = parts.clamp_(0, 1).view(k * k, num_layers, batch_size, height, width)
        parts = parts[:, 0] if num_layers == 1 else parts.amax(1)
        coverage = parts[0].clone()
        for part in parts[1:]:
            coverage.add_(part)
        coverage.div_(k * k)

        pixel = pieces.pixel
        if num_layers > 1:
            pixel = pixel % (batch_size * height * width)
        ctx.coordinates_shape = (pixels.shape[1], 2, batch_size)
        # Extents are in fine pixels, k a pixel.
        ctx.save_for_backward(
            pieces.edge, pixel, pieces.share * shown, pieces.position,
            edges.upper, edges.lower, edges.weight * edges.dx / k, edges.weight * edges.dy / k,
        )  # fmt: skip
        return coverage

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        edge, pixel, share, position, upper, lower, dx, dy = ctx.saved_tensors
        num_vertices, _, batch_size = ctx.coordinates_shape
        swept = grad.reshape(-1).index_select(0, pixel).mul_(share)
        total = torch.zeros_like(dx).index_add_(0, edge, swept)
        at_lower = torch.zeros_like(dx).index_add_(0, edge, swept.mul_(position))
        at_upper = total.sub_(at_lower)

        result = grad.new_zeros(num_vertices * 2 * batch_size)
        for end, amount in ((upper, at_upper), (lower, at_lower)):
            result.index_add_(0, end, amount * dy, alpha=-1)
            result.index_add_(0, end + batch_size, amount * dx)
        # As what comes next has it, with the planes of x and y apart.
        planes = result.view(ctx.coordinates_shape).permute(2, 1, 0).contiguous()
        return planes.transpose(1, 2), None


@dataclass
class Room:
    """How many edges and pieces there are places for, so that their number is not waited for.

    Places that stay empty hold an edge of weight zero, a row piece of area zero that meets no
    pixel, or a pixel piece of no length.
    """

    edges: int
    row_pieces: int
    pixel_pieces: int
    doubts: Tensor  # () bool: whether places were lacking or coordinates were not what they must be

    @classmethod
    def around(cls, renderer: ContourSilhouette, pixels: Tensor) -> Room:
        """Somewhat more than these bodies (B, V, 2) need."""
        k = renderer.supersampling
        edges = _boundary_edges(renderer, pixels)
        rows = _cut_at_rows(edges, renderer.image_size, k)
        num_images = renderer.num_layers * len(pixels)
        pieces = _accumulate(rows, num_images, renderer.image_size, k)[1]
        edges_of, rows_of, pixels_of = (
            int(_SPARE * len(found)) + _EXTRA for found in (edges.x, rows.x, pieces.share)
        )
        doubts = torch.zeros((), dtype=torch.bool, device=pixels.device)
        return cls(edges_of, rows_of, pixels_of, doubts)

    def without_empty(self, values: Tensor, found: Spread) -> Tensor:
        """The values with zeros at empty places; ``doubts`` remembers if any places lacked."""
        assert found.empty is not None and found.lacking is not None
        self.doubts.logical_or_(found.lacking)
        return values.masked_fill(found.empty, 0)


class Boundary(NamedTuple):
    """Directed edges around the drawn layers; left of them, seen along them, is covered."""

    image: Tensor  # (N,) int64, layer * B + sample
    start: Tensor  # (N,) int64, vertex
    end: Tensor  # (N,) int64, vertex
    weight: Tensor  # (N,), how often the edge counts, negative if it runs from end to start


class Edges(NamedTuple):
    """Boundary edges in the image, each from its upper to its lower end."""

    image: Tensor  # (N,) int64, layer * B + sample
    upper: Tensor  # (N,) int64, where x of this end lies in the flat (V, 2, B) coordinates
    lower: Tensor  # (N,) int64
    weight: Tensor  # (N,), layers covered right of it minus those left of it
    x: Tensor  # (N,), pixels, upper end
    y: Tensor
    dx: Tensor  # (N,), from the upper to the lower end
    dy: Tensor  # (N,), not negative


class RowPieces(NamedTuple):
    """Pieces of edges, each within one row of pixels."""

    edge: Tensor  # (R,) int64
    row: Tensor  # (R,) int64, image * height + row
    area: Tensor  # (R,), height times the edge's weight
    start: Tensor  # (R,), part of the edge above the piece
    share: Tensor  # (R,), length as a part of the edge's
    x: Tensor  # (R,), upper end
    dx: Tensor  # (R,), from the upper to the lower end
    empty: Tensor | None  # (R,) bool, places without a piece


class PixelPieces(NamedTuple):
    """Pieces of edges, each within one part of a pixel."""

    edge: Tensor  # (M,) int64
    pixel: Tensor  # (M,) int64, position in the flat (L * B, height, width)
    part: Tensor  # (M,) int64, position in the flat (k * k, L * B, height, width) sums over layers
    share: Tensor  # (M,), length as a part of the edge's
    position: Tensor  # (M,), where its middle lies on the edge, 0 at the upper end, 1 at the lower


def _boundary_edges(
    renderer: ContourSilhouette,
    pixels: Tensor,  # (B, V, 2)
    room: Room | None = None,
) -> Edges:
    """Boundary edges of projected meshes, in parts of pixels."""
    coordinates = (pixels * renderer.supersampling).permute(1, 2, 0).contiguous()  # (V, 2, B)
    if room is not None:  # a wild coordinate must not become an index
        far = FAR * renderer.supersampling
        coordinates = coordinates.nan_to_num_(0.0).clamp_(-far, far)
    return _edges_downwards(coordinates, _boundary(renderer, coordinates, room))


def _boundary(
    renderer: ContourSilhouette, coordinates: Tensor, room: Room | None = None
) -> Boundary:
    """The edges that bound the drawn layers of projected meshes.

    Args:
        coordinates: (V, 2, B) contiguous, projected vertices in pixels; batch last, so that
            what is gathered lies together.
        room: places for the edges. Default None: as many as needed, whose number is waited for.
    """
    first, second, third = (coordinates.index_select(0, ids) for ids in renderer._corners)
    second, third = second.sub_(first), third.sub_(first)
    # Twice the signed area. Seen from its outside a face has a negative one, as y points down.
    area = second[:, 0] * third[:, 1] - second[:, 1] * third[:, 0]  # (F, B)
    weights = _boundary_of(renderer, area < 0)  # (E, B)
    if not renderer.closed:
        weights = torch.cat([weights, _boundary_of(renderer, area > 0).neg_()], 1)
    flat = weights.view(-1)
    if room is None:
        found = torch.nonzero(flat)[:, 0]
        weight = flat.index_select(0, found)
    else:
        places = compact(flat != 0, room.edges)
        found = places.owner
        weight = room.without_empty(flat.index_select(0, found), places)
    edge = torch.div(found, weights.shape[1], rounding_mode='floor')
    image = found.sub_(edge * weights.shape[1])
    start, end = (ends.index_select(0, edge) for ends in renderer._edges)
    return Boundary(image, start, end, weight.to(coordinates.dtype))


def _boundary_of(
    renderer: ContourSilhouette, layer: Tensor
) -> Tensor:  # (F, B) bool -> (E, B) int8
    """How often each edge bounds the faces of a layer, along minus against its direction."""
    members = layer.to(torch.int8)
    total = members.new_zeros(())
    for ids, signs, common in zip(
        renderer._edge_faces, renderer._edge_signs, renderer._common_signs, strict=True
    ):
        term = members.index_select(0, ids)
        if common is None:
            term, common = term.mul_(signs[:, None]), 1
        total = torch.add(total, term, alpha=common)
    return total


def _shown(parts: Tensor, pieces: PixelPieces) -> Tensor:  # (K, L, N) -> (M,) bool
    """Whether the coverage at a part of a pixel changes with what is in it."""
    num_layers, size = parts.shape[1:]
    number = parts.view(-1).index_select(0, pieces.part)
    shown = number <= 1  # else clamped; below zero there is nothing but rounding
    if num_layers == 2:
        in_back = pieces.pixel >= size
        other = parts.view(-1).index_select(0, pieces.part + torch.where(in_back, -size, size))
        shown &= torch.where(in_back, number > other, number >= other)
    return shown


def _edges_downwards(coordinates: Tensor, boundary: Boundary) -> Edges:
    batch_size = coordinates.shape[2]
    sample = boundary.image % batch_size
    # Where x lies in the flat coordinates; y lies batch_size further.
    start = boundary.start * (2 * batch_size) + sample
    end = boundary.end * (2 * batch_size) + sample
    flat = coordinates.view(-1)
    start_y = flat.index_select(0, start + batch_size)
    end_y = flat.index_select(0, end + batch_size)
    downwards = start_y <= end_y
    upper, lower = torch.where(downwards, start, end), torch.where(downwards, end, start)
    x, y = flat.index_select(0, upper), torch.minimum(start_y, end_y)
    return Edges(
        image=boundary.image,
        upper=upper,
        lower=lower,
        weight=torch.where(downwards, boundary.weight, -boundary.weight),
        x=x,
        y=y,
        dx=flat.index_select(0, lower) - x,
        dy=torch.maximum(start_y, end_y) - y,
    )


def _accumulate(
    rows: RowPieces, num_images: int, size: tuple[int, int], k: int, room: Room | None = None
) -> tuple[Tensor, PixelPieces]:
    """Number of layers integrated over each part of each pixel, and the pieces of edges.

    The first is (k * k, num_images, height, width): pictures of one part of all pixels each, so
    that what follows runs along contiguous memory. Parts go row by row, the last of a row first.
    """
    width = size[1] * k
    left, extent = torch.minimum(rows.x, rows.x + rows.dx), rows.dx.abs()
    per_pixel = extent.clamp(min=_TINY).reciprocal_()
    first = left.floor()
    # A piece that ends on a grid line does not reach the pixel right of it.
    last = torch.maximum((left + extent).ceil_().sub_(1), first)
    last.clamp_(max=width - 1)
    if rows.empty is not None:
        last.masked_fill_(rows.empty, -1)
    found = spread(first.clamp_(min=0), last, None if room is None else room.pixel_pieces)
    owner, column = found.owner, found.value

    # u runs along the piece of a row, from 0 at its left end to 1 at its right.
    left_of = left.index_select(0, owner)
    per_pixel_of = per_pixel.index_select(0, owner)
    border = column.to(left.dtype).sub_(left_of)  # the pixel's left border, seen from the left end
    u_begin = (border * per_pixel_of).clamp_(0, 1)
    u_end = ((border + 1) * per_pixel_of).clamp_(0, 1)
    part = u_end - u_begin
    if room is not None:
        part = room.without_empty(part, found)
    u_middle = u_begin.add_(u_end).mul_(0.5)

    # Where the pieces lie; fine rows and columns are split into pixels and parts.
    row, row_part = _split(rows.row, k)  # images have k times as many rows: no image is straddled
    pixel_column, column_part = _split(column, k)
    pixel = (row * size[1]).index_select(0, owner).add_(pixel_column)
    sums = left.new_zeros(k, k, num_images, *size)
    flat, plane = sums.view(-1), num_images * size[0] * size[1]
    area = rows.area.index_select(0, owner).mul_(part)
    # The mean distance to the left border is what the pixel loses, and only pixels further right
    # receive: the next one, from which the sum along the row carries it on.
    carried = extent.index_select(0, owner).mul_(u_middle).sub_(border).mul_(area)
    position = (row_part * (k * plane)).index_select(0, owner).add_(pixel)
    position = position.add_(column_part, alpha=plane)
    flat.index_add_(0, position, area.sub_(carried))
    # From the last part of a pixel on to the first of the next one. Right of the image there is
    # none: nothing is added there, at any place that exists.
    wraps = column_part == k - 1
    beside = position.add_(torch.where(wraps, (1 - k) * plane, plane))
    inside = column < width - 1
    following = (beside + wraps).clamp_(max=len(flat) - 1)
    flat.index_add_(0, following, carried.mul_(inside))
    if room is not None or bool((left < 0).any()):
        beyond = (left * per_pixel).neg_().clamp_(0, 1)  # lies left of the image
        begin = row_part * (k * plane) + row * size[1]
        flat.index_add_(0, begin, beyond.mul_(rows.area))
    # Sums along the rows, in place: over whole pixels up to each one's last part, which replace the
    # first part; less the last part, up to the one before, which replace the last part; and so on.
    running = sums[:, 0]
    for i in range(1, k):
        running.add_(sums[:, i])
    torch.cumsum(running, -1, out=running)
    for i in range(k - 1, 0, -1):
        running = torch.sub(running, sums[:, i], out=sums[:, i])
    rightwards = rows.dx >= 0
    along = torch.where(rightwards, rows.share, -rows.share).index_select(0, owner)
    from_left = torch.where(rightwards, rows.start, rows.start + rows.share)
    pieces = PixelPieces(
        edge=rows.edge.index_select(0, owner),
        pixel=pixel,
        part=beside,
        share=along.abs().mul_(part),
        position=from_left.index_select(0, owner).addcmul_(along, u_middle),
    )
    return sums.view(k * k, num_images, *size), pieces


def _cut_at_rows(
    edges: Edges, size: tuple[int, int], k: int, room: Room | None = None
) -> RowPieces:
    """Cut edges at the rows' borders; drop what lies above, below or right of the image."""
    height, width = size[0] * k, size[1] * k
    bottom = edges.y + edges.dy
    first = edges.y.floor()
    # An edge that ends on a grid line does not reach the row below it.
    last = torch.maximum(bottom.ceil() - 1, first).clamp_(max=height - 1)
    outside = torch.minimum(edges.x, edges.x + edges.dx) >= width
    if room is not None:
        outside |= edges.weight == 0
    last.masked_fill_(outside, -1)
    found = spread(first.clamp_(min=0), last, None if room is None else room.row_pieces)
    owner, row = found.owner, found.value

    border = row.to(edges.y.dtype)
    y, bottom = edges.y.index_select(0, owner), bottom.index_select(0, owner)
    # Heights are differences of coordinates, not parts of dy, so that they add up in every row.
    piece_height = torch.minimum(bottom, border + 1).sub_(torch.maximum(y, border))
    per_row = edges.dy.clamp(min=_TINY).reciprocal_().index_select(0, owner)
    border = border.sub_(y)
    start = (border * per_row).clamp_(0, 1)
    share = ((border + 1) * per_row).clamp_(0, 1).sub_(start)
    dx = edges.dx.index_select(0, owner)
    area = edges.weight.index_select(0, owner).mul_(piece_height)
    return RowPieces(
        edge=owner,
        row=(edges.image * height).index_select(0, owner).add_(row),
        area=area if room is None else room.without_empty(area, found),
        start=start,
        share=share,
        x=edges.x.index_select(0, owner).addcmul_(start, dx),
        dx=dx.mul_(share),
        empty=found.empty,
    )


def _split(index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of a fine row or column the pixel's, and which of its k parts."""
    if k == 1:
        return index, torch.zeros_like(index)
    if k & (k - 1) == 0:  # a power of two
        return index >> (k.bit_length() - 1), index & (k - 1)
    whole = torch.div(index, k, rounding_mode='floor')
    return whole, index - whole * k
