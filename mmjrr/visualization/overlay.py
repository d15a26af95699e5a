"""Drawings of a fit over its image: the mesh's silhouette, the mask's outline, the joints."""

from __future__ import annotations

import numpy as np

from mmjrr.array_types import Array

MASK_COLOR = (255, 255, 255)
BODY_COLOR = (255, 140, 0)
LABEL_COLOR = (60, 220, 60)
FIT_COLOR = (230, 30, 90)


def draw_fit(
    image: Array,
    silhouette: Array,
    mask: Array | None = None,
    joints: Array | None = None,
    labels: Array | None = None,
    title: str = '',
) -> Array:
    """Draw a fit over an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        silhouette: (H, W), coverage of the mesh in [0, 1], drawn in orange.
        mask: (H, W), person mask in [0, 1]; its outline at 0.5 is drawn in white. Default: None.
        joints: (J, 2), joints of the fit in pixels, drawn as red crosses. Joints that are not
            finite are left out. Default: None.
        labels: (J, 2), annotated joints in pixels, drawn as green circles. Joints that are not
            finite are left out. Default: None.
        title: A line of text at the top. Default: none.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    import cv2

    alpha = 0.5 * silhouette[..., None]
    picture = np.rint(image * (1 - alpha) + np.array(BODY_COLOR) * alpha).astype(np.uint8)
    picture = np.ascontiguousarray(picture)
    if mask is not None:
        outlines, _ = cv2.findContours(
            (mask >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outlines, -1, MASK_COLOR, 1, cv2.LINE_AA)
    # Pixel (0, 0) covers [0, 1) x [0, 1), so its center is at 0.5; OpenCV puts the center at 0.
    shift = 4
    for points, color in ((labels, LABEL_COLOR), (joints, FIT_COLOR)):
        for point in np.round((_finite(points) - 0.5) * 2**shift).astype(int):
            if color is LABEL_COLOR:
                cv2.circle(picture, tuple(point), 4 << shift, color, 1, cv2.LINE_AA, shift)
            else:
                for step in ((3, 3), (3, -3)):
                    offset = np.array(step) << shift
                    cv2.line(
                        picture,
                        tuple(point - offset),
                        tuple(point + offset),
                        color,
                        1,
                        cv2.LINE_AA,
                        shift,
                    )
    if title:
        for width, color in ((3, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.putText(
                picture, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, width, cv2.LINE_AA
            )
    return picture


def _finite(points: Array | None) -> Array:
    if points is None:
        return np.zeros((0, 2))
    points = np.asarray(points, dtype=np.float64)
    return points[np.isfinite(points).all(-1) & (np.abs(points) < 1e5).all(-1)]
