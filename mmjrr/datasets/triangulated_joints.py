"""3D joints of moments seen by several calibrated cameras, triangulated from 2D joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations, parse_names
from mmjrr.datasets.sequences import moment_index
from mmjrr.geometry import PerspectiveCamera, triangulate

#: Largest distance in pixels between a 2D joint and the projection of the triangulated joint.
TOLERANCE = 30.0


def triangulated_joints(
    table: Annotations,
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    tolerance: float = TOLERANCE,
) -> Annotations:
    """Triangulate the joints that have no 3D label, and drop 2D joints that contradict the others.

    Args:
        table: The frames. Frames of a sequence with the same number are views of a moment.
        cameras: Cameras by subject and camera name, with their poses.
        tolerance: Largest distance in pixels between a 2D joint and the projection of the
            triangulated joint. Default: 30.

    Returns:
        The table, in which a joint without a 3D label has the triangulated position in the camera's
        frame, with the mean weight of the 2D joints that agree on it; a joint on which no more
        than half of its views agree keeps weight 0. The 2D joints that disagree have weight 0.

    Raises:
        ValueError: A camera is missing or has no pose, or ``tolerance`` is not positive.
    """
    names = parse_names('annotations', table.imgname.tolist())
    for name in names:
        if (name.subject, name.camera) not in cameras:
            raise ValueError(
                f'cameras: found none of {name.subject} {name.camera}, expected one, since the '
                f'annotations have its frames; found {sorted(cameras)}'
            )
    moments = torch.from_numpy(moment_index(names))
    camera = PerspectiveCamera.cat([cameras[name.subject, name.camera] for name in names]).to(
        torch.float64
    )
    part = torch.from_numpy(table.part.astype(np.float64))
    unlabeled = torch.from_numpy(table.S[..., 3] <= 0)
    weight = torch.where(unlabeled, part[..., 2], 0.0)
    result = triangulate(part[..., :2], weight, camera, moments, tolerance)
    used = result.used.to(weight)
    count = _sum_over(moments, used)
    mean = _sum_over(moments, weight * used) / count.clamp_min(1)
    joints = camera.world_to_camera(result.points[moments])
    triangulated = unlabeled & (count[moments] > 0)
    new_s, new_part = table.S.copy(), table.part.copy()
    new_s[triangulated.numpy(), :3] = joints[triangulated].numpy()
    new_s[triangulated.numpy(), 3] = mean[moments][triangulated].numpy()
    new_part[(triangulated & ~result.used).numpy()] = 0
    return replace(table, S=new_s, part=new_part)


def _sum_over(group: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sum the rows (B, J) of each group: (G, J)."""
    sums = values.new_zeros(int(group.max()) + 1, values.shape[1])
    return sums.index_add_(0, group, values)


def labeled_trunk_joints(table: Annotations) -> Array:  # (N,) int
    """Return the number of each frame's joints of the trunk that are labeled in 3D."""
    from mmjrr.joints import H36M_JOINTS_MMPOSE, TRUNK_JOINTS

    rows = [H36M_JOINTS_MMPOSE.index(name) for name in TRUNK_JOINTS]
    count: Array = (table.S[:, rows, 3] > 0).sum(1)
    return count
