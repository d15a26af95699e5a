"""Check of an annotation's joints against one another, before bodies are fitted to them."""

from __future__ import annotations

import numpy as np

from mmjrr.datasets.annotations import Annotations
from mmjrr.evaluation.annotation_plausibility import check_annotated_joints
from mmjrr.joints import H36M_JOINTS_MMPOSE

#: Largest number of frames that are checked.
MAX_FRAMES = 200


def check_annotation(where: str, annotations: Annotations) -> tuple[str, ...]:
    """Check the joints of evenly spaced frames, as evaluation does.

    Args:
        where: The annotation file, for messages.
        annotations: Its rows, in camera coordinates.

    Returns:
        A sentence for each implausible finding.

    Raises:
        DataError: Legs point the other way than arms, so the joints are in another order.
    """
    rows = np.unique(np.linspace(0, len(annotations) - 1, MAX_FRAMES).astype(int))
    joints = annotations.S[rows].astype(np.float64)
    part = annotations.part[rows].astype(np.float64)
    keypoints_2d = np.where(part[..., 2:] > 0, part[..., :2], np.nan)
    return check_annotated_joints(
        where, joints[..., :3], joints[..., 3], H36M_JOINTS_MMPOSE, keypoints_2d
    )
