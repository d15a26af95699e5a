"""Functions that find and read files in SMPL's format.

SMPL's official files are pickles with chumpy objects and sparse matrices. They are read without
chumpy, and no code that they name runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import check_array, read_npz, read_pickle
from mmjrr.joints import SMPL_JOINTS

GENDERS = ('neutral', 'male', 'female')
NUM_JOINTS = len(SMPL_JOINTS)
#: Number of pose blend shapes: entries of the rotation matrices of all joints except the root.
NUM_POSE_COEFFICIENTS = 9 * (NUM_JOINTS - 1)


def find_smpl_file(model_path: str | Path, gender: str = 'neutral') -> Path:
    """Find a file in SMPL's format.

    Args:
        model_path: A ``.pkl`` or ``.npz`` file, or a folder that holds ``SMPL_<GENDER>.pkl`` or
            ``.npz``, directly or in its subfolder ``smpl``.
        gender: ``'neutral'``, ``'male'`` or ``'female'``; selects the file of a folder. Default:
            ``'neutral'``.

    Raises:
        ValueError: If the gender is unknown.
        FileNotFoundError: If there is no such file; the message lists the paths that were tried.
    """
    if gender not in GENDERS:
        raise ValueError(f'gender: found {gender!r}, expected one of {GENDERS}')
    path = Path(model_path).expanduser()
    if path.suffix in ('.pkl', '.npz'):
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file')
        return path
    candidates = [
        folder / f'SMPL_{gender.upper()}{suffix}'
        for folder in (path, path / 'smpl')
        for suffix in ('.pkl', '.npz')
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f'{path}: no SMPL file for gender {gender!r}; tried {[str(p) for p in candidates]}. '
        'Download SMPL from https://smpl.is.tue.mpg.de (registration), or use the free body, which '
        "needs no file: body_model=dict(type='FreeBody')"
    )


def load_smpl_file(path: str | Path) -> dict[str, Any]:
    """Read and check the arrays of a file in SMPL's format.

    Returns:
        ``v_template`` (V, 3), ``shapedirs`` (V, 3, S), ``posedirs`` (V, 3, 207), ``weights``
        (V, 24) and ``J_regressor`` (24, V) in float64, ``f`` (F, 3) in int64, and ``parents``, the
        list of the 24 joints' parents, which begins with -1 for the root. Lengths are in meters.

    Raises:
        FileNotFoundError: If the file does not exist.
        DataError: If the file is broken, an array is missing or has another shape, or a pickle
            names a type that is not admitted.
    """
    path = Path(path)
    if path.suffix == '.npz':
        content: Any = read_npz(path)
    elif path.suffix == '.pkl':
        content = read_pickle(path)
        if not isinstance(content, dict):
            raise DataError(f'{path}: found a {type(content).__name__}, expected a dict of arrays')
    else:
        raise DataError(f'{path}: found suffix {path.suffix!r}, expected .pkl or .npz')

    def array(key: str, *shape: int | None) -> Array:
        if key not in content:
            raise DataError(f'{path}: {key}: missing; found {sorted(map(str, content))}')
        return check_array(f'{path}: {key}', content[key], shape)

    template = array('v_template', None, 3)
    num_vertices = len(template)
    faces = array('f', None, 3).astype(np.int64)
    if not num_vertices or not len(faces):
        raise DataError(
            f'{path}: found {num_vertices} vertices and {len(faces)} faces, expected some of both'
        )
    if faces.min() < 0 or faces.max() >= num_vertices:
        raise DataError(
            f'{path}: f: found vertex indices {faces.min()} to {faces.max()}, expected 0 to '
            f'{num_vertices - 1}'
        )
    parents = [-1] + [int(parent) for parent in array('kintree_table', 2, NUM_JOINTS)[0, 1:]]
    if any(not 0 <= parent < child for child, parent in enumerate(parents) if child):
        raise DataError(
            f'{path}: kintree_table: found parents {parents}, expected each before its children'
        )
    return dict(
        v_template=template,
        shapedirs=array('shapedirs', num_vertices, 3, None),
        posedirs=array('posedirs', num_vertices, 3, NUM_POSE_COEFFICIENTS),
        weights=array('weights', num_vertices, NUM_JOINTS),
        J_regressor=array('J_regressor', NUM_JOINTS, num_vertices),
        f=faces,
        parents=parents,
    )
