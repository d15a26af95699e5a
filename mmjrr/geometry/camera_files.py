"""MMPose's ``cameras.pkl``: H36M's cameras by subject and camera name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, load_pickle

_LARGEST_IMAGE = 1 << 16
_SHAPES = {'R': (3, 3), 'T': (3,), 'f': (2,), 'c': (2,), 'k': (3,), 'p': (2,)}


@dataclass(frozen=True)
class CameraParameters:
    """One camera. World points X are at ``R.T @ (X - T)`` in its frame.

    So MMPose's file has it (on its real frames this gives the 3D joints to 3e-7 m): ``T`` is the
    camera's centre in the world, the columns of ``R`` are the camera's axes.
    """

    R: np.ndarray  # (3, 3), camera to world
    T: np.ndarray  # (3,), metres
    focal_length: np.ndarray  # (2,), pixels
    principal_point: np.ndarray  # (2,), pixels
    distortion: np.ndarray  # (5,): k1, k2, k3, p1, p2
    width: int
    height: int

    def world_to_camera(self, points: np.ndarray) -> np.ndarray:  # (..., 3) -> (..., 3), metres
        return (points - self.T) @ self.R


def load_cameras(path: str | Path) -> dict[tuple[str, str], CameraParameters]:
    """Read ``cameras.pkl``, keyed ``(subject, camera)``, e.g. ``('S1', '54138969')``.

    It is a pickle, which could run anything when loaded: only plain values and arrays are let in.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated, names a type outside the allow-list, or a field is wrong.
    """
    path = Path(path)
    content = load_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f'{path}: found {type(content).__name__}, expected a dict of cameras')
    cameras = {}
    for key, fields in content.items():
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(fields, dict)):
            raise DataError(
                f"{path}: found the entry {key!r}, expected ('S1', '54138969') and the like, "
                'each a dict'
            )
        subject, camera = key
        cameras[str(subject), str(camera)] = camera_parameters(f'{path}: camera {key!r}', fields)
    return cameras


def camera_parameters(where: str, fields: dict[str, Any]) -> CameraParameters:
    """One camera from its fields in MMPose's file: ``R, T, f, c, k, p, w, h``.

    Raises:
        DataError: a field is missing or wrong; the message begins with ``where``.
    """
    missing = [name for name in (*_SHAPES, 'w', 'h') if name not in fields]
    if missing:
        raise DataError(f'{where}: lacks {missing}, found {sorted(map(str, fields))}')
    values = {}
    for name, shape in _SHAPES.items():
        try:
            value = np.asarray(fields[name], dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f'{where}: {name}: not numbers ({error})') from error
        if value.size != np.prod(shape):
            raise DataError(f'{where}: {name}: found shape {value.shape}, expected {shape}')
        if not np.isfinite(value).all():
            raise DataError(f'{where}: {name}: found {value.ravel().tolist()}, expected finite')
        values[name] = value.reshape(shape)
    if not (values['f'] > 0).all():
        raise DataError(f'{where}: f: found {values["f"].tolist()}, expected positive pixels')
    if not np.allclose(values['R'] @ values['R'].T, np.eye(3), atol=1e-4):
        raise DataError(f'{where}: R: found {values["R"].tolist()}, expected a rotation')
    if np.linalg.norm(values['T']) > 100:
        raise DataError(
            f'{where}: T: found {values["T"].tolist()}, expected metres; these look like '
            'millimetres'
        )
    try:
        size = int(fields['w']), int(fields['h'])
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f'{where}: w, h: not numbers ({error})') from error
    if not all(0 < value < _LARGEST_IMAGE for value in size):
        raise DataError(f'{where}: w, h: found {size}, expected pixels')
    return CameraParameters(
        R=values['R'],
        T=values['T'],
        focal_length=values['f'],
        principal_point=values['c'],
        distortion=np.concatenate([values['k'], values['p']]),
        width=size[0],
        height=size[1],
    )


def save_cameras(path: str | Path, cameras: Mapping[tuple[str, str], CameraParameters]) -> None:
    """Write MMPose's ``cameras.pkl``, of plain values and arrays alone."""
    content = {
        key: dict(
            R=camera.R,
            T=camera.T.reshape(3, 1),
            c=camera.principal_point.reshape(2, 1),
            f=camera.focal_length.reshape(2, 1),
            k=camera.distortion[:3].reshape(3, 1),
            p=camera.distortion[3:].reshape(2, 1),
            w=camera.width,
            h=camera.height,
            id=key[1],
        )
        for key, camera in sorted(cameras.items())
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(content, protocol=4))


def first_difference(
    there: Mapping[tuple[str, str], CameraParameters],
    given: Mapping[tuple[str, str], CameraParameters],
    fields_compared: Sequence[str],
) -> tuple[tuple[str, str], str] | None:
    """The first camera that both have, and its field, in which they differ beyond rounding."""
    for key in sorted(there.keys() & given.keys()):
        for name in fields_compared:
            if not np.allclose(getattr(there[key], name), getattr(given[key], name), 1e-5):
                return key, name
    return None
