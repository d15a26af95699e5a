"""The shipped body: a closed surface, joints in the right places, fit for SMPL's poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import FREE_BODY_FILE, SMPL, free_body, load_smpl_file
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS, SMPL_PARENTS, swap_sides


@pytest.fixture(scope='module')
def arrays() -> dict[str, np.ndarray]:
    return load_smpl_file(FREE_BODY_FILE)


@pytest.fixture(scope='module')
def body() -> SMPL:
    return free_body(dtype=torch.float64)


@pytest.fixture(scope='module')
def rest_joints(body: SMPL) -> dict[str, np.ndarray]:
    return dict(zip(SMPL_JOINTS, body().joints[0].numpy(), strict=True))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Signed, liters: divergence theorem."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 1000 * float(np.einsum('ij,ij->', a, np.cross(b, c))) / 6


def winding_number(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """One inside, zero outside (van Oosterom and Strackee's solid angle, 1983)."""
    turns = []
    for point in points:
        a, b, c = (vertices[faces[:, k]] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        triple = np.einsum('ij,ij->i', a, np.cross(b, c))
        dot_ab, dot_bc, dot_ca = (np.einsum('ij,ij->i', *x) for x in ((a, b), (b, c), (c, a)))
        below = la * lb * lc + dot_ab * lc + dot_bc * la + dot_ca * lb
        turns.append(2 * np.arctan2(triple, below).sum() / (4 * np.pi))
    return np.array(turns)


def test_has_the_counts_of_smpl_and_a_small_file(arrays: dict[str, np.ndarray]) -> None:
    assert arrays['v_template'].shape == (6890, 3)
    assert arrays['f'].shape == (13776, 3)
    assert arrays['shapedirs'].shape == (6890, 3, 10)
    assert tuple(arrays['parents']) == SMPL_PARENTS
    assert FREE_BODY_FILE.stat().st_size < 2e6


def test_surface_is_closed_oriented_outwards_and_in_one_piece(
    arrays: dict[str, np.ndarray],
) -> None:
    faces = arrays['f']
    directed = {(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)}
    assert len(directed) == 3 * len(faces)  # none twice: consistently oriented
    assert directed == {(b, a) for a, b in directed}  # each met from the other side: closed
    assert 6890 - len(directed) // 2 + len(faces) == 2  # Euler: one sphere, no handle
    assert len(np.unique(faces)) == 6890
    assert 50 < volume(arrays['v_template'], faces) < 90


def test_skinning_weights_are_convex_few_and_smooth(arrays: dict[str, np.ndarray]) -> None:
    weights, faces = arrays['weights'], arrays['f']
    assert weights.min() >= 0
    np.testing.assert_array_equal(weights.sum(1), 1)
    assert (weights > 0).sum(1).max() <= 4
    # A jump between neighbors tears or creases the skin there.
    ends = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    steps = np.abs(weights[ends[:, 0]] - weights[ends[:, 1]]).sum(1) / 2
    assert steps.max() < 0.6 and np.percentile(steps, 99) < 0.4


def test_joint_regressor_is_sparse_and_on_the_simplex(arrays: dict[str, np.ndarray]) -> None:
    regressor = arrays['J_regressor']
    assert regressor.min() >= 0
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-6)
    assert (regressor > 0).sum(1).max() < 100


def test_stands_in_t_pose_facing_z_with_its_left_at_plus_x(
    arrays: dict[str, np.ndarray], rest_joints: dict[str, np.ndarray]
) -> None:
    height, span = np.ptp(arrays['v_template'][:, 1]), np.ptp(arrays['v_template'][:, 0])
    assert 1.65 < height < 1.75
    assert 0.95 < span / height < 1.1  # arms spread
    up = ['left_foot', 'left_ankle', 'left_knee', 'left_hip', 'pelvis', 'spine1', 'spine2',
          'spine3', 'neck', 'head']  # fmt: skip
    heights = [rest_joints[name][1] for name in up]
    assert heights == sorted(heights)
    for name, joint in rest_joints.items():
        if name.startswith('left_'):
            assert joint[0] > 0.05, name
    outwards = ['left_collar', 'left_shoulder', 'left_elbow', 'left_wrist', 'left_hand']
    arm = np.array([rest_joints[name] for name in outwards])
    assert (np.diff(arm[:, 0]) > 0.05).all()
    assert np.ptp(arm[1:, 1:], axis=0).max() < 0.01  # level, straight
    assert rest_joints['left_foot'][2] > rest_joints['left_ankle'][2] + 0.08  # toes forward
    nose = arrays['v_template'][arrays['v_template'][:, 1] > rest_joints['head'][1]][:, 2].max()
    assert nose > rest_joints['head'][2] + 0.05


def test_limbs_have_the_proportions_of_people(rest_joints: dict[str, np.ndarray]) -> None:
    """Segment lengths over stature, Drillis and Contini (1966), with room for another joint."""
    height = 1.715

    def length(start: str, end: str) -> float:
        return float(np.linalg.norm(rest_joints[start] - rest_joints[end])) / height

    assert length('left_hip', 'left_knee') == pytest.approx(0.245, abs=0.03)
    assert length('left_knee', 'left_ankle') == pytest.approx(0.246, abs=0.03)
    assert length('left_shoulder', 'left_elbow') == pytest.approx(0.186, abs=0.04)
    assert length('left_elbow', 'left_wrist') == pytest.approx(0.146, abs=0.03)


def test_left_and_right_mirror_each_other(rest_joints: dict[str, np.ndarray]) -> None:
    for name, joint in rest_joints.items():
        mirrored = rest_joints[swap_sides(name)] * [-1, 1, 1]
        np.testing.assert_allclose(joint, mirrored, atol=5e-4, err_msg=name)


@pytest.mark.parametrize('beta_0', [-2.0, 0.0, 2.0])
def test_joints_lie_inside_the_body_of_any_shape(body: SMPL, beta_0: float) -> None:
    betas = torch.randn(1, 10, dtype=torch.float64).clamp(-2, 2)
    betas[0, 0] = beta_0
    out = body(betas=betas)
    inside = winding_number(out.joints[0].numpy(), out.vertices[0].numpy(), body.faces)
    np.testing.assert_allclose(inside, 1, atol=1e-6)


def test_first_component_is_stature_and_shapes_are_adults(body: SMPL) -> None:
    betas = torch.zeros(3, 10, dtype=torch.float64)
    betas[:, 0] = torch.tensor([-2.0, 0.0, 2.0])
    heights = np.ptp(body(betas=betas).vertices[..., 1].numpy(), axis=1)
    assert 1.4 < heights[0] < 1.6 < 1.65 < heights[1] < 1.75 < 1.8 < heights[2] < 2.0
    volumes = [
        volume(vertices, body.faces)
        for vertices in body(betas=torch.randn(20, 10).double()).vertices.numpy()
    ]
    assert min(volumes) > 30 and max(volumes) < 140


@pytest.mark.parametrize(
    ('joint', 'turn'),
    [
        ('left_knee', (1.9, 0, 0)),
        ('right_hip', (-1.6, 0, 0)),
        ('left_elbow', (0, -2.0, 0)),
        ('right_shoulder', (0, 0, 1.2)),
        ('spine2', (0.5, 0, 0)),
        ('neck', (0, 0.8, 0)),
    ],
)
def test_bending_a_joint_keeps_the_volume(
    body: SMPL, joint: str, turn: tuple[float, float, float]
) -> None:
    pose = torch.zeros(1, 23, 3, dtype=torch.float64)
    pose[0, SMPL_JOINTS.index(joint) - 1] = torch.tensor(turn, dtype=torch.float64)
    bent = volume(body(body_pose=pose).vertices[0].numpy(), body.faces)
    assert bent == pytest.approx(volume(body().vertices[0].numpy(), body.faces), rel=0.04)


def test_real_smpl_poses_put_the_limbs_where_they_were_seen(body: SMPL, shared_data: Path) -> None:
    """MoSh poses on the mean free body against H36M's joints: directions of the limbs."""
    with np.load(shared_data / 'h36m_mini' / 'test_h36m.npz') as file:
        pose = torch.from_numpy(file['pose']).double()
    with np.load(shared_data / 'h36m_mini' / 'test_h36m_body3d.npz') as file:
        seen = file['S'][:, :, :3]
    joint_positions = body(body_pose=pose[:, 3:], global_orient=pose[:, :3]).joints.numpy()
    angles = []
    for side in ('left_', 'right_'):
        for start, end in (('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'elbow'),
                           ('elbow', 'wrist')):  # fmt: skip
            ours, theirs = (
                joints[:, names.index(side + end)] - joints[:, names.index(side + start)]
                for joints, names in ((joint_positions, SMPL_JOINTS), (seen, H36M_JOINTS_MMPOSE))
            )
            cosine = (ours * theirs).sum(1)
            cosine /= np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
            angles.append(np.degrees(np.arccos(cosine)))
    # The two skeletons place hips, knees and shoulders differently by a few degrees.
    assert np.mean(angles) < 8 and np.max(angles) < 16
