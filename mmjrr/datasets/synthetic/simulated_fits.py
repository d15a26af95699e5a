"""Simulated SMPL fits of image-based estimators and of motion-capture markers.

An estimator's error has three parts. The *systematic* part is a constant rotation of each bone in
its own frame, a bias that a network learns in training. The *varying* part rotates every bone in
the camera frame; it drifts over time, passes partly from parent to child, and is larger out of the
image plane, where the image gives less information. The third part is *shape and camera*: shape is
pulled to the mean, and the distance follows from it, since an image determines only their ratio.

Sizes are chosen so that mean joint errors equal those of the estimators on H36M
(:data:`ESTIMATORS`), without regard to the accuracy of any regressor on the fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.posing import global_rotations, local_pose
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.geometry import SPIN_IMAGE_SIZE, PerspectiveCamera
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

#: Relative size of the orientation error of each bone, by joint without side. Feet and hands are
#: the hardest to see: in H36M's images the rotation of an ankle moves a dozen pixels.
_BONE_ERROR: dict[str, float] = {
    'pelvis': 1.0, 'spine1': 0.7, 'spine2': 0.7, 'spine3': 0.8, 'neck': 1.0, 'head': 1.3,
    'hip': 1.0, 'knee': 1.2, 'ankle': 3.0, 'foot': 2.0,
    'collar': 0.8, 'shoulder': 1.3, 'elbow': 1.7, 'wrist': 2.2, 'hand': 1.5,
}  # fmt: skip
#: Fraction of a bone's error that is inherited from its parent.
_INHERITED = 0.5
#: Error about the viewing direction relative to the error about the other two axes.
_IN_PLANE = 0.5


@dataclass(frozen=True)
class ErrorModel:
    """Errors of an estimator.

    Attributes:
        systematic: Standard deviation of the constant bone rotations, degrees, times the bone's
            relative size.
        varying: Standard deviation of the drifting bone rotations, degrees, times the bone's
            relative size.
        correlation_time: Seconds after which the correlation of the drift is 1/e.
        shape_pull: Fraction of the shape's deviation from the mean that is lost.
        shape_noise: Standard deviation of the remaining error of the shape, in betas.
        depth: Standard deviation of the relative error of the distance.
        pixel: Standard deviation of the image position, pixels of the 224 crop.
        view_turn: Fraction of the angle between the optical axis and the person by which the body
            is turned, because the crop hides its position in the image.
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

#: Errors of fits to markers, nearly the same for everybody: degrees (times the bone's relative
#: size) and betas. The systematic error is twice the estimators', because varied images correct a
#: network that always rotates a bone too far, while nothing corrects the assumed position of a
#: marker.
MOCAP_SYSTEMATIC = 3.0
MOCAP_VARYING = 1.5
MOCAP_SHAPE_OFFSET = 0.5


def estimate(
    seed: int,
    estimator: str,
    sequence: str,
    times: FloatArray,
    pose: FloatArray,
    betas: FloatArray,
    direction: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Simulate an estimator's pose and shape for one sequence in one view.

    Args:
        seed: Seed of the dataset.
        estimator: Name of an estimator in :data:`ESTIMATORS`.
        sequence: Subject, action and camera; errors of different sequences are independent.
        times: (T,) seconds.
        pose: (T, 24, 3) true axis-angle pose in the camera frame, global orientation first.
        betas: (10,) true shape.
        direction: (T, 3) unit vectors from the camera to the person.

    Returns:
        (T, 24, 3) pose in the camera frame, (T, 10) betas.

    Raises:
        ValueError: The estimator is unknown.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f'estimator: found {estimator!r}, expected one of {sorted(ESTIMATORS)}')
    model = ESTIMATORS[estimator]
    rng = stream(seed, 'estimate', estimator, sequence)
    drift = _drift(rng, times, model.correlation_time, 24 * 3).reshape(-1, 24, 3)
    drift = np.radians(model.varying) * drift * _bone_sizes()[:, None] * [1, 1, _IN_PLANE]
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            drift[:, joint] = (
                _INHERITED * drift[:, parent] + np.sqrt(1 - _INHERITED**2) * drift[:, joint]
            )
    # Rotation from the optical axis to the direction of the person.
    turn = np.cross([0.0, 0.0, 1.0], direction)
    sine = np.linalg.norm(turn, axis=1, keepdims=True)
    turn *= np.arcsin(sine) / np.maximum(sine, 1e-12)
    view = Rotation.from_rotvec(-model.view_turn * np.repeat(turn, 24, axis=0))
    error = (view * Rotation.from_rotvec(drift.reshape(-1, 3))).as_matrix().reshape(-1, 24, 3, 3)

    noise = _drift(rng, times, model.correlation_time, len(betas))
    shape = (1 - model.shape_pull) * betas + model.shape_noise * noise
    bones = global_rotations(pose) @ _systematic_error(seed, estimator, model.systematic)
    return local_pose(error @ bones), shape


