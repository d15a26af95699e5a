"""MMHuman3D's HumanData npz files of Human3.6M.

``image_path`` (N,), ``bbox_xywh`` (N, 4 or 5), ``keypoints2d`` (N, K, 3) and ``keypoints3d``
(N, K, 4) with a ``_mask`` and possibly a ``_convention`` each, ``smpl`` (a dict of
``global_orient``, ``body_pose``, ``betas``) and ``cam_param`` (a dict of cameras). Dicts are
pickles inside the npz; the unpickler of :mod:`mmjrr.io.pickles` reads them and executes nothing.

In a compressed file the K joints are those of the mask *in HumanData's order*, in which sides
alternate, not in the order of H36M's joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.converters.source import Source, mmpose_image_names, numbers
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, PerspectiveCamera, camera_from_fields
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

#: Indices among HumanData's 190 joints of those in files of H36M, by HumanData's names.
HUMAN_DATA_JOINTS: dict[str, int] = {
    'left_knee': 4, 'right_knee': 5, 'left_ankle': 7, 'right_ankle': 8,
    'left_shoulder': 16, 'right_shoulder': 17, 'left_elbow': 18, 'right_elbow': 19,
    'left_wrist': 20, 'right_wrist': 21, 'right_hip_extra': 144, 'left_hip_extra': 145,
    'neck_extra': 146, 'headtop': 147, 'pelvis_extra': 148, 'spine_extra': 150,
    'jaw_extra': 151, 'head_extra': 152,
}  # fmt: skip
NUM_HUMAN_DATA_JOINTS = 190
_LIMBS_AND_TRUNK = {
    'pelvis': 'pelvis_extra', 'spine': 'spine_extra', 'thorax': 'neck_extra',
    'left_hip': 'left_hip_extra', 'right_hip': 'right_hip_extra',
}  # fmt: skip
#: HumanData's names of H36M's joints where they differ from ours. The last two depend on the
#: origin: MMHuman3D's own converter of H36M, or SPIN's 24 joints.
_NAMES: dict[str, dict[str, str]] = {
    'h36m': {**_LIMBS_AND_TRUNK, 'neck_base': 'head_extra', 'head': 'headtop'},
    'spin': {**_LIMBS_AND_TRUNK, 'neck_base': 'jaw_extra', 'head': 'head_extra'},
}
#: Conventions of 17 joints, by the names of mmjrr.joints.
_PLAIN = {'h36m': 'spin', 'h36m_mmpose': 'mmpose'}
#: Meters. A camera above this height is a translation into the camera frame, not a position.
_MAX_HEIGHT = 3.0


def read_human_data(path: str | Path) -> Source:
    """Read a HumanData file of H36M.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is truncated or holds more than arrays and plain values, a field is
            missing or has a wrong shape, or the joints are not H36M's 17.
    """
    path = Path(path)
    fields: list[str] = []

    def is_needed(name: str) -> bool:
        fields.append(name)
        return name.startswith(('keypoints', '__')) or name in _NEEDED_FIELDS

    raw = read_npz(path, objects=True, select=is_needed)
    missing = [] if 'image_path' in raw else ['image_path']
    if not {'keypoints3d', 'keypoints3d_original'} & set(raw):
        missing.append('keypoints3d (or keypoints3d_original)')
    if missing:
        raise DataError(f'{path}: {missing} missing, found {sorted(fields)}')
    files = _strings(path, raw['image_path'])
    count = len(files)
    part = _joints(path, raw, 'keypoints2d', count)
    S = _joints(path, raw, 'keypoints3d', count)
    assert S is not None  # checked above
    source = Source(
        path=path,
        imgname=mmpose_image_names(path, files),
        files=files,
        part=np.zeros((count, len(H36M_JOINTS_MMPOSE), 3)) if part is None else part,
        S=S,
        cameras=_cameras(path, raw.get('cam_param')),
    )
    if 'bbox_xywh' in raw:
        boxes = numbers(path, raw, 'bbox_xywh', (count, None))
        if boxes.shape[1] not in (4, 5):
            raise DataError(
                f'{path}: bbox_xywh: found shape {boxes.shape}, expected ({count}, 4 or 5)'
            )
        source.center = boxes[:, :2] + boxes[:, 2:4] / 2
        source.scale = boxes[:, 2:4].max(1) / PIXELS_PER_SCALE
    _take_fits(path, raw, source)
    return source


_NEEDED_FIELDS = ('image_path', 'bbox_xywh', 'smpl', 'cam_param', 'has_smpl')


def _joints(path: Path, raw: dict[str, Any], field: str, count: int) -> Array | None:
    """Return (N, 17, C) in MMPose's order, or None if the file has no such joints."""
    name = field if field in raw else f'{field}_original'
    if name not in raw:
        return None
    values = numbers(path, raw, name, (count, None, 4 if '3d' in field else 3))
    columns = _columns(path, raw, name, values.shape[1])
    labeled = {key for key, column in columns.items() if (values[:, column, -1] > 0).any()}
    if not labeled and '2d' in field:
        return None
    styles = [style for style, names in _NAMES.items() if labeled >= set(_joint_names(names))]
    if len(styles) != 1:
        missing = sorted(set(_joint_names(_NAMES['h36m'])) - labeled)
        problem = (
            f'{missing} missing of' if not styles else f'of either of {sorted(_NAMES)}, expected'
        )
        raise DataError(
            f"{path}: {name}: found labels of {sorted(labeled)}, {problem} H36M's 17 joints"
        )
    return values[:, [columns[key] for key in _joint_names(_NAMES[styles[0]])]]


