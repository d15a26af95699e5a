"""Frames to show: meshes, joints and labels of a frame, in the pixels of its crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.transforms import is_size
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, load_cameras
from mmjrr.geometry.translation import fit_translation
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor

from .crops import CROP_SIZE, Box, SilhouetteIoU, box_around, box_with_mask, crop_photo, outlines

#: Camera of pictures whose camera is unknown, with about Human3.6M's focal length.
_UNKNOWN_CAMERA = ([1145.0, 1145.0], [512.0, 512.0])
#: Depth in meters at which a body is drawn whose camera is unknown.
_UNKNOWN_DEPTH = 5.0


@dataclass
class Frame:
    """One frame to show. Everything is in pixels of the crop or meters of the camera frame.

    Attributes:
        source: Name of the bodies that it belongs to.
        imgname: The image's name.
        labels: Subject, action, camera and frame number, as far as known.
        size: Side of the square crop in pixels.
        box: The crop's corners x0, y0, x1, y1 in pixels of the full image.
        camera: Focal length, principal point and distortion (k1, k2, k3, p1, p2) in crop pixels.
        photo: The crop (size, size, 3), RGB; None without a photograph.
        mask: Outlines of the mask, (K, 2) pixels each.
        meshes: Posed vertices (V, 3) by name, such as ``'initial'`` and ``'refined'``.
        joints: Joints (J, 3) by name: ``'label'`` and the regressors. NaN where not annotated.
        points: The same joints in the picture, (J, 2); labels are the annotated pixels.
        joint_names: Names of the J joints.
        iou: IoU of each mesh's silhouette and the mask, by the mesh's name.
        mpjpe: MPJPE in mm by regressor; of the last mesh.
        init_mpjpe: MPJPE in mm of the first of two meshes by regressor; empty with one mesh.
    """

    source: str
    imgname: str
    labels: dict[str, str]
    size: int
    box: tuple[float, float, float, float]
    camera: tuple[float, ...]
    photo: NDArray[np.uint8] | None
    mask: list[FloatArray]
    meshes: dict[str, FloatArray]
    joints: dict[str, FloatArray]
    points: dict[str, FloatArray]
    joint_names: tuple[str, ...]
    iou: dict[str, float] = field(default_factory=dict)
    mpjpe: dict[str, float] = field(default_factory=dict)
    init_mpjpe: dict[str, float] = field(default_factory=dict)

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask, which may lie outside the crop."""
        return bool(self.mask or self.iou)

    @property
    def worst(self) -> float:
        """MPJPE in mm under the last regressor, by which frames are ordered; 0 if unknown."""
        values = [value for value in self.mpjpe.values() if np.isfinite(value)]
        return values[-1] if values else 0.0


