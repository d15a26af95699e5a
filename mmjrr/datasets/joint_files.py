"""Reader of 3D joints with names and labels, from files of any data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array, FloatArray
from mmjrr.datasets.image_names import frame_identity, image_key
from mmjrr.datasets.predictions.layouts import describe, follow
from mmjrr.datasets.predictions.results_files import load_results
from mmjrr.datasets.units import meters_per
from mmjrr.errors import DataError
from mmjrr.io import check_array, unpacked_limit

#: Fields in which files keep joints, names of joints and image names, in the order of preference.
_JOINTS = ('joints', 'joints_3d', 'keypoints_3d', 'markers', 'S', 'part3d', 'j3d', 'kp3d')
_NAMES = ('joint_names', 'marker_names', 'names', 'labels')
_IMAGES = ('imgname', 'image_path', 'img_path', 'image_name', 'image_names', 'image_paths')
_PERSONS = ('person', 'persons', 'subject', 'subjects', 'sub')
_SEQUENCES = ('sequence', 'sequences', 'seq', 'video', 'action')


@dataclass
class JointFile:
    """3D joints of N frames.

    Attributes:
        joints: (N, J, 3), meters; NaN where a joint is missing.
        joint_names: Names of the J joints.
        imgname: Image name of each frame; None if the file has none.
        person: Label of the person in each frame; None if it is not known.
        sequence: Label of the sequence of each frame; None if it is not known.
    """

    joints: FloatArray
    joint_names: tuple[str, ...]
    imgname: list[str] | None = None
    person: list[str] | None = None
    sequence: list[str] | None = None

    def __len__(self) -> int:
        return len(self.joints)


def read_joints(
    path: str | Path,
    field: str | None = None,
    joint_names: Sequence[str] | None = None,
    unit: str = 'm',
    person: str | None = None,
    sequence: str | None = None,
    imgname: str | None = None,
) -> JointFile:
    """Read 3D joints from npz, npy, pickle, JSON or PyTorch.

    A joint is missing from a frame if a coordinate is NaN, or if a fourth column (confidence or
    weight) is not positive. Persons and sequences that the file does not state are parsed from the
    image names: Human3.6M's, or the folders of the images.

    Args:
        path: The file.
        field: Path of the joints in the file, as in :mod:`~mmjrr.datasets.predictions.layouts`.
            Default: recognized by its name.
        joint_names: Names of the joints. Default: those in the file, or ``joint_00`` and so on.
        unit: Unit of the joints, ``'m'``, ``'cm'`` or ``'mm'``.
        person: Path of the persons' labels. Default: recognized by its name.
        sequence: Path of the sequences' labels. Default: recognized by its name.
        imgname: Path of the image names. Default: recognized by its name.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, a field is missing, or its shape is wrong.
        ValueError: ``unit`` is unknown.
    """
    scale = meters_per(unit)
    tree = load_results(path)
    if isinstance(tree, np.ndarray):
        tree = {'joints': tree}
    where = f'{path}: {field or "joints"}'
    values = check_array(
        where, _at(path, tree, field, _JOINTS, True), ('N', 'J', None), finite=False,
        limit=unpacked_limit(Path(path).stat().st_size),
    )  # fmt: skip
    if values.shape[2] not in (3, 4):
        raise DataError(f'{where}: found shape {values.shape}, expected (N, J, 3) or (N, J, 4)')
    missing = ~np.isfinite(values[..., :3]).all(-1)
    if values.shape[2] == 4:
        missing |= ~(values[..., 3] > 0)
    joints = scale * np.where(missing[..., None], np.nan, values[..., :3])
    names = joint_names
    if names is None:
        names = _texts(path, 'joint names', _at(path, tree, None, _NAMES))
    if names is None:
        names = [f'joint_{index:02d}' for index in range(values.shape[1])]
    if len(names) != values.shape[1] or len(set(names)) < len(names):
        raise DataError(
            f'{where}: found {values.shape[1]} joints, expected as many different names; found '
            f'{len(set(names))}: {list(names)[:8]}'
        )
    images = _texts(path, 'image names', _at(path, tree, imgname, _IMAGES))
    result = JointFile(
        joints,
        tuple(names),
        images,
        _texts(path, 'persons', _at(path, tree, person, _PERSONS)),
        _texts(path, 'sequences', _at(path, tree, sequence, _SEQUENCES)),
    )
    for key in ('imgname', 'person', 'sequence'):
        labels = getattr(result, key)
        if labels is not None and len(labels) != len(result):
            if len(labels) != 1:
                raise DataError(
                    f'{path}: {key}: found {len(labels)}, expected {len(result)}, one per frame'
                )
            setattr(result, key, labels * len(result))
    return _with_parsed_labels(result)


def _with_parsed_labels(frames: JointFile) -> JointFile:
    """Fill in persons and sequences from image names."""
    if frames.imgname is None:
        return frames
    parsed = [parse_labels(name) for name in frames.imgname]
    if frames.person is None and all(person for person, _ in parsed):
        frames.person = [str(person) for person, _ in parsed]
    if frames.sequence is None and all(sequence for _, sequence in parsed):
        frames.sequence = [str(sequence) for _, sequence in parsed]
    return frames


def parse_labels(imgname: str) -> tuple[str | None, str | None]:
    """Return the person and the sequence that an image name states, each None if unknown.

    >>> parse_labels('S9/S9_Walking_1.54138969/S9_Walking_1.54138969_000001.jpg')
    ('S9', 'S9 Walking 1')
    >>> parse_labels('anna/run_2/000001.png')
    ('anna', 'anna/run_2')
    """
    identity = frame_identity(imgname)
    if identity is not None:
        take = identity.take if identity.take is not None else f'subaction {identity.subaction}'
        return identity.subject, ' '.join(filter(None, (identity.subject, identity.action, take)))
    folders = [part for part in re.split(r'[\\/]', imgname)[:-1] if part not in ('', '.')]
    if not folders:
        stem = re.sub(r'[_-]?\d+$', '', image_key(imgname))
        return None, stem or None
    return (folders[-2] if len(folders) > 1 else None), '/'.join(folders[-2:])


def _at(
    path: str | Path, tree: Any, field: str | None, candidates: Sequence[str], needed: bool = False
) -> Any:
    """Return the value at a field or, without one, at the first candidate that the file has."""
    for name in [field] if field is not None else candidates:
        values = [value for _, value in follow(tree, name)]
        if len(values) == 1:
            return values[0]
        if values:
            return np.stack([np.asarray(value) for value in values])
    if field is not None or needed:
        raise DataError(
            f'{path}: {field or " or ".join(candidates)}: found none; the file has {describe(tree)}'
        )
    return None


def _texts(path: str | Path, what: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    array: Array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1:
        raise DataError(f'{path}: {what}: found shape {array.shape}, expected (N,)')
    if array.dtype.kind in 'iu':
        array = array.astype(np.str_)
    return [str(item) for item in check_array(f'{path}: {what}', array, ('N',), 'text')]
