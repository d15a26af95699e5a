"""PyTorch3D's soft silhouette, the paper's own renderer, behind our interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.registry import RENDERERS
from mmjrr.rendering.base import SilhouetteRenderer
from mmjrr.rendering.cameras import PerspectiveCamera

INSTALL = 'see https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md'


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

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default (224, 224).
        near: the smallest depth, in metres, at which a vertex may lie. Default 0.01.
        faces_per_pixel: faces that a pixel blends. Default 1.
        blur_radius: squared distance from a face up to which pixels blend it, in PyTorch3D's
            normalised coordinates (the image's shorter side is 2 long). Default 0.
        sigma: sharpness of the faces' borders, the same unit. Default 1e-4.
        bin_size: as in PyTorch3D's ``RasterizationSettings``. Default None: its heuristic.

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
    ) -> None:
        super().__init__(faces, image_size, near)
        if faces_per_pixel < 1:
            raise ValueError(f'faces_per_pixel must be at least 1, got {faces_per_pixel}')
        if blur_radius < 0 or not sigma > 0:
            raise ValueError(
                f'blur_radius must not be negative and sigma must be positive, '
                f'got {blur_radius} and {sigma}'
            )
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
        self._shader = SoftSilhouetteShader(BlendParams(sigma=self.sigma))

    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        meshes, fragments = self._rasterise(
            vertices, camera, self.faces_per_pixel, self.blur_radius
        )
        return self._shader(fragments, meshes)[..., 3].to(vertices.dtype)

    @torch.no_grad()
    def covered(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Whether a face covers each pixel's centre, (B, H, W) bool: the hard silhouette."""
        self._check(vertices)
        return self._rasterise(vertices, camera, 1, 0.0)[1].pix_to_face[..., 0] >= 0

    def _rasterise(
        self, vertices: Tensor, camera: PerspectiveCamera, faces_per_pixel: int, blur_radius: float
    ) -> tuple[Any, Any]:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.renderer.mesh.rasterizer import Fragments
        from pytorch3d.structures import Meshes

        height, width = self.image_size
        pixels = camera.project(vertices)
        # Normalised coordinates: x to the left, y upwards, the shorter side from -1 to 1; the
        # picture's border is the border of the outermost pixels, as it is in ours.
        extent = pixels.new_tensor([width, height])
        plane = (extent - 2 * pixels) / min(height, width)
        points = torch.cat([plane, vertices[..., 2:]], -1).float()
        meshes = Meshes(points, self.faces.expand(len(points), -1, -1))
        found = rasterize_meshes(
            meshes,
            image_size=(height, width),
            blur_radius=blur_radius,
            faces_per_pixel=faces_per_pixel,
            bin_size=self.bin_size,
            perspective_correct=False,
        )
        return meshes, Fragments(*found)

    def extra_repr(self) -> str:
        return (
            f'{super().extra_repr()}, faces_per_pixel={self.faces_per_pixel}, '
            f'blur_radius={self.blur_radius}, sigma={self.sigma}'
        )
