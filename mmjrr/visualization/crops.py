"""Crops of photographs and masks around a person, and how well a mesh covers a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.geometry import PerspectiveCamera

Box = tuple[float, float, float, float]

#: Side of a frame's crop in pixels.
CROP_SIZE = 320
#: Side of the crop in which silhouettes and masks are compared, as in refinement.
_IOU_SIZE = 224
#: Space around a person, as a factor on the side of the tight square.
_PADDING = 1.15
#: Quality of the photographs, 0 to 100.
_QUALITY = 72
#: Outlines are simplified by at most this many pixels.
_OUTLINE_TOLERANCE = 0.6


def box_around(points: Sequence[FloatArray]) -> Box:
    """Return a padded square around finite points (N, 2).

    Args:
        points: Arrays of pixels.

    Raises:
        ValueError: No point is finite.
    """
    stacked = np.concatenate([np.asarray(part, dtype=np.float64) for part in points])
    stacked = stacked[np.isfinite(stacked).all(1)]
    if not len(stacked):
        raise ValueError('points: found none that is finite')
    low, high = stacked.min(0), stacked.max(0)
    center, half = (low + high) / 2, max(float((high - low).max()) * _PADDING / 2, 8.0)
    x, y = center.tolist()
    return x - half, y - half, x + half, y + half


def box_with_mask(box: Box, mask: FloatArray) -> Box:
    """Return a box that contains another box and all of a mask.

    Args:
        box: The other box, which is returned if it contains the mask.
        mask: (H, W), the full image's mask; its foreground is not zero.
    """
    rows, columns = (np.flatnonzero(np.asarray(mask).any(axis)) for axis in (1, 0))
    if not len(rows):
        return box
    corners = np.array(
        [box[:2], box[2:], [columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], dtype=np.float64
    )
    is_inside = (corners.min(0) == corners[0]).all() and (corners.max(0) == corners[1]).all()
    return box if is_inside else box_around([corners])


def crop_photo(path: Path, box: Box, size: int = CROP_SIZE) -> NDArray[np.uint8] | None:
    """Crop a photograph.

    Args:
        path: The image.
        box: Corners x0, y0, x1, y1 in pixels; may extend beyond the image.
        size: Side of the crop. Default: 320.

    Returns:
        (size, size, 3), RGB; None if there is no such image or it cannot be read.
    """
    import cv2

    image = cv2.imread(str(path)) if path.is_file() else None
    if image is None:
        return None
    x0, y0, x1, y1 = box
    scale_x, scale_y = size / (x1 - x0), size / (y1 - y0)
    # The matrix maps pixel centers. The first is at 0 in OpenCV and at 0.5 in the camera.
    matrix = np.array(
        [
            [scale_x, 0, (0.5 - x0) * scale_x - 0.5],
            [0, scale_y, (0.5 - y0) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_AREA if scale_x < 1 else cv2.INTER_LINEAR
    crop = cv2.warpAffine(image, matrix, (size, size), flags=flags)
    photo: NDArray[np.uint8] = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return photo


def encode_photo(photo: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3), RGB, as WebP."""
    import cv2

    _, data = cv2.imencode('.webp', photo[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return bytes(data)


def outlines(mask: FloatArray) -> list[FloatArray]:
    """Return the outlines of a mask's areas above 0.5, as pixels (K, 2) each.

    Args:
        mask: (H, W), in [0, 1].
    """
    import cv2

    contours, _ = cv2.findContours(
        (np.asarray(mask) >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    shapes = []
    for contour in contours:
        simplified = cv2.approxPolyDP(contour, _OUTLINE_TOLERANCE, True)[:, 0]
        if len(simplified) > 2:
            # OpenCV's pixel centers are whole numbers.
            shapes.append(simplified.astype(np.float64) + 0.5)
    return shapes


class SilhouetteIoU:
    """Intersection over union of meshes' silhouettes with a mask, at the crop of refinement.

    Args:
        faces: (F, 3), triangles of the meshes.
    """

    def __init__(self, faces: IndexArray) -> None:
        from mmjrr.rendering import ContourSilhouette

        self._renderer = ContourSilhouette(faces, image_size=(_IOU_SIZE, _IOU_SIZE))

    def iou(
        self, vertices: FloatArray, camera: PerspectiveCamera, mask: FloatArray, box: Box
    ) -> float:
        """Return the IoU, as the sum of minima over the sum of maxima of both coverages.

        Args:
            vertices: (V, 3), meters, camera frame, in front of the camera.
            camera: Camera of the full image.
            mask: (H, W), the full image's mask in [0, 1].
            box: Crop that contains mesh and mask.
        """
        size = (_IOU_SIZE, _IOU_SIZE)
        points = torch.from_numpy(np.ascontiguousarray(vertices)).float()[None]
        with torch.no_grad():
            cropped = camera.to(torch.float32).crop(box, size)
            silhouette = self._renderer(points, cropped)[0].numpy()
        target = area_average_crop(np.asarray(mask), box, size)
        union = float(np.maximum(silhouette, target).sum())
        return float(np.minimum(silhouette, target).sum()) / union if union else float('nan')