@dataclass
class FrameData:
    """Labels, cameras, photographs and masks of frames, by image name.

    Attributes:
        annotations: Rows of the annotation file.
        cameras: Cameras by subject and name; empty if unknown.
        images: Folder of the photographs; None leaves them out.
        masks: The masks; None if there are none.
        notes: Sentences about what is missing.
    """

    annotations: Annotations
    cameras: Mapping[tuple[str, str], PerspectiveCamera]
    images: Path | None
    masks: Masks | None
    notes: list[str]

    def __post_init__(self) -> None:
        self.row_of = {str(name): row for row, name in enumerate(self.annotations.imgname)}

    @classmethod
    def load(
        cls,
        annotation: Path,
        cameras: Path | None = None,
        images: Path | None = None,
        masks: Path | Sequence[Path] | None = None,
        photos: bool = True,
    ) -> FrameData:
        """Read annotations, and what there is of cameras and masks.

        Args:
            annotation: npz file of MMPose's layout.
            cameras: MMPose's ``cameras.pkl``. Default: the file of that name in the annotation's
                folder or the one above, if it exists.
            images: Folder of the photographs. Default: ``images`` in the data set's folder.
            masks: Files of masks. Default: none.
            photos: Whether to show photographs. Default: True.

        Raises:
            FileNotFoundError: A file that is named does not exist.
            DataError: A file is broken.
        """
        notes = []
        if cameras is None:
            candidates = [folder / 'cameras.pkl' for folder in list(annotation.parents)[:2]]
            cameras = next((path for path in candidates if path.is_file()), None)
        if cameras is None:
            notes.append(
                'There is no cameras.pkl next to the annotation: bodies are drawn by a virtual '
                'camera and without photographs (--cameras names the file).'
            )
        loaded = {} if cameras is None else load_cameras(cameras)
        if images is None:
            images = annotation.parents[min(2, len(annotation.parents) - 1)] / 'images'
            if not images.is_dir():
                notes.append(
                    f'There is no folder {images.name} next to the annotation: frames have no '
                    'photographs (--images names the folder).'
                )
                images = None
        return cls(
            Annotations.load(annotation),
            loaded,
            images if photos else None,
            None if masks is None else Masks([str(path) for path in _listed(masks)]),
            notes,
        )

    def camera(self, labels: Mapping[str, str]) -> PerspectiveCamera | None:
        """Return the camera of a frame; None if it is unknown."""
        return self.cameras.get((labels.get('subject', ''), labels.get('camera', '')))

    def missing_notes(self, title: str, frames: Sequence[Frame]) -> list[str]:
        """Return a sentence each on frames without a photograph and on frames without a mask.

        Args:
            title: Name of the frames.
            frames: Frames made of this data.
        """
        if not self.cameras:
            return []  # a note of its own says so
        kinds = []
        if self.images is not None:
            kinds.append(('photograph', self.images, [f for f in frames if f.photo is None]))
        if self.masks is not None:
            kinds.append(('mask', self.masks.paths[0], [f for f in frames if not f.has_mask]))
        return [
            f'{title}: {len(without)} of {len(frames)} frames have no {kind} in '
            f'{path.resolve().name}, such as {without[0].imgname}.'
            for kind, path, without in kinds
            if without
        ]


def _listed(paths: Path | Sequence[Path]) -> list[Path]:
    return [paths] if isinstance(paths, Path) else list(paths)


def labels_of(imgname: str) -> dict[str, str]:
    """Return subject, action, camera and frame number of an image's name, as far as it tells."""
    try:
        name = parse_image_name(imgname)
    except DataError:
        return {}
    labels = dict(subject=name.subject, action=name.action, camera=name.camera)
    return {**labels, 'frame': str(name.frame)}


