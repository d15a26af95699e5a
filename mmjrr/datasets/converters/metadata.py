"""``metadata.xml`` of Human3.6M's release: names of takes, and cameras."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmjrr.errors import DataError
from mmjrr.geometry import H36M_IMAGE_SIZES, PerspectiveCamera, camera_from_fields
from mmjrr.io.xml_files import read_xml

_SUBJECTS = 11
#: The vector w0 has 6 numbers for each camera and subject, then 9 for each camera.
_EXTRINSIC, _INTRINSIC = 6, 9
_UNKNOWN_IMAGE_SIZE = (1000, 1000)  # height and width for cameras that are not H36M's
_MAX_SIZE = 10_000_000  # bytes; the release's file has 110,000


@dataclass(frozen=True)
class Metadata:
    """Content of ``metadata.xml``.

    Attributes:
        takes: File names of takes by subject, action and subaction, all as written:
            ``{('S1', '2', '1'): 'Directions 1'}``.
        cameras: Cameras by subject and camera name.
    """

    takes: dict[tuple[str, str, str], str]
    cameras: dict[tuple[str, str], PerspectiveCamera]


def read_metadata(path: str | Path) -> Metadata:
    """Read ``metadata.xml``, which comes with the release's code and with h36m-fetch.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is not such XML, or something is missing from it.
    """
    path = Path(path)
    root = read_xml(path, _MAX_SIZE)
    return Metadata(_takes(path, root), _cameras(path, root))


def _takes(path: Path, root: ElementTree.Element) -> dict[tuple[str, str, str], str]:
    rows = [[(cell.text or '').strip() for cell in row] for row in root.findall('mapping/tr')]
    subjects = rows[0][2:] if rows else []
    if len(subjects) != _SUBJECTS:
        raise DataError(f'{path}: mapping: found subjects {subjects}, expected {_SUBJECTS}')
    takes = {
        (subject, action, subaction): name
        for action, subaction, *names in (row for row in rows[1:] if len(row) >= 2 + _SUBJECTS)
        if action.isdecimal()  # the last rows have people's names and image sizes
        for subject, name in zip(subjects, names, strict=False)
    }
    if not takes:
        raise DataError(f'{path}: mapping: found no takes')
    return takes


def _cameras(path: Path, root: ElementTree.Element) -> dict[tuple[str, str], PerspectiveCamera]:
    from scipy.spatial.transform import Rotation

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
        (f'S{subject + 1}', name): camera_from_fields(
            f'{path}: w0: camera {name} of S{subject + 1}',
            dict(
                R=Rotation.from_euler('XYZ', extrinsic[index, subject, :3]).as_matrix().T,
                T=extrinsic[index, subject, 3:] / 1000,
                f=intrinsic[index, :2],
                c=intrinsic[index, 2:4],
                k=intrinsic[index, 4:7],
                p=intrinsic[index, 7:],
                w=H36M_IMAGE_SIZES.get(name, _UNKNOWN_IMAGE_SIZE)[1],
                h=H36M_IMAGE_SIZES.get(name, _UNKNOWN_IMAGE_SIZE)[0],
            ),
        )
        for subject in range(_SUBJECTS)
        for index, name in enumerate(names)
    }
