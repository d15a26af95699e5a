"""Simulated SMPL fits: what an estimator would make of the images, and what markers would.

An estimator's error has three parts. A *systematic* one, a constant rotation of each bone in its
own frame: a network keeps the habits it was trained to. A *varying* one, rotations of every bone in
the camera's frame that drift over time, pass in part from parent to child, and are larger out of
the image plane than in it, because the image shows the latter. And *shape and camera*: shape is
pulled to the mean, and the distance follows from it, since what the image fixes is their ratio.

The sizes below were chosen so that the mean joint errors are those that the estimators have on H36M
(:data:`ESTIMATORS`). How well any regressor does on the fits was not looked at for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmjrr.datasets.synthetic.posing import global_rotations, local_pose
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.geometry import SPIN_IMAGE_SIZE, PerspectiveCamera
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

Array = NDArray[np.float64]

#: Relative size of the orientation error of each bone, by joint without its side. Feet and hands
#: are seen worst: in H36M's images an ankle's rotation moves a dozen pixels.
_BONE_ERROR: dict[str, float] = {
    'pelvis': 1.0, 'spine1': 0.7, 'spine2': 0.7, 'spine3': 0.8, 'neck': 1.0, 'head': 1.3,
    'hip': 1.0, 'knee': 1.2, 'ankle': 3.0, 'foot': 2.0,
    'collar': 0.8, 'shoulder': 1.3, 'elbow': 1.7, 'wrist': 2.2, 'hand': 1.5,
}  # fmt: skip
#: Share of a bone's error that comes from its parent's.
_INHERITED = 0.5
#: Error about the viewing direction relative to that about the two others.
_IN_PLANE = 0.5


@dataclass(frozen=True)
class ErrorModel:
    """How wrong an estimator is.

    Attributes:
        systematic: standard deviation of the constant bone rotations, degrees (times the bone's
            relative size).
        varying: standard deviation of the drifting bone rotations, degrees (times the bone's
            relative size).
        correlation_time: seconds after which the drift has fallen to 1/e.
        shape_pull: share of the shape's deviation from the mean that is lost.
        shape_noise: standard deviation of the shape's error besides, in betas.
        depth: standard deviation of the relative error of the distance.
        pixel: standard deviation of the image position, pixels of the 224 crop.
        view_turn: share of the angle between the optical axis and the person by which the body
            comes out turned, because the crop hides where in the image it was.
    """

    systematic: float
    varying: float
    correlation_time: float
    shape_pull: float = 0.7
    shape_noise: float = 0.3
    depth: float = 0.02
    pixel: float = 2.0
    view_turn: float = 0.3


#: Single-image (SPIN), smooth over time (VIBE), and with large smooth pose errors (MEVA). On H36M
#: they have an MPJPE of 60, 63 and 102 mm, and about two thirds of that after Procrustes alignment.
ESTIMATORS: dict[str, ErrorModel] = {
    'spin_like': ErrorModel(systematic=1.5, varying=7.0, correlation_time=0.3),
    'vibe_like': ErrorModel(systematic=1.5, varying=7.0, correlation_time=1.5),
    'meva_like': ErrorModel(systematic=1.5, varying=14.0, correlation_time=2.0, shape_pull=0.8),
}

#: Fits to markers: nearly the same error for everybody, and little besides. Degrees (times the
#: bone's relative size); betas. Twice the estimators' systematic error, because images of all kinds
#: correct a network that always turns a bone too far; nothing corrects a marker's assumed place.
MOCAP_SYSTEMATIC = 3.0
MOCAP_VARYING = 1.5
MOCAP_SHAPE_OFFSET = 0.5


def estimate(
    seed: int,
    estimator: str,
    sequence: str,
    times: Array,
    pose: Array,
    betas: Array,
    direction: Array,
) -> tuple[Array, Array]:
    """An estimator's pose and shape for one sequence in one view.

    Args:
        seed: the data set's seed.
        estimator: a name of :data:`ESTIMATORS`.
        sequence: subject, action and camera; errors of different sequences are independent.
        times: (T,) seconds.
        pose: (T, 24, 3) true axis-angle pose, the global orientation first, in the camera's frame.
        betas: (10,) true shape.
        direction: (T, 3) unit vectors from the camera to the person.

    Returns:
        (T, 24, 3) pose in the camera's frame, (T, 10) betas.

    Raises:
        ValueError: the estimator is not known.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f'unknown estimator {estimator!r}; known: {sorted(ESTIMATORS)}')
    model = ESTIMATORS[estimator]
    rng = stream(seed, 'estimate', estimator, sequence)
    drift = _drift(rng, times, model.correlation_time, 24 * 3).reshape(-1, 24, 3)
    drift = np.radians(model.varying) * drift * _bone_sizes()[:, None] * [1, 1, _IN_PLANE]
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            drift[:, joint] = (
                _INHERITED * drift[:, parent] + np.sqrt(1 - _INHERITED**2) * drift[:, joint]
            )
    # The rotation that takes the optical axis to the person's direction.
    turn = np.cross([0.0, 0.0, 1.0], direction)
    sine = np.linalg.norm(turn, axis=1, keepdims=True)
    turn *= np.arcsin(sine) / np.maximum(sine, 1e-12)
    seen = Rotation.from_rotvec(-model.view_turn * np.repeat(turn, 24, axis=0))
    wrong = (seen * Rotation.from_rotvec(drift.reshape(-1, 3))).as_matrix().reshape(-1, 24, 3, 3)

    noise = _drift(rng, times, model.correlation_time, len(betas))
    shape = (1 - model.shape_pull) * betas + model.shape_noise * noise
    bones = global_rotations(pose) @ _systematic_error(seed, estimator, model.systematic)
    return local_pose(wrong @ bones), shape