def _joint_names(names: dict[str, str]) -> list[str]:
    """Return HumanData's names of the 17 joints, in MMPose's order."""
    return [names.get(joint, joint) for joint in H36M_JOINTS_MMPOSE]


def _columns(path: Path, raw: dict[str, Any], name: str, count: int) -> dict[str, int]:
    """Return the column of each joint by HumanData's names.

    Args:
        path: The file, for error messages.
        raw: Its fields.
        name: Field of the joints.
        count: Number of joints in the field.
    """
    convention = str(raw.get(f'{name}_convention', 'human_data'))
    if convention == 'human_data':
        total, columns = NUM_HUMAN_DATA_JOINTS, dict(HUMAN_DATA_JOINTS)
    elif convention in _PLAIN:
        order = joint_names_of(_PLAIN[convention])
        total = len(order)
        columns = {_NAMES['h36m'].get(joint, joint): i for i, joint in enumerate(order)}
    else:
        raise DataError(
            f'{path}: {name}_convention: found {convention!r}, expected one of '
            f'{sorted(["human_data", *_PLAIN])}'
        )
    mask = raw.get(f'{name}_mask')
    if mask is not None:
        mask = numbers(path, raw, f'{name}_mask', (None,)) > 0
        if len(mask) != total:
            raise DataError(
                f'{path}: {name}_mask: found {len(mask)} joints, expected the {total} of '
                f'{convention!r}'
            )
        columns = {joint: index for joint, index in columns.items() if mask[index]}
    if np.any(raw.get('__keypoints_compressed__', False)):
        if mask is None:
            raise DataError(f'{path}: {name}_mask missing, by which the joints are compressed')
        total, column_of = int(mask.sum()), np.cumsum(mask) - 1
        columns = {joint: int(column_of[index]) for joint, index in columns.items()}
    if count != total:
        raise DataError(
            f'{path}: {name}: found {count} joints, expected {total} of {convention!r}'
            + (' that its mask keeps' if mask is not None else '')
        )
    return columns


def _cameras(path: Path, cam_param: Any) -> dict[tuple[str, str], PerspectiveCamera]:
    """Return cameras by subject and camera name; none if ``cam_param`` has another form.

    MMHuman3D's converter of H36M stores MMPose's values under other names: the columns of the
    rotation are the camera's axes and the translation is its center.
    """
    keyed = isinstance(cam_param, dict) and all(
        isinstance(key, tuple) and len(key) == 2 and isinstance(value, dict)
        for key, value in cam_param.items()
    )
    if not keyed:
        return {}
    cameras = {}
    for (subject, camera), fields in cam_param.items():
        where = f'{path}: cam_param: {(subject, camera)!r}'
        names = ('in_mat', 'rotation_mat', 'translation', 'k1', 'k2', 'k3', 'p1', 'p2', 'W', 'H')
        missing = [name for name in names if name not in fields]
        if missing:
            raise DataError(f'{where}: {missing} missing, found {sorted(map(str, fields))}')
        try:
            matrix = np.asarray(fields['in_mat'], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f'{where}: in_mat: not numbers ({error})') from error
        if matrix.shape not in ((3, 3), (4, 4)):
            raise DataError(f'{where}: in_mat: found shape {matrix.shape}, expected (3, 3)')
        converted = camera_from_fields(
            where,
            dict(
                R=fields['rotation_mat'],
                T=fields['translation'],
                f=[matrix[0, 0], matrix[1, 1]],
                c=matrix[:2, 2],
                k=[fields['k1'], fields['k2'], fields['k3']],
                p=[fields['p1'], fields['p2']],
                w=fields['W'],
                h=fields['H'],
            ),
        )
        position = fields['translation']
        if converted.position is not None and converted.position[0, 2] > _MAX_HEIGHT:
            raise DataError(
                f'{where}: translation: found {position}, expected the position of the camera in '
                f'the room, below {_MAX_HEIGHT:.0f} m; give cameras from another file'
            )
        cameras[str(subject), str(camera)] = converted
    return cameras


def _take_fits(path: Path, raw: dict[str, Any], source: Source) -> None:
    smpl, count = raw.get('smpl'), len(source.files)
    if smpl is None:
        return
    if not isinstance(smpl, dict):
        raise DataError(f'{path}: smpl: found {type(smpl).__name__}, expected a dict of arrays')
    flat = {}
    for name, width in (('global_orient', 3), ('body_pose', 69), ('betas', None), ('transl', 3)):
        if name in smpl:
            flat[name] = _flat(path, f'smpl.{name}', smpl[name], count, width)
    missing = [name for name in ('global_orient', 'body_pose', 'betas') if name not in flat]
    if missing:
        raise DataError(f'{path}: smpl: {missing} missing, found {sorted(map(str, smpl))}')
    source.pose = np.concatenate([flat['global_orient'], flat['body_pose']], 1)
    source.betas = flat['betas']
    source.has_fit = np.ones(count, dtype=bool)
    if 'has_smpl' in raw:
        source.has_fit = numbers(path, raw, 'has_smpl', (count,)) > 0
    if 'transl' in flat and flat['transl'].any():  # zeros mean "unknown"
        source.transl = flat['transl']


def _flat(path: Path, name: str, value: Any, count: int, width: int | None) -> Array:
    """Flatten an array with more axes to (N, width)."""
    try:
        value = np.asarray(value)
    except ValueError as error:
        raise DataError(f'{path}: {name}: not an array ({error})') from error
    if value.ndim > 2 and len(value):
        value = value.reshape(len(value), -1)
    return numbers(path, {name: value}, name, (count, width))


def _strings(path: Path, value: Any) -> Array:  # (N,) str
    names: Iterable[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{path}: image_path: found {type(value).__name__}, expected (N,) strings')
    return np.array(names, dtype=np.str_)
