"""Joint names and orders."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.joints import (
    H36M_BONES,
    H36M_JOINTS_MMPOSE,
    H36M_JOINTS_SPIN,
    JOINT_ORDERS,
    SMPL_JOINTS,
    SMPL_PARENTS,
    joint_names_of,
    joint_names_of_metainfo,
    reorder_index,
    swap_sides,
)


def test_both_h36m_orders_name_the_same_17_joints():
    assert len(H36M_JOINTS_MMPOSE) == len(set(H36M_JOINTS_MMPOSE)) == 17
    assert set(H36M_JOINTS_SPIN) == set(H36M_JOINTS_MMPOSE)


def test_orders_differ_in_the_legs_alone():
    different = [i for i in range(17) if H36M_JOINTS_MMPOSE[i] != H36M_JOINTS_SPIN[i]]
    assert different == [1, 2, 3, 4, 5, 6]
    assert H36M_JOINTS_MMPOSE[1:4] == ('right_hip', 'right_knee', 'right_ankle')
    assert H36M_JOINTS_SPIN[1:4] == ('left_hip', 'left_knee', 'left_ankle')


def test_mmpose_order_agrees_with_mmpose_itself():
    # MMPose 1.3.2, configs/_base_/datasets/h36m.py: keypoint_info by id.
    mmpose = (
        'root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax '
        'neck_base head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist'
    ).split()
    renamed = {'root': 'pelvis', 'right_foot': 'right_ankle', 'left_foot': 'left_ankle'}
    assert tuple(renamed.get(name, name) for name in mmpose) == H36M_JOINTS_MMPOSE


def test_reorder_index_there_and_back_is_the_identity():
    there = reorder_index('mmpose', 'spin')
    back = reorder_index('spin', 'mmpose')
    names = np.array(H36M_JOINTS_MMPOSE)
    assert tuple(names[there]) == H36M_JOINTS_SPIN
    assert tuple(names[there][back]) == H36M_JOINTS_MMPOSE


def test_reorder_index_picks_a_subset():
    assert reorder_index('spin', ['right_ankle', 'pelvis']) == [6, 0]


def test_reorder_index_names_the_joints_it_lacks():
    with pytest.raises(ValueError, match='left_eye'):
        reorder_index('mmpose', ['pelvis', 'left_eye'])


@pytest.mark.parametrize(('order', 'message'), [('h36m', 'h36m'), (['a', 'b', 'a'], 'more than')])
def test_bad_orders_are_refused(order, message):
    with pytest.raises(ValueError, match=message):
        joint_names_of(order)


def test_mirroring_h36m_swaps_the_legs_of_the_orders():
    assert tuple(map(swap_sides, H36M_JOINTS_MMPOSE[:7])) == H36M_JOINTS_SPIN[:7]
    assert sorted(JOINT_ORDERS) == ['h36m-release', 'j19', 'lsp', 'mmpose', 'smpl', 'spin']


def test_bones_form_a_tree_rooted_at_the_pelvis():
    placed = {'pelvis'}
    for joint, parent in H36M_BONES:
        assert parent in placed
        placed.add(joint)
    assert placed == set(H36M_JOINTS_MMPOSE)


def test_smpl_tree_is_mirror_symmetric():
    assert len(SMPL_JOINTS) == len(SMPL_PARENTS) == 24
    for child, parent in enumerate(SMPL_PARENTS[1:], start=1):
        assert parent < child
        mirrored = SMPL_JOINTS.index(swap_sides(SMPL_JOINTS[child]))
        assert SMPL_JOINTS[SMPL_PARENTS[mirrored]] == swap_sides(SMPL_JOINTS[parent])


def test_mmposes_names_of_h36m_are_translated_as_a_set_only() -> None:
    names = [
        {'pelvis': 'root', 'left_ankle': 'left_foot', 'right_ankle': 'right_foot'}.get(n, n)
        for n in H36M_JOINTS_MMPOSE
    ]
    by_id = dict(reversed(list(enumerate(names))))
    assert joint_names_of_metainfo(dict(keypoint_id2name=by_id)) == H36M_JOINTS_MMPOSE
    # Feet beside ankles are feet.
    assert joint_names_of_metainfo(
        dict(keypoint_id2name={0: 'left_ankle', 1: 'left_foot', 2: 'root'})
    ) == ('left_ankle', 'left_foot', 'root')
    assert joint_names_of_metainfo(dict(dataset_name='unknown')) is None
