"""MMHuman3D's HumanData npz files of Human3.6M.

``image_path`` (N,), ``bbox_xywh`` (N, 4 or 5), ``keypoints2d`` (N, K, 3) and ``keypoints3d``
(N, K, 4) with a ``_mask`` and perhaps a ``_convention`` each, ``smpl`` (a dict of
``global_orient``, ``body_pose``, ``betas``) and ``cam_param`` (a dict of cameras). Dicts are
pickles inside the npz: they are read by the unpickler of :mod:`mmjrr.io.pickles`,
which runs nothing.

In a compressed file the K joints are those of the mask *in HumanData's order*, in which sides
alternate: not in the order of H36M's joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.converters.source import Source, mmpose_image_names, numbers
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, PerspectiveCamera, camera_from_fields
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

#: Places among HumanData's 190 joints of those that files of H36M have, by HumanData's names.
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
#: HumanData's names of H36M's joints where they are other than ours. MMHuman3D's own converter of
#: H36M has the last two so; what comes through SPIN's 24 joints has them otherwise.
_NAMES: dict[str, dict[str, str]] = {
    'h36m': {**_LIMBS_AND_TRUNK, 'neck_base': 'head_extra', 'head': 'headtop'},
    'spin': {**_LIMBS_AND_TRUNK, 'neck_base': 'jaw_extra', 'head': 'head_extra'},
}
#: Conventions of 17 joints, by the names of mmjrr.joints.
_PLAIN = {'h36m': 'spin', 'h36m_mmpose': 'mmpose'}
#: Heights above which no camera of H36M stands (metres): a translation into the camera's frame.
_HIGHEST = 3.0


def read_human_data(path: str | Path) -> Source:
    """Read a HumanData file of H36M.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated, asks for more than arrays and plain values, a field is missing
            or of a wrong shape, or its joints are not H36M's 17.
    """
    path = Path(path)
    found: list[str] = []

    def wanted(name: str) -> bool:
        found.append(name)
        return name.startswith(('keypoints', '__')) or name in _WANTED

    raw = read_npz(path, objects=True, select=wanted)
    lacking = [name for name in ('image_path',) if name not in raw]
    lacking += [
        f'{name} (or {name}_original)'
        for name in ('keypoints3d',)
        if not {name, f'{name}_original'} & set(raw)
    ]
    if lacking:
        raise DataError(f'{path}: lacks {lacking}, found {sorted(found)}')
    files = _strings(path, raw['image_path'])
    count = len(files)
    part = _joints(path, raw, 'keypoints2d', count)
    S = _joints(path, raw, 'keypoints3d', count)
    assert S is not None  # or it would be lacking
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


_WANTED = ('image_path', 'bbox_xywh', 'smpl', 'cam_param', 'has_smpl')


def _joints(path: Path, raw: dict[str, Any], field: str, count: int) -> np.ndarray | None:
    """(N, 17, C) in MMPose's order, or None if the file has none."""
    name = field if field in raw else f'{field}_original'
    if name not in raw:
        return None
    values = numbers(path, raw, name, (count, None, 4 if '3d' in field else 3))
    places = _places(path, raw, name, values.shape[1])
    seen = {key for key, place in places.items() if (values[:, place, -1] > 0).any()}
    if not seen and '2d' in field:
        return None
    found = [style for style, names in _NAMES.items() if seen >= set(_wanted(names))]
    if len(found) != 1:
        lacking = sorted(set(_wanted(_NAMES['h36m'])) - seen)
        raise DataError(
            f"{path}: {name}: "
            + (f"lacks {lacking} of H36M's 17 joints" if not found else
               f'could be of either of {sorted(_NAMES)}')
            + f'; labelled are {sorted(seen)}'
        )  # fmt: skip
    return values[:, [places[key] for key in _wanted(_NAMES[found[0]])]]


def _wanted(names: dict[str, str]) -> list[str]:
    """HumanData's names of the 17 joints, in MMPose's order."""
    return [names.get(joint, joint) for joint in H36M_JOINTS_MMPOSE]


def _places(path: Path, raw: dict[str, Any], name: str, columns: int) -> dict[str, int]:
    """Column of each joint, by HumanData's names."""
    convention = str(raw.get(f'{name}_convention', 'human_data'))
    if convention == 'human_data':
        total, places = NUM_HUMAN_DATA_JOINTS, dict(HUMAN_DATA_JOINTS)
    elif convention in _PLAIN:
        order = joint_names_of(_PLAIN[convention])
        total = len(order)
        places = {_NAMES['h36m'].get(joint, joint): i for i, joint in enumerate(order)}
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
        places = {joint: place for joint, place in places.items() if mask[place]}
    if np.any(raw.get('__keypoints_compressed__', False)):
        if mask is None:
            raise DataError(f'{path}: lacks {name}_mask, and its joints are compressed by it')
        total, column = int(mask.sum()), np.cumsum(mask) - 1
        places = {joint: int(column[place]) for joint, place in places.items()}
    if columns != total:
        raise DataError(
            f'{path}: {name}: found {columns} joints, expected {total} of {convention!r}'
            + (' that its mask leaves' if mask is not None else '')
        )
    return places


def _cameras(path: Path, cam_param: Any) -> dict[tuple[str, str], PerspectiveCamera]:
    """Cameras keyed as in MMPose's file; none where the file has them in another form.

    MMHuman3D's converter of H36M stores what MMPose's stores, under other names: the rotation's
    columns are the camera's axes and the translation is its centre.
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
            raise DataError(f'{where}: lacks {missing}, found {sorted(map(str, fields))}')
        try:
            matrix = np.asarray(fields['in_mat'], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f'{where}: in_mat: not numbers ({error})') from error
        if matrix.shape not in ((3, 3), (4, 4)):
            raise DataError(f'{where}: in_mat: found shape {matrix.shape}, expected (3, 3)')
        found = camera_from_fields(
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
        if found.position is not None and found.position[0, 2] > _HIGHEST:
            raise DataError(
                f'{where}: translation: found {position}, expected the place of the '
                f'camera in the room, below {_HIGHEST:.0f} m; give the cameras by another file'
            )
        cameras[str(subject), str(camera)] = found
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
        raise DataError(f'{path}: smpl: lacks {missing}, found {sorted(map(str, smpl))}')
    source.pose = np.concatenate([flat['global_orient'], flat['body_pose']], 1)
    source.betas = flat['betas']
    source.has_fit = np.ones(count, dtype=bool)
    if 'has_smpl' in raw:
        source.has_fit = numbers(path, raw, 'has_smpl', (count,)) > 0
    if 'transl' in flat and flat['transl'].any():  # zeros stand for "not known"
        source.transl = flat['transl']


def _flat(path: Path, name: str, value: Any, count: int, width: int | None) -> np.ndarray:
    """(N, width) of an array with more axes."""
    try:
        value = np.asarray(value)
    except ValueError as error:
        raise DataError(f'{path}: {name}: not an array ({error})') from error
    if value.ndim > 2 and len(value):
        value = value.reshape(len(value), -1)
    return numbers(path, {name: value}, name, (count, width))


def _strings(path: Path, value: Any) -> np.ndarray:  # (N,) str
    names: Iterable[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{path}: image_path: found {type(value).__name__}, expected (N,) strings')
    return np.array(names, dtype=np.str_)
