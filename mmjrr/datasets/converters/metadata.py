"""``metadata.xml`` of Human3.6M's release: names of takes, and cameras."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmjrr.errors import DataError
from mmjrr.geometry import CameraParameters, camera_parameters

_SUBJECTS = 11
#: Of the vector w0: 6 numbers for each camera and subject, then 9 for each camera.
_EXTRINSIC, _INTRINSIC = 6, 9
#: Rows of images; as in MMPose's cameras.pkl, which has the same for all subjects.
_HEIGHTS = {'54138969': 1002, '55011271': 1000, '58860488': 1000, '60457274': 1002}
_WIDTH = 1000
_LARGEST = 10_000_000  # bytes; the release's has 110,000


@dataclass(frozen=True)
class Metadata:
    """What ``metadata.xml`` says.

    Attributes:
        takes: name of the file of each take by subject, action and subaction, all as written:
            ``{('S1', '2', '1'): 'Directions 1'}``.
        cameras: by subject and camera, as ``mmjrr.geometry`` reads them.
    """

    takes: dict[tuple[str, str, str], str]
    cameras: dict[tuple[str, str], CameraParameters]


def read_metadata(path: str | Path) -> Metadata:
    """Read ``metadata.xml``, which comes with the release's code and with h36m-fetch.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no such XML, or lacks something.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    content = path.read_bytes()
    if len(content) > _LARGEST or b'<!DOCTYPE' in content or b'<!ENTITY' in content:
        raise DataError(f'{path}: found {len(content)} bytes or entities, expected plain XML')
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f'{path}: not readable XML ({error})') from error
    return Metadata(_takes(path, root), _cameras(path, root))


def _takes(path: Path, root: ElementTree.Element) -> dict[tuple[str, str, str], str]:
    rows = [[(cell.text or '').strip() for cell in row] for row in root.findall('mapping/tr')]
    subjects = rows[0][2:] if rows else []
    if len(subjects) != _SUBJECTS:
        raise DataError(f'{path}: mapping: found subjects {subjects}, expected {_SUBJECTS}')
    takes = {
        (subject, action, subaction): name
        for action, subaction, *names in (row for row in rows[1:] if len(row) >= 2 + _SUBJECTS)
        if action.isdigit()  # the last rows are people's names and image sizes
        for subject, name in zip(subjects, names, strict=False)
    }
    if not takes:
        raise DataError(f'{path}: mapping: found no takes')
    return takes


def _cameras(path: Path, root: ElementTree.Element) -> dict[tuple[str, str], CameraParameters]:
    names = [(item.text or '').strip() for item in root.findall('dbcameras/index2id/*')]
    text = (root.findtext('w0') or '').strip().strip('[]')
    try:
        w0 = np.array([float(number) for number in text.split()])
    except ValueError as error:
        raise DataError(f'{path}: w0: not numbers ({error})') from error
    expected = len(names) * (_SUBJECTS * _EXTRINSIC + _INTRINSIC)
    if not names or len(w0) != expected:
        raise DataError(
            f'{path}: w0: found {len(w0)} numbers, expected {expected} for {len(names)} cameras '
            f'of {_SUBJECTS} subjects'
        )
    extrinsic = w0[: -len(names) * _INTRINSIC].reshape(len(names), _SUBJECTS, _EXTRINSIC)
    intrinsic = w0[-len(names) * _INTRINSIC :].reshape(len(names), _INTRINSIC)
    return {
        (f'S{subject + 1}', name): camera_parameters(
            f'{path}: w0: camera {name} of S{subject + 1}',
            dict(
                R=_rotation(*extrinsic[index, subject, :3]),
                T=extrinsic[index, subject, 3:] / 1000,
                f=intrinsic[index, :2],
                c=intrinsic[index, 2:4],
                k=intrinsic[index, 4:7],
                p=intrinsic[index, 7:],
                w=_WIDTH,
                h=_HEIGHTS.get(name, _WIDTH),
            ),
        )
        for subject in range(_SUBJECTS)
        for index, name in enumerate(names)
    }


def _rotation(a: float, b: float, c: float) -> np.ndarray:  # (3, 3), camera to world
    """Turns by a about x, then b about y, then c about z, of the world into the camera."""
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (about_x @ about_y @ about_z).T
