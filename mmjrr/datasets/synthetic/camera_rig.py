"""Four cameras around each subject, with intrinsics like those of Human3.6M's.

The world's z axis points up. Transforms between the frames are NumPy's: PyTorch's products differ
in the last bit, and the bytes of the dataset depend on the settings alone.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.geometry import H36M_IMAGE_SIZES, PerspectiveCamera

#: Direction of each of Human3.6M's cameras from the room's center, in degrees about the vertical.
CAMERA_ANGLES: dict[str, float] = {
    '54138969': 70,
    '55011271': -70,
    '58860488': 110,
    '60457274': -115,
}
CAMERA_IDS: tuple[str, ...] = tuple(CAMERA_ANGLES)


def make_cameras(seed: int, subject: str) -> dict[str, PerspectiveCamera]:
    """Make the four cameras of a subject, keyed by camera id.

    A device keeps its intrinsics for all subjects; its pose is drawn again for each.
    """
    return {camera_id: _make_camera(seed, subject, camera_id) for camera_id in CAMERA_IDS}


def _make_camera(seed: int, subject: str, camera_id: str) -> PerspectiveCamera:
    device = stream(seed, 'camera', camera_id)
    principal_point = device.normal(512, 5, (2, 1))
    focal_length = device.normal(1146, 2, (1, 1)) + device.normal(0, 0.8, (2, 1))
    radial = np.array([[-0.20], [0.24], [-0.002]]) + device.normal(0, 1, (3, 1)) * [
        [0.006],
        [0.015],
        [0.006],
    ]
    tangential = device.normal(-0.0015, 0.0008, (2, 1))
    pose = stream(seed, 'camera', camera_id, subject)
    angle = np.radians(CAMERA_ANGLES[camera_id] + pose.normal(0, 3))
    distance = pose.normal(5.2, 0.25)
    position = np.array(
        [distance * np.cos(angle), distance * np.sin(angle), pose.normal(1.55, 0.05)]
    )
    target = np.append(pose.normal(0, 0.12, 2), pose.normal(0.9, 0.06))
    axes = _look_at(position, target, roll=np.radians(pose.normal(0, 0.8)))
    return PerspectiveCamera(
        focal_length[:, 0],
        principal_point[:, 0],
        np.concatenate([radial[:, 0], tangential[:, 0]]),
        rotation=torch.from_numpy(axes).T,
        position=position,
        image_size=H36M_IMAGE_SIZES[camera_id],
    )


def miscalibrated(
    seed: int,
    subject: str,
    camera_id: str,
    camera: PerspectiveCamera,
    error: float,
    rotation_error: float = 0.0,
    position_error: float = 0.0,
) -> PerspectiveCamera:
    """Return the camera that takes the images, which differs from the calibration.

    Args:
        seed: Seed of the dataset.
        subject: The subject, for each of which a camera is calibrated.
        camera_id: Name of the camera.
        camera: The camera as it is calibrated.
        error: Standard deviation of the difference of principal points, pixels per axis.
        rotation_error: The same of rotations, about the camera's axes, degrees. Default: 0.
        position_error: The same of positions, along the world's axes, meters. Default: 0.
    """
    if error:
        shift = stream(seed, 'calibration', camera_id, subject).normal(0, error, (1, 2))
        principal_point = camera.principal_point + torch.from_numpy(shift).to(camera.dtype)
        camera = camera.with_principal_point(principal_point)
    if rotation_error or position_error:
        pose = stream(seed, 'calibration_pose', camera_id, subject)
        turn = Rotation.from_rotvec(np.radians(rotation_error) * pose.normal(size=3))
        position = position_in_world(camera) + position_error * pose.normal(size=3)
        axes = axes_in_world(camera) @ turn.as_matrix()
        camera = PerspectiveCamera(
            camera.focal_length,
            camera.principal_point,
            camera.distortion,
            camera.distortion_model,
            torch.from_numpy(axes).T,
            position,
            camera.image_size,
        )
    return camera


def _look_at(position: FloatArray, target: FloatArray, roll: float) -> FloatArray:  # (3, 3)
    """Return the camera's x (right), y (down) and z (forward) axes in the world as columns."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    axes = np.stack([right, down, forward], 1)
    cos, sin = np.cos(roll), np.sin(roll)
    return axes @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def axes_in_world(camera: PerspectiveCamera) -> FloatArray:  # (3, 3)
    """Return the axes of a camera as columns: the rotation from its frame to the world's."""
    assert camera.rotation is not None
    return camera.rotation[0].T.numpy()


def position_in_world(camera: PerspectiveCamera) -> FloatArray:  # (3,)
    """Return the center of a camera, in meters."""
    assert camera.position is not None
    return camera.position[0].numpy()


def world_to_camera(points: FloatArray, camera: PerspectiveCamera) -> FloatArray:
    """Bring points (..., 3), meters, from the world frame into the camera frame."""
    return (points - position_in_world(camera)) @ axes_in_world(camera)


def project(points: FloatArray, camera: PerspectiveCamera) -> FloatArray:
    """Project (N, 3) points, meters, camera frame, to (N, 2) pixels, with lens distortion."""
    return camera.project(torch.from_numpy(np.ascontiguousarray(points))[None])[0].numpy()
