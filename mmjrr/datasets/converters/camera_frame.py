"""From joints about the pelvis, and fits without a place, to the camera's frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, fit_translation
from mmjrr.jobs.progress import Progress
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS

#: Joints that SMPL's skeleton and H36M's labels have at about the same place.
LIMBS = tuple(
    f'{side}_{joint}'
    for side in ('left', 'right')
    for joint in ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist')
)
#: Pelvis of joints that are stored about it, metres: rounding, and nothing more.
_AT_ORIGIN = 1e-3
#: Rows at once.
_CHUNK = 4096


def about_pelvis(where: str, S: np.ndarray) -> bool:  # (N, 17, 4)
    """Whether 3D joints are stored about the pelvis instead of in the camera's frame.

    Raises:
        DataError: some are and some are not.
    """
    labelled = S[:, 0, 3] > 0
    at_origin = np.linalg.norm(S[labelled, 0, :3], axis=-1) < _AT_ORIGIN
    if at_origin.any() != at_origin.all():
        raise DataError(
            f'{where}: the pelvis of {int(at_origin.sum())} of {len(at_origin)} frames is at the '
            'origin, expected that of all or of none'
        )
    return bool(at_origin.any())


def place_joints(
    S: np.ndarray,  # (N, 17, 4), metres about the pelvis, and weight
    part: np.ndarray,  # (N, 17, 3), pixels and weight
    imgname: Sequence[str],
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
) -> np.ndarray:  # (N, 17, 4), metres in the camera's frame
    """Move joints to where their projections are nearest to the 2D joints.

    The place is unique and, where 2D joints are exact projections, exact. Rows whose joints fix no
    place before the camera come back as NaN; so do those of cameras that are not known.
    """
    placed = np.array(S, dtype=np.float64)
    used = [cameras.get((name.subject, name.camera)) for name in map(parse_image_name, imgname)]
    known = np.flatnonzero([camera is not None for camera in used])
    placed[[row for row, camera in enumerate(used) if camera is None], :, :3] = np.nan
    progress = Progress(len(known), 'frames placed')
    for start in range(0, len(known), _CHUNK):
        rows = known[start : start + _CHUNK]
        weight = np.minimum(placed[rows, :, 3], part[rows, :, 2])
        transl = fit_translation(
            torch.from_numpy(placed[rows, :, :3]),
            torch.from_numpy(np.asarray(part[rows, :, :2], dtype=np.float64)),
            torch.from_numpy(np.asarray(weight, dtype=np.float64)),
            PerspectiveCamera.cat([camera for row in rows if (camera := used[row]) is not None]),
        ).numpy()
        transl[~(transl[:, 2] > 0)] = np.nan
        placed[rows, :, :3] += transl[:, None]
        progress(start + len(rows))
    return placed


def place_fits(
    body: SMPL,
    pose: np.ndarray,  # (N, 72), axis-angle, global_orient first
    betas: np.ndarray,  # (N, K)
    S: np.ndarray,  # (N, 17, 4), metres in the camera's frame, and weight
) -> tuple[np.ndarray, np.ndarray]:  # (N, 3) metres, (N,) metres
    """Translation that brings the skeleton's limb joints onto labelled ones, and how far they stay.

    The distance is a mean over the limb joints: some 50 mm for a fit of this person in this
    frame, and 300 and more for one that is turned as in the world instead of in the camera's frame.
    """
    small = body.restrict_to([0])  # joints do not need the vertices
    skeleton = [SMPL_JOINTS.index(joint) for joint in LIMBS]
    labels = S[:, [H36M_JOINTS_MMPOSE.index(joint) for joint in LIMBS]]
    transl, distance = np.empty((len(pose), 3)), np.empty(len(pose))
    progress = Progress(len(pose), 'fits placed')
    for start in range(0, len(pose), _CHUNK):
        rows = slice(start, start + _CHUNK)
        turned = torch.from_numpy(np.asarray(pose[rows], dtype=np.float32))
        shape = torch.zeros(len(turned), body.num_betas)
        given = torch.from_numpy(np.asarray(betas[rows], dtype=np.float32))
        width = min(given.shape[1], body.num_betas)
        shape[:, :width] = given[:, :width]
        with torch.no_grad():
            joints = small(shape, turned[:, 3:], turned[:, :3]).joints[:, skeleton].numpy()
        weight = (labels[rows, :, 3:] > 0).astype(np.float64)
        with np.errstate(invalid='ignore'):  # no limb labelled: NaN
            share = weight / weight.sum(1, keepdims=True)
        apart = np.where(weight > 0, labels[rows, :, :3] - joints, 0)
        transl[rows] = (share * apart).sum(1)
        rest = np.linalg.norm(apart - transl[rows][:, None], axis=-1)
        distance[rows] = (share[..., 0] * rest).sum(1)
        progress(start + len(turned))
    return transl, distance
