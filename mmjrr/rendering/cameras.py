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


def weak_perspective_to_transl(
    camera: Tensor,  # (B, 3): s, tx, ty
    focal_length: float = 5000.0,
    image_size: float = 224.0,
) -> Tensor:  # (B, 3), metres
    r"""Translation that a weak-perspective camera stands for, as in SPIN.

    .. math:: (t_x,\ t_y,\ 2 f / (\mathrm{image\_size} \cdot s))

    It belongs to a crop of ``image_size`` pixels seen by a camera of this focal length with its
    principal point in the crop's centre.

    Raises:
        ValueError: not of shape (B, 3), or a scale is not positive.

    >>> weak_perspective_to_transl(torch.tensor([[1.0, 0.1, -0.2]]))
    tensor([[ 0.1000, -0.2000, 44.6429]])
    """
    _check_weak_perspective(camera)
    scale, tx, ty = camera.unbind(-1)
    return torch.stack([tx, ty, 2 * focal_length / (image_size * scale)], -1)


def transl_to_weak_perspective(
    transl: Tensor,  # (B, 3), metres
    focal_length: float = 5000.0,
    image_size: float = 224.0,
) -> Tensor:  # (B, 3): s, tx, ty
    """The inverse of :func:`weak_perspective_to_transl`.

    Raises:
        ValueError: not of shape (B, 3), or a depth is not positive.
    """
    if transl.ndim != 2 or transl.shape[-1] != 3:
        raise ValueError(f'transl must be (B, 3), got {tuple(transl.shape)}')
    if not bool((transl[:, 2] > 0).all()):
        raise ValueError(f'depths must be positive, got {transl[:, 2].tolist()}')
    tx, ty, depth = transl.unbind(-1)
    return torch.stack([2 * focal_length / (image_size * depth), tx, ty], -1)


def crop_weak_perspective_to_transl(
    camera: Tensor,  # (B, 3): s, tx, ty
    center: Tensor,  # (B, 2), of the crop's square box, full-image pixels
    box_size: Tensor,  # (B,), the box's side, full-image pixels (MMPose's scale * 200)
    intrinsics: PerspectiveCamera,  # of the full image
    root: Tensor | None = None,  # (B, 3), metres, model frame
    focal_length: float = 5000.0,
    image_size: float = 224.0,
) -> Tensor:  # (B, 3), metres
    r"""Translation for real intrinsics that shows the body as SPIN's camera shows it on its crop.

    A perspective camera cannot repeat SPIN's near-orthographic picture of the whole body; what
    is matched is the root's position in the image, and the scale (pixels a metre) at the root.
    With :math:`(t_x, t_y, t_z)` = :func:`weak_perspective_to_transl`, root :math:`r` and box side
    :math:`b`, the crop shows the root, in full-image pixels, at

    .. math:: u = center + \frac{b}{\mathrm{image\_size}} \, f \,
        \frac{(r_x + t_x,\ r_y + t_y)}{r_z + t_z}
        \qquad\text{at the scale}\qquad
        \sigma = \frac{b}{\mathrm{image\_size}} \, \frac{f}{r_z + t_z}.

    The real camera with focal length :math:`F = \sqrt{F_x F_y}` has that scale at depth
    :math:`Z = F / \sigma`, and sees at :math:`u` the points in direction
    :math:`d(u)` (:meth:`PerspectiveCamera.unproject`), so the root must lie at
    :math:`Z \, (d_x, d_y, 1)` and

    .. math:: transl = Z \, (d_x, d_y, 1) - r.

    For a root at the model's origin and no distortion this is
    :math:`Z = 2 F / (b s)`, :math:`T_x = t_x F / F_x + Z \, (center_x - c_x) / F_x`, likewise y.
    The body's orientation is left as it is (as SPIN and those who use its fits do), though off
    the image's centre a perspective camera sees it turned.

    Args:
        root: the point to match, in the frame of the untranslated body (its pelvis joint, say);
            None is the origin.

    Raises:
        ValueError: a shape is wrong, or a scale or box is not positive.
    """
    transl = weak_perspective_to_transl(camera, focal_length, image_size)
    root = _root_or_origin(root, camera)
    _check_crop(center, box_size, len(camera))
    pixels_per_crop_pixel = box_size / image_size
    on_crop = root + transl
    scale = pixels_per_crop_pixel * focal_length / on_crop[:, 2]  # pixels a metre
    seen_at = center + scale[:, None] * on_crop[:, :2]
    depth = _mean_focal_length(intrinsics) / scale
    direction = intrinsics.unproject(seen_at[:, None])[:, 0]
    return depth[:, None] * torch.cat([direction, torch.ones_like(direction[:, :1])], -1) - root


def transl_to_crop_weak_perspective(
    transl: Tensor,  # (B, 3), metres
    center: Tensor,  # (B, 2), of the crop's square box, full-image pixels
    box_size: Tensor,  # (B,), the box's side, full-image pixels
    intrinsics: PerspectiveCamera,  # of the full image
    root: Tensor | None = None,  # (B, 3), metres, model frame
    focal_length: float = 5000.0,
    image_size: float = 224.0,
) -> Tensor:  # (B, 3): s, tx, ty
    """The inverse of :func:`crop_weak_perspective_to_transl`: a translation in SPIN's terms.

    Raises:
        ValueError: a shape is wrong, a box is not positive, or a root is behind the camera.
    """
    if transl.ndim != 2 or transl.shape[-1] != 3:
        raise ValueError(f'transl must be (B, 3), got {tuple(transl.shape)}')
    root = _root_or_origin(root, transl)
    _check_crop(center, box_size, len(transl))
    placed = root + transl
    if not bool((placed[:, 2] > 0).all()):
        raise ValueError(f'roots must lie in front of the camera, got z {placed[:, 2].tolist()}')
    scale = _mean_focal_length(intrinsics) / placed[:, 2]  # pixels a metre
    offset = intrinsics.project(placed[:, None])[:, 0] - center
    depth = box_size / image_size * focal_length / scale
    on_crop = torch.cat([offset / scale[:, None], depth[:, None]], -1)
    return transl_to_weak_perspective(on_crop - root, focal_length, image_size)


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


def _mean_focal_length(intrinsics: PerspectiveCamera) -> Tensor:  # (B,)
    return intrinsics.focal_length.prod(-1).sqrt()


def _root_or_origin(root: Tensor | None, like: Tensor) -> Tensor:
    if root is None:
        return torch.zeros_like(like)
    if root.shape != like.shape:
        raise ValueError(f'root must be {tuple(like.shape)}, got {tuple(root.shape)}')
    return root


def _check_weak_perspective(camera: Tensor) -> None:
    if camera.ndim != 2 or camera.shape[-1] != 3:
        raise ValueError(f'camera must be (B, 3) with s, tx, ty, got {tuple(camera.shape)}')
    if not bool((camera[:, 0] > 0).all()):
        bad = torch.nonzero(~(camera[:, 0] > 0))[:, 0]
        raise ValueError(
            f'camera scales must be positive, got {len(bad)} of {len(camera)} that are not: '
            f'the first, in row {int(bad[0])}, is {float(camera[bad[0], 0]):g}'
        )


def _check_crop(center: Tensor, box_size: Tensor, batch_size: int) -> None:
    if center.shape != (batch_size, 2):
        raise ValueError(f'center must be ({batch_size}, 2), got {tuple(center.shape)}')
    if box_size.shape != (batch_size,):
        raise ValueError(f'box_size must be ({batch_size},), got {tuple(box_size.shape)}')
    if not bool((box_size > 0).all()):
        raise ValueError(f'box_size must be positive, got {box_size.tolist()}')
