"""Joints in the release's CDF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.converters.annotation_checks import millimeters_to_meters
from mmjrr.errors import DataError
from mmjrr.io.cdf import read_cdf
from mmjrr.joints import H36M_JOINTS_RELEASE, reorder_index

#: The longest take has about 6,000 frames.
_MAX_FRAMES = 100_000


def read_joints(
    pixels: Path, metric: Path, step: int
) -> tuple[Array, Array]:  # (N, 17, 2) pixels, (N, 17, 3) meters
    """Read the joints of every ``step``-th frame from two CDF files, in MMPose's order.

    Args:
        pixels: File of 2D joints.
        metric: File of 3D joints.
        step: 1 for every frame.

    Raises:
        DataError: A file is damaged, or the files do not fit together.
    """
    keypoints_2d, keypoints_3d = read_pose(pixels, 2), read_pose(metric, 3)
    if len(keypoints_2d) != len(keypoints_3d):
        raise DataError(
            f'{metric}: Pose: found {len(keypoints_3d)} frames, expected {len(keypoints_2d)}, as '
            f'in {pixels}'
        )
    index = reorder_index(H36M_JOINTS_RELEASE, 'mmpose')
    keypoints_3d = millimeters_to_meters(f'{metric}: Pose', keypoints_3d)
    return keypoints_2d[::step, index], keypoints_3d[::step, index]


def read_pose(path: Path, axes: int) -> Array:  # (N, 32, axes)
    """Read ``Pose`` of a CDF file.

    Raises:
        ImportError: cdflib is not installed.
        FileNotFoundError: There is no such file.
        DataError: The file is damaged or holds something else.
    """
    joints = len(H36M_JOINTS_RELEASE)
    pose = read_cdf(path, 'Pose', (1, None, joints * axes), _MAX_FRAMES * joints * axes)
    pose = pose.reshape(-1, joints, axes)
    if not len(pose) or not np.isfinite(pose).all():
        raise DataError(
            f'{path}: Pose: found {len(pose)} frames, expected finite numbers in at least one'
        )
    return pose


def joints_or_error(*task: Any) -> tuple[Array, Array] | DataError:
    """Return the result of :func:`read_joints`, or the error that it raised."""
    try:
        return read_joints(*task)
    except DataError as error:
        return error
