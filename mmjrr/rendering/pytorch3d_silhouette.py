"""PyTorch3D's soft silhouette, the paper's own renderer, behind our interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.registry import RENDERERS
from mmjrr.rendering.base import SilhouetteRenderer
from mmjrr.rendering.cameras import PerspectiveCamera
from mmjrr.rendering.spread import spread

INSTALL = 'see https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md'

#: PyTorch3D's ``kEpsilon``: twice the area, in normalised coordinates, up to which a face has none.
_NO_AREA = 1e-8


@RENDERERS.register_module()
class PyTorch3DSilhouette(SilhouetteRenderer):
    r"""Silhouettes by PyTorch3D's rasteriser and ``SoftSilhouetteShader``.

    The shader blends, at the centre of a pixel, the nearest faces as
    :math:`1 - \prod_i (1 - \mathrm{sigmoid}(-d_i / \sigma))`, where :math:`d_i` is the squared
    distance to the face's border, negative inside (SoftRasterizer: Liu et al., ICCV 2019,
    Equations 1 and 3). The defaults are the paper's authors'. With them alpha falls off towards
    every triangle's border, so that it lies between a half and one *inside* the body, and no pixel
    outside has a gradient; ``faces_per_pixel=50, sigma=1e-4, blur_radius=9.2e-4`` is what
    PyTorch3D's documentation suggests instead, and slower.

    Our cameras project (their lens distortion included); PyTorch3D rasterises the projected
    triangles. It computes in float32 whatever the vertices' dtype.

    On a CPU, PyTorch3D asks every face of every pixel. So there each tile of the image is given to
    it as an image of its own, with the faces that reach it: the same pictures and gradients but for
    rounding, some hundred times faster. On a GPU it sorts faces into bins itself.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default (224, 224).
        near: the smallest depth, in metres, at which a vertex may lie. Default 0.01.
        faces_per_pixel: faces that a pixel blends. Default 1.
        blur_radius: squared distance from a face up to which pixels blend it, in PyTorch3D's
            normalised coordinates (the image's shorter side is 2 long). Default 0.
        sigma: sharpness of the faces' borders, the same unit. Default 1e-4.
        bin_size: as in PyTorch3D's ``RasterizationSettings``. Default None: its heuristic.
        tile_size: side of the tiles in pixels, on a CPU. None: all at once. Default 16.

    Raises:
        ImportError: PyTorch3D is not installed.
        ValueError: an argument is not what it should be.
    """

    def __init__(
        self,
        faces: Tensor | np.ndarray | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
        faces_per_pixel: int = 1,
        blur_radius: float = 0.0,
        sigma: float = 1e-4,
        bin_size: int | None = None,
        tile_size: int | None = 16,
    ) -> None:
        super().__init__(faces, image_size, near)
        if faces_per_pixel < 1:
            raise ValueError(f'faces_per_pixel must be at least 1, got {faces_per_pixel}')
        if blur_radius < 0 or not sigma > 0:
            raise ValueError(
                f'blur_radius must not be negative and sigma must be positive, '
                f'got {blur_radius} and {sigma}'
            )
        if tile_size is not None and tile_size < 1:
            raise ValueError(f'tile_size must be at least 1 or None, got {tile_size}')
        try:
            from pytorch3d.renderer import BlendParams, SoftSilhouetteShader
        except ImportError as error:
            raise ImportError(
                f'PyTorch3DSilhouette needs PyTorch3D, which cannot be imported ({error}): '
                f"{INSTALL}, or choose dict(type='ContourSilhouette')"
            ) from error
        self.faces_per_pixel = int(faces_per_pixel)
        self.blur_radius = float(blur_radius)
        self.sigma = float(sigma)
        self.bin_size = bin_size
        self.tile_size = tile_size
        self._shader = SoftSilhouetteShader(BlendParams(sigma=self.sigma))

    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        return self._draw(vertices, camera, self.faces_per_pixel, self.blur_radius)[0]

    @torch.no_grad()
    def covered(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Whether a face covers each pixel's centre, (B, H, W) bool: the hard silhouette."""
        self._check(vertices)
        return self._draw(vertices, camera, 1, 0.0)[1]

    def _draw(
        self, vertices: Tensor, camera: PerspectiveCamera, faces_per_pixel: int, blur_radius: float
    ) -> tuple[Tensor, Tensor]:
        """Alpha, and whether any face is at a pixel; both (B, H, W)."""
        from pytorch3d.structures import Meshes

        height, width = self.image_size
        points = torch.cat([self._project(vertices, camera), vertices[..., 2:]], -1).float()
        if self.tile_size is None or points.device.type != 'cpu':
            meshes = Meshes(
                _normalised(points, height, width), self.faces.expand(len(points), -1, -1)
            )
            alpha, seen = self._shaded(meshes, (height, width), faces_per_pixel, blur_radius)
        else:
            tiles = _Tiles.around(
                points.detach(), self.faces, self.image_size, self.tile_size, blur_radius
            )
            if not len(tiles.numbers):  # nothing to see, but part of the graph
                alpha = points.new_zeros(len(points), height, width) + points[:, :0].sum()
                return alpha.to(vertices.dtype), alpha > 0
            tile = (self.tile_size, self.tile_size)
            meshes = tiles.meshes(points, self.faces)
            alpha, seen = map(
                tiles.joined, self._shaded(meshes, tile, faces_per_pixel, blur_radius)
            )
        return alpha.to(vertices.dtype), seen

    def _shaded(
        self, meshes: Any, size: tuple[int, int], faces_per_pixel: int, blur_radius: float
    ) -> tuple[Tensor, Tensor]:
        """Alpha, and whether any face is there, of images of this size."""
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.renderer.mesh.rasterizer import Fragments

        # Squared distances are in units of the image that is drawn; the settings, of the whole one.
        zoom = (min(self.image_size) / min(size)) ** 2
        pix_to_face, zbuf, bary_coords, dists = rasterize_meshes(
            meshes,
            image_size=size,
            blur_radius=blur_radius * zoom,
            faces_per_pixel=faces_per_pixel,
            bin_size=self.bin_size,
            perspective_correct=False,
        )
        fragments = Fragments(pix_to_face, zbuf, bary_coords, dists / zoom)
        return self._shader(fragments, meshes)[..., 3], pix_to_face[..., 0] >= 0

    def extra_repr(self) -> str:
        return (
            f'{super().extra_repr()}, faces_per_pixel={self.faces_per_pixel}, '
            f'blur_radius={self.blur_radius}, sigma={self.sigma}, tile_size={self.tile_size}'
        )


def _normalised(points: Tensor, height: int, width: int) -> Tensor:
    """From pixels, and depth, to PyTorch3D's coordinates: x to the left, y upwards, the shorter
    side from -1 to 1; the image's border is the border of the outermost pixels, as it is in ours.
    """
    extent = points.new_tensor([width, height])
    plane = (extent - 2 * points[..., :2]) / min(height, width)
    return torch.cat([plane, points[..., 2:]], -1)


@dataclass
class _Tiles:
    """Which faces reach which tiles of a batch's images; tiles that none reaches are left out."""

    batch_size: int
    image_size: tuple[int, int]
    side: int
    numbers: Tensor  # (T,) int64, (image * rows + row) * columns + column, ascending
    counts: list[int]  # T, faces of each
    faces: Tensor  # (P,) int64, image * F + face, tile after tile

    @classmethod
    def around(
        cls, points: Tensor, faces: Tensor, image_size: tuple[int, int], side: int, blur: float
    ) -> _Tiles:
        height, width = image_size
        rows, columns = -(-height // side), -(-width // side)
        corners = points[:, faces.T, :2]  # (B, 3, F, 2)
        reach = blur**0.5 * min(image_size) / 2
        low = ((corners.amin(1) - reach) / side).floor().clamp_(min=0).flatten(0, 1)
        high = ((corners.amax(1) + reach) / side).floor().flatten(0, 1)
        high = torch.minimum(high, high.new_tensor([columns - 1, rows - 1]))
        # Faces that PyTorch3D takes as having no area are no larger for being drawn larger.
        first, second = (corners[:, i] - corners[:, 0] for i in (1, 2))
        area = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        high[area.flatten().abs() * (2 / min(image_size)) ** 2 <= _NO_AREA] = -1
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

    def meshes(self, points: Tensor, faces: Tensor) -> Any:
        """Each tile's faces, seen from its upper left corner."""
        from pytorch3d.structures import Meshes

        rows, columns = self.shape
        corners = points[:, faces].flatten(0, 1)[self.faces]  # (P, 3, 3)
        row = torch.div(self.numbers, columns, rounding_mode='floor') % rows
        origin = torch.stack([self.numbers % columns, row, torch.zeros_like(row)], 1) * self.side
        origin = origin.repeat_interleave(torch.tensor(self.counts), 0)
        seen = _normalised((corners - origin[:, None]).flatten(0, 1), self.side, self.side)
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
