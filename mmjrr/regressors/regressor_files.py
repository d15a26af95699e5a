"""Reader and writer of joint regressor files and their sidecars; weights are checked elsewhere.

mmjrr writes a regressor as two files: the weights, ``NAME.npy``, and their sidecar, ``NAME.json``,
with joint names, body, provenance, and the SHA-256 of the ``.npy``. The sidecar is written first,
so a killed run leaves no ``.npy`` without its names.

Other readable files are ``.npy``, ``.npz`` (a matrix; rows, columns, values and shape of a sparse
one; or what ``scipy.sparse.save_npz`` writes), ``.pkl`` (an array or a sparse matrix, or a dict
that contains one), ``.pt`` and ``.pth`` (a tensor, or a dict that contains one).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import (
    InputFile,
    atomic_write,
    check_array,
    open_input,
    read_json,
    read_npy,
    read_npz,
    read_pickle,
    read_torch,
    unpacked_limit,
    versions,
    write_json,
)
from mmjrr.io.paths import check_suffix
from mmjrr.io.sparse import check_dense_size, sparse_matrix
from mmjrr.joints import JOINT_ORDERS
from mmjrr.regressors.mesh_mapping import check_error_mm
from mmjrr.regressors.zoo import ZOO, ZooEntry, find_regressor

_SIDECAR_FORMAT = 'mmjrr.joint_regressor/1'
_SIDECAR_FIELDS = {
    'joint_names': list,
    'body_model': str,
    'provenance': dict,
    'normal_offsets': list,
    'normal_faces': list,
}

#: Copies of the matrix that loading and inspecting a regressor hold in memory at a time.
_COPIES = 4


@dataclass
class RegressorFile:
    """Contents of a regressor's file, its sidecar and its entry in the zoo.

    Attributes:
        path: The file.
        sha256: Checksum of the file.
        weight: (J, V) float64, as in the file.
        joint_names: Name of each row; None if neither file, sidecar nor zoo state them.
        body_model: Name of the body whose vertices are the columns; None if neither sidecar nor
            zoo state it.
        provenance: Description of its making, from sidecar or zoo.
        normal_offsets: (J,), meters off the surface; None if the sidecar states none.
        normal_faces: (F, 3), faces for the normals of these points.
    """

    path: Path
    sha256: str
    weight: Array
    joint_names: tuple[str, ...] | None = None
    body_model: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    normal_offsets: Array | None = None
    normal_faces: Array | None = None

    @property
    def sidecar(self) -> Path | None:
        """Path of the sidecar that a file of this type may have."""
        return sidecar_of(self.path)

    @property
    def n_frames(self) -> int | None:
        """Number of frames to which the regressor was fitted; None if the file does not say."""
        count = self.provenance.get('n_frames')
        return count if isinstance(count, int) else None


def sidecar_of(path: Path) -> Path | None:
    """Return the path of the sidecar of a ``.npy`` file, existing or not; None for other files."""
    return path.with_suffix('.json') if path.suffix == '.npy' else None


def read_regressor(path_or_name: str | Path) -> RegressorFile:
    """Read a regressor's file, and its sidecar if it has one.

    The file is opened once; its checksum is compared with those of sidecar and zoo.

    Args:
        path_or_name: A file, or a name in :data:`mmjrr.regressors.ZOO`.

    Raises:
        FileNotFoundError: The file does not exist; for names in the zoo, the message says where to
            get it.
        DataError: The name is unknown, or the file or its sidecar is damaged or does not match.
    """
    path = Path(path_or_name)
    entry = None
    if not path.is_file():
        if isinstance(path_or_name, str) and path_or_name in ZOO:
            entry, path = find_regressor(path_or_name)
        elif path.suffix:
            raise FileNotFoundError(f'{path}: no such file')
        else:
            raise DataError(
                f'{str(path_or_name)!r}: found neither a file nor a name in the zoo, which has '
                f'{sorted(ZOO)}'
            )
    with open_input(path) as file:
        checksum = file.sha256()
        if entry is not None:
            entry.check_sha256(path, checksum)
        described = {**_from_zoo(entry), **read_sidecar(path, checksum)}
        weight, names = _read_weight(file)
    names = described.get('joint_names', names)
    return RegressorFile(
        path,
        checksum,
        weight,
        None if names is None else tuple(names),
        described.get('body_model'),
        described.get('provenance', {}),
        *_normals(path, described),
    )


def _normals(path: Path, described: dict[str, Any]) -> tuple[Array | None, Array | None]:
    """Return offsets along the normals and the faces that they need, as the sidecar has them."""
    if 'normal_offsets' not in described:
        return None, None
    where = sidecar_of(path) or path
    try:
        offsets = np.array(described['normal_offsets'])
        faces = np.array(described.get('normal_faces'))
    except ValueError as error:
        raise DataError(f'{where}: normal_offsets, normal_faces: {error}') from error
    return (
        check_array(f'{where}: normal_offsets', offsets, ('J',)).astype(np.float64),
        check_array(f'{where}: normal_faces', faces, ('F', 3), 'integer').astype(np.int64),
    )


def write_regressor(
    path: str | Path,
    weight: Array,
    joint_names: Sequence[str],
    body_model: str,
    cleaning: Sequence[str],
    provenance: dict[str, Any],
    normals: tuple[Array, Array] | None = None,
) -> Path:
    """Write ``NAME.npy`` and its sidecar ``NAME.json``.

    ``normals`` holds the points' offsets along the surface normals and the faces for the normals.
    Each file is written whole or not at all, the sidecar first. A kill between the two leaves no
    ``.npy``, or an older one, which is refused since its checksum is not the sidecar's.

    Returns:
        The path of the ``.npy``.

    Raises:
        ValueError: ``path`` does not end in ``.npy``.
    """
    path = check_suffix(path, '.npy')
    buffer = io.BytesIO()
    np.save(buffer, weight)
    description = {
        'format': _SIDECAR_FORMAT,
        'joint_names': list(joint_names),
        'body_model': body_model,
        'shape': list(weight.shape),
        'sha256': hashlib.sha256(buffer.getbuffer()).hexdigest(),
        'cleaning': list(cleaning),
        'provenance': provenance,
        'versions': versions(),
    }
    if normals is not None:
        description['normal_offsets'] = normals[0].tolist()
        description['normal_faces'] = normals[1].tolist()
    write_json(path.with_suffix('.json'), description)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return path


def _from_zoo(entry: ZooEntry | None) -> dict[str, Any]:
    if entry is None:
        return {}
    return {
        'joint_names': JOINT_ORDERS[entry.joint_order],
        'body_model': entry.body_model,
        'provenance': {'name': entry.name, 'source': entry.source, **entry.provenance},
    }


def read_sidecar(path: Path, checksum: str | None = None) -> dict[str, Any]:
    """Return what a regressor's sidecar says, whose fields have their types; {} if there is none.

    Args:
        path: The regressor's file.
        checksum: SHA-256 of that file. Default: None, not compared with the sidecar's.

    Raises:
        DataError: The sidecar is damaged or of another kind, or the checksum is not the sidecar's.
    """
    sidecar = sidecar_of(path)
    if sidecar is None or not sidecar.is_file():
        return {}
    described = read_json(sidecar)
    if not isinstance(described, dict) or described.get('format') != _SIDECAR_FORMAT:
        raise DataError(
            f'{sidecar}: not a sidecar of the format {_SIDECAR_FORMAT!r}, which a file of this '
            f'name next to {path.name} should be; move it elsewhere and pass joint_order='
        )
    for name, kind in _SIDECAR_FIELDS.items():
        if not isinstance(described.get(name, kind()), kind):
            raise DataError(
                f'{sidecar}: {name}: found {described[name]!r:.80}, expected a {kind.__name__}'
            )
    _check_carried(f'{sidecar}: provenance: carried', described.get('provenance', {}))
    if checksum is not None and described.get('sha256') != checksum:
        raise DataError(
            f'{path}: found the sha256 {checksum}, expected {described.get("sha256")!s:.80} as its '
            f'sidecar {sidecar.name} says: one of the two was replaced, or a run was killed while '
            'it wrote them. Restore both, or delete both and make them again (--resume fits a '
            f'missing J_spin again); if {path.name} is right, delete {sidecar.name} and pass '
            'joint_order='
        )
    return described


def _check_carried(where: str, provenance: dict[str, Any]) -> None:
    """Check the steps by which a regressor was carried, as ``JointRegressor.to_mesh`` notes them.

    Raises:
        DataError: They are no list of objects, or a field of one has another type.
    """
    steps = provenance.get('carried', [])
    if not isinstance(steps, list):
        raise DataError(f'{where}: found {steps!r:.80}, expected a list')
    for step in steps:
        if not isinstance(step, dict) or not isinstance(step.get('mapping', {}), dict):
            raise DataError(
                f'{where}: found {step!r:.80}, expected an object with from, to, mapping, error_mm'
            )
        check_error_mm(where, step)
        check_error_mm(f'{where}: mapping', step.get('mapping', {}))


def _read_weight(file: InputFile) -> tuple[Array, tuple[str, ...] | None]:
    """Return the file's matrix in float64, and its joint names or None."""
    names, path = None, file.path
    limit = unpacked_limit(file.size) // _COPIES
    if path.suffix == '.npy':
        where, weight = str(path), read_npy(file)
    elif path.suffix == '.npz':
        arrays = read_npz(file)
        names = _names_in(path, arrays)
        where, weight = _matrix_in_npz(path, arrays, limit)
    elif path.suffix in ('.pt', '.pth'):
        where, weight = _matrix_in(path, read_torch(file, as_torch=False))
    elif path.suffix in ('.pkl', '.pickle'):
        where, weight = _matrix_in(path, read_pickle(file))
    else:
        raise DataError(
            f'{path}: found the suffix {path.suffix!r}, expected .npy, .npz, .pkl, .pt, .pth'
        )
    matrix = check_array(where, weight, ('J', 'V'), finite=False, limit=limit)
    if not matrix.size:
        raise DataError(f'{where}: found shape {matrix.shape}, expected rows and columns')
    return matrix, names


