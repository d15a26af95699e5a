"""Conversion of Pose2Sim's recording of a person into MMPose's layout of Human3.6M.

The source, ``Demo_SinglePerson`` of the wheel of pose2sim (BSD 3-Clause, perfanalytics), has videos
of four cameras and their calibration in Qualisys' format. Images are undistorted; a detector then
finds masks and 2D joints in them (``tools/dataset_converters/pose2sim_detections.py``). The
result::

    frames/S1/...                                  undistorted frames, as each camera counts them
    images/S1/...                                  those of the moments, named after the moments
    annotation_body3d/fps10/h36m_train.npz         2D joints and boxes, no 3D joints
    annotation_body3d/cameras.pkl                  cameras without distortion
    masks/h36m_train.json                          masks of the person

The cameras' clocks differ by a few frames. :func:`find_offsets` finds by how many, from the
distances between 2D joints and the joints triangulated from all cameras.
"""

from __future__ import annotations

import math
import os
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.converters import CAMERA_FILE
from mmjrr.datasets.masks import save_masks
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, PerspectiveCamera, save_cameras, triangulate
from mmjrr.io import atomic_write, read_npz
from mmjrr.io.xml_files import read_xml
from mmjrr.joints import H36M_JOINTS_MMPOSE

#: Subject and sequence of the images' names.
SUBJECT, SEQUENCE = 'S1', 'S1_Demo'
ANNOTATION_FILE = 'annotation_body3d/fps10/h36m_train.npz'
MASK_FILE = 'masks/h36m_train.json'
#: Joints of the detector whose mean is a joint of Human3.6M. Shoulders to wrists and hips to ankles
#: have the same names; the middle of the ears is near the joint between neck and head.
JOINTS: dict[str, tuple[str, ...]] = {
    f'{side}_{joint}': (f'{side}_{joint}',)
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
    for side in ('left', 'right')
} | {'neck_base': ('left_ear', 'right_ear')}
#: Largest offset of a camera's clock that is tried, in frames.
MAX_OFFSET = 6
#: Side of a box as a multiple of the larger side of the mask.
_BOX_PADDING = 1.15
#: Joints that the detector sees with a lower probability have weight 0.
_MIN_VISIBILITY = 0.5
_MAX_SIZE = 1_000_000  # bytes of a calibration file
#: Qualisys counts image positions in 1/64 of a pixel, and distances in millimeters.
_SUBPIXELS, _MILLIMETERS = 64.0, 1000.0


@dataclass(frozen=True)
class Detections:
    """What a detector found in the frames of a camera.

    Attributes:
        joints: (T, J, 3), x and y in pixels, and visibility; NaN where no person was found.
        names: Name of each joint.
        masks: (T, h, w) uint8, probability of the person, 255 for 1.
    """

    joints: Array
    names: tuple[str, ...]
    masks: Array


def read_qualisys_calibration(path: str | Path) -> dict[str, PerspectiveCamera]:
    """Read a calibration in Qualisys' format (``*.qca.txt``, XML).

    ``transform`` has the axes of the camera in the world as rows, x to the right, y up and z
    backwards, and its position. Pixel centers have whole numbers there, and are at one half here.

    Returns:
        Cameras by name, such as ``'01'``, with OpenCV's distortion, pose and image size.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is not such XML, or a number is missing or not plausible.
    """
    path = Path(path)
    root = read_xml(path, _MAX_SIZE)
    cameras = {}
    for number, element in enumerate(root.findall('cameras/camera')):
        name = ''.join(filter(str.isdigit, element.get('serial', ''))) or f'{number + 1:02d}'
        cameras[name] = _camera(f'{path}: camera {name}', element)
    if not cameras:
        raise DataError(f'{path}: found no cameras/camera, expected a calibration of Qualisys')
    return cameras


def _camera(where: str, element: ElementTree.Element) -> PerspectiveCamera:
    def number(part: str, name: str) -> float:
        child = element.find(part)
        text = None if child is None else child.get(name)
        try:
            value = float(text or '')
        except ValueError as error:
            raise DataError(
                f'{where}: {part}: {name}: found {text!r}, expected a number'
            ) from error
        if not math.isfinite(value):
            raise DataError(f'{where}: {part}: {name}: found {text!r}, expected a finite number')
        return value

    axes = np.array([[number('transform', f'r{i}{j}') for j in (1, 2, 3)] for i in (1, 2, 3)])
    rotation = np.diag([1.0, -1.0, -1.0]) @ axes  # y down, z forward
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise DataError(f'{where}: transform: found {axes.tolist()}, expected a rotation')
    left, top = number('fov_video', 'left'), number('fov_video', 'top')
    width = number('fov_video', 'right') - left + 1
    height = number('fov_video', 'bottom') - top + 1
    focal = [number('intrinsic', f'focalLength{axis}') / _SUBPIXELS for axis in 'UV']
    if min(focal) <= 0 or not all(0 < side < 1e5 for side in (width, height)):
        raise DataError(f'{where}: found focal length {focal}, image {width} x {height}')
    return PerspectiveCamera(
        focal,
        [
            number('intrinsic', 'centerPointU') / _SUBPIXELS - left + 0.5,
            number('intrinsic', 'centerPointV') / _SUBPIXELS - top + 0.5,
        ],
        [
            *(number('intrinsic', f'radialDistortion{i}') for i in (1, 2, 3)),
            *(number('intrinsic', f'tangentalDistortion{i}') for i in (1, 2)),
        ],
        'opencv',
        rotation.tolist(),
        [number('transform', axis) / _MILLIMETERS for axis in 'xyz'],
        (int(height), int(width)),
    ).to(torch.float64)


