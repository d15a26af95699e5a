"""PyTorch3D's rasterizer, on whole images or tiles: faces near each pixel and their distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmjrr.rendering.ranges import expand_ranges

#: PyTorch3D's ``kEpsilon``: it ignores faces whose doubled area in normalized coordinates does not
#: exceed this value.
_MIN_DOUBLED_AREA = 1e-8

#: Margin in pixels by which a face's box is enlarged, so that rounding excludes no pixel center
#: that PyTorch3D might assign to the face.
_MARGIN = 1e-3


def rasterize(
    points: Tensor,  # (B, V, 3): pixels, pixels, meters; float32
    faces: Tensor,  # (F, 3)
    image_size: tuple[int, int],
    faces_per_pixel: int,
    blur_radius: float,
    bin_size: int | None,
) -> tuple[Tensor, Tensor]:
    """Return PyTorch3D's ``pix_to_face`` and differentiable ``dists``, both (B, H, W, K).

    Args:
        points: Projected vertices: x and y in pixels, depth in meters.
        faces: Vertex indices.
        image_size: (height, width) in pixels.
        faces_per_pixel: K.
        blur_radius: Squared distance, in PyTorch3D's normalized coordinates, up to which a face is
            near a pixel.
        bin_size: As in PyTorch3D's ``RasterizationSettings``.
    """
    from pytorch3d.structures import Meshes

    meshes = Meshes(_normalize(points, image_size), faces.expand(len(points), -1, -1))
    pix_to_face, _, _, dists = _rasterize_meshes(
        meshes, image_size, faces_per_pixel, blur_radius, bin_size
    )
    return pix_to_face, dists


@dataclass
class Tiles:
    """The faces that reach each tile of a batch's images; tiles without faces are left out.

    Tiles and whole images can select different faces where more than ``faces_per_pixel`` faces are
    near a pixel, because depths differ slightly. PyTorch3D adds 1e-8 to the doubled area of a face
    in normalized coordinates, which makes its depth too small: by a quarter of a millimeter for a
    face of a pixel's size, 4 m away, in an image of 224 pixels. In a tile's coordinates, areas are
    larger and depths more exact.
    """

    batch_size: int
    image_size: tuple[int, int]
    side: int
    numbers: Tensor  # (T,) int64, (image * rows + row) * columns + column, ascending
    counts: list[int]  # T, number of faces of each tile
    faces: Tensor  # (P,) int64, image * F + face, tile after tile

    @classmethod
    def for_faces(
        cls,
        points: Tensor,  # (B, V, 3)
        faces: Tensor,  # (F, 3)
        image_size: tuple[int, int],
        side: int,
        blur_radius: float,
    ) -> Tiles:
        """Assign faces to tiles of ``side`` pixels.

        A face reaches a tile if its bounding box, widened by the blur, contains the center of one
        of the tile's pixels.
        """
        height, width = image_size
        rows, columns = -(-height // side), -(-width // side)
        unit = min(image_size) / 2  # pixels
        corners = points[:, faces.T, :2]  # (B, 3, F, 2)
        margin = blur_radius**0.5 * unit + _MARGIN - 0.5
        low = (corners.amin(1) - margin - 1).ceil().clamp_(min=0).flatten(0, 1)  # first pixel
        high = (corners.amax(1) + margin).floor().flatten(0, 1)  # last pixel
        high = torch.minimum(high, high.new_tensor([width - 1, height - 1]))
        # PyTorch3D ignores faces that are too small at the image's scale. At a tile's scale it
        # would draw them: drop them here.
        first, second = (corners[:, i] - corners[:, 0] for i in (1, 2))
        area = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        dropped = (low > high).any(1) | (area.flatten().abs() <= _MIN_DOUBLED_AREA * unit**2)
        low, high = (low / side).floor(), (high / side).floor()
        high[dropped] = -1
        down = expand_ranges(low[:, 1], high[:, 1])
        across = expand_ranges(low[down.range_index, 0], high[down.range_index, 0])
        face = down.range_index[across.range_index]
        row = (
            torch.div(face, len(faces), rounding_mode='floor') * rows
            + down.value[across.range_index]
        )
        number, order = torch.sort(row * columns + across.value, stable=True)
        numbers, counts = torch.unique_consecutive(number, return_counts=True)
        return cls(len(points), image_size, side, numbers, counts.tolist(), face[order])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of tiles in an image."""
        height, width = self.image_size
        return -(-height // self.side), -(-width // self.side)

    def rasterize(
        self,
        points: Tensor,
        faces: Tensor,
        faces_per_pixel: int,
        blur_radius: float,
        bin_size: int | None,
    ) -> tuple[Tensor, Tensor]:
        """Rasterize the tiles; arguments and results are as in :func:`rasterize`.

        ``pix_to_face`` and ``dists`` are (T, side, side, K), and ``pix_to_face`` indexes
        ``self.faces``. Distances are computed with PyTorch's operations, whose backward pass on a
        CPU is faster than PyTorch3D's, which takes a microsecond for each distance.
        """
        size = (self.side, self.side)
        origin = self._origin()
        if not len(origin):
            empty = self.numbers.new_zeros(0, *size, faces_per_pixel)
            return empty, empty + points[:, :0].sum()  # keeps the graph to the points
        image = torch.div(self.faces, len(faces), rounding_mode='floor')
        corners = faces[self.faces - image * len(faces)] + image[:, None] * points.shape[1]
        flat = points.flatten(0, 1)
        zoom = (min(self.image_size) / self.side) ** 2  # of squared distances
        with torch.no_grad():
            meshes = self._meshes(flat[corners], origin)
            pix_to_face = _rasterize_meshes(
                meshes, size, faces_per_pixel, blur_radius * zoom, bin_size
            )[0]
        tile, y, x, _ = where = torch.nonzero(pix_to_face >= 0).unbind(1)
        center = torch.stack([x, y], 1) + 0.5 + origin[tile, :2]
        triangles = flat.index_select(0, corners[pix_to_face[where]].flatten())
        distance = squared_distance(center, triangles.view(-1, 3, 3)[..., :2])
        in_units = distance * (2 / min(self.image_size)) ** 2
        return pix_to_face, in_units.new_full(pix_to_face.shape, -1).index_put(where, in_units)

    def _origin(self) -> Tensor:  # (T, 3)
        """Return the tiles' upper left corners: pixels, pixels, zero."""
        rows, columns = self.shape
        row = torch.div(self.numbers, columns, rounding_mode='floor') % rows
        return torch.stack([self.numbers % columns, row, torch.zeros_like(row)], 1) * self.side

    def _meshes(self, corners: Tensor, origin: Tensor) -> Any:  # (P, 3, 3), (T, 3)
        """Build a mesh for each tile, relative to its upper left corner."""
        from pytorch3d.structures import Meshes

        origin = origin.repeat_interleave(torch.tensor(self.counts), 0)
        shifted = _normalize((corners - origin[:, None]).flatten(0, 1), (self.side, self.side))
        corner_ids = torch.arange(3 * max(self.counts)).view(-1, 3)
        return Meshes(
            list(shifted.split([3 * count for count in self.counts])),
            [corner_ids[:count] for count in self.counts],
        )

    def join(self, tiles: Tensor) -> Tensor:  # (T, side, side) -> (B, H, W)
        """Assemble the images from tiles; pixels of missing tiles are zero."""
        (rows, columns), (height, width) = self.shape, self.image_size
        images = tiles.new_zeros(self.batch_size * rows * columns, self.side, self.side)
        images = images.index_copy(0, self.numbers, tiles)
        images = images.view(self.batch_size, rows, columns, self.side, self.side).transpose(2, 3)
        images = images.reshape(self.batch_size, rows * self.side, columns * self.side)
        return images[:, :height, :width]


def squared_distance(points: Tensor, triangles: Tensor) -> Tensor:  # (M, 2), (M, 3, 2) -> (M,)
    """Compute each point's squared distance to the border of its triangle, negative inside.

    The distance is that of SoftRasterizer (Liu et al., ICCV 2019, Section 3).

    >>> triangle = torch.tensor([[[0.0, 0], [4, 0], [0, 4]]])
    >>> squared_distance(torch.tensor([[1.0, 1.0]]), triangle)
    tensor([-1.])
    >>> squared_distance(torch.tensor([[-3.0, 7.0]]), triangle)
    tensor([18.])
    """
    to_point = points[:, None] - triangles  # from each corner
    side = triangles.roll(-1, 1) - triangles
    length = side.square().sum(-1).clamp_min(1e-20)
    along = ((to_point * side).sum(-1) / length).clamp(0, 1)
    distance = (to_point - along[..., None] * side).square().sum(-1).min(1).values
    turn = side[..., 0] * to_point[..., 1] - side[..., 1] * to_point[..., 0]
    inside = (turn > 0).all(1) | (turn < 0).all(1)
    return torch.where(inside, -distance, distance)


def _normalize(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Convert pixels and depth to PyTorch3D's coordinates.

    x points left, y up, and the shorter side spans [-1, 1] between the borders of the outermost
    pixels.
    """
    extent = points.new_tensor([image_size[1], image_size[0]])
    plane = (extent - 2 * points[..., :2]) / min(image_size)
    return torch.cat([plane, points[..., 2:]], -1)


def _rasterize_meshes(
    meshes: Any,
    image_size: tuple[int, int],
    faces_per_pixel: int,
    blur_radius: float,
    bin_size: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes

    return rasterize_meshes(
        meshes,
        image_size=image_size,
        blur_radius=blur_radius,
        faces_per_pixel=faces_per_pixel,
        bin_size=bin_size,
        perspective_correct=False,
    )