def _names_in(path: Path, arrays: dict[str, Array]) -> tuple[str, ...] | None:
    if 'joint_names' not in arrays:
        return None
    where = f'{path}: joint_names'
    return tuple(check_array(where, arrays['joint_names'], ('J',), 'text').tolist())


def _matrix_in_npz(path: Path, arrays: dict[str, Array], limit: int) -> tuple[str, Any]:
    """Return the only matrix of an npz file, and its name for messages; it may be sparse."""
    if {'rows', 'columns', 'values', 'shape'} <= set(arrays):
        return str(path), _from_sparse(path, arrays, limit)
    if 'data' in arrays and 'shape' in arrays and ({'indptr', 'row'} & set(arrays)):
        return f'{path}: sparse matrix', _from_scipy(path, arrays)
    return _only_matrix(path, arrays)


def _from_scipy(path: Path, arrays: dict[str, Array]) -> Any:
    """Return the sparse matrix that ``scipy.sparse.save_npz`` wrote."""
    kind = arrays.get('format', np.array('csr')).item()
    kind = kind.decode('ascii', 'replace') if isinstance(kind, bytes) else str(kind)
    if kind not in ('csr', 'csc', 'coo'):
        raise DataError(f'{path}: format: found {kind!r:.40}, expected csr, csc or coo')
    fields: dict[str, Any] = {name: value for name, value in arrays.items() if name != 'format'}
    fields['shape'] = tuple(np.ravel(arrays['shape']).tolist())
    return sparse_matrix(f'{path}:', kind, fields)