def undistorted_camera(camera: PerspectiveCamera, size: tuple[int, int]) -> PerspectiveCamera:
    """Return a camera of undistorted images of ``size`` = (height, width), else the same."""
    return PerspectiveCamera(
        camera.focal_length,
        camera.principal_point,
        torch.zeros(1, 5).to(camera.focal_length),
        rotation=camera.rotation,
        position=camera.position,
        image_size=size,
    )


def image_name(camera: str, frame: int) -> str:
    """Return the name of a frame, from 0, of a camera.

    >>> image_name('01', 0)
    'S1/S1_Demo.01/S1_Demo.01_000001.jpg'
    """
    video = f'{SEQUENCE}.{camera}'
    return f'{SUBJECT}/{video}/{video}_{frame + 1:06d}.jpg'


def write_frames(video: Path, name: str, camera: PerspectiveCamera, target: Path) -> int:
    """Write a video's frames, undistorted, as JPEG files; return their number.

    Args:
        video: The video.
        name: The camera's name.
        camera: The camera, with OpenCV's distortion.
        target: Folder of the data set. A camera whose frames are complete is not written again.

    Raises:
        FileNotFoundError: There is no such video.
        DataError: The video cannot be read, or its height is not the calibration's.
    """
    import cv2

    if not video.is_file():
        raise FileNotFoundError(f'{video}: no such file')
    folder = (target / 'frames' / image_name(name, 0)).parent
    complete = folder / 'complete'
    if complete.is_file():
        return int(complete.read_text())
    capture = cv2.VideoCapture(str(video))
    focal, principal = camera.focal_length[0].numpy(), camera.principal_point[0].numpy() - 0.5
    matrix = np.array([[focal[0], 0, principal[0]], [0, focal[1], principal[1]], [0, 0, 1]])
    assert camera.distortion is not None
    k1, k2, k3, p1, p2 = camera.distortion[0].tolist()
    coefficients = np.array([k1, k2, p1, p2, k3])
    maps: tuple[Array, Array] | None = None
    count = 0
    while True:
        read, image = capture.read()
        if not read:
            break
        if maps is None:
            height, width = image.shape[:2]
            if height != camera.image_shape()[0]:
                raise DataError(
                    f'{video}: found images of {width} x {height} pixels, expected a height of '
                    f'{camera.image_shape()[0]}, as in the calibration'
                )
            maps = cv2.initUndistortRectifyMap(
                matrix, coefficients, np.eye(3), matrix, (width, height), cv2.CV_16SC2
            )
        with atomic_write(target / 'frames' / image_name(name, count)) as temporary:
            data = cv2.imencode('.jpg', cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR))[1]
            temporary.write_bytes(data.tobytes())
        count += 1
    if count == 0:
        raise DataError(f'{video}: not a readable video')
    with atomic_write(complete) as temporary:
        temporary.write_text(str(count))
    return count


def read_detections(path: str | Path) -> Detections:
    """Read the npz that ``pose2sim_detections.py`` writes for a camera.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: A field is missing or has another shape, or a joint of :data:`JOINTS` is missing.
    """
    raw = read_npz(path)
    missing = sorted({'joints', 'names', 'masks'} - set(raw))
    if missing:
        raise DataError(f'{path}: missing {missing}, found {sorted(raw)}')
    joints, names, masks = raw['joints'], tuple(map(str, raw['names'].tolist())), raw['masks']
    if joints.ndim != 3 or joints.shape[1:] != (len(names), 3) or joints.dtype.kind != 'f':
        raise DataError(f'{path}: joints: found {joints.dtype} {joints.shape}, expected (T, J, 3)')
    if masks.ndim != 3 or len(masks) != len(joints) or masks.dtype != np.uint8:
        raise DataError(f'{path}: masks: found {masks.dtype} {masks.shape}, expected (T, h, w)')
    absent = [name for source in JOINTS.values() for name in source if name not in names]
    if absent:
        raise DataError(f'{path}: names: found {list(names)}, expected also {absent}')
    return Detections(joints, names, masks)


def h36m_joints(detections: Detections) -> Array:  # (T, 17, 3)
    """Return the 2D joints of :data:`JOINTS` in Human3.6M's order; the others have weight 0."""
    part = np.zeros((len(detections.joints), len(H36M_JOINTS_MMPOSE), 3))
    for name, source in JOINTS.items():
        position = detections.joints[:, [detections.names.index(joint) for joint in source]].mean(1)
        seen = np.isfinite(position).all(-1) & (position[:, 2] >= _MIN_VISIBILITY)
        part[:, H36M_JOINTS_MMPOSE.index(name)] = np.where(seen[:, None], position, 0)
    return part


