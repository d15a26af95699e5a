"""SPIN's weak-perspective camera, and translations for perspective cameras.

A weak-perspective camera is (s, tx, ty) on a square crop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.geometry.cameras import PerspectiveCamera


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
