"""Human3.6M's skeleton in the form of MMPose's metainfo: names, links, colors and sigmas."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE, swap_sides

#: RGB, distinguishable with any color vision: blue, vermilion, bluish green.
_COLORS = dict(left=(0, 114, 178), right=(213, 94, 0), center=(0, 158, 115))
#: Standard deviation of annotations around a joint, relative to the person's size. Joints that
#: COCO has take COCO's values, those of the trunk the hip's, neck and head those of CrowdPose.
_SIGMAS = dict(
    hip=0.107, knee=0.087, ankle=0.089, shoulder=0.079, elbow=0.072, wrist=0.062,
    pelvis=0.107, spine=0.107, thorax=0.107, neck_base=0.079, head=0.079,
)  # fmt: skip
_LEG_JOINTS = ('hip', 'knee', 'ankle')


def h36m_metainfo() -> dict[str, Any]:
    """Build the metainfo of the 17 joints in MMPose's order.

    Returns:
        Dict with the keys of MMPose's parsed metainfo, and ``joint_names`` and ``joint_order``.
    """
    names = H36M_JOINTS_MMPOSE
    index = {name: i for i, name in enumerate(names)}
    leg_ids = [i for i, name in enumerate(names) if _kind(name) in (*_LEG_JOINTS, 'pelvis')]
    return dict(
        dataset_name='h36m',
        joint_order='mmpose',
        joint_names=names,
        num_keypoints=len(names),
        keypoint_id2name=dict(enumerate(names)),
        keypoint_name2id=index,
        upper_body_ids=[i for i in range(len(names)) if i not in leg_ids],
        lower_body_ids=leg_ids,
        flip_indices=[index[swap_sides(name)] for name in names],
        flip_pairs=[
            (index[name], index[swap_sides(name)]) for name in names if name.startswith('left_')
        ],
        keypoint_colors=np.array([_color(name) for name in names], dtype=np.uint8),
        num_skeleton_links=len(H36M_BONES),
        skeleton_links=[(index[parent], index[joint]) for joint, parent in H36M_BONES],
        skeleton_link_colors=np.array([_color(joint) for joint, _ in H36M_BONES], dtype=np.uint8),
        dataset_keypoint_weights=np.ones(len(names), dtype=np.float32),
        sigmas=np.array([_SIGMAS[_kind(name)] for name in names], dtype=np.float32),
    )


def _kind(name: str) -> str:
    return name.removeprefix('left_').removeprefix('right_')


def _color(name: str) -> tuple[int, int, int]:
    return _COLORS.get(name.split('_')[0], _COLORS['center'])