def find_offsets(
    part: Mapping[str, Array],  # (T, 17, 3) of each camera
    cameras: Mapping[str, PerspectiveCamera],
) -> dict[str, int]:
    """Find by how many frames each camera is later than the first one.

    Cameras are shifted one by one, until no shift lowers the median distance between the 2D joints
    and the joints triangulated from all cameras.

    Returns:
        Frames by camera: frame ``t + offset`` of the camera shows what frame ``t`` of the first
        one shows.
    """
    names = list(part)
    offsets = dict.fromkeys(names, 0)
    length = min(map(len, part.values()))
    frames = np.arange(2 * MAX_OFFSET, length - 2 * MAX_OFFSET, 2)
    if len(frames) == 0:
        return offsets
    camera = PerspectiveCamera.cat([cameras[name] for name in names])
    camera = camera[torch.arange(len(names)).repeat(len(frames))]
    group = torch.arange(len(frames)).repeat_interleave(len(names))

    def distance(shifts: Mapping[str, int]) -> float:
        stacked = np.stack([part[name][frames + shifts[name]] for name in names], 1)
        points = torch.from_numpy(stacked.reshape(-1, *stacked.shape[2:]))
        result = triangulate(points[..., :2], points[..., 2], camera, group, tolerance=60.0)
        return float(np.nanmedian(result.error))

    best = distance(offsets)
    for _ in range(4):
        before = dict(offsets)
        for name in names[1:]:
            for shift in range(-MAX_OFFSET, MAX_OFFSET + 1):
                error = distance({**offsets, name: shift})
                if error < best:
                    best, offsets[name] = error, shift
        if offsets == before:
            break
    return offsets


def convert_recording(
    detections: Mapping[str, Detections],
    cameras: Mapping[str, PerspectiveCamera],
    target: Path,
    step: int,
) -> dict[str, Any]:
    """Write annotation, cameras and masks of every ``step``-th moment.

    An image is named after its moment, so that the views of a moment have the same frame number.

    Args:
        detections: What was found, by camera.
        cameras: Cameras of the undistorted images.
        target: Folder of the data set, which has the images.
        step: Frames from one moment to the next.

    Returns:
        Plain values: ``offsets`` of the clocks in frames, ``moments``, ``frames``, and
        ``without_person``, the number of frames without a person.

    Raises:
        DataError: No frame shows a person.
    """
    part = {name: h36m_joints(detected) for name, detected in detections.items()}
    offsets = find_offsets(part, cameras)
    length = min(len(detected.joints) for detected in detections.values())
    first = max(0, -min(offsets.values()))
    moments = range(first, length - max(0, *offsets.values()), step)
    rows: dict[str, list[Any]] = {'imgname': [], 'center': [], 'scale': [], 'part': []}
    masks, without = {}, 0
    for name, detected in detections.items():
        for moment in moments:
            frame = moment + offsets[name]
            mask = largest_component(detected.masks[frame] >= 128)
            if not mask.any():
                without += 1
                continue
            imgname = image_name(name, moment)
            source = target / 'frames' / image_name(name, frame)
            _link(source, target / 'images' / imgname)
            y, x = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            low, high = np.array([x[0], y[0]]), np.array([x[-1], y[-1]]) + 1
            rows['imgname'].append(imgname)
            rows['center'].append((low + high) / 2)
            rows['scale'].append(_BOX_PADDING * (high - low).max() / PIXELS_PER_SCALE)
            rows['part'].append(part[name][frame])
            masks[imgname] = mask
    if not masks:
        raise DataError(f'{target}: found a person in none of the frames')
    count = len(masks)
    table = Annotations(
        imgname=np.array(rows['imgname']),
        center=np.array(rows['center']),
        scale=np.array(rows['scale']),
        part=np.array(rows['part']),
        S=np.zeros((count, len(H36M_JOINTS_MMPOSE), 4)),
    )
    save_cameras(
        target / CAMERA_FILE, {(SUBJECT, name): camera for name, camera in cameras.items()}
    )
    save_masks(target / MASK_FILE, masks, info={'description': 'mediapipe, at least one half'})
    table.save(target / ANNOTATION_FILE)
    return dict(
        offsets=offsets, moments=len(moments), frames=count, without_person=without, step=step
    )


def largest_component(mask: Array) -> Array:  # (h, w) bool
    """Return the largest connected part of a mask, with holes of under 1% of it filled."""
    import cv2

    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    result: Array = labels == largest
    _, holes, areas, _ = cv2.connectedComponentsWithStats(
        (~result).astype(np.uint8), connectivity=4
    )
    small = np.flatnonzero(areas[:, cv2.CC_STAT_AREA] < 0.01 * result.sum())
    return result | np.isin(holes, small[small > 0])


def _link(source: Path, target: Path) -> None:
    """Give a file another name, without a copy where the file system can."""
    if target.exists():
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
