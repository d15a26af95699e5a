"""Perspective cameras: intrinsics and, optionally, lens distortion and the pose in the world.

Convention:
    - Camera frame: x right, y down, z forward, in meters.
    - World to camera: ``x_cam = rotation @ (x_world - position)``. ``position`` is the camera's
      center in the world, not the translation ``t = -rotation @ position`` of OpenCV and PyTorch3D.
    - Image: the pixel in row 0, column 0 covers [0, 1) x [0, 1), so pixel coordinates are
      (x, y) = (column, row) without half-pixel offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array

ArrayLike: TypeAlias = Tensor | Array | Sequence[Any]

#: Factor m of the tangential cross terms, in which H36M's formula and OpenCV's differ.
_TANGENTIAL_FACTOR = {'h36m': 1.0, 'opencv': 2.0}


#: Attributes of a :class:`PerspectiveCamera` with a row for each camera of the batch.
CAMERA_PARAMETERS = (
    'focal_length', 'principal_point', 'distortion', 'rotation', 'position', 'image_size'
)  # fmt: skip


class PerspectiveCamera:
    r"""Batch of pinhole cameras, optionally with lens distortion and a pose in the world.

    With :math:`(x, y) = (X/Z, Y/Z)` and :math:`r^2 = x^2 + y^2`, distortion moves a point to

    .. math:: (x, y)\,(1 + k_1 r^2 + k_2 r^4 + k_3 r^6 + m\,(p_1 y + p_2 x)) + r^2 (p_2, p_1)

    and the pixel is ``focal_length * (x, y) + principal_point``. Human3.6M's own projection has
    :math:`m = 1` (it reproduces the dataset's 2D joints to 3e-5 px), OpenCV's has :math:`m = 2`;
    with Human3.6M's coefficients the two differ by up to 0.2 px.

    A camera of batch size 1 projects a batch of any size.

    Args:
        focal_length: (B, 2) or (2,), fx and fy in pixels, positive.
        principal_point: (B, 2) or (2,), pixels.
        distortion: (B, 5) or (5,), ``k1, k2, k3, p1, p2`` (OpenCV's order is
            ``k1, k2, p1, p2, k3``), or None for no distortion. Default: None.
        distortion_model: 'h36m' or 'opencv', which select :math:`m`. Default: 'h36m'.
        rotation: (B, 3, 3) or (3, 3), world frame to camera frame, or None if unknown.
            Default: None.
        position: (B, 3) or (3,), center of the camera in the world, meters; required with
            ``rotation``, and None without it. Default: None.
        image_size: (B, 2) or (2,), height and width in pixels, or None if unknown.
            Default: None.

    Raises:
        ValueError: A shape is wrong, a focal length is not positive, a value is not finite,
            ``distortion_model`` is unknown, or one of ``rotation`` and ``position`` is missing.

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
        rotation: ArrayLike | None = None,  # (B, 3, 3) or (3, 3), world to camera
        position: ArrayLike | None = None,  # (B, 3) or (3,), meters, world frame
        image_size: ArrayLike | None = None,  # (B, 2) or (2,), height and width in pixels
    ) -> None:
        if distortion_model not in _TANGENTIAL_FACTOR:
            raise ValueError(
                f'distortion_model: found {distortion_model!r}, expected one of '
                f'{sorted(_TANGENTIAL_FACTOR)}'
            )
        if (rotation is None) != (position is None):
            missing = 'rotation' if rotation is None else 'position'
            raise ValueError(f'{missing}: found None, expected rotation and position, or neither')
        focal = _batched('focal_length', focal_length, (2,))
        if not bool((focal > 0).all()):
            raise ValueError(f'focal_length: found {focal.tolist()}, expected positive values')
        principal = _batched('principal_point', principal_point, (2,)).to(focal)
        optional = {
            name: None if value is None else _batched(name, value, shape).to(focal.device, dtype)
            for name, value, shape, dtype in (
                ('distortion', distortion, (5,), focal.dtype),
                ('rotation', rotation, (3, 3), focal.dtype),
                ('position', position, (3,), focal.dtype),
                ('image_size', image_size, (2,), torch.int64),
            )
        }
        batch_sizes = {'focal_length': len(focal), 'principal_point': len(principal)}
        batch_sizes |= {name: len(value) for name, value in optional.items() if value is not None}
        if len(set(batch_sizes.values()) - {1}) > 1:
            raise ValueError(f'batch sizes: found {batch_sizes}, expected equal sizes or 1')
        batch_size = max(batch_sizes.values())

        def expanded(name: str) -> Tensor | None:
            value = optional[name]
            return None if value is None else value.expand(batch_size, *value.shape[1:])

        self.focal_length = focal.expand(batch_size, 2)
        self.principal_point = principal.expand(batch_size, 2)
        self.distortion = expanded('distortion')
        self.distortion_model = distortion_model
        self.rotation = expanded('rotation')
        self.position = expanded('position')
        self.image_size = expanded('image_size')

    def with_principal_point(self, principal_point: Tensor) -> PerspectiveCamera:  # (B, 2)
        """Return cameras that have another principal point, in pixels.

        Its values are not checked, so that a GPU need not wait for them.

        Raises:
            ValueError: Its shape is not that of the cameras' principal points.
        """
        if principal_point.shape != self.principal_point.shape:
            raise ValueError(
                f'principal_point: found shape {tuple(principal_point.shape)}, expected '
                f'{tuple(self.principal_point.shape)}'
            )
        cameras = copy(self)
        cameras.principal_point = principal_point
        return cameras

    @classmethod
    def cat(cls, cameras: Sequence[PerspectiveCamera]) -> PerspectiveCamera:
        """Concatenate batches of cameras.

        Args:
            cameras: At least one batch. All must have the same distortion model and the same
                optional parameters.

        Raises:
            ValueError: There are no cameras, their distortion models differ, or only some have
                an optional parameter.
        """
        if not cameras:
            raise ValueError('cameras: found none, expected at least one')
        models = sorted({camera.distortion_model for camera in cameras})
        if len(models) > 1:
            raise ValueError(f'distortion_model: found {models}, expected one')

        def joined(name: str) -> Tensor | None:
            values = [getattr(camera, name) for camera in cameras]
            present = [value for value in values if value is not None]
            if present and len(present) < len(values):
                raise ValueError(
                    f'{name}: found in {len(present)} of {len(values)} cameras, expected in all '
                    'or in none'
                )
            return torch.cat(present) if present else None

        return cls(
            torch.cat([camera.focal_length for camera in cameras]),
            torch.cat([camera.principal_point for camera in cameras]),
            joined('distortion'),
            models[0],
            joined('rotation'),
            joined('position'),
            joined('image_size'),
        )

    def __len__(self) -> int:
        return len(self.focal_length)

    def __repr__(self) -> str:
        lens = 'none' if self.distortion is None else self.distortion_model
        return (
            f'{type(self).__name__}(batch_size={len(self)}, distortion={lens}, '
            f'dtype={self.dtype}, device={str(self.device)!r})'
        )

    def __getitem__(self, index: Any) -> PerspectiveCamera:
        """Select cameras by int, slice, list, or index or mask tensor; keep the batch axis."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f'camera {index} of {len(self)}')
            index = [index]
        return self._map(lambda value: value[index])

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.focal_length.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return self.focal_length.dtype

    @property
    def tangential_factor(self) -> float:
        """Factor m of the tangential cross terms."""
        return _TANGENTIAL_FACTOR[self.distortion_model]

    def image_shape(self) -> tuple[int, int]:
        """Return height and width of the image of a single camera, in pixels.

        Raises:
            ValueError: There is more than one camera, or the image size is unknown.
        """
        if len(self) != 1 or self.image_size is None:
            raise ValueError(f'image_shape: found {self!r}, expected one camera with image_size')
        height, width = self.image_size[0].tolist()
        return height, width

    def to(self, *args: Any, **kwargs: Any) -> PerspectiveCamera:
        """Convert to another device or dtype; the arguments are those of ``Tensor.to``."""
        return self._map(lambda value: value.to(*args, **kwargs))

    def world_to_camera(
        self,
        points: Tensor,  # (B, N, 3), meters, world frame
    ) -> Tensor:  # (B, N, 3), meters, camera frame
        """Transform points from the world frame to the camera frame.

        Raises:
            ValueError: The cameras have no pose, or the points' shape, dtype or device do not
                match them.
        """
        if self.rotation is None or self.position is None:
            raise ValueError('rotation: found None, expected cameras with a pose in the world')
        self._check('points', points, 3)
        return (points - self.position[:, None]) @ self.rotation.transpose(1, 2)

    def project(
        self,
        points: Tensor,  # (B, N, 3), meters, camera frame
    ) -> Tensor:  # (B, N, 2), pixels
        """Project points in the camera frame onto the image.

        The result is meaningless for points at z <= 0. This method does not check z; the silhouette
        renderers do.

        Raises:
            ValueError: The points' shape, dtype or device do not match the cameras.
        """
        self._check('points', points, 3)
        # A body's vertices are stored as contiguous planes of x, y and z; keep that layout.
        plane = _PerspectiveDivision.apply(points.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-untyped-call]
        if self.distortion is not None:
            plane = self._distort(plane)
        return plane * self.focal_length[:, None] + self.principal_point[:, None]

    def unproject(
        self,
        pixels: Tensor,  # (B, N, 2)
        iterations: int = 20,
    ) -> Tensor:  # (B, N, 2), X/Z and Y/Z
        """Invert :meth:`project` up to depth: return X/Z and Y/Z of the points seen at pixels.

        Distortion is removed by fixed-point iteration, which converges where distortion is small
        relative to the radius. For Human3.6M's lenses it converges to 1e-9 within the image.

        Args:
            pixels: Pixel coordinates.
            iterations: Number of fixed-point iterations. Default: 20.

        Raises:
            ValueError: The pixels' shape, dtype or device do not match the cameras.
        """
        self._check('pixels', pixels, 2)
        distorted = (pixels - self.principal_point[:, None]) / self.focal_length[:, None]
        if self.distortion is None:
            return distorted
        plane = distorted
        for _ in range(iterations):
            plane = plane + (distorted - self._distort(plane))
        return plane

    def crop(
        self,
        box: ArrayLike,  # (B, 4) or (4,), x0, y0, x1, y1 in pixels
        size: tuple[int, int],  # height and width of the result
    ) -> PerspectiveCamera:
        """Return the cameras of a crop that is resized to ``size`` = (height, width) pixels.

        The box may extend beyond the image. Distortion acts on normalized coordinates, so its
        coefficients stay the same.

        Raises:
            ValueError: A box has no area, or the shape of ``box`` or ``size`` is wrong.
        """
        corners = _batched('box', box, (4,)).to(self.focal_length)
        if len(corners) not in (1, len(self)) and len(self) != 1:
            raise ValueError(
                f'box: found batch size {len(corners)}, expected that of the cameras, {len(self)}'
            )
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(f'size: found {size}, expected a positive (height, width)')
        extent = corners[:, 2:] - corners[:, :2]
        if not bool((extent > 0).all()):
            raise ValueError(f'box: found {corners.tolist()}, expected x1 > x0 and y1 > y0')
        scale = corners.new_tensor([size[1], size[0]]) / extent
        return type(self)(
            self.focal_length * scale,
            (self.principal_point - corners[:, :2]) * scale,
            self.distortion,
            self.distortion_model,
            self.rotation,
            self.position,
            size,
        )

    def resize(self, size: tuple[int, int], new_size: tuple[int, int]) -> PerspectiveCamera:
        """Return the cameras of images resized from ``size`` to ``new_size``.

        Both are (height, width) in pixels.

        Raises:
            ValueError: A size is not positive.
        """
        return self.crop((0.0, 0.0, float(size[1]), float(size[0])), new_size)

    def _map(self, function: Callable[[Tensor], Tensor]) -> PerspectiveCamera:
        """Return cameras with a function applied to every parameter."""

        def mapped(value: Tensor | None) -> Tensor | None:
            return None if value is None else function(value)

        return type(self)(
            function(self.focal_length),
            function(self.principal_point),
            mapped(self.distortion),
            self.distortion_model,
            mapped(self.rotation),
            mapped(self.position),
            mapped(self.image_size),
        )

    def _distort(self, plane: Tensor) -> Tensor:  # (B, N, 2) -> (B, N, 2)
        assert self.distortion is not None
        k1, k2, k3, p1, p2 = self.distortion[:, None, :].unbind(-1)  # (B, 1) each
        x, y = plane.unbind(-1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        factor = radial + self.tangential_factor * (p1 * y + p2 * x)
        return torch.stack([x * factor + p2 * r2, y * factor + p1 * r2], 1).transpose(1, 2)

    def _check(self, name: str, values: Tensor, width: int) -> None:
        if values.ndim != 3 or values.shape[-1] != width:
            raise ValueError(f'{name}: found shape {tuple(values.shape)}, expected (B, N, {width})')
        if len(self) not in (1, len(values)):
            raise ValueError(
                f'{name}: found batch size {len(values)}, expected that of the cameras, {len(self)}'
            )
        if values.dtype != self.dtype or values.device != self.device:
            raise ValueError(
                f'{name}: found {values.dtype} on {values.device}, expected {self.dtype} on '
                f'{self.device}; convert the cameras with camera.to({name})'
            )


class _PerspectiveDivision(torch.autograd.Function):
    """Perspective division: x / z and y / z.

    Custom backward: it reads memory half as often as autograd's.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:  # (B, 3, N) -> (B, 2, N)
        plane = points[:, :2] / points[:, 2:]
        ctx.save_for_backward(points, plane)
        return plane

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        points, plane = ctx.saved_tensors
        grad_xy = grad / points[:, 2:]
        grad_z = -(grad_xy * plane).sum(1, keepdim=True)
        return torch.cat([grad_xy, grad_z], 1)


def _batched(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Tensor:
    """Return a camera parameter as a finite floating-point tensor of shape (B, *shape)."""
    if isinstance(value, Tensor):
        tensor = value
    else:
        array = np.asarray(value)
        tensor = torch.as_tensor(array if isinstance(value, np.ndarray) else array.tolist())
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim == len(shape):
        tensor = tensor[None]
    if tensor.shape[1:] != shape:
        single, batch = ', '.join(map(str, shape)), ', '.join(map(str, ('B', *shape)))
        comma = ',' if len(shape) == 1 else ''
        raise ValueError(
            f'{name}: found shape {tuple(tensor.shape)}, expected ({batch}) or ({single}{comma})'
        )
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f'{name}: found {tensor.tolist()}, expected finite values')
    return tensor
