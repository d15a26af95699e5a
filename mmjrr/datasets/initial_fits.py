"""Initial SMPL fits of a file, matched to the frames of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.predictions import match_names
from mmjrr.errors import DataError
from mmjrr.geometry import (
    MAX_DISTANCE,
    PIXELS_PER_SCALE,
    PerspectiveCamera,
    crop_weak_perspective_to_transl,
)

#: Side of a person's box, meters, where nothing else tells the distance.
_BOX_METERS = 2.0


class InitialFits:
    """Fits of any results file that has SMPL parameters by image name.

    Args:
        path: The file. If it has no ``transl``, translations are computed from SPIN's
            weak-perspective camera, the box and the intrinsics. If it has no such camera either,
            they are the annotated pelvis or, without one, the mean of the annotated 3D joints or,
            without any, the center of the box at the depth at which its side is 2 m. Refinement
            fits the translation to the joints before the first step.
        reading: Further arguments of :func:`~mmjrr.datasets.fits.load_fits`, such as
            ``name_format``.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged.
        ValueError: A further argument is unknown or wrong.
    """

    def __init__(self, path: str | Path, **reading: Any) -> None:
        self.path = Path(path)
        self._fits = load_fits(path, **reading)

    def match(self, names: Sequence[str]) -> Array:  # (N,) int
        """Return the row of each image's fit; -1 if it has no valid fit.

        Raises:
            DataError: The file has several fits for an image.
        """
        rows = match_names(self._fits['imgname'].tolist(), names, str(self.path))
        valid = self._fits.get('valid')
        return rows if valid is None else np.where(valid[rows], rows, -1)

    def genders(self, rows: Array) -> list[str] | None:  # (N,) rows of this file
        """Return the genders of the fits in these rows; None if the file states none."""
        genders = self._fits.get('gender')
        return None if genders is None else genders[rows].tolist()

    def parameters(
        self,
        rows: Array,  # (N,) rows of this file
        annotations: Annotations,  # N rows
        cameras: PerspectiveCamera | None,  # N cameras of the full image
    ) -> dict[str, Array]:
        """Return SMPL parameters of the fits in these rows.

        Returns:
            float32 ``global_orient`` (N, 3), ``body_pose`` (N, 69), ``betas`` (N, K) and
            ``transl`` (N, 3), meters in the camera frame.

        Raises:
            DataError: The file has no translation, and there is no camera file from which it could
                be computed; or a body is behind the camera or too far from it.
        """
        pose, transl = self._fits['pose'][rows], self._transl(rows, annotations, cameras)
        behind = transl[:, 2] <= 0
        if behind.any():
            first = annotations.imgname[np.argmax(behind)]
            raise DataError(f'{self.path}: transl: {first} and others lie behind the camera')
        if (np.abs(transl) > MAX_DISTANCE).any():
            raise DataError(
                f'{self.path}: transl: found {np.abs(transl).max():.0f}, expected meters, below '
                f'{MAX_DISTANCE:.0f}'
            )
        return dict(
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:],
            betas=self._fits['betas'][rows],
            transl=np.asarray(transl, dtype=np.float32),
        )

    def _transl(
        self, rows: Array, annotations: Annotations, cameras: PerspectiveCamera | None
    ) -> Array:  # (N, 3)
        if 'transl' in self._fits:
            return self._fits['transl'][rows]
        if 'camera' not in self._fits:
            return self._place_of_joints(annotations, cameras)
        if cameras is None:
            raise self._no_camera_file()
        center = self._fits['center'][rows] if 'center' in self._fits else annotations.center
        scale = self._fits['scale'][rows] if 'scale' in self._fits else annotations.scale
        try:
            return crop_weak_perspective_to_transl(
                _tensor(self._fits['camera'][rows]),
                _tensor(center),
                _tensor(scale) * PIXELS_PER_SCALE,
                cameras,
            ).numpy()
        except ValueError as error:
            raise DataError(f'{self.path}: camera: {error}') from error

    def _place_of_joints(
        self, annotations: Annotations, cameras: PerspectiveCamera | None
    ) -> Array:  # (N, 3)
        """Return pelvises, means of the labeled 3D joints, or places on the axes of the boxes."""
        labeled = annotations.S[..., 3:] > 0
        labeled[:, 1:] &= ~labeled[:, :1]
        count = labeled.sum(1)
        transl = np.where(labeled, annotations.S[..., :3], 0).sum(1) / np.maximum(count, 1)
        unlabeled = count[:, 0] == 0
        if not unlabeled.any():
            return transl
        if cameras is None:
            raise self._no_camera_file()
        camera = cameras[torch.from_numpy(np.flatnonzero(unlabeled))]
        center = _tensor(annotations.center[unlabeled])[:, None]
        plane = camera.unproject(center.to(camera.dtype))[:, 0].numpy()
        side = PIXELS_PER_SCALE * annotations.scale[unlabeled]
        depth = _BOX_METERS * camera.focal_length.mean(1).numpy() / side
        transl[unlabeled] = np.concatenate([plane, np.ones_like(plane[:, :1])], 1) * depth[:, None]
        return transl

    def _no_camera_file(self) -> DataError:
        return DataError(f"{self.path}: found no 'transl'; set camera_param_file")


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
