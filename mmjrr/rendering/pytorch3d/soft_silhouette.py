"""PyTorch3D's soft silhouette, the paper's renderer, behind the interface of this package."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.geometry import PerspectiveCamera
from mmjrr.registry import RENDERERS
from mmjrr.rendering.pytorch3d.rasterizer import Tiles, rasterize
from mmjrr.rendering.silhouette_renderer import SilhouetteRenderer

INSTALL = 'see https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md'


@RENDERERS.register_module()
class PyTorch3DSilhouette(SilhouetteRenderer):
    r"""Silhouettes by PyTorch3D's rasterizer and ``SoftSilhouetteShader``.

    At the center of a pixel, the shader blends the nearest faces as
    :math:`1 - \prod_i (1 - \mathrm{sigmoid}(-d_i / \sigma))`, where :math:`d_i` is the squared
    distance to the face's border, negative inside (SoftRasterizer: Liu et al., ICCV 2019,
    Equations 1 and 3). The defaults are those of the paper's authors. With them alpha falls off
    towards every triangle's border: it lies between 0.5 and 1 *inside* the body, and pixels outside
    have no gradient. PyTorch3D's documentation suggests ``faces_per_pixel=50, sigma=1e-4,
    blur_radius=9.2e-4``, which is slower.

    The camera projects the vertices, with its lens distortion; PyTorch3D rasterizes the projected
    triangles in float32, whatever the vertices' dtype.

    On a CPU, PyTorch3D tests every face at every pixel. The image is therefore split into tiles,
    each of which is rasterized with only the faces that reach it. In the authors' setting, images
    and gradients with and without tiles agree up to rounding. Where more than ``faces_per_pixel``
    faces are near a pixel, tiles may blend other faces (see
    :class:`~mmjrr.rendering.pytorch3d.rasterizer.Tiles`). On a GPU, PyTorch3D sorts faces into bins
    itself.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default: (224, 224).
        near: Smallest allowed depth of a vertex, in meters. Default: 0.01.
        faces_per_pixel: Number of faces that a pixel blends. Default: 1.
        blur_radius: Squared distance from a face up to which pixels blend it, in PyTorch3D's
            normalized coordinates (the image's shorter side is 2 long). Default: 0.
        sigma: Width of the faces' soft borders, in the same unit. Default: 1e-4.
        bin_size: As in PyTorch3D's ``RasterizationSettings``. Default: None, its heuristic.
        tile_size: Side of the tiles on a CPU, in pixels; None draws without tiles. Default: 16.

    Raises:
        ImportError: PyTorch3D cannot be imported.
        ValueError: An argument is invalid.
    """

    def __init__(
        self,
        faces: Tensor | Array | Sequence[Sequence[int]],
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
            raise ValueError(f'faces_per_pixel: found {faces_per_pixel}, expected at least 1')
        if blur_radius < 0 or not sigma > 0:
            raise ValueError(
                f'blur_radius, sigma: found {blur_radius} and {sigma}, expected a non-negative '
                'and a positive number'
            )
        if tile_size is not None and tile_size < 1:
            raise ValueError(f'tile_size: found {tile_size}, expected at least 1 or None')
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
        """Draw checked vertices."""
        return self._draw(vertices, camera, self.faces_per_pixel, self.blur_radius)[0]

    @torch.no_grad()
    def covered(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Draw the hard silhouette (B, H, W) bool: whether a face covers each pixel's center."""
        self._check(vertices)
        return self._draw(vertices, camera, 1, 0.0)[1]

    def _draw(
        self, vertices: Tensor, camera: PerspectiveCamera, faces_per_pixel: int, blur_radius: float
    ) -> tuple[Tensor, Tensor]:
        """Return alpha and whether any face is near each pixel's center, both (B, H, W)."""
        points = torch.cat([self._project(vertices, camera), vertices[..., 2:]], -1).float()
        setting = faces_per_pixel, blur_radius, self.bin_size
        if self.tile_size is None or points.device.type != 'cpu':
            pix_to_face, dists = rasterize(points, self.faces, self.image_size, *setting)
            alpha, covered = self._shade(pix_to_face, dists), pix_to_face[..., 0] >= 0
        else:
            tiles = Tiles.for_faces(
                points.detach(), self.faces, self.image_size, self.tile_size, blur_radius
            )
            pix_to_face, dists = tiles.rasterize(points, self.faces, *setting)
            alpha = tiles.join(self._shade(pix_to_face, dists))
            covered = tiles.join(pix_to_face[..., 0] >= 0)
        return alpha.to(vertices.dtype), covered

    def _shade(self, pix_to_face: Tensor, dists: Tensor) -> Tensor:  # (N, h, w, K) -> (N, h, w)
        from pytorch3d.renderer.mesh.rasterizer import Fragments

        # The shader draws all faces white: barycentric coordinates and depths do not matter.
        unused = dists.new_zeros(()).expand(*dists.shape, 3)
        return self._shader(Fragments(pix_to_face, dists, unused, dists), None)[..., 3]

    def extra_repr(self) -> str:
        """Return the settings that PyTorch prints."""
        return (
            f'{super().extra_repr()}, faces_per_pixel={self.faces_per_pixel}, '
            f'blur_radius={self.blur_radius}, sigma={self.sigma}, tile_size={self.tile_size}'
        )
