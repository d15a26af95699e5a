"""Conversion of pelvis-relative joints, and of fits without translation, to the camera frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, fit_translation
from mmjrr.jobs.progress import Progress
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS

#: Joints at about the same position in SMPL's skeleton and in H36M's labels.
LIMBS = tuple(
    f'{side}_{joint}'
    for side in ('left', 'right')
    for joint in ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist')
)
#: Meters. A pelvis nearer to the origin means that joints are relative to it.
_AT_ORIGIN = 1e-3
_CHUNK = 4096  # rows processed at once


def is_relative_to_pelvis(where: str, S: Array) -> bool:  # (N, 17, 4)
    """Return whether 3D joints are relative to the pelvis instead of in the camera frame.

    Raises:
        DataError: Only some frames are relative to the pelvis, or no frame has a labeled pelvis.
    """
    labeled = S[:, 0, 3] > 0
    if not labeled.any():
        raise DataError(
            f'{where}: found no labeled pelvis in {len(S)} frames, expected it: its position tells '
            'whether joints are relative to it'
        )
    at_origin = np.linalg.norm(S[labeled, 0, :3], axis=-1) < _AT_ORIGIN
    if at_origin.any() != at_origin.all():
        raise DataError(
            f'{where}: found the pelvis at the origin in {int(at_origin.sum())} of '
            f'{len(at_origin)} frames, expected all or none'
        )
    return bool(at_origin.any())


def place_joints(
    S: Array,  # (N, 17, 4), meters relative to the pelvis, and weight
    part: Array,  # (N, 17, 3), pixels and weight
    imgname: Sequence[str],
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
) -> Array:  # (N, 17, 4), meters in the camera frame
    """Translate joints so that their projections are nearest to the 2D joints.

    The translation is unique, and exact if the 2D joints are exact projections. A row becomes NaN
    if its camera is unknown, or if its joints determine no translation in front of the camera.
    """
    placed = np.array(S, dtype=np.float64)
    row_cameras = [
        cameras.get((name.subject, name.camera)) for name in map(parse_image_name, imgname)
    ]
    has_camera = np.array([camera is not None for camera in row_cameras], dtype=bool)
    placed[~has_camera, :, :3] = np.nan
    rows_with_camera = np.flatnonzero(has_camera)
    progress = Progress(len(rows_with_camera), 'frames placed')
    for start in range(0, len(rows_with_camera), _CHUNK):
        rows = rows_with_camera[start : start + _CHUNK]
        weight = np.minimum(placed[rows, :, 3], part[rows, :, 2])
        transl = fit_translation(
            torch.from_numpy(placed[rows, :, :3]),
            torch.from_numpy(np.asarray(part[rows, :, :2], dtype=np.float64)),
            torch.from_numpy(np.asarray(weight, dtype=np.float64)),
            PerspectiveCamera.cat(
                [camera for row in rows if (camera := row_cameras[row]) is not None]
            ),
        ).numpy()
        transl[~(transl[:, 2] > 0)] = np.nan
        placed[rows, :, :3] += transl[:, None]
        progress(start + len(rows))
    return placed


def place_fits(
    body: SMPL,
    pose: Array,  # (N, 72), axis-angle, global_orient first
    betas: Array,  # (N, K)
    S: Array,  # (N, 17, 4), meters in the camera frame, and weight
) -> tuple[Array, Array]:  # (N, 3), (N,), meters
    """Translate fits so that the skeleton's limb joints lie on labeled ones.

    Returns:
        Translations, and the mean remaining distance between limb joints: about 0.05 m for a fit of
        this person in this frame, 0.3 m and more for an orientation in the world frame.
    """
    skeleton_body = body.restrict_to([0])  # joints do not need the vertices
    skeleton = [SMPL_JOINTS.index(joint) for joint in LIMBS]
    labels = S[:, [H36M_JOINTS_MMPOSE.index(joint) for joint in LIMBS]]
    transl, distance = np.empty((len(pose), 3)), np.empty(len(pose))
    progress = Progress(len(pose), 'fits placed')
    for start in range(0, len(pose), _CHUNK):
        rows = slice(start, start + _CHUNK)
        rotations = torch.from_numpy(np.asarray(pose[rows], dtype=np.float32))
        shape = torch.zeros(len(rotations), body.num_betas)
        stored_shape = torch.from_numpy(np.asarray(betas[rows], dtype=np.float32))
        width = min(stored_shape.shape[1], body.num_betas)
        shape[:, :width] = stored_shape[:, :width]
        with torch.no_grad():
            joints = (
                skeleton_body(shape, rotations[:, 3:], rotations[:, :3]).joints[:, skeleton].numpy()
            )
        weight = (labels[rows, :, 3:] > 0).astype(np.float64)
        with np.errstate(invalid='ignore'):  # NaN where no limb is labeled
            weight = weight / weight.sum(1, keepdims=True)
        difference = np.where(weight > 0, labels[rows, :, :3] - joints, 0)
        transl[rows] = (weight * difference).sum(1)
        residual = np.linalg.norm(difference - transl[rows][:, None], axis=-1)
        distance[rows] = (weight[..., 0] * residual).sum(1)
        progress(start + len(rotations))
    return transl, distance
