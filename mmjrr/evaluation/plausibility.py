"""Checks whether scores are plausible as a whole, and explanations of implausible ones.

Predictions in another frame of reference, order, unit or joint order raise no error, only the
scores. The checks compare regressed with annotated joints. They return sentences that say what is
implausible and which change of the predictions would explain it. They never change a score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.predictions import Predictions
from mmjrr.io.mapped import pieces, take
from mmjrr.joints import swap_sides

from .functional import pa_mpjpe

#: MPJPE is implausible above both the first number, in mm, and the second times PA-MPJPE.
_HIGH_MPJPE, _FAR_ABOVE_PA = 100.0, 2.5
#: PA-MPJPE above this, in mm, is implausible: mesh estimators have 30 to 70 on Human3.6M.
_HIGH_PA = 80.0
#: A change explains an error if it reduces it to less than the first number as a fraction, and to
#: less than the larger of the second number, in mm, and the third times PA-MPJPE.
_EXPLAINS, _EXPLAINED_MPJPE, _EXPLAINED_PA = 0.6, 120.0, 1.8
#: Changes whose errors are within this factor of the lowest are equally good; the first and
#: simplest of them is reported.
_AS_GOOD = 1.05
#: A shift by frames is reported if it reduces the error below this fraction, which is closer to one
#: because neighboring frames are alike.
_SHIFT_EXPLAINS = 0.9
#: A camera or subject is implausible if its error exceeds the others' median by this factor.
_FAR_OFF = 2.0
#: Predictions whose joints all lie within this, in mm, are no bodies.
_NO_EXTENT = 1.0
#: Number of frames that are checked; number of predictions that are compared with other frames; and
#: number of these other frames.
_SAMPLE, _COMPARED, _OTHERS = 2000, 128, 2048

#: Annotated joints within this of the root, in mm, are in another unit; and the fewest joints of a
#: frame that tell.
_SMALL_PERSON, _MIN_JOINTS = 100.0, 4

_UNEXPLAINED = 'nothing that was tried explains it'

#: The description of a change, and the changed joints (N, J, 3) relative to the root.
Change = tuple[str, Array]


def root_aligned_error(
    joints: Array,  # (N, J, 3)
    target: Array,  # (N, J, 3)
    weight: Array,  # (N, J)
    joint_names: Sequence[str],
) -> Array:  # (N,)
    """Return the mean distance of the joints of each pelvis-aligned frame, in their unit.

    The joints' means are aligned if the pelvis is missing or not annotated. The distance is NaN for
    frames without annotated joints.
    """
    return _errors(*_aligned(joints, target, weight, joint_names))


def check_plausibility(
    joints: Array,  # (N, J, 3), meters
    target: Array,  # (N, J, 3), meters
    weight: Array,  # (N, J)
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]] = (),
) -> tuple[str, ...]:
    """Find what is implausible about predictions, and what would explain it.

    Args:
        joints: Joints regressed from the predictions.
        target: Annotated joints.
        weight: The joints' weights; 0 if a joint is not annotated.
        joint_names: Names of the J joints.
        labels: ``'subject'``, ``'sequence'`` and ``'camera'`` of each frame, as far as known.
            Frames of a sequence and camera are in temporal order.

    Returns:
        A sentence for each finding; no sentences if the scores are plausible.
    """
    rows = np.flatnonzero(_annotated(weight).any(1))
    if len(rows) < 2:
        return ()
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(int))]
    chosen = [labels[row] for row in rows] if len(labels) else [{}] * len(rows)
    points, goal, share = _aligned(
        1000 * take(joints, rows), 1000 * take(target, rows), take(weight, rows), joint_names
    )
    other_unit = _unit_of_annotation(goal, share)
    if other_unit is not None:
        return (other_unit,)
    error = _errors(points, goal, share)
    pa = pa_mpjpe(points, goal, share).numpy()
    sentences = list(_without_extent(points))
    mean, pa_mean = float(error.mean()), float(pa.mean())
    far_above = mean > max(_HIGH_MPJPE, _FAR_ABOVE_PA * pa_mean)
    far_off = list(_far_off(points, goal, share, joint_names, chosen, error))
    if far_off:
        sentences += far_off
    elif far_above or pa_mean > _HIGH_PA:
        finding = (
            f'MPJPE ({mean:.0f} mm) is far above PA-MPJPE ({pa_mean:.0f} mm)'
            if far_above
            else f'PA-MPJPE is {pa_mean:.0f} mm; mesh estimators have 30 to 70 on Human3.6M'
        )
        reason = _explain(points, goal, share, joint_names, chosen)
        if reason is None and pa_mean > _HIGH_PA:
            reason = _fits_others(points, goal, share, pa)
        sentences.append(f'{finding}: {reason or _UNEXPLAINED}')
    shift = _shift(joints, target, weight, joint_names, labels)
    return (*sentences, *((shift,) if shift else ()))


def explain_parameters(
    part: Predictions,
    error_of: Callable[[Predictions], Array],
    notes: Sequence[str],
) -> tuple[str, ...]:
    """Look for changes of SMPL parameters that explain what no change of joints explains.

    Args:
        part: A sample of the predicted bodies.
        error_of: A function that returns the root-aligned errors (n,) of changed bodies in meters.
        notes: The sentences that :func:`check_plausibility` returned.

    Returns:
        The notes, completed by the explanation if there is one.
    """
    if part.vertices is not None or not any(note.endswith(_UNEXPLAINED) for note in notes):
        return tuple(notes)
    before = 1000 * float(np.nanmean(error_of(part)))
    tried = [
        (1000 * float(np.nanmean(error_of(changed))), change_name)
        for change_name, changed in _changed_parameters(part)
    ]
    after, change_name = min(tried, default=(np.inf, ''))
    if after >= min(_EXPLAINS * before, _EXPLAINED_MPJPE):
        return tuple(notes)
    reason = f'{change_name}, MPJPE would be {after:.0f} mm'
    return tuple(note.replace(_UNEXPLAINED, reason) for note in notes)


def _changed_parameters(part: Predictions) -> Iterator[tuple[str, Predictions]]:
    root, body = part.global_orient, part.body_pose
    if root is None or body is None:
        return
    if body.shape[-2:] == (3, 3):
        yield (
            'with matrices transposed',
            replace(part, global_orient=root.swapaxes(-1, -2), body_pose=body.swapaxes(-1, -2)),
        )
    elif body.shape[-1] == 3:
        degree = np.float32(np.pi / 180)
        yield (
            'with angles in degrees in place of radians',
            replace(part, global_orient=degree * root, body_pose=degree * body),
        )
        yield (
            'with inverse rotations (of transposed matrices)',
            replace(part, global_orient=-root, body_pose=-body),
        )
    else:
        for kind in ('columns', 'rows'):
            yield f'with rotation_6d={kind!r}', part.with_rotation_6d(kind)


def doubt_mesh(notes: Sequence[str], mesh: str) -> tuple[str, ...]:
    """Add to notes without an explanation that predicted vertices may be those of another mesh.

    Args:
        notes: The sentences that :func:`check_plausibility` returned.
        mesh: Name of the regressors' mesh.
    """
    doubt = f"; the predicted vertices may not be those of the regressors' mesh, {mesh!r}"
    return tuple(note + doubt if note.endswith(_UNEXPLAINED) else note for note in notes)


# -- explanations --------------------------------------------------------------------------------


def _explain(
    points: Array,
    goal: Array,
    share: Array,
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]],
) -> str | None:
    """Return the simplest change that explains the error, as the end of a sentence, or None."""
    before = float(_errors(points, goal, share).mean())
    pa = float(pa_mpjpe(points, goal, share).mean())
    for changes in (_simple_changes, _fitted_changes):
        tried = [
            (float(_errors(changed, goal, share).mean()), change_name)
            for change_name, changed in changes(points, goal, share, joint_names, labels)
        ]
        least = min(after for after, _ in tried)
        after, change_name = next(change for change in tried if change[0] <= _AS_GOOD * least)
        if after < min(_EXPLAINS * before, max(_EXPLAINED_MPJPE, _EXPLAINED_PA * pa)):
            return f'{change_name}, MPJPE would be {after:.0f} mm'
    return None


def _simple_changes(
    points: Array,
    goal: Array,
    share: Array,
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]],
) -> Iterator[Change]:
    from scipy.spatial.transform import Rotation

    names = list(joint_names)
    for axis in 'xyz':
        for angle in (180, 90, -90):
            turned = points @ Rotation.from_euler(axis, angle, degrees=True).as_matrix().T
            why = {('x', 180): ' (y up in place of down)', ('x', 90): ' (z up in place of y down)'}
            yield f'turned by {angle}° about {axis}{why.get((axis, angle), "")}', turned
    legs = [name.endswith(('hip', 'knee', 'ankle')) for name in names]
    for change_name, swapped in (
        ('legs swapped', legs),
        ('left and right swapped', [True] * len(names)),
    ):
        index = [
            names.index(swap_sides(name)) if swap and swap_sides(name) in names else row
            for row, (name, swap) in enumerate(zip(names, swapped, strict=True))
        ]
        if index == list(range(len(names))):
            continue
        yield f'with {change_name}', points[:, index]
        if change_name != 'legs swapped':
            yield 'mirrored', points[:, index] * [-1, 1, 1]
    yield 'mirrored', points * [-1, 1, 1]
    squares = [float((share[..., None] * values**2).sum()) for values in (goal, points)]
    power = round(float(np.log10(squares[0] / squares[1])) / 2) if min(squares) > 1e-12 else 0
    if power:
        unit = {-3: 'millimeters', -2: 'centimeters', -1: 'decimeters'}.get(power, '')
        remark = f' ({unit} in place of meters)' if unit else ''
        yield f'multiplied by {10.0**power:g}{remark}', points * 10.0**power


def _fitted_changes(
    points: Array,
    goal: Array,
    share: Array,
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]],
) -> Iterator[Change]:
    from scipy.spatial.transform import Rotation

    rotation = _rotation(points, goal, share)
    vector = Rotation.from_matrix(rotation).as_rotvec(degrees=True)
    angle = float(np.linalg.norm(vector))
    axis = ', '.join(f'{component:.2f}' for component in vector / max(angle, 1e-9))
    yield f'turned by {angle:.0f}° about ({axis})', points @ rotation.T
    cameras = np.array([str(label.get('camera')) for label in labels])
    if len(set(cameras)) > 1:
        turned = points.copy()
        for camera in set(cameras):
            of_camera = cameras == camera
            rotation = _rotation(points[of_camera], goal[of_camera], share[of_camera])
            turned[of_camera] = points[of_camera] @ rotation.T
        yield "turned by each camera's rotation (world frame in place of the camera's)", turned


def _rotation(points: Array, goal: Array, share: Array) -> Array:
    """Fit the rotation that brings the points of all frames closest to their goal (Kabsch)."""
    covariance = np.einsum('nj,nja,njb->ab', share, points, goal)
    left, _, right = np.linalg.svd(covariance)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    return (left @ flip @ right).T


def _fits_others(points: Array, goal: Array, share: Array, pa: Array) -> str | None:
    """Return a sentence if most predictions fit another frame better than their own, or None."""
    chosen = np.unique(np.linspace(0, len(points) - 1, _COMPARED).astype(int))
    other_frames = np.unique(np.linspace(0, len(points) - 1, _OTHERS).astype(int))
    if len(other_frames) < 3:
        return None
    best = np.array(
        [
            float(
                pa_mpjpe(
                    np.broadcast_to(points[row], goal[other_frames].shape).copy(),
                    goal[other_frames],
                    share[other_frames],
                ).min()
            )
            for row in chosen
        ]
    )
    better = best < _EXPLAINS * pa[chosen]
    if better.mean() < 0.5:
        return None
    return (
        f'{better.sum()} of {len(chosen)} predictions fit another frame better than their own '
        f'(PA-MPJPE {best.mean():.0f} in place of {pa[chosen].mean():.0f} mm), so they are in '
        'another order or named wrongly'
    )


def _far_off(
    points: Array,
    goal: Array,
    share: Array,
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]],
    error: Array,
) -> Iterator[str]:
    """Yield a sentence for each camera or subject that is far off while the others are not."""
    for kind in ('camera', 'subject'):
        names = np.array([str(label.get(kind)) for label in labels])
        groups = {name: names == name for name in sorted(set(names.tolist()))}
        means = {name: float(error[rows].mean()) for name, rows in groups.items()}
        for name, rows in groups.items():
            rest = [mean for other, mean in means.items() if other != name]
            if not rest or means[name] < max(_HIGH_MPJPE, _FAR_OFF * float(np.median(rest))):
                continue
            chosen = [label for label, row in zip(labels, rows, strict=True) if row]
            reason = _explain(points[rows], goal[rows], share[rows], joint_names, chosen)
            yield (
                f'{kind} {name} has an MPJPE of {means[name]:.0f} mm, the others '
                f'{float(np.median(rest)):.0f}' + (f': {reason}' if reason else '')
            )


def _shift(
    joints: Array,
    target: Array,
    weight: Array,
    joint_names: Sequence[str],
    labels: Sequence[Mapping[str, str | None]],
) -> str | None:
    """Return a sentence if predictions fit the frames before or after their own better, or None."""
    if not len(labels):
        return None
    videos: dict[tuple[Any, ...], list[int]] = {}
    complete = _annotated(weight).all(1).tolist()
    for row, label in enumerate(labels):
        if label.get('sequence') is not None and complete[row]:
            videos.setdefault((label['sequence'], label.get('camera')), []).append(row)
    chosen = [rows[:200] for rows in videos.values() if len(rows) > 4][:40]
    if not chosen:
        return None

    def error(step: int) -> float:
        """Return the mean error if each prediction is compared with the frame ``step`` later."""
        own = np.concatenate([rows[2:-2] for rows in chosen])
        other = np.concatenate([np.array(rows)[2 + step : len(rows) - 2 + step] for rows in chosen])
        return float(
            root_aligned_error(
                take(joints, own), take(target, other), take(weight, other), joint_names
            ).mean()
        )

    errors = {step: 1000 * error(step) for step in (0, -2, -1, 1, 2)}
    step = min(errors, key=lambda step: errors[step])
    if step == 0 or errors[step] > _SHIFT_EXPLAINS * errors[0]:
        return None
    frames = 'frame' if abs(step) == 1 else '2nd frame'
    return (
        f'predictions fit the {frames} {"after" if step > 0 else "before"} their own better '
        f'({errors[step]:.0f} in place of {errors[0]:.0f} mm): frames may be counted from another '
        'number, or rows be off by one'
    )


def _unit_of_annotation(goal: Array, share: Array) -> str | None:
    """Return a sentence if annotated joints are too close together for meters, or None."""
    rows = (share > 0).sum(1) >= _MIN_JOINTS
    if not rows.any():
        return None
    extent = float(np.median(np.linalg.norm(goal[rows], axis=-1).max(1)))
    if not 0 < extent < _SMALL_PERSON:
        return None
    return (
        f'all annotated joints lie within {extent:.3g} mm of the root (median), so the annotation '
        'is in another unit: expected meters, or the unit that annotation_unit of the metric says '
        '(annotated_unit of evaluate_meshes; on the command line, --annotated-unit)'
    )


def _without_extent(points: Array) -> Iterator[str]:
    flat = np.ptp(points, axis=1).max(1) < _NO_EXTENT
    if flat.any():
        yield f'{flat.sum()} of {len(points)} predictions have all joints at one point'


# -- arrays --------------------------------------------------------------------------------------


def _annotated(weight: Array) -> Array:  # (N, J) bool
    """Return which joints are annotated."""
    annotated = np.empty(weight.shape, bool)
    for piece in pieces(weight):
        annotated[piece] = weight[piece] > 0
    return annotated


def _aligned(
    joints: Array, target: Array, weight: Array, joint_names: Sequence[str]
) -> tuple[Array, Array, Array]:
    """Return joints and target relative to the root, and shares of the joints (N, J)."""
    share = weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)
    root = share
    if 'pelvis' in joint_names:
        pelvis = list(joint_names).index('pelvis')
        only = np.zeros_like(share)
        only[:, pelvis] = 1
        root = np.where(weight[:, [pelvis]] > 0, only, share)
    centered = []
    for points in (joints, target):
        present = np.where(share[..., None] > 0, points, 0.0)
        center = (root[..., None] * present).sum(1, keepdims=True)
        centered.append(np.where(share[..., None] > 0, present - center, 0.0))
    return centered[0], centered[1], share


def _errors(points: Array, goal: Array, share: Array) -> Array:
    error = (share * np.linalg.norm(points - goal, axis=-1)).sum(1)
    return np.where(share.sum(1) > 0, error, np.nan)


__all__ = ['check_plausibility', 'doubt_mesh', 'explain_parameters', 'root_aligned_error']