class FrameMaker:
    """Maker of frames from posed meshes.

    Args:
        data: Labels, cameras, photographs and masks.
        regressors: The regressors by name.
        faces: (F, 3), triangles of the meshes; None if unknown, which leaves the IoU out.
        size: Side of the crops in pixels. Default: 320.
    """

    def __init__(
        self,
        data: FrameData,
        regressors: Mapping[str, JointRegressor],
        faces: IndexArray | None,
        size: int = CROP_SIZE,
    ) -> None:
        self.data = data
        self.size = size
        self.regressors = {
            name: regressor.reorder(H36M_JOINTS_MMPOSE).weight.double().cpu().numpy()
            for name, regressor in regressors.items()
        }
        self._iou = None
        if faces is not None and data.masks is not None:
            self._iou = SilhouetteIoU(faces)

    def make(
        self,
        source: str,
        imgname: str,
        meshes: Mapping[str, FloatArray],
        mpjpe: Mapping[str, float],
        init_mpjpe: Mapping[str, float] | None = None,
        place: bool = False,
    ) -> Frame | None:
        """Make a frame.

        Args:
            source: Name of the bodies.
            imgname: Name of the image, as in the annotation.
            meshes: Posed vertices (V, 3) by name, meters, axes of the camera frame.
            mpjpe: MPJPE in mm by regressor of the last mesh.
            init_mpjpe: MPJPE in mm by regressor of the first of two meshes. Default: none.
            place: Whether meshes have no translation: they are placed where the joints of the last
                regressor fit the 2D labels best. Default: False.

        Returns:
            The frame; None if a mesh is not in front of the camera.

        Raises:
            DataError: The image is not annotated, or its mask has another size than its image.
        """
        row = self.data.row_of.get(imgname)
        if row is None:
            raise DataError(f'{imgname}: not in the annotation')
        labels = labels_of(imgname)
        target = self.data.annotations.S[row].astype(np.float64)  # (17, 4)
        pixels = self.data.annotations.part[row].astype(np.float64)  # (17, 3)
        label = np.where(target[:, 3:] > 0, target[:, :3], np.nan)
        camera = self.data.camera(labels)
        has_camera = camera is not None
        if camera is None:
            camera = PerspectiveCamera(*_UNKNOWN_CAMERA)
            label = label - np.nanmean(label, axis=0) + [0.0, 0.0, _UNKNOWN_DEPTH]
        camera = camera.to(torch.float64)
        if has_camera:
            label_points = np.where(pixels[:, 2:] > 0, pixels[:, :2], np.nan)
        else:
            label_points = self._project(camera, label)
        placed = {
            name: self._placed(vertices, label, label_points, camera)
            if place or not has_camera
            else np.asarray(vertices, dtype=np.float64)
            for name, vertices in meshes.items()
        }
        if not all(np.isfinite(v).all() and (v[:, 2] > 0.05).all() for v in placed.values()):
            return None
        box = box_around([label_points, *(self._project(camera, v) for v in placed.values())])
        joints = {'label': label}
        last = list(placed.values())[-1]
        joints |= {name: weight @ last for name, weight in self.regressors.items()}
        cropped = camera.crop(box, (self.size, self.size))
        points = {name: self._project(cropped, value) for name, value in joints.items()}
        side = box[2] - box[0]
        points['label'] = (label_points - np.array(box[:2])) * self.size / side
        photo = None
        if has_camera and self.data.images is not None:
            photo = crop_photo(self.data.images / imgname, box, self.size)
        mask, iou = self._mask(imgname, box, placed, camera) if has_camera else ([], {})
        return Frame(
            source=source,
            imgname=imgname,
            labels=labels,
            size=self.size,
            box=box,
            camera=_fields_of(cropped),
            photo=photo,
            mask=mask,
            meshes=placed,
            joints=joints,
            points=points,
            joint_names=H36M_JOINTS_MMPOSE,
            iou=iou,
            mpjpe=dict(mpjpe),
            init_mpjpe=dict(init_mpjpe or {}),
        )

    def _mask(
        self,
        imgname: str,
        box: Box,
        meshes: Mapping[str, FloatArray],
        camera: PerspectiveCamera,
    ) -> tuple[list[FloatArray], dict[str, float]]:
        """Return the outlines of a frame's mask in its crop, and the meshes' IoU with all of it."""
        masks = self.data.masks
        if masks is None or imgname not in masks:
            return [], {}
        from mmjrr.datasets.area_crop import area_average_crop

        mask = masks[imgname]
        if camera.image_size is not None and not is_size(mask.shape, camera.image_shape()):
            raise DataError(
                f'{masks.paths[0]}: mask of {imgname}: size: found {mask.shape}, expected '
                f'{camera.image_shape()} (h, w), the image size of its camera'
            )
        shapes = outlines(area_average_crop(mask, box, (self.size, self.size)))
        agreement = self._iou
        if agreement is None:
            return shapes, {}
        everything = box_with_mask(box, mask)
        return shapes, {
            name: agreement.iou(vertices, camera, mask, everything)
            for name, vertices in meshes.items()
        }

    def _placed(
        self,
        vertices: FloatArray,
        label: FloatArray,
        label_points: FloatArray,
        camera: PerspectiveCamera,
    ) -> FloatArray:
        vertices = np.asarray(vertices, dtype=np.float64)
        weight = list(self.regressors.values())[-1]
        joints = weight @ vertices
        transl = fit_translation(
            torch.from_numpy(joints)[None],
            torch.from_numpy(label_points)[None],
            torch.from_numpy(np.isfinite(label_points).all(1).astype(np.float64))[None],
            camera,
        )[0].numpy()
        if not np.isfinite(transl).all() or transl[2] <= 0.5:
            transl = np.nanmean(label, axis=0) - joints.mean(0)
        placed: FloatArray = vertices + transl
        return placed

    @staticmethod
    def _project(camera: PerspectiveCamera, points: FloatArray) -> FloatArray:
        pixels: FloatArray = camera.project(torch.from_numpy(np.asarray(points))[None])[0].numpy()
        return pixels


def _fields_of(camera: PerspectiveCamera) -> tuple[float, ...]:
    distortion: Any = np.zeros(5) if camera.distortion is None else camera.distortion[0].tolist()
    return (
        *camera.focal_length[0].tolist(),
        *camera.principal_point[0].tolist(),
        *(float(value) for value in distortion),
    )
