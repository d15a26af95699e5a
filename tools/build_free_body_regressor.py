"""Builds the free body's H36M joint regressor, which ships with the package.

Made by hand, not learned from data: each joint has a textbook place between the body's own
joints, and is the mean of a ring of surface vertices around that place, weighted so that the mean
stays at the place whatever the body's shape. It is a plain starting point on the free body, for
trials and tests; it says nothing about how H36M places its labels.

    python tools/build_free_body_regressor.py [--out mmjrr/regressors/data/free_body_h36m.npz]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from mmjrr.body_models import free_body
from mmjrr.io import atomic_write
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS

Array = NDArray[np.float64]

#: Vertices of a ring, at most: the nearest to its plane in each of so many directions.
SECTORS = 16
#: Thickness of the slab they are taken from, meters to either side.
SLAB = 0.03
#: Shapes over which the mean must stay at the place.
NUM_SHAPES = 20


@dataclass(frozen=True)
class Place:
    """Where a joint is in the T-pose: ``share`` of the way from one SMPL joint to another.

    ``axis`` (0 left, 1 up) is the one the ring surrounds; ``radius`` (meters) bounds the ring;
    ``forward`` and ``up`` (meters) move the place.
    """

    start: str
    end: str
    share: float
    axis: int
    radius: float
    up: float = 0.0
    forward: float = 0.0


TRUNK = {
    'pelvis': Place('left_hip', 'right_hip', 0.5, axis=1, radius=0.25),
    'spine': Place('spine1', 'spine2', 0.5, axis=1, radius=0.25),
    'thorax': Place('spine3', 'neck', 1.0, axis=1, radius=0.15, up=-0.01),
    'neck_base': Place('neck', 'head', 0.9, axis=1, radius=0.15, up=0.02, forward=0.02),
    'head': Place('head', 'head', 0.0, axis=1, radius=0.15, up=0.12, forward=0.01),
}
LIMBS = {
    'hip': Place('hip', 'hip', 0.0, axis=1, radius=0.16),
    'knee': Place('knee', 'knee', 0.0, axis=1, radius=0.12),
    'ankle': Place('ankle', 'ankle', 0.0, axis=1, radius=0.10),
    'shoulder': Place('shoulder', 'shoulder', 0.0, axis=0, radius=0.14),
    'elbow': Place('elbow', 'elbow', 0.0, axis=0, radius=0.10),
    'wrist': Place('wrist', 'wrist', 0.0, axis=0, radius=0.08),
}


def build_weight() -> Array:
    """``(17, V)`` weights in MMPose's order."""
    body = free_body(dtype=torch.float64)
    betas = torch.from_numpy(np.random.default_rng(0).normal(size=(NUM_SHAPES, body.num_betas)))
    betas[0] = 0  # the mean shape, where rings are chosen
    with torch.no_grad():
        output = body(betas=betas)
    vertices = output.vertices.numpy()  # (S, V, 3)
    joints = dict(zip(SMPL_JOINTS, output.joints.numpy().transpose(1, 0, 2), strict=True))
    weight = np.zeros((len(H36M_JOINTS_MMPOSE), vertices.shape[1]))
    for row, name in enumerate(H36M_JOINTS_MMPOSE):
        support, weights = ring_weights(name, vertices, joints)
        weight[row, support] = weights
    return weight


def ring_weights(
    name: str, vertices: Array, joints: dict[str, Array]
) -> tuple[NDArray[np.int64], Array]:
    """A joint's vertices and their weights; ``vertices`` (S, V, 3), ``joints`` (S, 3) each."""
    side, _, part = name.rpartition('_') if name not in TRUNK else ('', '', name)
    place = LIMBS[part] if side else TRUNK[name]
    prefix = f'{side}_' if side else ''
    start, end = joints[prefix + place.start], joints[prefix + place.end]
    centers = start + place.share * (end - start) + [0, place.up, place.forward]  # (S, 3)

    offset = vertices[0] - centers[0]
    along = np.abs(offset[:, place.axis])
    across = np.delete(offset, place.axis, axis=1)
    near = (along < SLAB) & (np.linalg.norm(across, axis=1) < place.radius)
    if side:
        near &= vertices[0, :, 0] * (1 if side == 'left' else -1) > 0
    angle = np.arctan2(across[:, 1], across[:, 0])
    sector = np.floor((angle / (2 * np.pi) + 0.5) * SECTORS)
    candidates = np.flatnonzero(near)
    candidates = candidates[np.argsort(along[candidates], kind='stable')]
    _, first = np.unique(sector[candidates], return_index=True)
    support = np.sort(candidates[first])
    if len(support) < 4:
        raise ValueError(f'{name}: {len(support)} vertices around its place, expected 4 or more')

    # Least squares over the shapes, a stiff row for the sum, a soft pull towards even weights.
    stiff, soft = 1e3, 3e-2
    count = len(support)
    system = np.vstack(
        [
            vertices[:, support].transpose(0, 2, 1).reshape(-1, count) - centers.reshape(-1, 1),
            np.full((1, count), stiff),
            soft * np.eye(count),
        ]
    )
    target = np.concatenate([np.zeros(centers.size), [stiff], np.full(count, soft / count)])
    weights, _ = nnls(system, target)
    kept = weights > 1e-3
    return support[kept], weights[kept] / weights[kept].sum()


def main() -> None:
    default = Path(__file__).parents[1] / 'mmjrr' / 'regressors' / 'data' / 'free_body_h36m.npz'
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=default)
    out: Path = parser.parse_args().out
    weight = build_weight()
    rows, columns = np.nonzero(weight)
    with atomic_write(out) as temporary:
        np.savez(
            temporary,
            rows=rows.astype(np.int32),
            columns=columns.astype(np.int32),
            values=weight[rows, columns],
            shape=np.array(weight.shape),
            joint_names=np.array(H36M_JOINTS_MMPOSE),
        )
    print(f'{out}: {len(rows)} weights, {out.stat().st_size} bytes')


if __name__ == '__main__':
    main()
