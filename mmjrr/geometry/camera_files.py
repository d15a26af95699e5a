"""Reading and writing of MMPose's ``cameras.pkl``: Human3.6M's cameras by subject and camera name.

Each entry is a dict:

- ``R`` (3, 3): the camera's axes in the world as columns, which is the *transpose* of a
  :class:`PerspectiveCamera`'s rotation;
- ``T`` (3, 1): the camera's center in the world, in meters;
- ``f`` and ``c`` (2, 1): focal length and principal point in pixels;
- ``k`` (3, 1) and ``p`` (2, 1): radial and tangential distortion;
- ``w`` and ``h``: width and height of the image in pixels.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.errors import DataError
from mmjrr.geometry.cameras import CAMERA_PARAMETERS, PerspectiveCamera
from mmjrr.io import atomic_write, read_pickle

#: Height and width of Human3.6M's images by camera, in the dataset's order of the cameras.
H36M_IMAGE_SIZES: dict[str, tuple[int, int]] = {
    '54138969': (1002, 1000),
    '55011271': (1000, 1000),
    '58860488': (1000, 1000),
    '60457274': (1002, 1000),
}
#: Largest plausible distance in meters from a camera. A larger number is in millimeters.
MAX_DISTANCE = 100.0
_MAX_IMAGE_SIZE = 1 << 16  # pixels
_SHAPES = {'R': (3, 3), 'T': (3,), 'f': (2,), 'c': (2,), 'k': (3,), 'p': (2,)}


def load_cameras(path: str | Path) -> dict[tuple[str, str], PerspectiveCamera]:
    """Read ``cameras.pkl``.

    The file is a pickle, which could run code when loaded; only plain values and arrays are
    admitted.

    Returns:
        Cameras of batch size 1 in float64 with distortion, pose and image size. Keys are
        ``(subject, camera)``, such as ``('S1', '54138969')``.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated, names a type that is not admitted, or has an invalid
            field.
    """
    path = Path(path)
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f'{path}: found {type(content).__name__}, expected a dict of cameras')
    cameras = {}
    for key, fields in content.items():
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(fields, dict)):
            raise DataError(
                f"{path}: found entry {key!r}, expected keys such as ('S1', '54138969') of dicts"
            )
        subject, camera = key
        cameras[str(subject), str(camera)] = camera_from_fields(f'{path}: camera {key!r}', fields)
    return cameras


def camera_from_fields(where: str, fields: Mapping[str, Any]) -> PerspectiveCamera:
    """Make a camera from the fields ``R, T, f, c, k, p, w, h`` of ``cameras.pkl``.

    Args:
        where: File and entry, with which error messages begin.
        fields: The fields, arrays of any shape with the right number of values. Further fields
            are ignored.

    Raises:
        DataError: A field is missing or invalid.
    """
    missing = [name for name in (*_SHAPES, 'w', 'h') if name not in fields]
    if missing:
        raise DataError(f'{where}: missing {missing}, found {sorted(map(str, fields))}')
    values = {}
    for name, shape in _SHAPES.items():
        try:
            value = np.asarray(fields[name], dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f'{where}: {name}: not numbers ({error})') from error
        if value.size != np.prod(shape):
            raise DataError(f'{where}: {name}: found shape {value.shape}, expected {shape}')
        if not np.isfinite(value).all():
            raise DataError(
                f'{where}: {name}: found {value.ravel().tolist()}, expected finite values'
            )
        values[name] = torch.from_numpy(value.reshape(shape).copy())
    if not bool((values['f'] > 0).all()):
        raise DataError(f'{where}: f: found {values["f"].tolist()}, expected positive pixels')
    orthogonal = np.allclose(values['R'] @ values['R'].T, np.eye(3), atol=1e-4)
    if not orthogonal or values['R'].det() < 0:
        raise DataError(f'{where}: R: found {values["R"].tolist()}, expected a rotation')
    if values['T'].norm() > MAX_DISTANCE:
        raise DataError(
            f'{where}: T: found {values["T"].tolist()}, expected meters; these look like '
            'millimeters'
        )
    try:
        image_size = int(fields['h']), int(fields['w'])
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f'{where}: w, h: not numbers ({error})') from error
    if not all(0 < value < _MAX_IMAGE_SIZE for value in image_size):
        raise DataError(f'{where}: w, h: found {image_size[::-1]}, expected pixels')
    return PerspectiveCamera(
        values['f'],
        values['c'],
        torch.cat([values['k'], values['p']]),
        rotation=values['R'].T,
        position=values['T'],
        image_size=image_size,
    )


def save_cameras(path: str | Path, cameras: Mapping[tuple[str, str], PerspectiveCamera]) -> None:
    """Write ``cameras.pkl``: plain values and float64 arrays in MMPose's shapes.

    Args:
        path: File to write; it is written whole or not at all.
        cameras: Cameras of batch size 1 with distortion, pose and image size, keyed
            ``(subject, camera)``; entries are written in this order.

    Raises:
        ValueError: A camera lacks a parameter or is a batch.
    """
    content = {key: camera_to_fields(key[1], camera) for key, camera in cameras.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(content, protocol=4))


def first_camera_difference(
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    reference: Mapping[tuple[str, str], PerspectiveCamera],
    parameters: Sequence[str] = CAMERA_PARAMETERS,
) -> tuple[tuple[str, str], str] | None:
    """Find the first parameter in which two cameras with the same key differ beyond rounding.

    Args:
        cameras: Cameras by key.
        reference: Cameras to compare with. Keys that are in only one of the mappings are ignored.
        parameters: Names of the parameters to compare. Default: all.

    Returns:
        Key and parameter, or None if all agree.
    """
    for key in sorted(cameras.keys() & reference.keys()):
        for name in parameters:
            a, b = getattr(cameras[key], name), getattr(reference[key], name)
            if not np.allclose(a.numpy(), b.numpy(), 1e-5):
                return key, name
    return None


def camera_to_fields(camera_id: str, camera: PerspectiveCamera) -> dict[str, Any]:
    """Return the entry of ``cameras.pkl`` for a single camera.

    Args:
        camera_id: The camera's name, such as ``'54138969'``.
        camera: A camera of batch size 1 with distortion, pose and image size.

    Raises:
        ValueError: The camera lacks a parameter or is a batch.
    """
    missing = [name for name in CAMERA_PARAMETERS if getattr(camera, name) is None]
    if missing or len(camera) != 1:
        raise ValueError(
            f'camera {camera_id}: found {camera!r} without {missing}, expected a single camera '
            f'with {list(CAMERA_PARAMETERS)}'
        )
    focal_length, principal_point, distortion, rotation, position, image_size = (
        getattr(camera, name)[0].double().cpu().numpy() for name in CAMERA_PARAMETERS
    )
    h36m_cameras = list(H36M_IMAGE_SIZES)
    number = (
        {'name': f'camera{1 + h36m_cameras.index(camera_id)}'} if camera_id in h36m_cameras else {}
    )
    return dict(
        R=np.ascontiguousarray(rotation.T),
        T=position.reshape(3, 1),
        c=principal_point.reshape(2, 1),
        f=focal_length.reshape(2, 1),
        k=distortion[:3].reshape(3, 1),
        p=distortion[3:].reshape(2, 1),
        w=int(image_size[1]),
        h=int(image_size[0]),
        **number,
        id=camera_id,
    )