def mocap_fit(seed: int, subject: str, pose: Array, betas: Array) -> tuple[Array, Array]:
    """A body fitted to markers: (N, 24, 3) true pose to (N, 24, 3), and (10,) betas to (10,).

    Markers stand off the skin and their places on it are assumed, so the error of each bone is a
    constant one, as is the shape's; neither an image nor the joints' labels have a say.
    """
    rng = stream(seed, 'mocap_fit', subject)
    bones = global_rotations(pose) @ _systematic_error(seed, 'mocap', MOCAP_SYSTEMATIC)
    noise = np.radians(MOCAP_VARYING) * rng.normal(0, 1, pose.shape) * _bone_sizes()[:, None]
    noisy = bones @ Rotation.from_rotvec(noise.reshape(-1, 3)).as_matrix().reshape(bones.shape)
    offset = MOCAP_SHAPE_OFFSET * stream(seed, 'mocap_fit').normal(0, 1, len(betas))
    return local_pose(noisy), betas + offset + rng.normal(0, 0.2, len(betas))


def estimate_transl(
    rng: np.random.Generator,
    model: ErrorModel,
    pelvis: Array,
    size_ratio: Array,
    rest_pelvis: Array,
    camera: PerspectiveCamera,
    box: Array,
) -> Array:
    """Where an estimator puts its body: so that it covers the person's image.

    Args:
        rng: the source of the errors.
        model: their sizes.
        pelvis: (T, 3) metres, the true pelvis in the camera's frame.
        size_ratio: (T,) size of the fitted body over that of the true one.
        rest_pelvis: (T, 3) metres, the pelvis of the fitted body in its rest pose.
        camera: the true camera.
        box: (T,) pixels, side of the estimator's crop.

    Returns:
        (T, 3) translation, metres, camera frame.
    """
    depth = pelvis[:, 2] * size_ratio * np.exp(rng.normal(0, model.depth, len(pelvis)))
    place = camera.project(torch.from_numpy(pelvis)[None])
    shift = rng.normal(0, model.pixel, (len(pelvis), 2)) * (box / SPIN_IMAGE_SIZE)[:, None]
    direction = camera.unproject(place + torch.from_numpy(shift)).numpy()[0]
    return depth[:, None] * np.column_stack([direction, np.ones(len(pelvis))]) - rest_pelvis


def _systematic_error(seed: int, who: str, degrees: float) -> Array:
    """(24, 3, 3): a constant rotation of every bone in its own frame; left and right err alike."""
    error = np.zeros((24, 3))
    for joint, name in enumerate(SMPL_JOINTS):
        if joint == 0:
            continue  # the body as a whole is not turned
        part = name.removeprefix('left_').removeprefix('right_')
        shared = stream(seed, 'systematic', who, part).normal(0, 1, 3)
        shared *= np.sqrt(3) / np.linalg.norm(shared)  # the direction is random, the size is not
        if name.startswith('right_'):
            shared *= [1, -1, -1]
        if part == name:
            shared *= [1, 0.3, 0.3]  # the trunk errs forwards or backwards more than to a side
        own = stream(seed, 'systematic', who, name).normal(0, 0.3, 3)
        error[joint] = np.radians(degrees) * min(_BONE_ERROR[part], 1.5) * (shared + own)
    return Rotation.from_rotvec(error).as_matrix()


def _drift(rng: np.random.Generator, times: Array, correlation_time: float, width: int) -> Array:
    """(T, width) of unit variance, with correlation ``exp(-|dt| / correlation_time)`` over time."""
    lag = np.abs(times[:, None] - times[None]) / correlation_time
    factor = np.linalg.cholesky(np.exp(-lag) + 1e-9 * np.eye(len(times)))
    return factor @ rng.normal(0, 1, (len(times), width))


def _bone_sizes() -> Array:
    parts = [name.removeprefix('left_').removeprefix('right_') for name in SMPL_JOINTS]
    return np.array([_BONE_ERROR[part] for part in parts])
