"""Square boxes around people, in pixels of the full image."""

from __future__ import annotations

from collections.abc import Sequence

#: Side, in pixels, of a box whose ``scale`` is 1 in the annotations of MMPose and SPIN.
PIXELS_PER_SCALE = 200.0
#: Largest plausible pixel coordinate of a box or joint; anything larger is refused.
MAX_PIXEL = 1e6


def whole_image_box(height: int, width: int) -> tuple[float, float, float, float]:
    """Return the square of the longer side around an image, centered as in SPIN's demo.

    SPIN's demo rounds the center down to whole pixels.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        The corners x0, y0, x1, y1 in pixels.

    >>> whole_image_box(100, 61)
    (-20.0, 0.0, 80.0, 100.0)
    """
    return square_box((width // 2, height // 2), max(height, width))


def square_box(center: Sequence[float], side: float) -> tuple[float, float, float, float]:
    """Return the corners x0, y0, x1, y1 of the square with this center (x, y) and side."""
    x, y = float(center[0]), float(center[1])
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def padded_box(box: Sequence[float], padding: float) -> tuple[float, float, float, float]:
    """Scale the side of a square x0, y0, x1, y1 by ``padding``, keeping its center."""
    if padding == 1:
        return box[0], box[1], box[2], box[3]
    return square_box(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[2] - box[0]) * padding)
