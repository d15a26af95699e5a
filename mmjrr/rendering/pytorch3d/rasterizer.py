"""Which faces are at a pixel, by PyTorch3D, and how far off: at once, or on a CPU tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmjrr.rendering.ranges import spread

#: PyTorch3D's ``kEpsilon``: twice the area, in normalised coordinates, up to which a face has none.
_NO_AREA = 1e-8

#: Pixels; a face so near a pixel's centre is handed over, for PyTorch3D to tell.
_SLACK = 1e-3


def rasterised(
    points: Tensor,  # (B, V, 3): pixels, pixels, metres; float32
    faces: Tensor,  # (F, 3)
    image_size: tuple[int, int],
    faces_per_pixel: int,
    blur_radius: float,
    bin_size: int | None,
) -> tuple[Tensor, Tensor]:
    """PyTorch3D's ``pix_to_face`` and ``dists``, both (B, H, W, K), the second differentiable."""
    from pytorch3d.structures import Meshes

    meshes = Meshes(_normalised(points, image_size), faces.expand(len(points), -1, -1))
    found = _rasterise(meshes, image_size, faces_per_pixel, blur_radius, bin_size)
    return found[0], found[3]


@dataclass
class Tiles:
    """Which faces reach which tiles of a batch's images; tiles that none reaches are left out.

    PyTorch3D orders faces by a depth that is too small by the 1e-8 that it adds to twice their area
    in normalised coordinates: a quarter of a millimetre for a face of a pixel's size, 4 m off, in
    an image of 224 pixels. In a tile's coordinates areas are larger, and the depths more exact. So
    where more than ``faces_per_pixel`` faces are near a pixel, others may be the nearest.
    """

    batch_size: int
    image_size: tuple[int, int]
    side: int
    numbers: Tensor  # (T,) int64, (image * rows + row) * columns + column, ascending
    counts: list[int]  # T, faces of each
    faces: Tensor  # (P,) int64, image * F + face, tile after tile

    @classmethod
    def around(
        cls,
        points: Tensor,  # (B, V, 3)
        faces: Tensor,  # (F, 3)
        image_size: tuple[int, int],
        side: int,
        blur_radius: float,
    ) -> Tiles:
        """Tiles of ``side`` pixels with the faces whose boxes, wider by the blur, hold a centre of
        a pixel in them."""
        height, width = image_size
        rows, columns = -(-height // side), -(-width // side)
        unit = min(image_size) / 2  # pixels
        corners = points[:, faces.T, :2]  # (B, 3, F, 2)
        reach = blur_radius**0.5 * unit + _SLACK - 0.5
        low = (corners.amin(1) - reach - 1).ceil().clamp_(min=0).flatten(0, 1)  # first pixel
        high = (corners.amax(1) + reach).floor().flatten(0, 1)  # last one
        high = torch.minimum(high, high.new_tensor([width - 1, height - 1]))
        # Faces that PyTorch3D takes as having no area have some when drawn larger.
        first, second = (corners[:, i] - corners[:, 0] for i in (1, 2))
        area = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        none = (low > high).any(1) | (area.flatten().abs() <= _NO_AREA * unit**2)
        low, high = (low / side).floor(), (high / side).floor()
        high[none] = -1
        down = spread(low[:, 1], high[:, 1])
        across = spread(low[down.owner, 0], high[down.owner, 0])
        face = down.owner[across.owner]
        row = torch.div(face, len(faces), rounding_mode='floor') * rows + down.value[across.owner]
        number, order = torch.sort(row * columns + across.value, stable=True)
        numbers, counts = torch.unique_consecutive(number, return_counts=True)
        return cls(len(points), image_size, side, numbers, counts.tolist(), face[order])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles in an image."""
        height, width = self.image_size
        return -(-height // self.side), -(-width // self.side)

    def rasterised(
        self,
        points: Tensor,
        faces: Tensor,
        faces_per_pixel: int,
        blur_radius: float,
        bin_size: int | None,
    ) -> tuple[Tensor, Tensor]:
        """As :func:`rasterised`, of tiles (T, side, side, K); faces are those of ``self.faces``.

        Distances are computed here, which gives them a derivative; PyTorch3D's own takes a
        microsecond for each number on a CPU.
        """
        size = (self.side, self.side)
        origin = self._origin()
        if not len(origin):
            nothing = self.numbers.new_zeros(0, *size, faces_per_pixel)
            return nothing, nothing + points[:, :0].sum()  # a graph all the same
        image = torch.div(self.faces, len(faces), rounding_mode='floor')
        corners = faces[self.faces - image * len(faces)] + image[:, None] * points.shape[1]
        flat = points.flatten(0, 1)
        zoom = (min(self.image_size) / self.side) ** 2  # of squared distances
        with torch.no_grad():
            meshes = self._meshes(flat[corners], origin)
            pix_to_face = _rasterise(meshes, size, faces_per_pixel, blur_radius * zoom, bin_size)[0]
        tile, y, x, _ = where = torch.nonzero(pix_to_face >= 0).unbind(1)
        centre = torch.stack([x, y], 1) + 0.5 + origin[tile, :2]
        triangles = flat.index_select(0, corners[pix_to_face[where]].flatten())
        distance = squared_distance(centre, triangles.view(-1, 3, 3)[..., :2])
        in_units = distance * (2 / min(self.image_size)) ** 2
        return pix_to_face, in_units.new_full(pix_to_face.shape, -1).index_put(where, in_units)

    def _origin(self) -> Tensor:  # (T, 3)
        """The tiles' upper left corners: pixels, pixels, zero."""
        rows, columns = self.shape
        row = torch.div(self.numbers, columns, rounding_mode='floor') % rows
        return torch.stack([self.numbers % columns, row, torch.zeros_like(row)], 1) * self.side

    def _meshes(self, corners: Tensor, origin: Tensor) -> Any:  # (P, 3, 3), (T, 3)
        """Each tile's faces, seen from its upper left corner."""
        from pytorch3d.structures import Meshes

        origin = origin.repeat_interleave(torch.tensor(self.counts), 0)
        seen = _normalised((corners - origin[:, None]).flatten(0, 1), (self.side, self.side))
        of_most = torch.arange(3 * max(self.counts)).view(-1, 3)
        return Meshes(
            list(seen.split([3 * count for count in self.counts])),
            [of_most[:count] for count in self.counts],
        )

    def joined(self, tiles: Tensor) -> Tensor:  # (T, side, side) -> (B, H, W)
        """The images; zero where no face is near."""
        (rows, columns), (height, width) = self.shape, self.image_size
        images = tiles.new_zeros(self.batch_size * rows * columns, self.side, self.side)
        images = images.index_copy(0, self.numbers, tiles)
        images = images.view(self.batch_size, rows, columns, self.side, self.side).transpose(2, 3)
        images = images.reshape(self.batch_size, rows * self.side, columns * self.side)
        return images[:, :height, :width]


def squared_distance(points: Tensor, triangles: Tensor) -> Tensor:  # (M, 2), (M, 3, 2) -> (M,)
    """To the triangle's border, negative inside (SoftRasterizer: Liu et al., ICCV 2019, Section 3).

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


def _normalised(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """From pixels, and depth, to PyTorch3D's coordinates: x to the left, y upwards, the shorter
    side from -1 to 1; the image's border is the border of the outermost pixels, as it is in ours.
    """
    extent = points.new_tensor([image_size[1], image_size[0]])
    plane = (extent - 2 * points[..., :2]) / min(image_size)
    return torch.cat([plane, points[..., 2:]], -1)


def _rasterise(
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
