"""Bodies of mesh estimators, drawn over their image through their crops' cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.geometry import (
    SPIN_FOCAL_LENGTH,
    SPIN_IMAGE_SIZE,
    PerspectiveCamera,
    weak_perspective_to_transl,
)

from .shaded_body import shade_body


def draw_bodies(
    image: NDArray[np.uint8],
    vertices: Sequence[FloatArray],
    faces: IndexArray,
    cameras: Sequence[FloatArray],
    boxes: Sequence[Sequence[float]],
    opacity: float = 1.0,
) -> tuple[NDArray[np.uint8], int]:
    """Draw bodies over an image, the apparently largest last.

    Each body is seen through its own camera: that of SPIN's crop, whose pixels are scaled and moved
    to the box.

    Args:
        image: (H, W, 3), RGB.
        vertices: (V, 3) of each body, meters, in the camera's frame, without translation.
        faces: (F, 3).
        cameras: SPIN's (s, tx, ty) of each body, on the crop.
        boxes: x0, y0, x1, y1 of each crop, square, in pixels of the image.
        opacity: Opacity of the bodies in [0, 1]. Default: 1.

    Returns:
        The picture, and the number of bodies that are not in front of their camera, which are not
        drawn.
    """
    sides = np.array([box[2] - box[0] for box in boxes])
    scales = np.array([camera[0] for camera in cameras])
    picture = image.copy()
    behind = 0
    for number in np.argsort(sides * scales, kind='stable'):
        if scales[number] <= 0:
            behind += 1
            continue
        camera = torch.from_numpy(np.asarray(cameras[number], dtype=np.float64))[None]
        placed = np.asarray(vertices[number], dtype=np.float64)
        placed = placed + weak_perspective_to_transl(camera).numpy()
        if not (placed[:, 2] > 0).all():
            behind += 1
            continue
        x0, y0, x1, y1 = boxes[number]
        focal = SPIN_FOCAL_LENGTH * sides[number] / SPIN_IMAGE_SIZE
        center = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        pixels = placed[:, :2] / placed[:, 2:] * focal + center
        low = np.floor(pixels.min(0)).clip(0, image.shape[1::-1]).astype(int)
        high = np.ceil(pixels.max(0)).clip(0, image.shape[1::-1]).astype(int)
        if (high <= low).any():
            continue
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        body = shade_body(
            placed,
            faces,
            PerspectiveCamera(
                torch.tensor([focal, focal], dtype=torch.float64), torch.from_numpy(center - low)
            ),
            (int(high[1] - low[1]), int(high[0] - low[0])),
        )
        picture[window] = body.over(picture[window], opacity)
    return picture, behind
