"""Functions that find and read files of the SMPL family: SMPL, SMPL-H and SMPL-X.

Official pickles hold chumpy objects and sparse matrices. They are read without chumpy, and no code
that they name runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import check_array, open_input, read_npz, read_pickle, unpacked_limit

GENDERS = ('neutral', 'male', 'female')


@dataclass(frozen=True)
class BodyKind:
    """A kind of body of the SMPL family.

    Args:
        title: Name of the kind, for messages.
        component: Name of its class in configs.
        num_joints: Number of joints; files of the kind are recognized by it.
        stem: Beginning of the names of its files.
        source: Sentence that says where to get its files.
    """

    title: str
    component: str
    num_joints: int
    stem: str
    source: str


#: Kinds of bodies by the name that regressors use for them.
KINDS = {
    'smpl': BodyKind(
        'SMPL', 'SMPL', 24, 'SMPL',
        'Download SMPL from https://smpl.is.tue.mpg.de (registration), or use the free body, which '
        "needs no file: body_model=dict(type='FreeBody')",
    ),
    'smplh': BodyKind(
        'SMPL-H', 'SMPLH', 52, 'SMPLH',
        'Download SMPL-H from https://mano.is.tue.mpg.de (registration)',
    ),
    'smplx': BodyKind(
        'SMPL-X', 'SMPLX', 55, 'SMPLX',
        'Download SMPL-X from https://smpl-x.is.tue.mpg.de (registration)',
    ),
}  # fmt: skip

#: Number of joints of one hand of SMPL-H and SMPL-X.
NUM_HAND_JOINTS = 15

# Kinds of files that are not bodies of these kinds, by their number of joints or by their fields.
_OTHER_BODIES = {5: 'FLAME (a head)', 16: 'MANO (a hand)', 33: 'SMAL (an animal)'}
_OTHER_FILES = (
    ({'mtx'}, 'transfer data between two meshes, which mmjrr transfer reads'),
    ({'pose', 'shape', 'cam'}, "SPIN's mean parameters"),
    ({'poses', 'trans', 'betas'}, 'a motion sequence (AMASS)'),
    ({'joint_names', 'rows', 'columns'}, 'a joint regressor'),
)


def find_smpl_file(model_path: str | Path, gender: str = 'neutral', kind: str = 'smpl') -> Path:
    """Find the file of a body of the SMPL family.

    In a folder, files are found under their official names, whatever their case:
    ``SMPL_NEUTRAL.pkl``, ``basicModel_neutral_lbs_10_207_0_v1.0.0.pkl`` and
    ``basicmodel_m_lbs_10_207_0_v1.1.0.pkl`` for SMPL, ``SMPLH_male.pkl`` and ``male/model.npz`` for
    SMPL-H, ``SMPLX_NEUTRAL.npz`` and ``neutral/model.npz`` for SMPL-X. Subfolders named after the
    kind (``smpl``) and ``models`` are searched too.

    Args:
        model_path: A ``.pkl`` or ``.npz`` file, or a folder.
        gender: ``'neutral'``, ``'male'`` or ``'female'``; selects the file of a folder. Default:
            ``'neutral'``.
        kind: A key of :data:`KINDS`. Default: ``'smpl'``.

    Raises:
        ValueError: The gender is unknown.
        FileNotFoundError: There is no such file; the message lists the names that were tried.
    """
    if gender not in GENDERS:
        raise ValueError(f'gender: found {gender!r}, expected one of {GENDERS}')
    path = Path(model_path).expanduser()
    if path.suffix in ('.pkl', '.npz'):
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file')
        return path
    names = _official_names(gender, kind)
    folders = (path, path / kind, path / 'models', path / kind / 'models')
    present = [_files_by_name(folder) for folder in folders]
    for name in names:
        for files in present:
            if name.lower() in files:
                return files[name.lower()]
    file_names = sorted(file.name for files in present for file in files.values())[:8]
    raise FileNotFoundError(
        f'{path}: no {KINDS[kind].title} file for gender {gender!r}; tried {names} there and in '
        f'{[folder.name for folder in folders[1:3]]}; found {file_names or "no .pkl and no .npz"}. '
        f'{KINDS[kind].source}'
    )


def load_smpl_file(path: str | Path, kind: str = 'smpl') -> dict[str, Any]:
    """Read and check the arrays of a file of the SMPL family.

    Args:
        path: The file, ``.pkl`` or ``.npz``.
        kind: A key of :data:`KINDS`, which determines the number of joints K. Default: ``'smpl'``.

    Returns:
        ``v_template`` (V, 3), ``shapedirs`` (V, 3, S), ``posedirs`` (V, 3, 9 (K - 1)), ``weights``
        (V, K) and ``J_regressor`` (K, V) in float64, ``f`` (F, 3) in int64, and ``parents``, the
        list of the joints' parents, which begins with -1 for the root. Lengths are in meters. For
        SMPL-H and SMPL-X, if the file has them, also the principal components
        ``hands_componentsl`` and ``hands_componentsr`` (C, 45) of the hands' poses and their means
        ``hands_meanl`` and ``hands_meanr`` (45,), in radians.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is broken or of another kind, an array is missing or has another
            shape, the arrays would take too much memory, or a pickle names a type that is not
            admitted.
    """
    path = Path(path)
    content, remaining = _read(path)
    num_joints = KINDS[kind].num_joints

    def array(key: str, *shape: int | None) -> Array:
        nonlocal remaining
        if key not in content:
            raise DataError(f'{path}: {key}: missing; found {sorted(map(str, content))}')
        checked = check_array(f'{path}: {key}', content[key], shape, limit=remaining)
        remaining -= checked.nbytes
        return checked

    _check_kind(path, content, kind)
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
    parents = [-1] + [int(parent) for parent in array('kintree_table', 2, num_joints)[0, 1:]]
    if any(not 0 <= parent < child for child, parent in enumerate(parents) if child):
        raise DataError(
            f'{path}: kintree_table: found parents {parents}, expected each before its children'
        )
    arrays: dict[str, Any] = dict(
        v_template=template,
        shapedirs=array('shapedirs', num_vertices, 3, None),
        posedirs=array('posedirs', num_vertices, 3, 9 * (num_joints - 1)),
        weights=array('weights', num_vertices, num_joints),
        J_regressor=array('J_regressor', num_joints, num_vertices),
        f=faces,
        parents=parents,
    )
    if kind != 'smpl':
        for side in 'lr':
            if f'hands_components{side}' in content:
                name = f'hands_components{side}'
                arrays[name] = array(name, None, 3 * NUM_HAND_JOINTS)
            if f'hands_mean{side}' in content:
                name = f'hands_mean{side}'
                arrays[name] = array(name, 3 * NUM_HAND_JOINTS)
    return arrays


def _official_names(gender: str, kind: str) -> list[str]:
    """Return names of official files, relative to their folder, the preferred one first."""
    stem = KINDS[kind].stem
    names = [f'{stem}_{gender.upper()}.pkl', f'{stem}_{gender.upper()}.npz']
    if kind == 'smpl':
        short = gender if gender == 'neutral' else gender[0]
        names += [f'basicModel_{short}_lbs_10_207_0_v1.{minor}.0.pkl' for minor in (1, 0)]
        return names
    return [*names[::-1], f'{stem}_{gender.upper()}_2020.npz', f'{gender}/model.npz']


def _files_by_name(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names in lower case, one level of subfolders deep."""
    if not folder.is_dir():
        return {}
    files = sorted(folder.glob('*.*')) + sorted(folder.glob('*/model.npz'))
    return {
        file.relative_to(folder).as_posix().lower(): file
        for file in files
        if file.suffix in ('.pkl', '.npz') and file.is_file()
    }


