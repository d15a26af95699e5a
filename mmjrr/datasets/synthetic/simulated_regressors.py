"""The hidden true regressor of the synthetic H36M, and its biased J_std."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import nnls

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.datasets.synthetic.actions import ACTIONS
from mmjrr.datasets.synthetic.motion import sample_motion
from mmjrr.datasets.synthetic.people import People
from mmjrr.datasets.synthetic.posing import global_rotations, pose_body, rest_body
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.simulated_fits import mocap_fit
from mmjrr.datasets.synthetic.subjects import TRAIN_SUBJECTS, Subject
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.regressors import JointRegressor, fit_joint_regressor

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL


#: Standard deviation of label noise, meters per axis: 5 mm in space.
LABEL_NOISE_STD = 0.003
#: Standard deviation of the true joints around their anatomical positions, meters per axis.
PLACE_STD = 0.008
#: Moments of each action of a training subject to which J_std is fitted.
_MOCAP_MOMENTS = 3


@dataclass(frozen=True)
class _Ring:
    """Anatomical position of a joint on the T-posed body, and candidate vertices around it.

    Attributes:
        start: SMPL joint from which the position is interpolated.
        end: SMPL joint to which it is interpolated.
        share: Position between ``start`` (0) and ``end`` (1).
        shift: Offset (left, up, forward) in meters; mirrored on the right side.
        axis: Index of the axis that the ring surrounds.
        radius: Largest distance of the vertices from the axis, meters.
    """

    start: str
    end: str
    share: float
    shift: tuple[float, float, float]
    axis: int
    radius: float


_RINGS: dict[str, _Ring] = {
    'pelvis': _Ring('left_hip', 'right_hip', 0.5, (0, 0.015, 0.0), 1, 0.22),
    'hip': _Ring('hip', 'hip', 0, (0.025, 0.01, 0), 1, 0.14),
    'knee': _Ring('knee', 'knee', 0, (0, 0, 0.005), 1, 0.10),
    'ankle': _Ring('ankle', 'ankle', 0, (0, 0.01, 0), 1, 0.08),
    'spine': _Ring('spine1', 'spine2', 0.5, (0, 0, -0.01), 1, 0.22),
    'thorax': _Ring('spine3', 'neck', 0.85, (0, 0, -0.005), 1, 0.16),
    'neck_base': _Ring('neck', 'head', 0.9, (0, 0.01, 0.02), 1, 0.12),
    'head': _Ring('head', 'head', 0, (0, 0.12, 0.01), 1, 0.13),
    'shoulder': _Ring('shoulder', 'shoulder', 0, (0.005, 0, 0), 0, 0.11),
    'elbow': _Ring('elbow', 'elbow', 0, (0, 0, 0), 0, 0.08),
    'wrist': _Ring('wrist', 'wrist', 0, (-0.01, 0, 0), 0, 0.06),
}  # fmt: skip


def make_true_regressor(seed: int, body: SMPL) -> JointRegressor:
    """Make the regressor that labels the synthetic data: 5 to 40 vertices per joint.

    Each joint lies at an anatomical position with a random offset of :data:`PLACE_STD`, and
    averages the vertices of a slab around it, weighted as evenly as its position allows.

    Raises:
        ValueError: The body has fewer than five vertices around a joint.
    """
    vertices, rest_joints = (rest[0] for rest in rest_body(body, np.zeros((1, 10))))
    joints = dict(zip(SMPL_JOINTS, rest_joints, strict=True))
    weight = np.zeros((len(H36M_JOINTS_MMPOSE), len(vertices)))
    for row, name in enumerate(H36M_JOINTS_MMPOSE):
        rng = stream(seed, 'true_regressor', name)
        support, weights = _ring_weights(rng, name, vertices, joints)
        weight[row, support] = weights
    return JointRegressor(
        torch.from_numpy(weight),
        H36M_JOINTS_MMPOSE,
        body_model='free_body',
        provenance={'made_by': 'mmjrr.datasets.synthetic: hidden truth', 'seed': seed},
    )


def _ring_weights(
    rng: np.random.Generator, name: str, vertices: FloatArray, joints: dict[str, FloatArray]
) -> tuple[IndexArray, FloatArray]:
    side, _, part = name.rpartition('_') if name.startswith(('left_', 'right_')) else ('', '', name)
    ring = _RINGS[part]
    prefix = f'{side}_' if side else ''
    start, end = joints[prefix + ring.start], joints[prefix + ring.end]
    shift = np.array(ring.shift) * ([-1, 1, 1] if side == 'right' else [1, 1, 1])
    place = start + ring.share * (end - start) + shift + rng.normal(0, PLACE_STD, 3)

    offset = vertices - place
    along = np.abs(offset[:, ring.axis])
    across = np.delete(offset, ring.axis, axis=1)
    near = (along < 0.04) & (np.linalg.norm(across, axis=1) < ring.radius)
    if side:  # a ring around one thigh must not reach the other
        near &= np.sign(vertices[:, 0]) == (1 if side == 'left' else -1)
    # The vertex nearest to the plane of the joint in each sector around the limb.
    count = int(rng.integers(12, 41))
    sector = np.floor((np.arctan2(across[:, 1], across[:, 0]) + np.pi) / (2 * np.pi) * count)
    candidates = np.flatnonzero(near)
    candidates = candidates[np.argsort(along[candidates], kind='stable')]
    _, first = np.unique(sector[candidates], return_index=True)
    support = np.sort(candidates[first])
    if len(support) < 5:
        raise ValueError(
            f'{name}: found {len(support)} vertices around {place.round(3)}, expected at least 5'
        )
    # Nearly even weights whose mean is the joint: least squares with a stiff constraint.
    stiff = 1e3
    system = np.vstack(
        [stiff * vertices[support].T, np.full(len(support), stiff), np.eye(len(support))]
    )
    target = np.concatenate([stiff * place, [stiff], np.full(len(support), 1 / len(support))])
    weights, _ = nnls(system, target)
    weights /= weights.sum()
    return support[weights > 0], weights[weights > 0]


def label_joints(
    regressor: JointRegressor,
    vertices: FloatArray,
    rotations: FloatArray,
    subject: Subject,
    rng: np.random.Generator,
    noise: float = 1.0,
) -> FloatArray:
    """Label joints as the motion capture of this dataset does.

    Args:
        regressor: The true regressor.
        vertices: (V, 3) meters, any frame.
        rotations: (24, 3, 3) orientations of SMPL's joints in that frame, for the ankle offsets.
        subject: The subject.
        rng: Source of the label noise.
        noise: Factor on :data:`LABEL_NOISE_STD`. Default: 1.

    Returns:
        (17, 3) meters, MMPose's order.
    """
    joints = regressor(torch.from_numpy(vertices)).double().numpy().copy()
    for side, name in enumerate(('left', 'right')):
        shank = rotations[SMPL_JOINTS.index(f'{name}_knee')]
        joints[H36M_JOINTS_MMPOSE.index(f'{name}_ankle')] += shank @ subject.ankle_offset[side]
    return joints + rng.normal(0, noise * LABEL_NOISE_STD, joints.shape)


def fit_standard_regressor(
    seed: int,
    body: SMPL,
    people: People,
    ankle_offsets: bool = True,
    label_noise: float = 1.0,
) -> JointRegressor:
    """Fit J_std to fits of motion-capture markers and the labels, without any image.

    The fits come from :func:`~mmjrr.datasets.synthetic.simulated_fits.mocap_fit` and share the same
    errors. They cover all actions of the training subjects, independent of the frames in the
    dataset.
    """
    fit = fit_joint_regressor(
        _mocap_batches(seed, body, people, ankle_offsets, label_noise),
        joint_names=H36M_JOINTS_MMPOSE,
        root='pelvis',
        body_model='free_body',
        provenance={
            'made_by': 'mmjrr.datasets.synthetic: fitted to simulated marker fits',
            'seed': seed,
        },
    )
    return fit.regressor


def _mocap_batches(
    seed: int, body: SMPL, people: People, ankle_offsets: bool, label_noise: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for name in TRAIN_SUBJECTS:
        subject = people.subject(name, ankle_offsets)
        poses, joints = [], []
        for action in ACTIONS:
            rng = stream(seed, 'mocap', name, action)
            motion = sample_motion(seed, name, action, rng.uniform(0, 60, _MOCAP_MOMENTS))
            pose = np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)
            poses.append(pose)
            vertices, rotations = people.vertices(subject, pose), global_rotations(pose)
            joints += [
                label_joints(people.regressor, vertices[i], rotations[i], subject, rng, label_noise)
                for i in range(len(pose))
            ]
        true_pose = np.concatenate(poses)
        pose, betas = mocap_fit(seed, name, true_pose, subject.betas)
        vertices = pose_body(body, betas, pose)
        yield torch.from_numpy(vertices), torch.from_numpy(np.stack(joints))
