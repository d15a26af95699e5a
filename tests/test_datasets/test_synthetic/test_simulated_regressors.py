from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.datasets.synthetic.motion import sample_motion
from mmjrr.datasets.synthetic.posing import global_rotations, pose_body
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.simulated_regressors import (
    LABEL_NOISE_STD,
    label_joints,
    make_true_regressor,
)
from mmjrr.datasets.synthetic.subjects import make_subject
from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE, swap_sides


@pytest.fixture(scope='module')
def body():
    return free_body()


@pytest.fixture(scope='module')
def truth(body):
    return make_true_regressor(0, body)


def test_true_regressor_takes_five_to_forty_vertices_a_joint(truth):
    assert truth.joint_names == H36M_JOINTS_MMPOSE
    sizes = truth.support_sizes
    assert min(sizes.values()) >= 5 and max(sizes.values()) <= 40
    torch.testing.assert_close(truth.weight.sum(1), torch.ones(17, dtype=truth.weight.dtype))
    assert truth.weight.min() >= 0


def test_true_joints_are_where_a_human_has_them(body, truth):
    rest = torch.from_numpy(pose_body(body, np.zeros(10), np.zeros((1, 24, 3))))
    joints = dict(zip(truth.joint_names, truth(rest)[0].numpy(), strict=True))
    height = {name: joint[1] for name, joint in joints.items()}
    for upper, lower in [
        ('head', 'neck_base'), ('neck_base', 'thorax'), ('thorax', 'spine'), ('spine', 'pelvis'),
        ('left_hip', 'left_knee'), ('left_knee', 'left_ankle'),
    ]:  # fmt: skip
        assert height[upper] > height[lower], (upper, lower)
    for name, joint in joints.items():
        if name.startswith('left_'):
            assert joint[0] > 0 > joints[swap_sides(name)][0], name
    lengths = {(a, b): np.linalg.norm(joints[a] - joints[b]) for a, b in H36M_BONES}
    for (a, b), length in lengths.items():
        assert 0.06 < length < 0.55, (a, b)
        if a.startswith('left_'):
            other = lengths[swap_sides(a), swap_sides(b)]
            assert length == pytest.approx(other, abs=0.06), (a, b)


def test_true_regressor_is_none_that_ships_and_comes_from_the_seed(body, truth):
    again, other = make_true_regressor(0, body), make_true_regressor(1, body)
    torch.testing.assert_close(truth.weight, again.weight, rtol=0, atol=0)
    assert not torch.allclose(truth.weight, other.weight)


def test_labels_are_noise_and_ankle_offset_about_the_true_joints(body, truth):
    subject = make_subject(0, 'S6')
    motion = sample_motion(0, 'S6', 'Walking', np.arange(0, 20, 0.05))
    pose = np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)
    rotations = global_rotations(pose)
    vertices = pose_body(body, subject.betas, pose)
    noise = []
    for i in range(len(pose)):
        label = label_joints(truth, vertices[i], rotations[i], subject, stream(0, i))
        noise.append(label - truth(torch.from_numpy(vertices[i])).numpy())
    noise = np.stack(noise)
    ankles = [H36M_JOINTS_MMPOSE.index(f'{side}_ankle') for side in ('left', 'right')]
    others = [i for i in range(17) if i not in ankles]
    assert noise[:, others].std() == pytest.approx(LABEL_NOISE_STD, rel=0.03)
    for row in range(2):
        shanks = rotations[:, 4 + row]
        in_shank = np.einsum('nji,nj->ni', shanks, noise[:, ankles[row]])
        np.testing.assert_allclose(in_shank.mean(0), subject.ankle_offset[row], atol=1.5e-3)
