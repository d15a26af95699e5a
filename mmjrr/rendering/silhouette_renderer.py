"""The interface of silhouette renderers, with checks of faces, vertices and projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering.mask_cells_energy import mask_cells_energy
from mmjrr.rendering.silhouette_energy import silhouette_energy

#: Largest absolute pixel coordinate while checks are deferred. A larger one fails the check, and is
#: clamped so that it does not overflow an index.
MAX_DEFERRED_COORDINATE = 1e6


class DeferredChecks:
    """The outcome of value checks, which stays on the device until :meth:`passed` reads it.

    >>> checks = DeferredChecks('cpu')
    >>> checks.require(torch.tensor([1.0, 2.0]) > 0)
    >>> checks.passed()
    True
    """

    def __init__(self, device: torch.device | str) -> None:
        self._failed = torch.zeros((), dtype=torch.bool, device=device)

    def require(self, condition: Tensor) -> None:
        """Record a failure unless the condition (bool, any shape) holds everywhere."""
        self._failed.logical_or_(~condition.all())

    def passed(self) -> bool:
        """Wait for the device and return whether every condition held."""
        return not bool(self._failed)


class SilhouetteRenderer(nn.Module, ABC):
    """Interface of silhouette renderers; a subclass implements :meth:`render`.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default: (224, 224).
        near: Smallest allowed depth of a vertex, in meters. Default: 0.01.

    Raises:
        ValueError: An argument is invalid.
    """

    faces: Tensor  # (F, 3) int64

    def __init__(
        self,
        faces: Tensor | Array | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
    ) -> None:
        super().__init__()
        self.register_buffer('faces', _checked_faces(faces), persistent=False)
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f'image_size: found {image_size}, expected a positive (height, width)')
        if not near > 0:
            raise ValueError(f'near: found {near}, expected a positive depth in meters')
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.near = float(near)
        self._min_num_vertices = int(self.faces.max()) + 1
        self._deferred: DeferredChecks | None = None  # None: checks raise at once

    def forward(
        self,
        vertices: Tensor,  # (B, V, 3), meters, camera frame
        camera: PerspectiveCamera,  # of batch size B or 1
    ) -> Tensor:  # (B, H, W), coverage in [0, 1]
        """Draw the coverage of every pixel, differentiable in vertices and camera.

        Bodies may lie partly or completely outside the image. Pixel (row 0, column 0) covers
        [0, 1) x [0, 1).

        Raises:
            ValueError: The vertices' shape, dtype or device do not match the renderer; a coordinate
                is not finite; or vertices lie behind the camera or nearer than ``near`` (the
                message counts them per sample).
        """
        self._check(vertices)
        return self.render(vertices, camera)

    @abstractmethod
    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Draw checked vertices, as :meth:`forward` does."""

    def compare(
        self,
        vertices: Tensor,  # (B, V, 3), meters, camera frame
        camera: PerspectiveCamera,  # of batch size B or 1
        mask: Tensor,  # (B, H, W)
        levels: tuple[int, ...],
        weight: Tensor | None = None,  # (B, H, W)
    ) -> Tensor:  # (B,)
        """Compare silhouettes with masks, which may be faster than drawing them first.

        Args:
            vertices: As in :meth:`forward`, and so are ``camera`` and the errors.
            camera: Cameras of the masks.
            mask: Person masks in [0, 1]; it has no gradient.
            levels: As in :func:`~mmjrr.rendering.silhouette_energy.silhouette_energy`.
            weight: Factor on the difference of each pixel. Default: None, 1.
        """
        return silhouette_energy(self(vertices, camera), mask, levels, weight)

    def compare_in_cells(
        self,
        vertices: Tensor,  # (B, V, 3), meters, camera frame
        camera: PerspectiveCamera,  # of batch size B or 1
        cells: Tensor,  # (B, N, N)
        box: Tensor,  # (B, 4)
        weight: Tensor | None = None,  # (B, H, W)
        blur: float = 0.0,
    ) -> Tensor:  # (B,)
        """Compare silhouettes with a mask head's cells, which may be faster than drawing first.

        Args:
            vertices: As in :meth:`forward`, and so are ``camera`` and the errors.
            camera: Cameras of the masks.
            cells: As in :func:`~mmjrr.rendering.mask_cells_energy.mask_cells_energy`, and so are
                ``box``, ``weight`` and ``blur``.
            box: Boxes of the mask head.
            weight: Weight of each pixel. Default: None, 1.
            blur: Standard deviation in cells. Default: 0.
        """
        return mask_cells_energy(self(vertices, camera), cells, box, weight, blur)

    @contextmanager
    def without_host_sync(
        self, vertices: Tensor, camera: PerspectiveCamera
    ) -> Iterator[Callable[[], bool]]:
        """Draw without host syncs, if the renderer supports it.

        Use this context for loops on a GPU over bodies similar to these. Inside the context,
        buffers are preallocated for these bodies with some slack, and value checks are deferred.
        The context yields a function that waits for the device and tells whether all images are
        valid; if not, draw them again outside the context. Renderers without support for this draw
        and check as usual.

        Args:
            vertices: (B, V, 3), meters, camera frame; example bodies.
            camera: Cameras of batch size B or 1.

        >>> from mmjrr.rendering import ContourSilhouette
        >>> triangle = ContourSilhouette([[0, 1, 2]], image_size=(2, 2), compiled=False)
        >>> camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
        >>> vertices = torch.tensor([[[0.0, 0, 1], [2, 0, 1], [0, 2, 1]]])
        >>> with triangle.without_host_sync(vertices, camera) as all_valid:
        ...     image = triangle(vertices, camera)
        >>> all_valid()
        True
        """
        yield lambda: True

    @property
    def defers(self) -> bool:
        """Whether checks are deferred, so that drawing does not wait for the device."""
        return self._deferred is not None

    def extra_repr(self) -> str:
        """Return the settings that PyTorch prints."""
        return f'faces={len(self.faces)}, image_size={self.image_size}, near={self.near}'

    def _check(self, vertices: Tensor) -> None:
        if not isinstance(vertices, Tensor) or vertices.ndim != 3 or vertices.shape[-1] != 3:
            actual: Any = tuple(vertices.shape) if isinstance(vertices, Tensor) else type(vertices)
            raise ValueError(f'vertices: found {actual}, expected a tensor of shape (B, V, 3)')
        if vertices.dtype not in (torch.float32, torch.float64):
            raise ValueError(f'vertices: found {vertices.dtype}, expected float32 or float64')
        if vertices.device != self.faces.device:
            raise ValueError(
                f'vertices: found on {vertices.device}, expected on {self.faces.device}; move the '
                f'renderer with renderer.to({str(vertices.device)!r})'
            )
        if vertices.shape[1] < self._min_num_vertices:
            raise ValueError(
                f'vertices: found {vertices.shape[1]}, expected at least '
                f'{self._min_num_vertices}, which the faces refer to'
            )
        self._check_depths(vertices.detach()[..., 2])

    def _check_depths(self, depths: Tensor) -> None:  # (B, V)
        # Comparisons with NaN are false, so NaN fails the checks.
        if self._deferred is not None:
            self._deferred.require(depths >= self.near)
            return
        if depths.numel() == 0 or bool(depths.min() >= self.near):
            return
        invalid = ~(depths >= self.near)
        samples = {int(i): int(n) for i, n in enumerate(invalid.sum(1)) if n > 0}
        counts = ', '.join(f'{n} in sample {i}' for i, n in samples.items())
        raise ValueError(
            f'{int(invalid.sum())} of {invalid.numel()} vertices lie behind the camera, nearer '
            f'than {self.near} m, or have no finite depth: {counts}'
        )

    def _project(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Project checked vertices to pixels (B, V, 2).

        Raises:
            ValueError: A projection is not finite.
        """
        pixels = camera.project(vertices)
        if pixels.numel():
            low, high = torch.aminmax(pixels.detach())
            if self._deferred is not None:
                limit = MAX_DEFERRED_COORDINATE
                self._deferred.require((low > -limit) & (high < limit))
            elif not (-float('inf') < low and high < float('inf')):
                raise ValueError('vertices: found projections that are not finite')
        return pixels


def _checked_faces(faces: Tensor | Array | Sequence[Sequence[int]]) -> Tensor:
    if isinstance(faces, Tensor):
        tensor = faces.detach().clone()
    else:
        array = np.array(faces)
        if array.dtype == np.uint32 or array.dtype == np.uint16:  # torch has no such types
            array = array.astype(np.int64)
        tensor = torch.from_numpy(array)
    if tensor.ndim != 2 or tensor.shape[1] != 3 or len(tensor) == 0:
        raise ValueError(f'faces: found shape {tuple(tensor.shape)}, expected (F, 3) with F > 0')
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f'faces: found {tensor.dtype}, expected integers')
    tensor = tensor.to(torch.int64)
    if int(tensor.min()) < 0:
        raise ValueError(f'faces: found the index {int(tensor.min())}, expected indices from 0')
    return tensor
