"""Checks of annotated 3D joints against themselves, the 2D joints, and annotated bodies.

An annotation in another order, such as SPIN's leg order in MMPose's layout, has the right shape and
wrong numbers. The checks need no camera:

- hips and shoulders of a person point the same way, in all but twisted poses;
- thighs, shins, upper arms and forearms have known lengths, the same on both sides;
- 2D joints are the 3D joints divided by their depth, scaled and moved;
- joints that a regressor computes from the annotated bodies were regressed, not measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmjrr.array_types import Array, FloatArray
from mmjrr.errors import DataError
from mmjrr.joints import swap_sides

from .functional import pa_mpjpe

#: Plausible lengths in meters of limb segments of adults and children.
SEGMENTS = {
    ('hip', 'knee'): (0.25, 0.62),
    ('knee', 'ankle'): (0.25, 0.62),
    ('shoulder', 'elbow'): (0.15, 0.45),
    ('elbow', 'wrist'): (0.13, 0.40),
}
#: Number of frames from which the checks draw conclusions, and share of them that decides.
_MIN_FRAMES, _SHARE = 10, 0.8
#: Ratio of the lengths of left and right segments that is implausible.
_ASYMMETRY = 1.25
#: A swap explains the 2D joints if it reduces their distance below this fraction.
_EXPLAINS_2D = 0.5
#: Joints within this of a regressor's, in mm after alignment, were computed by it.
REGRESSED_MM = 1.0


def check_annotated_joints(
    where: str,
    joints: Array,  # (N, J, 3), meters
    weight: Array,  # (N, J)
    joint_names: Sequence[str],
    keypoints_2d: Array | None = None,  # (N, J, 2), pixels
) -> tuple[str, ...]:
    """Check annotated joints of frames in camera coordinates.

    Args:
        where: The file, for messages.
        joints: The joints.
        weight: Their weights; 0 if a joint is not annotated.
        joint_names: Their names.
        keypoints_2d: The joints in the image.

    Returns:
        A sentence for each implausible finding.

    Raises:
        DataError: Legs point the other way than arms, so the joints are in another order.
    """
    names = list(joint_names)
    present = weight > 0
    _check_legs(where, joints, present, names)
    notes = list(_lengths(joints, present, names))
    if keypoints_2d is not None:
        notes += _projections(joints, present, names, keypoints_2d)
    return tuple(notes)


def _check_legs(where: str, joints: Array, present: Array, names: list[str]) -> None:
    needed = ['left_hip', 'right_hip', 'left_shoulder', 'right_shoulder']
    if not set(needed) <= set(names):
        return
    index = [names.index(name) for name in needed]
    rows = present[:, index].all(1)
    left_hip, right_hip, left_shoulder, right_shoulder = joints[rows][:, index].swapaxes(0, 1)
    opposite = ((left_hip - right_hip) * (left_shoulder - right_shoulder)).sum(1) < 0
    if len(opposite) >= _MIN_FRAMES and opposite.mean() > _SHARE:
        raise DataError(
            f'{where}: S: the hips point the other way than the shoulders in '
            f"{int(opposite.sum())} of {len(opposite)} frames, as in SPIN's order, which has the "
            "left leg first; expected MMPose's order, right leg first. "
            'tools/dataset_converters/spin_npz.py converts such files'
        )


def _lengths(joints: Array, present: Array, names: list[str]) -> Iterator[str]:
    """Yield a sentence for each segment with an implausible length."""
    for (first, second), (low, high) in SEGMENTS.items():
        lengths = {}
        for side in ('left', 'right'):
            ends = [f'{side}_{first}', f'{side}_{second}']
            if not set(ends) <= set(names):
                continue
            a, b = (names.index(name) for name in ends)
            rows = present[:, a] & present[:, b]
            if rows.sum() >= _MIN_FRAMES:
                distance = np.linalg.norm(joints[rows, a] - joints[rows, b], axis=-1)
                lengths[side] = float(np.median(distance))
        for side, length in lengths.items():
            if not low <= length <= high:
                yield (
                    f'annotation: {side} {first} and {second} are {1000 * length:.0f} mm apart '
                    f'(median), expected {1000 * low:.0f} to {1000 * high:.0f}'
                )
        if len(lengths) == 2 and max(lengths.values()) > _ASYMMETRY * min(lengths.values()):
            yield (
                f'annotation: {first} and {second} are {1000 * lengths["left"]:.0f} mm apart on '
                f'the left and {1000 * lengths["right"]:.0f} on the right (medians)'
            )


def _projections(
    joints: Array, present: Array, names: list[str], keypoints_2d: Array
) -> Iterator[str]:
    """Yield a sentence if the 2D joints fit the 3D joints better with sides swapped."""
    rows = present.all(1) & (joints[..., 2] > 0).all(1) & np.isfinite(keypoints_2d).all((1, 2))
    if rows.sum() < _MIN_FRAMES:
        return
    points, pixels = joints[rows], keypoints_2d[rows].astype(np.float64)
    own = _distance_2d(points, pixels)
    legs = [name.endswith(('hip', 'knee', 'ankle')) for name in names]
    for sides, swapped in (('legs', legs), ('left and right', [True] * len(names))):
        index = [
            names.index(swap_sides(name)) if swap and swap_sides(name) in names else row
            for row, (name, swap) in enumerate(zip(names, swapped, strict=True))
        ]
        other = _distance_2d(points[:, index], pixels)
        closer = other < _EXPLAINS_2D * own
        if closer.mean() > _SHARE:
            yield (
                f'annotation: with {sides} swapped, 3D joints would fit the 2D joints better in '
                f'{int(closer.sum())} of {len(closer)} frames ({np.median(other):.0f} in place of '
                f'{np.median(own):.0f} pixels)'
            )
            return


def _distance_2d(points: FloatArray, pixels: FloatArray) -> FloatArray:
    """Return the mean distance (n,) of 2D joints from 3D joints with fitted focal and center."""
    rays = points[..., :2] / points[..., 2:]
    centered = rays - rays.mean(1, keepdims=True)
    goal = pixels - pixels.mean(1, keepdims=True)
    focal = (centered * goal).sum(1) / np.maximum((centered**2).sum(1), 1e-12)
    distance: FloatArray = np.linalg.norm(focal[:, None] * centered - goal, axis=-1).mean(1)
    return distance


def regressed_by(
    target: Array,  # (N, J, 3), meters
    weight: Array,  # (N, J)
    regressed: Array,  # (N, R, J, 3), meters
    names: Sequence[str],
) -> dict[str, float]:
    """Return the regressors that compute the annotated joints from the annotated bodies.

    Args:
        target: Annotated joints.
        weight: Their weights.
        regressed: Joints that R regressors compute from the annotated bodies.
        names: Names of the regressors.

    Returns:
        The mean distance in mm after alignment of each frame, of regressors below
        :data:`REGRESSED_MM`.
    """
    rows = (weight > 0).sum(1) > 3
    if not rows.any():
        return {}
    errors = {
        name: 1000 * float(np.nanmean(pa_mpjpe(regressed[rows, index], target[rows], weight[rows])))
        for index, name in enumerate(names)
    }
    return {name: error for name, error in errors.items() if error < REGRESSED_MM}
