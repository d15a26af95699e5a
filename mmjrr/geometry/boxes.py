"""Square boxes around people, in pixels of the full image."""

from __future__ import annotations

from collections.abc import Sequence

#: A box of MMPose's annotation is a square with this side at scale 1.
PIXELS_PER_SCALE = 200.0


def whole_image_box(height: int, width: int) -> tuple[float, float, float, float]:
    """The square around an image, its centre on a whole pixel, as in SPIN's demo.

    >>> whole_image_box(100, 61)
    (-20.0, 0.0, 80.0, 100.0)
    """
    return square_box((width // 2, height // 2), max(height, width))


def square_box(
    center: Sequence[float], side: float
) -> tuple[float, float, float, float]:  # x0, y0, x1, y1
    x, y = float(center[0]), float(center[1])
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def padded_box(
    box: Sequence[float], padding: float
) -> tuple[float, float, float, float]:  # x0, y0, x1, y1
    """The square box with its side times ``padding``."""
    if padding == 1:
        return box[0], box[1], box[2], box[3]
    return square_box(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[2] - box[0]) * padding)
