"""Four cameras around each subject, with intrinsics like those of H36M's.

Stored as MMPose stores them (``cameras.pkl``): ``R`` (3, 3) turns camera axes into world axes
and ``T`` (3, 1) is the camera's position in the world, metres, z up, so ``X_cam = R.T @ (X_world -
T)``; ``f``, ``c`` (2, 1) pixels; ``k`` (3, 1) radial and ``p`` (2, 1) tangential distortion; image
size ``w``, ``h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.geometry import PerspectiveCamera

Array = NDArray[np.float64]

#: H36M's camera ids, with where each stands (degrees around the room) and its image height.
CAMERA_PLACES: dict[str, tuple[float, int]] = {
    '54138969': (70, 1002),
    '55011271': (-70, 1000),
    '58860488': (110, 1000),
    '60457274': (-115, 1002),
}
CAMERA_IDS: tuple[str, ...] = tuple(CAMERA_PLACES)


def make_cameras(seed: int, subject: str) -> dict[str, dict[str, Any]]:
    """The four cameras of a subject by id.

    Intrinsics belong to the device and are the same for every subject; where the cameras stand was
    calibrated anew for each.
    """
    return {camera_id: _make_camera(seed, subject, camera_id) for camera_id in CAMERA_IDS}


def _make_camera(seed: int, subject: str, camera_id: str) -> dict[str, Any]:
    angle, height = CAMERA_PLACES[camera_id]
    device = stream(seed, 'camera', camera_id)
    intrinsics = {
        'c': device.normal(512, 5, (2, 1)),
        'f': device.normal(1146, 2, (1, 1)) + device.normal(0, 0.8, (2, 1)),
        'k': np.array([[-0.20], [0.24], [-0.002]])
        + device.normal(0, 1, (3, 1)) * [[0.006], [0.015], [0.006]],
        'p': device.normal(-0.0015, 0.0008, (2, 1)),
    }
    place = stream(seed, 'camera', camera_id, subject)
    around = np.radians(angle + place.normal(0, 3))
    distance = place.normal(5.2, 0.25)
    position = np.array(
        [distance * np.cos(around), distance * np.sin(around), place.normal(1.55, 0.05)]
    )
    target = np.append(place.normal(0, 0.12, 2), place.normal(0.9, 0.06))
    return {
        'R': _look_at(position, target, roll=np.radians(place.normal(0, 0.8))),
        'T': position[:, None],
        **intrinsics,
        'w': 1000,
        'h': height,
        'name': f'camera{CAMERA_IDS.index(camera_id) + 1}',
        'id': camera_id,
    }


def _look_at(position: Array, target: Array, roll: float) -> Array:
    """Columns: the camera's x (right), y (down) and z (forward) axes in the world."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    axes = np.stack([right, down, forward], 1)
    cos, sin = np.cos(roll), np.sin(roll)
    return axes @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def world_to_camera(points: Array, camera: dict[str, Any]) -> Array:
    """(..., 3) metres in the world to (..., 3) metres in the camera's frame."""
    return (points - camera['T'][:, 0]) @ camera['R']


def project(points: Array, camera: dict[str, Any]) -> Array:
    """(N, 3) metres in the camera's frame to (N, 2) pixels, with the lens's distortion."""
    model = perspective_camera(camera)
    return model.project(torch.from_numpy(np.ascontiguousarray(points))[None])[0].numpy()


def perspective_camera(camera: dict[str, Any]) -> PerspectiveCamera:
    """The intrinsics of one camera, float64."""
    return PerspectiveCamera(
        torch.from_numpy(camera['f'][:, 0].copy()),
        torch.from_numpy(camera['c'][:, 0].copy()),
        torch.from_numpy(np.concatenate([camera['k'][:, 0], camera['p'][:, 0]])),
    )