def _read(path: Path) -> tuple[Mapping[str, Any], int]:
    """Return the fields of a file, and the bytes that their arrays may take."""
    if path.suffix not in ('.pkl', '.npz'):
        raise DataError(f'{path}: found suffix {path.suffix!r}, expected .pkl or .npz')
    with open_input(path) as file:
        content: Any = read_npz(file) if path.suffix == '.npz' else read_pickle(file)
        limit = unpacked_limit(file.size)
    if not isinstance(content, dict):
        raise DataError(f'{path}: found a {type(content).__name__}, expected a dict of arrays')
    return {str(key): value for key, value in content.items()}, limit


def _check_kind(path: Path, content: Mapping[str, Any], kind: str) -> None:
    """Check that a file is of a kind.

    Raises:
        DataError: It is of another known kind; the message names it.
    """
    expected = f'{KINDS[kind].title} ({KINDS[kind].num_joints} joints)'
    tree: tuple[int, ...] = getattr(content.get('kintree_table'), 'shape', ())  # none of a list
    num_joints = tree[1] if len(tree) == 2 else None
    if num_joints == KINDS[kind].num_joints:
        return
    for other in KINDS.values():
        if num_joints == other.num_joints:
            raise DataError(
                f'{path}: found a file of {other.title} ({num_joints} joints), expected '
                f'{expected}; load it with type={other.component!r}'
            )
    if num_joints in _OTHER_BODIES:
        raise DataError(f'{path}: found {_OTHER_BODIES[num_joints]}, expected {expected}')
    for fields, description in _OTHER_FILES:
        if fields <= set(content):
            raise DataError(f'{path}: found {description}, expected {expected}')
