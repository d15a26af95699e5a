"""Conversion of the annotations of another layout into MMPose's layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.datasets.annotations import Annotations, boxes_of_joints
from mmjrr.datasets.converters import CAMERA_FILE
from mmjrr.datasets.converters.annotation_checks import (
    LONGEST_THIGH,
    AnnotationCheck,
    exclude_bad,
    thigh_lengths,
)
from mmjrr.datasets.converters.camera_frame import is_relative_to_pelvis, place_fits, place_joints
from mmjrr.datasets.converters.source import Source
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, first_camera_difference, load_cameras, save_cameras
from mmjrr.io import atomic_write, sha256, versions
from mmjrr.io.paths import is_inside
from mmjrr.jobs.progress import with_progress

#: Meters. A larger median distance between limb joints of fits and labels means that the fits are
#: in another frame of reference, or of other people.
FARTHEST_FIT = 0.25


@dataclass
class Conversion:
    """Conversion of a source into MMPose's layout.

    Args:
        out: Folder of the dataset.
        ann_file: Annotation to write, relative to ``out``.
        fits_file: Fits to write where the source has SMPL parameters, relative to ``out``.
        cameras: Cameras that replace the source's. Default: None, the source's. Cameras that
            neither has come from the dataset's camera file.
        boxes: 'joints' for MMPose's boxes around the 2D joints, or the source's where it has no 2D
            joints; 'source' for the source's boxes. Default: 'joints'.
        body: The SMPL body of the fits, which determines their translation. Default: None, fits
            keep the source's translation.
        without_cameras: Whether to keep joints relative to the pelvis if there are no cameras that
            determine their position; such joints serve only evaluation. Default: False.
        image_root: Folder of the source's images. Default: None, images are neither linked nor
            copied.
        images: 'link' (symbolic) or 'copy'. Default: 'link'.
        on_error: 'raise', or 'exclude', which drops, counts and lists rows with problems. Default:
            'raise'.
        tolerance_px: Largest mean distance in pixels of a frame's projected 3D joints from its 2D
            joints. Default: 2.

    Raises:
        ValueError: An argument has an unknown value.
    """

    out: Path
    ann_file: str
    fits_file: str
    cameras: Mapping[tuple[str, str], PerspectiveCamera] | None = None
    boxes: str = 'joints'
    body: SMPL | None = None
    without_cameras: bool = False
    image_root: Path | None = None
    images: str = 'link'
    on_error: str = 'raise'
    tolerance_px: float = 2.0

    def __post_init__(self) -> None:
        for name, allowed in dict(
            boxes=('joints', 'source'), images=('link', 'copy'), on_error=('raise', 'exclude')
        ).items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name}: found {getattr(self, name)!r}, expected one of {allowed}'
                )

    def run(self, source: Source) -> dict[str, Any]:
        """Convert, check and write.

        Returns:
            ``frames``, ``left_out`` (counts by reason), ``about_pelvis``, ``fits`` (their number),
            ``fits_to_labels_mm`` and ``check``.

        Raises:
            DataError: Rows of the source have problems and ``on_error`` is 'raise', or the position
                of its joints cannot be determined.
        """
        if not len(source):
            raise DataError(f'{source.path}: found no images')
        existing = self._existing_cameras()
        if self.cameras is not None:
            source.cameras = self.cameras
        self._check_cameras(source, existing)
        source.cameras = {**existing, **source.cameras}
        self._drop_unusable(source)
        relative = self._place(source)
        self._boxes(source)
        fit_distance = self._place_fits(source, relative)
        if self.image_root is not None:
            self._place_images(source)
        return self._write(source, relative, fit_distance)

    def _existing_cameras(self) -> dict[tuple[str, str], PerspectiveCamera]:
        """Return the cameras in the camera file of the dataset, if there is one."""
        path = self.out / CAMERA_FILE
        return dict(load_cameras(path)) if path.is_file() else {}

    def _check_cameras(
        self, source: Source, existing: Mapping[tuple[str, str], PerspectiveCamera]
    ) -> None:
        """Refuse intrinsics that differ from those in the camera file of the dataset."""
        path = self.out / CAMERA_FILE
        intrinsics = ('focal_length', 'principal_point', 'distortion')
        difference = first_camera_difference(existing, source.cameras, intrinsics)
        if difference is not None:
            key, name = difference
            source_value, existing_value = (
                getattr(cameras[key], name)[0].tolist() for cameras in (source.cameras, existing)
            )
            raise DataError(
                f'{source.path}: {name} of camera {key}: found {source_value}, but {path} has '
                f'{existing_value}; convert into another folder, or give that '
                'file by --cameras'
            )

    def _drop_unusable(self, source: Source) -> None:
        def drop(reason: str, bad: Array) -> None:
            source.drop(reason, bad, self.on_error)

        drop('names not of H36M', source.imgname == '')
        first = {image_key(name): row for row, name in reversed(list(enumerate(source.imgname)))}
        once = np.zeros(len(source), dtype=bool)
        once[list(first.values())] = True
        drop('listed more than once', ~once)
        for name in ('part', 'S'):
            values = getattr(source, name)
            used = values[..., -1:] > 0
            drop(f'{name} not finite', ~np.isfinite(np.where(used, values, 0)).all((1, 2)))
            values = getattr(source, name)
            setattr(source, name, np.where(values[..., -1:] > 0, values, 0))
        drop('no 3D joint', ~(source.S[..., 3] > 0).any(1))
        for name in ('center', 'scale'):
            value = getattr(source, name)
            if value is not None:
                good = np.isfinite(value.reshape(len(value), -1)).all(1)
                drop(f'{name} not finite', ~good)
        if source.scale is not None:
            drop('scale not positive', ~(source.scale > 0))
        self._check_meters(source)

    @staticmethod
    def _check_meters(source: Source) -> None:
        length = thigh_lengths(source.S)
        length = length[~np.isnan(length)]
        if len(length) and np.median(length) > LONGEST_THIGH:
            raise DataError(
                f'{source.path}: S: found thighs of {np.median(length):.1f}, expected meters, '
                f'below {LONGEST_THIGH:.0f}; these look like millimeters'
            )

    def _place(self, source: Source) -> bool:
        """Bring joints into the camera frame; return whether they stay relative to the pelvis."""
        if not is_relative_to_pelvis(f'{source.path}: S', source.S):
            return False
        if not (source.part[..., 2] > 0).any():
            return True
        if not source.cameras:
            if self.without_cameras:
                return True
            raise DataError(
                f'{source.path}: S: found 3D joints relative to the pelvis; to bring them into the '
                'camera frame give intrinsics (--cameras or --metadata), or convert for evaluation '
                'only (--without-cameras)'
            )
        names = [parse_image_name(name) for name in source.imgname.tolist()]
        unknown = [(name.subject, name.camera) not in source.cameras for name in names]
        source.drop('no such camera', np.array(unknown), self.on_error)
        placed = place_joints(source.S, source.part, source.imgname.tolist(), source.cameras)
        lost = ~np.isfinite(placed).all((1, 2))
        source.S = placed
        source.drop('joints determine no position in front of the camera', lost, self.on_error)
        return False

    def _boxes(self, source: Source) -> None:
        center = np.full((len(source), 2), np.nan) if source.center is None else source.center
        scale = np.full(len(source), np.nan) if source.scale is None else source.scale
        seen = (source.part[..., 2] > 0).sum(1) >= 2
        if self.boxes == 'source':
            seen &= ~np.isfinite(scale)
        if seen.any():
            center, scale = np.array(center), np.array(scale)
            center[seen], scale[seen] = boxes_of_joints(source.part[seen])
        source.center, source.scale = center, scale
        source.drop('neither a box nor 2D joints', ~np.isfinite(scale), self.on_error)

    def _place_fits(self, source: Source, relative: bool) -> float | None:
        """Translate the fits onto the labels.

        Returns:
            Median distance in meters between limb joints of the fits and labels; None without a
            body or fits.
        """
        if source.pose is None or source.betas is None or source.has_fit is None:
            return None
        for value in (source.pose, source.betas, source.transl):
            if value is not None:
                source.has_fit = source.has_fit & np.isfinite(value).all(1)
        if self.body is None or relative or not source.has_fit.any():
            return None
        rows = np.flatnonzero(source.has_fit)
        transl, distance = place_fits(
            self.body, source.pose[rows], source.betas[rows], source.S[rows]
        )
        median = float(np.nanmedian(distance))
        if median > FARTHEST_FIT:
            raise DataError(
                f'{source.path}: pose: found limb joints {1000 * median:.0f} mm from the labels, '
                f'expected below {1000 * FARTHEST_FIT:.0f}; check that global orientations are in '
                'the camera frame and that the shapes belong to this body'
            )
        source.transl = np.full((len(source), 3), np.nan)
        source.transl[rows] = transl
        source.has_fit = source.has_fit & np.isfinite(source.transl).all(1)
        return median

    def _place_images(self, source: Source) -> None:
        assert self.image_root is not None
        outside = np.array([not is_inside(file) for file in source.files.tolist()], dtype=bool)
        source.drop('imgname leads out of the folder of images', outside, self.on_error)
        missing = np.zeros(len(source), dtype=bool)
        pairs = zip(source.files.tolist(), source.imgname.tolist(), strict=True)
        for row, (file, name) in enumerate(with_progress(pairs, len(source), 'images')):
            missing[row] = not place_image(
                self.image_root / file, self.out / 'images' / name, self.images
            )
        source.drop('image missing', missing, self.on_error)

    def _check(self, source: Source, relative: bool) -> tuple[Annotations, AnnotationCheck]:
        """Return the annotations without rows that have problems, and their check."""
        annotations = Annotations(
            imgname=source.imgname,
            center=np.asarray(source.center),
            scale=np.asarray(source.scale),
            part=source.part,
            S=source.S,
        )
        try:
            kept, check = exclude_bad(
                annotations,
                source.left_out,
                {} if relative else source.cameras,
                image_root=None if self.image_root is None else self.out / 'images',
                tolerance_px=self.tolerance_px,
                on_error=self.on_error,
            )
        except DataError as error:
            raise DataError(
                f'{source.path}: {error}\n--on-error exclude leaves them out'
            ) from error
        source.keep(kept)
        return annotations.keep(kept), check

    def _write(self, source: Source, relative: bool, fit_distance: float | None) -> dict[str, Any]:
        annotations, check = self._check(source, relative)
        result = dict(
            frames=len(source),
            left_out={reason: len(names) for reason, names in source.left_out.items()},
            about_pelvis=relative,
            fits=0 if source.has_fit is None else int(source.has_fit.sum()),
            fits_to_labels_mm=None if fit_distance is None else round(1000 * fit_distance, 3),
        )
        self._write_cameras(source)
        if result['fits']:
            self._write_fits(source)
        annotations.save(
            self.out / self.ann_file,
            provenance=dict(
                result,
                source=source.path.name,
                source_sha256=sha256(source.path) if source.path.is_file() else None,
                boxes=self.boxes,
                left_out=source.left_out,
                check=check.as_dict(),
                versions=versions(),
            ),
        )
        return dict(result, check=check)

    def _write_cameras(self, source: Source) -> None:
        """Write the camera file, or add the cameras of these images that it lacks."""
        existing = self._existing_cameras()
        new = {key: camera for key, camera in source.cameras.items() if key not in existing}
        if existing:
            names = map(parse_image_name, source.imgname.tolist())
            used = {(name.subject, name.camera) for name in names}
            new = {key: camera for key, camera in new.items() if key in used}
        if new:
            save_cameras(self.out / CAMERA_FILE, dict(sorted({**existing, **new}.items())))

    def _write_fits(self, source: Source) -> None:
        assert source.has_fit is not None
        rows = np.flatnonzero(source.has_fit)

        def of_rows(value: Array | None) -> Any:
            return None if value is None else value[rows]

        save_fits(
            self.out / self.fits_file,
            imgname=source.imgname[rows],
            pose=of_rows(source.pose),
            betas=of_rows(source.betas),
            transl=of_rows(source.transl),
            center=of_rows(source.center),
            scale=of_rows(source.scale),
            provenance=dict(source=source.path.name),
        )


def place_image(file: Path, target: Path, how: str) -> bool:
    """Link or copy an image to ``target``; an existing target stays as it is.

    Args:
        file: The image.
        target: Its place in the dataset.
        how: 'link' (symbolic) or 'copy'.

    Returns:
        Whether there is such an image.
    """
    if target.exists():
        return True
    if not file.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == 'copy':
        with atomic_write(target) as temporary:
            shutil.copyfile(file, temporary)
        return True
    target.unlink(missing_ok=True)  # a broken link
    os.symlink(file.resolve(), target)
    return True