def _from_sparse(path: Path, arrays: dict[str, Array], limit: int) -> Array:
    """Return the matrix with ``values`` at ``rows`` and ``columns``, zero elsewhere."""
    shape = tuple(check_array(f'{path}: shape', arrays['shape'], (2,), 'integer').tolist())
    if min(shape) <= 0:
        raise DataError(f'{path}: shape: found {shape}, expected two positive sizes, (J, V)')
    check_dense_size(f'{path}: shape', shape, limit)
    sizes: dict[str, int] = {}
    indices = []
    for name, size in zip(('rows', 'columns'), shape, strict=True):
        index = check_array(f'{path}: {name}', arrays[name], ('weights',), 'integer', sizes=sizes)
        if ((index < 0) | (index >= size)).any():
            raise DataError(f'{path}: {name}: found numbers outside [0, {size})')
        indices.append(index)
    values = check_array(
        f'{path}: values', arrays['values'], ('weights',), finite=False, sizes=sizes
    )
    weight = np.zeros(shape)
    weight[tuple(indices)] = values
    return weight


def _matrix_in(path: Path, content: Any) -> tuple[str, Any]:
    """Return the only matrix in what a file holds, and its name for messages; it may be sparse.

    The file holds an array, a sparse matrix, or a dict that contains one. A dict may name one
    sparse matrix many times, so none is made dense here.
    """
    if isinstance(content, np.ndarray):
        return str(path), content
    if hasattr(content, 'toarray'):
        return f'{path}: sparse matrix', content
    if not isinstance(content, dict):
        raise DataError(f'{path}: found {type(content).__name__}, expected a matrix or a dict')
    arrays = {
        str(key): value
        for key, value in content.items()
        if isinstance(value, np.ndarray) or hasattr(value, 'toarray')
    }
    return _only_matrix(path, arrays)


def _only_matrix(path: Path, arrays: dict[str, Any]) -> tuple[str, Any]:
    matrices = {key: value for key, value in arrays.items() if value.ndim == 2}
    for name in ('weight', 'J_regressor'):
        if name in matrices:
            return f'{path}: {name}', matrices[name]
    if len(matrices) != 1:
        raise DataError(
            f'{path}: found {len(matrices)} matrices among {sorted(arrays)!s:.200}, expected one, '
            f"or one named 'weight'"
        )
    name, matrix = next(iter(matrices.items()))
    return f'{path}: {name}', matrix
