"""3D joints of moments seen by several calibrated cameras, triangulated from 2D joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from mmengine.logging import print_log

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations, parse_names
from mmjrr.datasets.sequences import moment_index
from mmjrr.geometry import PerspectiveCamera, TriangulatedPoints, triangulate

#: Largest distance in pixels between a 2D joint and the projection of the triangulated joint.
TOLERANCE = 30.0
#: Largest dilution of precision of a joint. With a detector's noise of 3 pixels, a focal length of
#: 1145 pixels and a distance of 5 m, the joint's standard error is then 65 mm, about the error of
#: an estimator that sees one image. Within 2 m of the middle of Human3.6M's room, four of its
#: cameras stay below 1.5, and three below 2.7.
MAX_DILUTION = 5.0


def triangulated_joints(
    table: Annotations,
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    tolerance: float = TOLERANCE,
    max_dilution: float = MAX_DILUTION,
    report: dict[str, int] | None = None,
) -> Annotations:
    """Triangulate the joints that have no 3D label, and drop 2D joints that contradict the others.

    Args:
        table: The frames. Frames of a sequence with the same number are views of a moment.
        cameras: Cameras by subject and camera name, with their poses.
        tolerance: Largest distance in pixels between a 2D joint and the projection of the
            triangulated joint. Default: 30.
        max_dilution: Largest dilution of precision of a joint
            (:func:`~mmjrr.geometry.triangulate`). Default: 5.
        report: Dict to which numbers are added. They count joints without a 3D label over all
            frames: ``joints_triangulated`` and, by the reason why they are not triangulated,
            ``joints_in_one_view`` (or in none), ``joints_disagreeing`` (no more than half of the
            views agree) and ``joints_imprecise`` (the dilution is too large). Default: None.

    Returns:
        The table, in which a joint without a 3D label has the triangulated position in the camera's
        frame, with the mean weight of the 2D joints that agree on it, and the 2D joints that
        disagree have weight 0. Joints that are not triangulated stay as they are; the log gives
        their numbers.

    Raises:
        ValueError: A camera is missing or has no pose, or ``tolerance`` or ``max_dilution`` is not
            positive.
    """
    names = parse_names('annotations', table.imgname.tolist())
    keys = [(name.subject, name.camera) for name in names]
    for name in names:
        if (name.subject, name.camera) not in cameras:
            raise ValueError(
                f'cameras: found none of {name.subject} {name.camera}, expected one, since the '
                f'annotations have its frames; found {sorted(cameras)}'
            )
    moments = torch.from_numpy(moment_index(names))
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    rig = PerspectiveCamera.cat([cameras[key] for key in place]).to(torch.float64)
    camera = rig[torch.tensor([place[key] for key in keys])]
    part = torch.from_numpy(table.part.astype(np.float64))
    unlabeled = torch.from_numpy(table.S[..., 3] <= 0)
    weight = torch.where(unlabeled, part[..., 2], 0.0)
    result = triangulate(part[..., :2], weight, camera, moments, tolerance, max_dilution)
    used = result.used.to(weight)
    count = _sum_over(moments, used)
    mean = _sum_over(moments, weight * used) / count.clamp_min(1)
    joints = camera.world_to_camera(result.points[moments])
    triangulated = unlabeled & (count[moments] > 0)
    numbers = _numbers(result, moments, unlabeled)
    _log_numbers(numbers)
    if report is not None:
        report.update(numbers)
    new_s, new_part = table.S.copy(), table.part.copy()
    new_s[triangulated.numpy(), :3] = joints[triangulated].numpy()
    new_s[triangulated.numpy(), 3] = mean[moments][triangulated].numpy()
    new_part[(triangulated & ~result.used).numpy()] = 0
    return replace(table, S=new_s, part=new_part)


def _numbers(
    result: TriangulatedPoints, moments: torch.Tensor, unlabeled: torch.Tensor
) -> dict[str, int]:
    """Count the unlabeled joints (B, J) that are triangulated, and the others by reason."""
    found = torch.isfinite(result.points).all(-1)
    several = result.shown >= 2
    agreeing = ~result.dilution.isnan()
    reasons = dict(
        joints_triangulated=found,
        joints_in_one_view=~several,
        joints_disagreeing=several & ~agreeing,
        joints_imprecise=agreeing & ~found,
    )
    return {name: int((of[moments] & unlabeled).sum()) for name, of in reasons.items()}


def _log_numbers(numbers: Mapping[str, int]) -> None:
    left_out = {name: count for name, count in numbers.items() if name != 'joints_triangulated'}
    if any(left_out.values()):
        one, disagreeing, imprecise = left_out.values()
        print_log(
            f'{numbers["joints_triangulated"]} of {sum(numbers.values())} joints without a 3D '
            f'label are triangulated. The others: {one} seen in fewer than two views, '
            f'{disagreeing} on which no more than half of the views agree, {imprecise} whose views '
            'leave the position too uncertain',
            logger='current',
        )


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
