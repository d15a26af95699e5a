"""Pictures for the tests of inference."""

from __future__ import annotations

import cv2
import numpy as np


def pictures(count: int, size: tuple[int, int] = (72, 60), seed: int = 0) -> list[np.ndarray]:
    """Smooth random pictures (h, w, 3), which survive a video's compression."""
    rng = np.random.default_rng(seed)
    return [
        cv2.resize(rng.uniform(0, 255, (5, 4, 3)).astype(np.uint8), size[::-1])
        for _ in range(count)
    ]