def mocap_fit(
    seed: int, subject: str, pose: FloatArray, betas: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Simulate a body fitted to markers.

    Markers stand off the skin and their positions on it are assumed, so the errors of bones and
    shape are constant; neither images nor joint labels influence them.

    Args:
        seed: Seed of the dataset.
        subject: The subject.
        pose: (N, 24, 3) true pose.
        betas: (10,) true shape.

    Returns:
        (N, 24, 3) pose, (10,) betas.
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
    pelvis: FloatArray,
    size_ratio: FloatArray,
    rest_pelvis: FloatArray,
    camera: PerspectiveCamera,
    box: FloatArray,
) -> FloatArray:
    """Simulate an estimator's translation, with which its body covers the person's image.

    Args:
        rng: Source of the errors.
        model: Sizes of the errors.
        pelvis: (T, 3) true pelvis, meters, camera frame.
        size_ratio: (T,) size of the fitted body divided by that of the true one.
        rest_pelvis: (T, 3) pelvis of the fitted body in its rest pose, meters.
        camera: The true camera.
        box: (T,) side of the estimator's crop, pixels.

    Returns:
        (T, 3) translation, meters, camera frame.
    """
    depth = pelvis[:, 2] * size_ratio * np.exp(rng.normal(0, model.depth, len(pelvis)))
    pixel = camera.project(torch.from_numpy(pelvis)[None])
    shift = rng.normal(0, model.pixel, (len(pelvis), 2)) * (box / SPIN_IMAGE_SIZE)[:, None]
    direction = camera.unproject(pixel + torch.from_numpy(shift)).numpy()[0]
    return depth[:, None] * np.column_stack([direction, np.ones(len(pelvis))]) - rest_pelvis


def _systematic_error(seed: int, who: str, degrees: float) -> FloatArray:
    """Return (24, 3, 3) constant rotations of bones in their own frames, equal on both sides."""
    error = np.zeros((24, 3))
    for joint, name in enumerate(SMPL_JOINTS):
        if joint == 0:
            continue  # the body as a whole is not rotated
        part = name.removeprefix('left_').removeprefix('right_')
        shared = stream(seed, 'systematic', who, part).normal(0, 1, 3)
        shared *= np.sqrt(3) / np.linalg.norm(shared)  # random direction, fixed size
        if name.startswith('right_'):
            shared *= [1, -1, -1]
        if part == name:
            shared *= [1, 0.3, 0.3]  # the trunk leans forward or backward more than sideways
        own = stream(seed, 'systematic', who, name).normal(0, 0.3, 3)
        error[joint] = np.radians(degrees) * min(_BONE_ERROR[part], 1.5) * (shared + own)
    return Rotation.from_rotvec(error).as_matrix()


def _drift(
    rng: np.random.Generator, times: FloatArray, correlation_time: float, width: int
) -> FloatArray:
    """Draw (T, width) of unit variance with correlation ``exp(-|dt| / correlation_time)``."""
    lag = np.abs(times[:, None] - times[None]) / correlation_time
    factor = np.linalg.cholesky(np.exp(-lag) + 1e-9 * np.eye(len(times)))
    return factor @ rng.normal(0, 1, (len(times), width))


def _bone_sizes() -> FloatArray:
    parts = [name.removeprefix('left_').removeprefix('right_') for name in SMPL_JOINTS]
    return np.array([_BONE_ERROR[part] for part in parts])
