"""Perspective cameras with intrinsics, and SPIN's weak-perspective camera.

Camera frame: x right, y down, z forward, metres. Image: pixel (row 0, column 0) covers
[0, 1) x [0, 1), so a point's pixel coordinates are (x, y) = (column, row) without half offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

ArrayLike: TypeAlias = Tensor | np.ndarray | Sequence[Any]

#: The tangential term's factor is where H36M's formula and OpenCV's differ.
_TANGENTIAL_FACTOR = {'h36m': 1.0, 'opencv': 2.0}


class PerspectiveCamera:
    r"""A batch of pinhole cameras, with H36M's lens distortion if wanted.

    With :math:`(x, y) = (X/Z, Y/Z)` and :math:`r^2 = x^2 + y^2`, distortion moves a point to

    .. math:: (x, y)\,(1 + k_1 r^2 + k_2 r^4 + k_3 r^6 + m\,(p_1 y + p_2 x)) + r^2 (p_2, p_1)

    and the pixel is ``focal_length * (x, y) + principal_point``. H36M's own projection has
    :math:`m = 1` (it reproduces the data set's 2D joints to 3e-5 px), OpenCV's has :math:`m = 2`;
    with H36M's coefficients the two differ by up to 0.2 px.

    Args:
        focal_length: (B, 2) or (2,), fx and fy in pixels, positive.
        principal_point: (B, 2) or (2,), in pixels.
        distortion: (B, 5) or (5,), ``k1, k2, k3, p1, p2`` (mind the order: OpenCV's is
            ``k1, k2, p1, p2, k3``), or None. Default None.
        distortion_model: 'h36m' or 'opencv', see above. Default 'h36m'.

    A camera of batch size 1 serves any number of bodies.

    Raises:
        ValueError: a shape is wrong, a focal length is not positive, a value is not finite, or
            the model's name is unknown.

    >>> camera = PerspectiveCamera([1000.0, 1000.0], [112.0, 112.0])
    >>> camera.project(torch.tensor([[[0.1, 0.0, 5.0]]]))
    tensor([[[132., 112.]]])
    """

    def __init__(
        self,
        focal_length: ArrayLike,  # (B, 2) or (2,), pixels
        principal_point: ArrayLike,  # (B, 2) or (2,), pixels
        distortion: ArrayLike | None = None,  # (B, 5) or (5,)
        distortion_model: str = 'h36m',
    ) -> None:
        if distortion_model not in _TANGENTIAL_FACTOR:
            raise ValueError(
                f'distortion_model must be one of {sorted(_TANGENTIAL_FACTOR)}, '
                f'got {distortion_model!r}'
            )
        self.focal_length = _parameter('focal_length', focal_length, 2)
        self.principal_point = _parameter('principal_point', principal_point, 2).to(
            self.focal_length
        )
        self.distortion = (
            None
            if distortion is None
            else _parameter('distortion', distortion, 5).to(self.focal_length)
        )
        self.distortion_model = distortion_model
        if not bool((self.focal_length > 0).all()):
            raise ValueError(f'focal_length must be positive, got {self.focal_length.tolist()}')
        sizes = {
            name: len(value)
            for name, value in (
                ('focal_length', self.focal_length),
                ('principal_point', self.principal_point),
                ('distortion', self.distortion),
            )
            if value is not None
        }
        if len(set(sizes.values()) - {1}) > 1:
            raise ValueError(f'batch sizes must agree or be 1, got {sizes}')
        batch_size = max(sizes.values())
        self.focal_length = self.focal_length.expand(batch_size, 2)
        self.principal_point = self.principal_point.expand(batch_size, 2)
        if self.distortion is not None:
            self.distortion = self.distortion.expand(batch_size, 5)

    def __len__(self) -> int:
        return len(self.focal_length)

    def __repr__(self) -> str:
        lens = 'none' if self.distortion is None else self.distortion_model
        return (
            f'{type(self).__name__}(batch_size={len(self)}, distortion={lens}, '
            f'dtype={self.dtype}, device={str(self.device)!r})'
        )

    def __getitem__(self, index: Any) -> PerspectiveCamera:
        """The cameras at an index (int, slice, list, or index or mask tensor), batch axis kept."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f'camera {index} of {len(self)}')
            index = [index]
        return self._with(
            self.focal_length[index],
            self.principal_point[index],
            None if self.distortion is None else self.distortion[index],
        )

    @property
    def device(self) -> torch.device:
        return self.focal_length.device

    @property
    def dtype(self) -> torch.dtype:
        return self.focal_length.dtype

    def to(self, *args: Any, **kwargs: Any) -> PerspectiveCamera:
        """The same cameras on another device or in another dtype, arguments as ``Tensor.to``."""
        return self._with(
            self.focal_length.to(*args, **kwargs),
            self.principal_point.to(*args, **kwargs),
            None if self.distortion is None else self.distortion.to(*args, **kwargs),
        )

    def project(
        self,
        points: Tensor,  # (B, N, 3), metres, camera frame
    ) -> Tensor:  # (B, N, 2), pixels
        """Pixel coordinates of points in the camera frame.

        Points at z <= 0 have no image: what comes out for them is meaningless, and not checked
        here (the silhouette renderers do check).

        Raises:
            ValueError: shape, dtype or device do not fit the cameras'.
        """
        if points.ndim != 3 or points.shape[-1] != 3:
            raise ValueError(f'points must be (B, N, 3), got {tuple(points.shape)}')
        self._check_batch('points', points)
        # The planes of x, y and z are contiguous in a body's vertices, and stay so.
        plane = _Divided.apply(points.transpose(1, 2)).transpose(1, 2)
        if self.distortion is not None:
            plane = self._distort(plane)
        return plane * self.focal_length[:, None] + self.principal_point[:, None]

    def unproject(
        self,
        pixels: Tensor,  # (B, N, 2)
        iterations: int = 20,
    ) -> Tensor:  # (B, N, 2), X/Z and Y/Z
        """Directions X/Z, Y/Z of the points seen at the pixels: the inverse of :meth:`project`.

        The distortion is undone by fixed-point iteration, which converges where the distortion
        is small against the radius (H36M's lenses: to 1e-9 within the image).
        """
        if pixels.ndim != 3 or pixels.shape[-1] != 2:
            raise ValueError(f'pixels must be (B, N, 2), got {tuple(pixels.shape)}')
        self._check_batch('pixels', pixels)
        seen = (pixels - self.principal_point[:, None]) / self.focal_length[:, None]
        if self.distortion is None:
            return seen
        plane = seen
        for _ in range(iterations):
            plane = plane + (seen - self._distort(plane))
        return plane

    def crop(
        self,
        box: ArrayLike,  # (B, 4) or (4,), x0, y0, x1, y1 in pixels
        size: tuple[int, int],  # H, W of the result
    ) -> PerspectiveCamera:
        """Cameras of the crop ``box``, resized to ``size`` = (height, width) pixels.

        The box may reach beyond the image. Distortion acts on normalised coordinates, so its
        coefficients carry over.

        Raises:
            ValueError: a box has no area, or its shape or the size is wrong.
        """
        corners = _parameter('box', box, 4).to(self.focal_length)
        if len(corners) not in (1, len(self)) and len(self) != 1:
            raise ValueError(f'box has batch size {len(corners)}, the cameras have {len(self)}')
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(f'size must be a positive (height, width), got {size}')
        extent = corners[:, 2:] - corners[:, :2]
        if not bool((extent > 0).all()):
            raise ValueError(f'box must have x1 > x0 and y1 > y0, got {corners.tolist()}')
        scale = corners.new_tensor([size[1], size[0]]) / extent
        return self._with(
            self.focal_length * scale,
            (self.principal_point - corners[:, :2]) * scale,
            self.distortion,
        )

    def resize(self, size: tuple[int, int], new_size: tuple[int, int]) -> PerspectiveCamera:
        """Cameras of the whole image of ``size`` = (height, width), resized to ``new_size``."""
        return self.crop((0.0, 0.0, float(size[1]), float(size[0])), new_size)

    def _with(
        self, focal_length: Tensor, principal_point: Tensor, distortion: Tensor | None
    ) -> PerspectiveCamera:
        return type(self)(focal_length, principal_point, distortion, self.distortion_model)

    def _distort(self, plane: Tensor) -> Tensor:  # (B, N, 2) -> (B, N, 2)
        assert self.distortion is not None
        k1, k2, k3, p1, p2 = self.distortion[:, None, :].unbind(-1)  # (B, 1) each
        x, y = plane.unbind(-1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        factor = radial + _TANGENTIAL_FACTOR[self.distortion_model] * (p1 * y + p2 * x)
        return torch.stack([x * factor + p2 * r2, y * factor + p1 * r2], 1).transpose(1, 2)

    def _check_batch(self, name: str, values: Tensor) -> None:
        if len(self) not in (1, len(values)):
            raise ValueError(
                f'{name} have batch size {len(values)}, the cameras have {len(self)}: '
                'they must agree, or there must be one camera'
            )
        if values.dtype != self.dtype or values.device != self.device:
            raise ValueError(
                f'{name} are {values.dtype} on {values.device}, the cameras are {self.dtype} '
                f'on {self.device}: bring the cameras there with camera.to({name})'
            )


class _Divided(torch.autograd.Function):
    """x / z and y / z; its derivative by hand passes through memory half as often."""

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:  # (B, 3, N) -> (B, 2, N)
        plane = points[:, :2] / points[:, 2:]
        ctx.save_for_backward(points, plane)
        return plane

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        points, plane = ctx.saved_tensors
        across = grad / points[:, 2:]
        along = -(across * plane).sum(1, keepdim=True)
        return torch.cat([across, along], 1)


def _parameter(name: str, value: ArrayLike, width: int) -> Tensor:
    """A camera parameter as a finite floating-point (B, width) tensor."""
    if isinstance(value, Tensor):
        tensor = value
    else:
        array = np.asarray(value)
        tensor = torch.as_tensor(array if isinstance(value, np.ndarray) else array.tolist())
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim == 1:
        tensor = tensor[None]
    if tensor.ndim != 2 or tensor.shape[1] != width:
        raise ValueError(f'{name} must be (B, {width}) or ({width},), got {tuple(tensor.shape)}')
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f'{name} holds values that are not finite: {tensor.tolist()}')
    return tensor
