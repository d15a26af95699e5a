"""What every silhouette renderer takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.geometry import PerspectiveCamera

#: Pixels. Drawn without waiting, nothing may lie further away.
FAR = 1e6


class SilhouetteRenderer(nn.Module, ABC):
    """Interface of silhouette renderers; a backend implements :meth:`render`.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default (224, 224).
        near: the smallest depth, in metres, at which a vertex may lie. Default 0.01.

    Raises:
        ValueError: faces or size are not what they should be.
    """

    faces: Tensor  # (F, 3) int64

    def __init__(
        self,
        faces: Tensor | np.ndarray | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
    ) -> None:
        super().__init__()
        self.register_buffer('faces', _checked_faces(faces), persistent=False)
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f'image_size must be a positive (height, width), got {image_size}')
        if not near > 0:
            raise ValueError(f'near must be positive, got {near}')
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.near = float(near)
        self._num_vertices_needed = int(self.faces.max()) + 1
        self._doubts: Tensor | None = None  # () bool; where it is there, checks write to it

    def forward(
        self,
        vertices: Tensor,  # (B, V, 3), metres, camera frame
        camera: PerspectiveCamera,  # of batch size B or 1
    ) -> Tensor:  # (B, H, W), coverage in [0, 1]
        """Coverage of every pixel by the bodies, differentiable in vertices and camera.

        Bodies may lie partly or wholly outside the image. Pixel (row 0, column 0) covers
        [0, 1) x [0, 1).

        Raises:
            ValueError: shape, dtype or device do not fit; a coordinate is not finite; vertices
                lie behind the camera or nearer than ``near`` (says how many, in which samples).
        """
        self._check(vertices)
        return self.render(vertices, camera)

    @abstractmethod
    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """:meth:`forward` on vertices that have been checked."""

    @contextmanager
    def without_waiting(
        self, vertices: Tensor, camera: PerspectiveCamera
    ) -> Iterator[Callable[[], bool]]:
        """Draw without the host waiting for the device, where the backend can.

        For loops on a GPU over bodies much like these. Inside, a backend makes room for as much as
        they need and somewhat more, and nothing raises because of values; where there is nothing to
        wait for, it draws as ever. What comes with the context says afterwards, once waiting,
        whether all pictures came out right; if not, draw them again outside.

        >>> from mmjrr.rendering import ContourSilhouette
        >>> triangle = ContourSilhouette([[0, 1, 2]], image_size=(2, 2))
        >>> camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
        >>> vertices = torch.tensor([[[0.0, 0, 1], [2, 0, 1], [0, 2, 1]]])
        >>> with triangle.without_waiting(vertices, camera) as all_right:
        ...     picture = triangle(vertices, camera)
        >>> all_right()
        True
        """
        yield lambda: True

    def extra_repr(self) -> str:
        return f'faces={len(self.faces)}, image_size={self.image_size}, near={self.near}'

    def _check(self, vertices: Tensor) -> None:
        if not isinstance(vertices, Tensor) or vertices.ndim != 3 or vertices.shape[-1] != 3:
            found: Any = tuple(vertices.shape) if isinstance(vertices, Tensor) else type(vertices)
            raise ValueError(f'vertices must be a tensor of shape (B, V, 3), got {found}')
        if vertices.dtype not in (torch.float32, torch.float64):
            raise ValueError(f'vertices must be float32 or float64, got {vertices.dtype}')
        if vertices.device != self.faces.device:
            raise ValueError(
                f'vertices are on {vertices.device}, the renderer on {self.faces.device}: '
                f'move it with renderer.to({str(vertices.device)!r})'
            )
        if vertices.shape[1] < self._num_vertices_needed:
            raise ValueError(
                f'vertices must hold at least the {self._num_vertices_needed} that the faces '
                f'name, got {vertices.shape[1]}'
            )
        self._check_depths(vertices.detach()[..., 2])

    def _check_depths(self, depths: Tensor) -> None:  # (B, V)
        if self._doubts is not None:
            self._doubts.logical_or_(~(depths >= self.near).all())  # true for NaN, too
            return
        if depths.numel() == 0 or bool(depths.min() >= self.near):  # false for NaN, too
            return
        bad = ~(depths >= self.near)
        samples = {int(i): int(n) for i, n in enumerate(bad.sum(1)) if n > 0}
        counts = ', '.join(f'{n} in sample {i}' for i, n in samples.items())
        raise ValueError(
            f'{int(bad.sum())} of {bad.numel()} vertices lie behind the camera, nearer than '
            f'{self.near} m, or have no finite depth: {counts}'
        )

    def _project(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Pixels (B, V, 2) of vertices that have been checked.

        Raises:
            ValueError: one is not finite.
        """
        pixels = camera.project(vertices)
        if pixels.numel():
            low, high = torch.aminmax(pixels.detach())
            if self._doubts is not None:
                self._doubts.logical_or_(~((low > -FAR) & (high < FAR)))  # true for NaN, too
            elif not (-float('inf') < low and high < float('inf')):
                raise ValueError('projected vertices are not finite')
        return pixels


def _checked_faces(faces: Tensor | np.ndarray | Sequence[Sequence[int]]) -> Tensor:
    if isinstance(faces, Tensor):
        tensor = faces.detach().clone()
    else:
        array = np.array(faces)
        if array.dtype == np.uint32 or array.dtype == np.uint16:  # torch has no such types
            array = array.astype(np.int64)
        tensor = torch.from_numpy(array)
    if tensor.ndim != 2 or tensor.shape[1] != 3 or len(tensor) == 0:
        raise ValueError(f'faces must be (F, 3) with F > 0, got {tuple(tensor.shape)}')
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f'faces must be integers, got {tensor.dtype}')
    tensor = tensor.to(torch.int64)
    if int(tensor.min()) < 0:
        raise ValueError(f'faces must not hold negative indices, found {int(tensor.min())}')
    return tensor
