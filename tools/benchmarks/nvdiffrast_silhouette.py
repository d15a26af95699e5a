"""Silhouettes by nvdiffrast, for comparison on a GPU, behind the interface of mmjrr's renderers.

Laine et al., Modular Primitives for High-Performance Differentiable Rendering, SIGGRAPH Asia 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import SilhouetteRenderer

#: Meters; what lies beyond is not drawn.
FAR = 100.0


class NvdiffrastSilhouette(SilhouetteRenderer):
    """Silhouette renderer with nvdiffrast's antialiasing; image sides must be multiples of 8.

    Args: as :class:`mmjrr.rendering.SilhouetteRenderer`.

    Raises:
        ImportError: nvdiffrast is not installed.
    """

    def __init__(
        self,
        faces: Tensor | np.ndarray | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
    ) -> None:
        super().__init__(faces, image_size, near)
        import nvdiffrast.torch as dr

        self._dr = dr
        self._context = dr.RasterizeCudaContext()
        self._hash = None  # of the triangles' edges, made once on their device
        height, width = self.image_size
        self.register_buffer('triangles', self.faces.int(), persistent=False)
        self.register_buffer('extent', torch.tensor([width, height]).float(), persistent=False)

    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Return the silhouettes, antialiased at their outlines."""
        clip, rasterized = self._rasterized(vertices, camera)
        covered = (rasterized[..., 3:] > 0).float()
        if self._hash is None:
            self._hash = self._dr.antialias_construct_topology_hash(self.triangles)
        return self._dr.antialias(
            covered, rasterized, clip, self.triangles, topology_hash=self._hash
        )[..., 0]

    @torch.no_grad()
    def covered(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Return whether a face covers each pixel's center, (B, H, W) bool: the hard silhouette."""
        self._check(vertices)
        return self._rasterized(vertices, camera)[1][..., 3] > 0

    def _rasterized(self, vertices: Tensor, camera: PerspectiveCamera) -> tuple[Tensor, Tensor]:
        plane = 2 * self._project(vertices, camera) / self.extent - 1
        depth = 2 * vertices[..., 2:] / FAR - 1
        clip = torch.cat([plane, depth, torch.ones_like(depth)], -1).contiguous()
        return clip, self._dr.rasterize(self._context, clip, self.triangles, self.image_size)[0]
