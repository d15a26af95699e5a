"""NeuralAnnot's bodies of Human3.6M: one for each moment, in the world's frame.

The files are ``Human36M_subject1_SMPL_NeuralAnnot.json`` and ``..._SMPLX_...``, bodies by action,
subaction and frame (from 0), and ``Human36M_subject1_camera.json`` next to them, cameras by number.
A body is seen by each camera, whose rotation is applied to that of the root. Read from
mks0601/NeuralAnnot_RELEASE, e747c2d, ``Human3.6M/demo_smpl.py`` and ``demo_smplx.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import check_array, read_json

#: Key of the converted bodies, by which their layout is recognized.
KEY = 'neuralannot_h36m'
#: Sizes of the fields of a body. A file has ``pose``, or ``root_pose`` and ``body_pose``.
_SIZES = {'pose': 72, 'root_pose': 3, 'body_pose': 63, 'shape': 10}
_SUBJECT = re.compile(r'subject_?(\d+)', re.I)
_ORTHONORMAL = 1e-3


def is_by_moment(tree: Any) -> bool:
    """Return whether a file has NeuralAnnot's bodies by action, subaction and frame."""
    for _ in range(3):
        if not isinstance(tree, Mapping) or not tree:
            return False
        key, tree = next(iter(tree.items()))
        if not _is_number(key):
            return False
    return isinstance(tree, Mapping) and {'shape', 'trans'} <= set(tree)


def seen_by_cameras(tree: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return the bodies of each camera under :data:`KEY`, with image names.

    Args:
        tree: Bodies by action, subaction and frame.
        source: Their file, whose name has the subject and whose folder has the cameras.

    Raises:
        FileNotFoundError: There is no file of the cameras.
        DataError: The name does not have the subject, or a field is missing or has another shape.
    """
    from scipy.spatial.transform import Rotation

    subject = _SUBJECT.search(source.name)
    if subject is None:
        raise DataError(
            f'{source}: found a name without a subject, expected one such as '
            'Human36M_subject1_SMPL_NeuralAnnot.json'
        )
    cameras = _cameras(source.with_name(f'Human36M_subject{subject[1]}_camera.json'))
    moments = list(_moments(tree, source))
    is_smpl = 'pose' in moments[0][1]
    names = ('pose', 'shape') if is_smpl else ('root_pose', 'body_pose', 'shape')
    fields = {name: _field(source, moments, name) for name in names}
    root = fields['pose'][:, :3] if is_smpl else fields['root_pose']
    views: dict[str, list[Array]] = {name: [] for name in (*names, 'root_pose', 'imgname')}
    for camera, rotation in cameras.items():
        turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(root)
        views['root_pose'].append(turned.as_rotvec())
        views['imgname'].append(
            np.array([
                f's_{int(subject[1]):02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}'
                f'_{frame + 1:06d}'
                for (action, subaction, frame), _ in moments
            ])
        )  # fmt: skip
        for name in names:
            if name != 'root_pose':
                views[name].append(fields[name])
    bodies = {name: np.concatenate(values) for name, values in views.items()}
    if is_smpl:
        bodies['body_pose'] = bodies.pop('pose')[:, 3:]
    return {KEY: bodies}


def _moments(
    tree: Mapping[str, Any], source: Path
) -> Iterator[tuple[tuple[int, int, int], Mapping[str, Any]]]:
    """Yield action, subaction, frame, and the body of each moment."""
    for action, subactions in tree.items():
        for subaction, frames in _mapping(subactions, source, action).items():
            for frame, body in _mapping(frames, source, action, subaction).items():
                keys = (action, subaction, frame)
                if not all(map(_is_number, keys)):
                    raise DataError(
                        f'{source}: found the keys {keys}, expected numbers of action, subaction '
                        'and frame'
                    )
                numbers = (int(action), int(subaction), int(frame))
                yield numbers, _mapping(body, source, *keys)


def _is_number(key: Any) -> bool:
    return str(key).isdecimal() and len(str(key)) < 7


def _mapping(value: Any, source: Path, *keys: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(
            f'{source}: {".".join(keys)}: found {type(value).__name__}, expected an object'
        )
    return value


def _field(source: Path, moments: list[Any], name: str) -> Array:  # (N, size)
    rows = []
    for keys, body in moments:
        where = f'{source}: {".".join(map(str, keys))}.{name}'
        if name not in body:
            raise DataError(f'{where}: missing, which other moments have')
        value = body[name]
        if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
            value = [number for row in value for number in row]
        rows.append(check_array(where, value, (_SIZES[name],)))
    return np.stack(rows)


def _cameras(path: Path) -> dict[int, Array]:
    """Return the rotation (3, 3) from the world to each camera, by the camera's number."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; it has the cameras of NeuralAnnot's Human3.6M data, whose "
            "bodies are in the world's frame, and belongs next to the bodies' file"
        )
    content = read_json(path)
    if not isinstance(content, dict) or not all(map(_is_number, content)):
        raise DataError(f'{path}: found {content!r:.60}, expected cameras by number')
    rotations = {}
    for key, camera in content.items():
        if not isinstance(camera, dict) or 'R' not in camera:
            raise DataError(f'{path}: {key}.R: missing, expected a rotation from world to camera')
        rotation = check_array(f'{path}: {key}.R', camera['R'], (3, 3))
        deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if not deviation <= _ORTHONORMAL or np.linalg.det(rotation) < 0:
            raise DataError(f'{path}: {key}.R: found a matrix that is no rotation')
        rotations[int(key)] = np.asarray(rotation, np.float64)
    if not rotations:
        raise DataError(f'{path}: found no camera')
    return rotations
