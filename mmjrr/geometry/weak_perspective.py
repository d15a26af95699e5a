"""Conversions between SPIN's weak-perspective camera and translations.

Convention:
    - A weak-perspective camera is (s, tx, ty) on a square crop. It represents the translation
      (tx, ty, 2 f / (image_size s)) in meters in the frame of a perspective camera with focal
      length f, in crop pixels, and the principal point in the crop's center.
    - The camera frame has x right, y down, z forward. SPIN's global orientations already turn the
      body into it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.geometry.cameras import PerspectiveCamera

#: Focal length of SPIN and the models built on it, in pixels of the crop.
SPIN_FOCAL_LENGTH = 5000.0
#: Side of these models' crops, in pixels.
SPIN_IMAGE_SIZE = 224.0


def weak_perspective_to_transl(
    camera: Tensor,  # (B, 3): s, tx, ty
    focal_length: float = SPIN_FOCAL_LENGTH,
    image_size: float = SPIN_IMAGE_SIZE,
) -> Tensor:  # (B, 3), meters
    r"""Return the translation that a weak-perspective camera represents.

    .. math:: (t_x,\ t_y,\ 2 f / (\mathrm{image\_size} \cdot s))

    Args:
        camera: Weak-perspective cameras.
        focal_length: In pixels of the crop. Default: 5000.
        image_size: Side of the crop in pixels. Default: 224.

    Raises:
        ValueError: The shape is not (B, 3) or a scale is not positive.

    >>> weak_perspective_to_transl(torch.tensor([[1.0, 0.1, -0.2]]))
    tensor([[ 0.1000, -0.2000, 44.6429]])
    """
    _check_weak_perspective(camera)
    scale, tx, ty = camera.unbind(-1)
    return torch.stack([tx, ty, 2 * focal_length / (image_size * scale)], -1)


def transl_to_weak_perspective(
    transl: Tensor,  # (B, 3), meters
    focal_length: float = SPIN_FOCAL_LENGTH,
    image_size: float = SPIN_IMAGE_SIZE,
) -> Tensor:  # (B, 3): s, tx, ty
    """Return the weak-perspective camera of a translation.

    This inverts :func:`weak_perspective_to_transl`.

    Args:
        transl: Translations in front of the crop's camera.
        focal_length: In pixels of the crop. Default: 5000.
        image_size: Side of the crop in pixels. Default: 224.

    Raises:
        ValueError: The shape is not (B, 3) or a depth is not positive.
    """
    _check_transl(transl)
    if not bool((transl[:, 2] > 0).all()):
        raise ValueError(f'transl: found depths {transl[:, 2].tolist()}, expected positive ones')
    tx, ty, depth = transl.unbind(-1)
    return torch.stack([2 * focal_length / (image_size * depth), tx, ty], -1)


def crop_weak_perspective_to_transl(
    camera: Tensor,  # (B, 3): s, tx, ty
    center: Tensor,  # (B, 2), full-image pixels
    box_size: Tensor,  # (B,), full-image pixels
    intrinsics: PerspectiveCamera,  # of the full image
    root: Tensor | None = None,  # (B, 3), meters, model frame
    focal_length: float = SPIN_FOCAL_LENGTH,
    image_size: float = SPIN_IMAGE_SIZE,
) -> Tensor:  # (B, 3), meters
    r"""Return the translation at which a real camera shows the root as SPIN's crop camera does.

    A perspective camera cannot reproduce SPIN's nearly orthographic projection of the whole body.
    This function matches the root's position in the image and the scale there, in pixels per meter.
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
    The global orientation stays the same, as in SPIN and in code that uses its fits. This is an
    approximation: a perspective camera sees a body away from the image's center at another angle.

    Args:
        camera: Weak-perspective cameras on the crops.
        center: Centers of the crops' square boxes.
        box_size: Sides of the boxes, ``scale * PIXELS_PER_SCALE`` in MMPose's annotations.
        intrinsics: One camera, or one for each body.
        root: Point to match, on the body without translation, such as its pelvis joint. Default:
            None, the origin.
        focal_length: Of the crop's camera, in pixels of the crop. Default: 5000.
        image_size: Side of the crop in its own pixels. Default: 224.

    Raises:
        ValueError: A shape is wrong, or a scale or box is not positive.
    """
    transl = weak_perspective_to_transl(camera, focal_length, image_size)
    root = _root_or_origin(root, camera)
    _check_crop(center, box_size, len(camera))
    image_pixels_per_crop_pixel = box_size / image_size
    root_in_crop = root + transl  # meters, frame of the crop's camera
    scale = image_pixels_per_crop_pixel * focal_length / root_in_crop[:, 2]  # pixels per meter
    pixel = center + scale[:, None] * root_in_crop[:, :2]
    depth = _mean_focal_length(intrinsics) / scale
    direction = intrinsics.unproject(pixel[:, None])[:, 0]
    return depth[:, None] * torch.cat([direction, torch.ones_like(direction[:, :1])], -1) - root


def transl_to_crop_weak_perspective(
    transl: Tensor,  # (B, 3), meters
    center: Tensor,  # (B, 2), full-image pixels
    box_size: Tensor,  # (B,), full-image pixels
    intrinsics: PerspectiveCamera,  # of the full image
    root: Tensor | None = None,  # (B, 3), meters, model frame
    focal_length: float = SPIN_FOCAL_LENGTH,
    image_size: float = SPIN_IMAGE_SIZE,
) -> Tensor:  # (B, 3): s, tx, ty
    """Return the weak-perspective camera on a crop for a translation in a real camera's frame.

    This inverts :func:`crop_weak_perspective_to_transl`.

    Args:
        transl: Translations in the frame of the real camera.
        center: Centers of the crops' square boxes.
        box_size: Sides of the boxes.
        intrinsics: One camera, or one for each body.
        root: Point to match, on the body without translation. Default: None, the origin.
        focal_length: Of the crop's camera, in pixels of the crop. Default: 5000.
        image_size: Side of the crop in its own pixels. Default: 224.

    Raises:
        ValueError: A shape is wrong, a box is not positive, or a root is behind the camera.
    """
    _check_transl(transl)
    root = _root_or_origin(root, transl)
    _check_crop(center, box_size, len(transl))
    root_in_camera = root + transl
    if not bool((root_in_camera[:, 2] > 0).all()):
        raise ValueError(
            f'transl: found roots at depths {root_in_camera[:, 2].tolist()}, expected positive ones'
        )
    scale = _mean_focal_length(intrinsics) / root_in_camera[:, 2]  # pixels per meter
    offset = intrinsics.project(root_in_camera[:, None])[:, 0] - center
    depth = box_size / image_size * focal_length / scale
    root_in_crop = torch.cat([offset / scale[:, None], depth[:, None]], -1)
    return transl_to_weak_perspective(root_in_crop - root, focal_length, image_size)


def _mean_focal_length(intrinsics: PerspectiveCamera) -> Tensor:  # (B,)
    return intrinsics.focal_length.prod(-1).sqrt()


def _root_or_origin(root: Tensor | None, like: Tensor) -> Tensor:
    if root is None:
        return torch.zeros_like(like)
    if root.shape != like.shape:
        raise ValueError(f'root: found shape {tuple(root.shape)}, expected {tuple(like.shape)}')
    return root


def _check_weak_perspective(camera: Tensor) -> None:
    if camera.ndim != 2 or camera.shape[-1] != 3:
        raise ValueError(
            f'camera: found shape {tuple(camera.shape)}, expected (B, 3) with s, tx, ty'
        )
    wrong = ~(camera[:, 0] > 0)
    if bool(wrong.any()):
        row = int(torch.nonzero(wrong)[0, 0])
        raise ValueError(
            f'camera: found {int(wrong.sum())} of {len(camera)} scales that are not positive, '
            f'first in row {row}: {float(camera[row, 0]):g}'
        )


def _check_transl(transl: Tensor) -> None:
    if transl.ndim != 2 or transl.shape[-1] != 3:
        raise ValueError(f'transl: found shape {tuple(transl.shape)}, expected (B, 3)')


def _check_crop(center: Tensor, box_size: Tensor, batch_size: int) -> None:
    if center.shape != (batch_size, 2):
        raise ValueError(f'center: found shape {tuple(center.shape)}, expected ({batch_size}, 2)')
    if box_size.shape != (batch_size,):
        raise ValueError(f'box_size: found shape {tuple(box_size.shape)}, expected ({batch_size},)')
    if not bool((box_size > 0).all()):
        raise ValueError(f'box_size: found {box_size.tolist()}, expected positive values')
