"""Joints in the release's CDF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.converters.annotation_checks import metres
from mmjrr.errors import DataError
from mmjrr.io.cdf import read_cdf
from mmjrr.joints import H36M_JOINTS_RELEASE, reorder_index

#: The longest take has some 6,000 frames.
_MOST_FRAMES = 100_000


def read_joints(
    pixels: Path, metric: Path, step: int
) -> tuple[np.ndarray, np.ndarray]:  # (N, 17, 2) pixels, (N, 17, 3) metres
    """Joints of every ``step``-th frame, in MMPose's order, of two CDF files.

    Raises:
        DataError: a file is damaged, or they do not fit together.
    """
    seen, placed = read_pose(pixels, 2), read_pose(metric, 3)
    if len(seen) != len(placed):
        raise DataError(
            f'{metric}: Pose: found {len(placed)} frames, expected {len(seen)}, as in {pixels}'
        )
    index = reorder_index(H36M_JOINTS_RELEASE, 'mmpose')
    return seen[::step, index], metres(f'{metric}: Pose', placed)[::step, index]


def read_pose(path: Path, axes: int) -> np.ndarray:  # (N, 32, axes)
    """Read ``Pose`` of a CDF file.

    Raises:
        ImportError: there is no cdflib.
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or holds something else.
    """
    joints = len(H36M_JOINTS_RELEASE)
    pose = read_cdf(path, 'Pose', (1, None, joints * axes), _MOST_FRAMES * joints * axes)
    pose = pose.reshape(-1, joints, axes)
    if not len(pose) or not np.isfinite(pose).all():
        raise DataError(f'{path}: Pose: found {len(pose)} frames, not all of them numbers')
    return pose


def joints_or_error(*task: Any) -> tuple[np.ndarray, np.ndarray] | DataError:
    try:
        return read_joints(*task)
    except DataError as error:
        return error
