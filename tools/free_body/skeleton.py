"""SMPL's joints, joint regressor and skinning weights from MakeHuman's bones."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from mmjrr.body_models.anny_rig import SIDE_BONES, joint_matrix
from mmjrr.joints import SMPL_JOINTS

from .mesh import diffuse

_TRUNK_BONES = ('root', 'pelvis', 'spine', 'breast')
# The trunk's weights are divided by height. From the pelvis upwards: the joint that begins there,
# and half the height of the transition in meters.
_TRUNK_TRANSITIONS = [('spine1', 0.07), ('spine2', 0.05), ('spine3', 0.05)]
#: Meters over which weights are blended along the skin; MakeHuman's change abruptly at toes and
#: knuckles.
WEIGHT_BLEND = 0.012
#: Nonzero weights of a vertex, at most.
MAX_WEIGHTS = 4
_WEIGHT_STEPS = 4096  # weights are multiples of 1/4096, so that float32 rows sum to one exactly


def joint_positions(bones: list[str], heads: np.ndarray) -> np.ndarray:  # (N, 24, 3)
    """Compute SMPL's joints from the heads of the bones (N, B, 3)."""
    return joint_matrix(bones).numpy() @ heads


def skinning_weights(
    bone_weights: np.ndarray,  # (V, B)
    bones: list[str],
    template: np.ndarray,  # (V, 3), meters
    faces: np.ndarray,  # (F, 3)
    joints: np.ndarray,  # (24, 3), meters
) -> np.ndarray:  # (V, 24)
    """Merge the weights of the bones into weights of SMPL's joints.

    Rows sum to one and have at most :data:`MAX_WEIGHTS` nonzero weights.
    """
    weights = np.zeros((len(bone_weights), len(SMPL_JOINTS)))
    trunk = np.zeros(len(bone_weights))
    for b, bone in enumerate(bones):
        part = next((part for start, part in SIDE_BONES if bone.startswith(start)), None)
        if part is not None:
            side = {'L': 'left', 'R': 'right'}[bone[-1]]
            weights[:, SMPL_JOINTS.index(f'{side}_{part}')] += bone_weights[:, b]
        elif bone.startswith(_TRUNK_BONES):
            trunk += bone_weights[:, b]
        else:
            joint = 'neck' if bone.startswith('neck') else 'head'
            weights[:, SMPL_JOINTS.index(joint)] += bone_weights[:, b]
    _divide_trunk(weights, trunk, template, joints)
    weights = diffuse(weights, template, faces, WEIGHT_BLEND)
    smallest = np.argsort(weights, axis=1)[:, :-MAX_WEIGHTS]
    np.put_along_axis(weights, smallest, 0, axis=1)
    weights = np.round(weights / weights.sum(1, keepdims=True) * _WEIGHT_STEPS)
    rows, largest = np.arange(len(weights)), weights.argmax(1)
    weights[rows, largest] += _WEIGHT_STEPS - weights.sum(1)
    return weights / _WEIGHT_STEPS


def _divide_trunk(
    weights: np.ndarray, trunk: np.ndarray, template: np.ndarray, joints: np.ndarray
) -> None:
    """Add the trunk's weight to the joints of the spine by height, with smooth transitions."""
    above = np.ones(len(template))  # share of the trunk above the last transition
    below = 'pelvis'
    for joint, half_height in _TRUNK_TRANSITIONS:
        height = joints[SMPL_JOINTS.index(joint), 1]
        t = np.clip((template[:, 1] - height) / (2 * half_height) + 0.5, 0, 1)
        above_next = np.minimum(above, t * t * (3 - 2 * t))
        weights[:, SMPL_JOINTS.index(below)] += trunk * (above - above_next)
        above, below = above_next, joint
    weights[:, SMPL_JOINTS.index(below)] += trunk * above


def fit_joint_regressor(
    vertices: np.ndarray,  # (N, V, 3), meters
    joints: np.ndarray,  # (N, 24, 3), meters
    num_candidates: int = 300,
) -> np.ndarray:  # (24, V)
    """Fit a sparse regressor with rows on the simplex to all samples by least squares.

    Each row draws on the vertices nearest to its joint, of which non-negative least squares gives
    few a nonzero weight.
    """
    mean_vertices, mean_joints = vertices.mean(0), joints.mean(0)
    regressor = np.zeros((len(SMPL_JOINTS), vertices.shape[1]))
    for j in range(len(SMPL_JOINTS)):
        distance = np.linalg.norm(mean_vertices - mean_joints[j], axis=1)
        ids = np.argsort(distance)[:num_candidates]
        # Relative to the joint, so that the constraint on the sum does not compete with the data.
        relative = vertices[:, ids] - joints[:, j : j + 1]
        system = relative.transpose(0, 2, 1).reshape(-1, num_candidates)
        sum_to_one = 1e3 * np.ones((1, num_candidates))
        ridge = 1e-2 * np.eye(num_candidates)
        weights, _ = nnls(
            np.concatenate([system, sum_to_one, ridge]),
            np.concatenate([np.zeros(len(system)), [1e3], np.zeros(num_candidates)]),
            maxiter=30 * num_candidates,
        )
        weights[weights < 1e-3] = 0
        regressor[j, ids] = weights / weights.sum()
    return regressor
