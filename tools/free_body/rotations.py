"""Rotation matrices about axes and between directions."""

from __future__ import annotations

import numpy as np


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:  # (3, 3)
    """Return the rotation about a unit axis by an angle in radians (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:  # (3, 3)
    """Return the smallest rotation that turns one direction into another."""
    source = source / np.linalg.norm(source)
    target = target / np.linalg.norm(target)
    axis = np.cross(source, target)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3)
    return rotation_about(axis / sine, np.arctan2(sine, source @ target))
