"""Rotation matrices about axes."""

from __future__ import annotations

import numpy as np


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:  # (3, 3)
    """Return the rotation about a unit axis by an angle in radians (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
