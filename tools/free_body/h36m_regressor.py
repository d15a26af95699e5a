"""Joint regressor of the free body for Human3.6M's joints, constructed instead of learned.

Each joint has a textbook position between the body's own joints. It is regressed from a ring of
surface vertices around that position, weighted so that their mean stays there for all shapes. The
regressor is a plain starting point for trials and tests; it knows nothing about Human3.6M's labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from mmjrr.body_models import free_body
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS

Array = NDArray[np.float64]

#: Sectors around a joint, each of which contributes at most one vertex to the ring.
NUM_SECTORS = 16
#: Meters from the ring's plane within which vertices are chosen.
MAX_DISTANCE_FROM_PLANE = 0.03
#: Random shapes for which the mean must stay at the joint.
NUM_SHAPES = 20
_MIN_RING = 4


@dataclass(frozen=True)
class JointPosition:
    """Position of a joint in the T-pose, and the ring of vertices around it.

    Attributes:
        start: SMPL joint; the side is added for joints of limbs.
        end: Second SMPL joint.
        fraction: Fraction of the way from ``start`` to ``end``.
        axis: Axis that the ring surrounds: 0 for x (left), 1 for y (up).
        radius: Largest radius of the ring, meters.
        up: Offset along y, meters.
        forward: Offset along z, meters.
    """

    start: str
    end: str
    fraction: float
    axis: int
    radius: float
    up: float = 0.0
    forward: float = 0.0


TRUNK = {
    'pelvis': JointPosition('left_hip', 'right_hip', 0.5, axis=1, radius=0.25),
    'spine': JointPosition('spine1', 'spine2', 0.5, axis=1, radius=0.25),
    'thorax': JointPosition('spine3', 'neck', 1.0, axis=1, radius=0.15, up=-0.01),
    'neck_base': JointPosition('neck', 'head', 0.9, axis=1, radius=0.15, up=0.02, forward=0.02),
    'head': JointPosition('head', 'head', 0.0, axis=1, radius=0.15, up=0.12, forward=0.01),
}
LIMBS = {
    'hip': JointPosition('hip', 'hip', 0.0, axis=1, radius=0.16),
    'knee': JointPosition('knee', 'knee', 0.0, axis=1, radius=0.12),
    'ankle': JointPosition('ankle', 'ankle', 0.0, axis=1, radius=0.10),
    'shoulder': JointPosition('shoulder', 'shoulder', 0.0, axis=0, radius=0.14),
    'elbow': JointPosition('elbow', 'elbow', 0.0, axis=0, radius=0.10),
    'wrist': JointPosition('wrist', 'wrist', 0.0, axis=0, radius=0.08),
}


def build_h36m_regressor() -> Array:  # (17, V), joints in MMPose's order
    """Build the weights of all joints."""
    body = free_body(dtype=torch.float64)
    betas = torch.from_numpy(np.random.default_rng(0).normal(size=(NUM_SHAPES, body.num_betas)))
    betas[0] = 0  # the mean shape, on which the rings are chosen
    with torch.no_grad():
        output = body(betas=betas)
    vertices = output.vertices.numpy()  # (S, V, 3)
    joints = dict(zip(SMPL_JOINTS, output.joints.numpy().transpose(1, 0, 2), strict=True))
    regressor = np.zeros((len(H36M_JOINTS_MMPOSE), vertices.shape[1]))
    for row, name in enumerate(H36M_JOINTS_MMPOSE):
        ring, weights = ring_weights(name, vertices, joints)
        regressor[row, ring] = weights
    return regressor


def ring_weights(
    name: str,
    vertices: Array,  # (S, V, 3), meters
    joints: dict[str, Array],  # (S, 3) each, meters
) -> tuple[NDArray[np.int64], Array]:
    """Choose the vertices around a joint on the first shape and weight them for all shapes.

    Returns:
        Vertices and their weights, which are positive and sum to one.

    Raises:
        ValueError: There are too few vertices around the joint.
    """
    side, _, part = name.rpartition('_') if name not in TRUNK else ('', '', name)
    position = LIMBS[part] if side else TRUNK[name]
    prefix = f'{side}_' if side else ''
    start, end = joints[prefix + position.start], joints[prefix + position.end]
    centers = start + position.fraction * (end - start) + [0, position.up, position.forward]

    offset = vertices[0] - centers[0]
    from_plane = np.abs(offset[:, position.axis])
    in_plane = np.delete(offset, position.axis, axis=1)
    near = (from_plane < MAX_DISTANCE_FROM_PLANE) & (
        np.linalg.norm(in_plane, axis=1) < position.radius
    )
    if side:
        near &= vertices[0, :, 0] * (1 if side == 'left' else -1) > 0
    angle = np.arctan2(in_plane[:, 1], in_plane[:, 0])
    sector = np.floor((angle / (2 * np.pi) + 0.5) * NUM_SECTORS)
    candidates = np.flatnonzero(near)
    candidates = candidates[np.argsort(from_plane[candidates], kind='stable')]
    _, first = np.unique(sector[candidates], return_index=True)
    ring = np.sort(candidates[first])
    if len(ring) < _MIN_RING:
        raise ValueError(
            f'{name}: found {len(ring)} vertices around its position, expected {_MIN_RING} or more'
        )

    # Least squares over the shapes, with a strong constraint on the sum and a weak preference for
    # equal weights.
    strong, weak = 1e3, 3e-2
    count = len(ring)
    system = np.vstack(
        [
            vertices[:, ring].transpose(0, 2, 1).reshape(-1, count) - centers.reshape(-1, 1),
            np.full((1, count), strong),
            weak * np.eye(count),
        ]
    )
    target = np.concatenate([np.zeros(centers.size), [strong], np.full(count, weak / count)])
    weights, _ = nnls(system, target)
    kept = weights > 1e-3
    return ring[kept], weights[kept] / weights[kept].sum()
