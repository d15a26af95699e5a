"""Agreement of initial fits with annotated joints, and the likely reason of a disagreement.

Refinement does not fail on fits that are in another frame of reference, of other rows, in degrees
or with transposed rotations, but learns a wrong regressor from them. Such fits have joints far from
the annotated ones. Undoing each common mistake in turn shows which one explains the distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.engine.agreement import AgreementReport, report_agreement
from mmjrr.engine.frame_groups import FrameGroup, frame_groups
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS

#: Joints that SMPL's skeleton and Human3.6M's annotation share, up to a few centimeters.
SHARED_JOINTS = tuple(
    name for name in H36M_JOINTS_MMPOSE if name in SMPL_JOINTS and name not in ('head',)
)
#: Fits are refused if their joints are more than this far (mm) from the annotated ones, as a
#: pelvis-aligned mean. SPIN's fits are at 60 to 90, MEVA's at 100 to 120, and fits in another frame
#: of reference, or of other frames, at 250 and more.
REFUSED_ABOVE = 180.0
#: A warning is logged if the same distance (mm) is larger than this.
WARNED_ABOVE = 130.0
#: A mistake explains the error if undoing it leaves at most this fraction of it.
EXPLAINED_BELOW = 0.7
#: Largest plausible shape coefficient; over people, coefficients have about unit variance.
MAX_BETA = 5.0


@dataclass(frozen=True)
class FitAgreement:
    """Agreement of the fits of one subject and camera.

    Attributes:
        group: Subject and camera.
        frames: Number of frames measured.
        error_mm: Mean distance of the fits' joints from the annotated ones, pelvis-aligned.
        zero_poses: Number of fits whose pose and shape are all zeros.
        large_betas: Number of fits with a coefficient beyond :data:`MAX_BETA`.
    """

    group: str
    frames: int
    error_mm: float
    zero_poses: int
    large_betas: int


def measure_fits(dataset: Any, body: Any, seed: int = 0) -> AgreementReport[FitAgreement]:
    """Compare initial fits with annotated joints, for each subject and camera.

    Args:
        dataset: An ``H36MFitsDataset`` with fits.
        body: The body of the fits, with SMPL's skeleton.
        seed: Seed of the sample of frames.

    Returns:
        The agreement; :attr:`AgreementReport.explained` is an error in mm.
    """

    def measure(group: FrameGroup) -> FitAgreement:
        samples = [dataset.fit_sample(index) for index in group.indices]
        pose, betas = _poses(samples)
        return FitAgreement(
            group=group.name,
            frames=len(samples),
            error_mm=_error_mm(_fit_joints(body, pose, betas), *_annotated_joints(samples)),
            zero_poses=int(((pose == 0).all(1) & (betas == 0).all(1)).sum()),
            large_betas=int((np.abs(betas) > MAX_BETA).any(1).sum()),
        )

    return report_agreement(
        frame_groups(dataset, seed),
        measure,
        lambda fits: fits.error_mm > WARNED_ABOVE,
        lambda indices: _explain(dataset, body, indices),
    )


def check_fits(report: AgreementReport[FitAgreement], where: str) -> list[str]:
    """Refuse fits that do not belong to their frames.

    Args:
        report: What :func:`measure_fits` returned.
        where: The file of the fits, for messages.

    Returns:
        Warnings, a sentence each.

    Raises:
        DataError: The fits of a subject and camera are above :data:`REFUSED_ABOVE`.
    """
    reason = 'they may be of other frames, or in another frame of reference than the camera'
    if report.reason:
        reason = f'{report.reason} ({report.explained:.0f} mm with that undone)'
    warnings = []
    doubtful = [entry for entry in report.groups if entry.error_mm > WARNED_ABOVE]
    if doubtful:
        worst = max(doubtful, key=lambda entry: entry.error_mm)
        text = (
            f'{where}: the joints of the fits of {worst.group} lie {worst.error_mm:.0f} mm from '
            f'the annotated ones (pelvis-aligned mean over {worst.frames} frames), expected at '
            f'most {WARNED_ABOVE:.0f}; {reason}. {report.extent(doubtful)}'
        )
        if worst.error_mm > REFUSED_ABOVE:
            raise DataError(text)
        warnings.append(text)
    frames = sum(entry.frames for entry in report.groups)
    for count, text in (
        (
            sum(entry.zero_poses for entry in report.groups),
            'are all zeros, by which some tools mark frames without a person',
        ),
        (
            sum(entry.large_betas for entry in report.groups),
            f'have shape coefficients beyond {MAX_BETA:.0f}',
        ),
    ):
        if count:
            warnings.append(f'{where}: {count} of {frames} sampled fits {text}')
    return warnings


def _explain(dataset: Any, body: Any, indices: list[int]) -> tuple[str, float]:
    """Return the mistake that best explains the error of these frames, and the error without it."""
    samples = [dataset.fit_sample(index) for index in indices]
    pose, betas = _poses(samples)
    joints = _fit_joints(body, pose, betas)
    target, weight = _annotated_joints(samples)
    turned, turn = _best_turn(joints, target, weight)
    errors = {
        f'they are turned by {turn}': _error_mm(turned, target, weight),
        'their rotation matrices are transposed': _error_mm(
            _fit_joints(body, -pose, betas), target, weight
        ),
        'their rotations are in degrees': _error_mm(
            _fit_joints(body, np.deg2rad(pose), betas), target, weight
        ),
    }
    for step in (-2, -1, 1, 2):
        pairs = [(row, i + step) for row, i in enumerate(indices) if 0 <= i + step < len(dataset)]
        if pairs:
            rows = [row for row, _ in pairs]
            neighbors = _annotated_joints([dataset.fit_sample(index) for _, index in pairs])
            explanation = (
                f'they are those of the frame {abs(step)} {"before" if step < 0 else "after"}'
            )
            errors[f'{explanation} in the annotation file'] = _error_mm(joints[rows], *neighbors)
    reason = min(errors, key=errors.__getitem__)
    if errors[reason] > EXPLAINED_BELOW * _error_mm(joints, target, weight):
        return '', 0.0
    return reason, errors[reason]


def _poses(samples: list[dict[str, Array]]) -> tuple[Array, Array]:
    """Return poses (N, 72) and shapes (N, K) of fits."""
    poses = [np.concatenate([s['global_orient'], s['body_pose']]) for s in samples]
    return np.stack(poses).astype(np.float64), np.stack([s['betas'] for s in samples])


def _fit_joints(body: Any, pose: Array, betas: Array) -> Array:
    """Return the shared joints (N, J, 3) of fits, in meters relative to the pelvis."""
    like = body.v_template

    def tensor(array: Array) -> torch.Tensor:
        return torch.as_tensor(array, dtype=like.dtype, device=like.device)

    with torch.no_grad():
        posed = body.articulate(tensor(betas), tensor(pose[:, 3:]), tensor(pose[:, :3]))
    joints = posed.joints.double().cpu().numpy()
    joints = joints[:, [SMPL_JOINTS.index(name) for name in SHARED_JOINTS]]
    return joints - joints[:, SHARED_JOINTS.index('pelvis'), None]


def _annotated_joints(samples: list[dict[str, Array]]) -> tuple[Array, Array]:
    """Return the shared annotated joints (N, J, 3), relative to the pelvis, and which are valid."""
    rows = [H36M_JOINTS_MMPOSE.index(name) for name in SHARED_JOINTS]
    joints = np.stack([s['keypoints_3d'] for s in samples]).astype(np.float64)[:, rows]
    weight = np.stack([s['keypoints_3d_weight'] for s in samples])[:, rows] > 0
    pelvis = SHARED_JOINTS.index('pelvis')
    weight &= weight[:, pelvis, None]
    return joints - joints[:, pelvis, None], weight


def _error_mm(joints: Array, target: Array, weight: Array) -> float:
    distances = 1000 * np.linalg.norm(joints - target, axis=-1)
    return float(distances[weight].mean()) if weight.any() else 0.0


def _best_turn(joints: Array, target: Array, weight: Array) -> tuple[Array, str]:
    """Rotate all fits by one rotation that aligns them best; return them and what was undone."""
    from scipy.spatial.transform import Rotation

    used = weight & (np.linalg.norm(joints, axis=-1) > 0)
    if not used.any():
        return joints, 'nothing'
    rotation, _ = Rotation.align_vectors(target[used], joints[used])
    vector = -rotation.as_rotvec()  # the mistake is the inverse of the rotation that undoes it
    angle = float(np.linalg.norm(vector))
    axis = vector / max(angle, 1e-12)
    named = int(np.argmax(np.abs(axis)))
    if abs(axis[named]) > 0.95:
        about = f'the {"xyz"[named]} axis of the camera'
        angle *= float(np.sign(axis[named]))
    else:
        about = f'the axis ({", ".join(f"{value:.2f}" for value in axis)}) of the camera'
    turned = joints @ rotation.as_matrix().T
    return turned, f'{np.rad2deg(angle):.0f}° about {about}'
