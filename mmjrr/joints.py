"""Joint names, and the two orders in which Human3.6M's 17 joints are stored.

Files do not say which order they use. Everything that has joints therefore carries their names, and
arrays are reordered by name (:func:`reorder_index`), never by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TORSO_AND_ARMS = (
    'spine', 'thorax', 'neck_base', 'head',
    'left_shoulder', 'left_elbow', 'left_wrist',
    'right_shoulder', 'right_elbow', 'right_wrist',
)  # fmt: skip
_RIGHT_LEG = ('right_hip', 'right_knee', 'right_ankle')
_LEFT_LEG = ('left_hip', 'left_knee', 'left_ankle')

#: MMPose's order, right leg first; the order of arrays unless stated otherwise. MMPose calls index
#: 9, 'neck_base', "neck" or "nose"; index 10 is the top of the head.
H36M_JOINTS_MMPOSE: tuple[str, ...] = ('pelvis', *_RIGHT_LEG, *_LEFT_LEG, *_TORSO_AND_ARMS)

#: The rows of SPIN's ``J_regressor_h36m.npy`` and of the released J_opt: left leg first.
H36M_JOINTS_SPIN: tuple[str, ...] = ('pelvis', *_LEFT_LEG, *_RIGHT_LEG, *_TORSO_AND_ARMS)

#: The 32 joints of Human3.6M's own files. Index 11 repeats the pelvis; 16 and 24 repeat the thorax.
H36M_JOINTS_RELEASE: tuple[str, ...] = (
    'pelvis', *_RIGHT_LEG, 'right_toes', 'right_toes_end', *_LEFT_LEG, 'left_toes', 'left_toes_end',
    'pelvis_again', 'spine', 'thorax', 'neck_base', 'head',
    'left_collar', 'left_shoulder', 'left_elbow', 'left_wrist', 'left_thumb', 'left_thumb_end',
    'left_hand', 'left_hand_end',
    'right_collar', 'right_shoulder', 'right_elbow', 'right_wrist', 'right_thumb',
    'right_thumb_end', 'right_hand', 'right_hand_end',
)  # fmt: skip

#: LSP's 14 joints, in the words of Human3.6M: LSP's neck is the thorax, its head top the head. It
#: is the order of SPIN's ``H36M_TO_J14``.
LSP_JOINTS: tuple[str, ...] = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
    'right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist',
    'thorax', 'head',
)  # fmt: skip

#: Rows of ``SMPL_to_J19.pkl``, HMR2's regressor: limbs, neck and top of the head of LSP, pelvis and
#: thorax of MPII, spine, jaw and head of Human3.6M (SPIN's ``constants.py``, from index 25 on).
J19_JOINTS: tuple[str, ...] = (
    *LSP_JOINTS[:13], 'head_top', 'pelvis', 'thorax_mpii', 'spine', 'neck_base', 'head',
)  # fmt: skip

#: Names of SMPL's 24 joints, and the parent of each in its kinematic tree.
SMPL_JOINTS: tuple[str, ...] = (
    'pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee', 'spine2',
    'left_ankle', 'right_ankle', 'spine3', 'left_foot', 'right_foot', 'neck', 'left_collar',
    'right_collar', 'head', 'left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow',
    'left_wrist', 'right_wrist', 'left_hand', 'right_hand',
)  # fmt: skip
SMPL_PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip

#: Joints of the 17 on the trunk, which give the orientation of a body.
TRUNK_JOINTS: tuple[str, ...] = (
    'pelvis', 'left_hip', 'right_hip', 'spine', 'thorax', 'left_shoulder', 'right_shoulder',
)  # fmt: skip

#: SMPL's joints by part of the body; a vertex belongs to the joint that moves it most.
BODY_PARTS: dict[str, tuple[str, ...]] = {
    'head': ('head',),
    'neck': ('neck',),
    'trunk': ('spine1', 'spine2', 'spine3', 'left_collar', 'right_collar'),
    'hips': ('pelvis',),
    'upper arm': ('left_shoulder', 'right_shoulder'),
    'forearm': ('left_elbow', 'right_elbow'),
    'hand': ('left_wrist', 'right_wrist', 'left_hand', 'right_hand'),
    'thigh': ('left_hip', 'right_hip'),
    'shank': ('left_knee', 'right_knee'),
    'foot': ('left_ankle', 'right_ankle', 'left_foot', 'right_foot'),
}

#: Joint orders by name.
JOINT_ORDERS: dict[str, tuple[str, ...]] = {
    'mmpose': H36M_JOINTS_MMPOSE,
    'spin': H36M_JOINTS_SPIN,
    'lsp': LSP_JOINTS,
    'j19': J19_JOINTS,
    'smpl': SMPL_JOINTS,
    'h36m-release': H36M_JOINTS_RELEASE,
}

#: Joints that MMPose's metainfo of H36M names otherwise. Elsewhere these names mean other joints
#: (SMPL has feet and ankles), so they are translated only where all 17 of MMPose's are there.
_MMPOSE_NAMES = {'root': 'pelvis', 'right_foot': 'right_ankle', 'left_foot': 'left_ankle'}

#: Bones of the 17 joints as (joint, parent), from the pelvis outwards.
H36M_BONES: tuple[tuple[str, str], ...] = (
    ('right_hip', 'pelvis'), ('right_knee', 'right_hip'), ('right_ankle', 'right_knee'),
    ('left_hip', 'pelvis'), ('left_knee', 'left_hip'), ('left_ankle', 'left_knee'),
    ('spine', 'pelvis'), ('thorax', 'spine'), ('neck_base', 'thorax'), ('head', 'neck_base'),
    ('left_shoulder', 'thorax'), ('left_elbow', 'left_shoulder'), ('left_wrist', 'left_elbow'),
    ('right_shoulder', 'thorax'), ('right_elbow', 'right_shoulder'), ('right_wrist', 'right_elbow'),
)  # fmt: skip


def joint_names_of(order: str | Sequence[str]) -> tuple[str, ...]:
    """Return the joint names of an order.

    Args:
        order: Name of an order in :data:`JOINT_ORDERS`, or the joint names themselves.

    Raises:
        ValueError: The order is unknown, or a joint is named twice.

    >>> joint_names_of('spin')[1]
    'left_hip'
    """
    if isinstance(order, str):
        if order not in JOINT_ORDERS:
            raise ValueError(
                f'joint order: found {order!r}, expected one of {sorted(JOINT_ORDERS)}'
            )
        return JOINT_ORDERS[order]
    names = tuple(str(name) for name in order)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f'joint names: found {repeated} more than once, expected each once')
    return names


def joint_names_of_metainfo(metainfo: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the joint names that a data set's metainfo declares, in this project's words.

    Args:
        metainfo: This project's (``joint_names``) or MMPose's (``keypoint_id2name``, where
            Human3.6M's pelvis is called 'root' and its ankles 'left_foot' and 'right_foot').

    Returns:
        The names in the order of the data set's joints, or None if it declares none.

    Raises:
        ValueError: A joint is named twice.

    >>> joint_names_of_metainfo({'keypoint_id2name': {0: 'nose', 1: 'left_eye'}})
    ('nose', 'left_eye')
    """
    if metainfo.get('joint_names') is not None:
        return joint_names_of(metainfo['joint_names'])
    by_id = metainfo.get('keypoint_id2name')
    if not by_id:
        return None
    names = [str(by_id[key]) for key in sorted(by_id, key=int)]
    translated = [_MMPOSE_NAMES.get(name, name) for name in names]
    return joint_names_of(translated if set(translated) == set(H36M_JOINTS_MMPOSE) else names)


def reorder_index(src_names: str | Sequence[str], dst_names: str | Sequence[str]) -> list[int]:
    """Return the index that reorders an array of joints.

    Args:
        src_names: Order of the array: a name in :data:`JOINT_ORDERS`, or joint names.
        dst_names: Order of the result, in the same form; may name fewer joints.

    Returns:
        ``index`` such that ``array[index]`` is in the order ``dst_names``.

    Raises:
        ValueError: A joint of ``dst_names`` is not in ``src_names``.

    >>> reorder_index('mmpose', 'spin')[:7]
    [0, 4, 5, 6, 1, 2, 3]
    """
    src, dst = joint_names_of(src_names), joint_names_of(dst_names)
    missing = [name for name in dst if name not in src]
    if missing:
        raise ValueError(f'dst_names: found {missing}, expected joints of the source: {list(src)}')
    return [src.index(name) for name in dst]


def swap_sides(name: str) -> str:
    """Return the name of the joint on the other side, or the name itself if it has no side.

    >>> swap_sides('right_hip'), swap_sides('pelvis')
    ('left_hip', 'pelvis')
    """
    if name.startswith('left_'):
        return 'right_' + name[len('left_') :]
    if name.startswith('right_'):
        return 'left_' + name[len('right_') :]
    return name
