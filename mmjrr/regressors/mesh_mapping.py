"""Linear maps between the vertices of two meshes, by which joint regressors move between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models.known_meshes import NUM_VERTICES, mesh_of_size
from mmjrr.errors import DataError
from mmjrr.io import (
    InputFile,
    atomic_write,
    check_array,
    open_input,
    read_mesh_faces,
    read_mesh_vertices,
    read_npy,
    read_npz,
    read_pickle,
    read_torch,
    unpacked_limit,
)
from mmjrr.io.paths import check_suffix
from mmjrr.io.sparse import sparse_matrix

#: Largest accepted sum of a row's absolute weights; transfer data that is sound stays near one.
_MAX_ABSOLUTE_SUM = 3.0
_SUM_TOLERANCE = 1e-3
#: Most vertices of a mesh in a mapping.
_MAX_VERTICES = 1_000_000
_UNKNOWN = 'unnamed'
#: Suffixes of meshes with vertices and triangles.
MESH_SUFFIXES = ('.obj', '.ply')


class MeshMapping:
    """Vertices of a target mesh as weighted means of a source mesh's vertices.

    A regressor for the target mesh becomes one for the source mesh:
    ``J_target @ vertices_target = (J_target @ matrix) @ vertices_source``, see
    :meth:`mmjrr.regressors.JointRegressor.to_mesh`.

    Args:
        matrix: (V_target, V_source), sparse or dense; rows sum to one.
        source: Name of the source mesh. Default: None, from the number of columns.
        target: Name of the target mesh. Default: None, from the number of rows.
        provenance: Description of its making, as plain values for JSON.

    Attributes:
        matrix: (V_target, V_source), float64, sparse rows.

    Raises:
        ValueError: A weight is NaN or infinite, a row does not sum to one, or a mesh has another
            number of vertices than its name says.

    >>> mapping = MeshMapping(np.array([[0.5, 0.5, 0.0]]), source='plate', target='point')
    >>> mapping.matrix @ np.array([[0.0, 0, 0], [2, 4, 6], [9, 9, 9]])
    array([[1., 2., 3.]])
    """

    def __init__(
        self,
        matrix: csr_matrix | Array,
        source: str | None = None,
        target: str | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.matrix = csr_matrix(matrix, dtype=np.float64)
        self.matrix.sum_duplicates()
        self.matrix.eliminate_zeros()
        rows, columns = self.matrix.shape
        self.source = source or _name_of(columns)
        self.target = target or _name_of(rows)
        self.provenance = dict(provenance or {})
        for name, count in ((self.source, columns), (self.target, rows)):
            if NUM_VERTICES.get(name, count) != count:
                raise ValueError(
                    f'mapping: found {rows} rows and {columns} columns, but {name!r} has '
                    f'{NUM_VERTICES[name]} vertices'
                )
        if not np.isfinite(self.matrix.data).all():
            raise ValueError('mapping: found NaN or infinity, expected finite weights')
        sums = np.asarray(self.matrix.sum(1)).ravel()
        off = int(np.abs(sums - 1).argmax())
        if abs(sums[off] - 1) > _SUM_TOLERANCE:
            raise ValueError(
                f'mapping: the row {off} sums to {sums[off]:.4g}, expected one: each vertex of '
                f'{self.target!r} is a weighted mean of vertices of {self.source!r}'
            )
        if np.asarray(np.abs(self.matrix).sum(1)).max() > _MAX_ABSOLUTE_SUM:
            raise ValueError('mapping: found large weights of both signs, expected means')

    @property
    def num_source_vertices(self) -> int:
        """Number of vertices of the source mesh."""
        return int(self.matrix.shape[1])

    @property
    def num_target_vertices(self) -> int:
        """Number of vertices of the target mesh."""
        return int(self.matrix.shape[0])

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({self.target!r} ({self.num_target_vertices} vertices) from '
            f'{self.source!r} ({self.num_source_vertices} vertices))'
        )

    def carry(self, vertices: Array) -> FloatArray:
        """Compute the target mesh's vertices (..., V_target, 3) from the source mesh's.

        The result has the unit of ``vertices``.

        Raises:
            ValueError: ``vertices`` has another shape.
        """
        if vertices.shape[-2:] != (self.num_source_vertices, 3):
            raise ValueError(
                f'vertices: found {vertices.shape}, expected (..., {self.num_source_vertices}, 3)'
            )
        flat = vertices.reshape(-1, *vertices.shape[-2:]).astype(np.float64)
        carried = np.stack([self.matrix @ mesh for mesh in flat])
        return carried.reshape(*vertices.shape[:-2], self.num_target_vertices, 3)

    @classmethod
    def load(
        cls,
        path: str | Path,
        faces: str | Path | Array | None = None,
        source: str | None = None,
        target: str | None = None,
    ) -> MeshMapping:
        """Read a mapping from a file.

        Args:
            path: One of these files:

                - transfer data of the SMPL-X site, a pickle with ``mtx`` (V_target, 2 V_source),
                  whose right half, for normals, is ignored, or ``matrix`` (V_target, V_source);
                - a pickled, ``.pt`` or ``.npy`` matrix, dense or sparse, or a ``.npz`` by
                  ``scipy.sparse.save_npz``;
                - a ``.npz`` with ``triangle_ids`` (V_target,) and ``baryc_coords`` (V_target, 3),
                  as in ``tools/mhr_smpl_conversion/assets`` of MHR's repository;
                - a ``.npz`` that :meth:`save` wrote.
            faces: Triangles of the source mesh, which barycentric coordinates refer to: an array
                (F, 3), or a ``.obj``, ``.ply``, ``.npy``, ``.npz`` or ``.pkl`` file (field ``f`` or
                ``faces``). Default: None, the file's own ``faces``.
            source: Name of the source mesh. Default: None, as the file or the number of columns
                says.
            target: Name of the target mesh. Default: None, as the file or the number of rows says.

        Raises:
            FileNotFoundError: A file does not exist.
            DataError: A file is damaged or of another kind, or its numbers are no mapping.
        """
        with open_input(path) as file:
            path, checksum = file.path, file.sha256()
            content, limit = _read(file), unpacked_limit(file.size)
        described: dict[str, Any] = {}
        if isinstance(content, dict) and 'description' in content:
            described = _description(path, content['description'])
        try:
            source = source or described.get('source')
            matrix = _matrix_of(path, content, faces, limit, source)
            return cls(
                matrix,
                source,
                target or described.get('target'),
                {
                    **described.get('provenance', {}),
                    'file': path.name,
                    'file_sha256': checksum,
                },
            )
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f'{path}: {error}') from error

    def save(self, path: str | Path) -> Path:
        """Write the mapping as ``.npz``: rows, columns, values and shape, with its description.

        Returns:
            The path.

        Raises:
            ValueError: ``path`` does not end in ``.npz``.
        """
        path = check_suffix(path, '.npz')
        matrix = self.matrix.tocoo()
        description = json.dumps(
            {'source': self.source, 'target': self.target, 'provenance': self.provenance}
        )
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.savez_compressed(
                file,
                rows=matrix.row.astype(np.int32),
                columns=matrix.col.astype(np.int32),
                values=matrix.data,
                shape=np.array(matrix.shape),
                description=np.array(description),
            )
        return path


def read_faces(path: str | Path) -> Array:  # (F, 3)
    """Read the triangles of a mesh.

    Args:
        path: A ``.obj`` or ``.ply`` mesh, a ``.npy`` of triangles, or a ``.npz`` or ``.pkl`` with
            the field ``f`` or ``faces``, such as the file of a body.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged or has no triangles.
    """
    path = Path(path)
    if path.suffix in MESH_SUFFIXES:
        return read_mesh_faces(path)
    with open_input(path) as file:
        content = _read(file)
    if isinstance(content, dict):
        name = next((name for name in ('f', 'faces') if name in content), None)
        if name is None:
            raise DataError(f"{path}: found {sorted(content)}, expected 'f' or 'faces'")
        content = content[name]
    return check_array(f'{path}: faces', content, ('F', 3), 'integer')


def _name_of(count: int) -> str:
    mesh = mesh_of_size(count)
    return _UNKNOWN if mesh is None else mesh.name


def _read(file: InputFile) -> Any:
    path = file.path
    if path.suffix == '.npz':
        return dict(read_npz(file))
    if path.suffix == '.npy':
        return read_npy(file)
    if path.suffix in ('.pkl', '.pickle'):
        content = read_pickle(file)
        return {str(k): v for k, v in content.items()} if isinstance(content, dict) else content
    if path.suffix in ('.pt', '.pth'):
        content = read_torch(file, as_torch=False)
        return {str(k): v for k, v in content.items()} if isinstance(content, dict) else content
    raise DataError(f'{path}: found the suffix {path.suffix!r}, expected .npz, .npy, .pkl or .pt')


def _description(path: Path, value: Any) -> dict[str, Any]:
    try:
        described = json.loads(str(np.asarray(value)[()]))
    except ValueError as error:
        raise DataError(f'{path}: description: not JSON ({error})') from error
    if not isinstance(described, dict) or not isinstance(described.get('provenance', {}), dict):
        raise DataError(f'{path}: description: found {described!r:.80}, expected an object')
    for name in ('source', 'target'):
        if not isinstance(described.get(name, ''), str):
            raise DataError(
                f'{path}: description: {name}: found {described[name]!r:.80}, expected a name'
            )
    check_error_mm(f'{path}: description: provenance', described.get('provenance', {}))
    return described


def check_error_mm(where: str, description: dict[str, Any]) -> None:
    """Check the measured error in the description of a mapping.

    It is an object as :meth:`mmjrr.regressors.MappingError.as_dict` returns it, or an object of
    such; anything but an object stands for an error that is not measured.

    Args:
        where: File and field, for messages.
        description: The description, with or without a field ``error_mm``.

    Raises:
        DataError: It is an object of another kind.
    """
    error = description.get('error_mm')
    if not isinstance(error, dict):
        return
    rows = [error] if 'mean' in error else error.values()
    if ('mean' in error and 'bodies' not in error) or not all(map(_has_mean, rows)):
        raise DataError(
            f'{where}: error_mm: found {error!r:.80}, expected an object with mean and bodies, or '
            'an object of such'
        )


def _has_mean(row: Any) -> bool:
    mean = row.get('mean') if isinstance(row, dict) else None
    return isinstance(mean, (int, float)) and 0 <= mean < 1e6


def _matrix_of(
    path: Path, content: Any, faces: str | Path | Array | None, limit: int, source: str | None
) -> csr_matrix:
    if not isinstance(content, dict):
        return _as_csr(str(path), content, limit)
    if {'triangle_ids', 'baryc_coords'} <= set(content):
        return _from_barycentric(path, content, faces, limit, source)
    if 'mtx' in content:
        matrix = _as_csr(f'{path}: mtx', content['mtx'], limit)
        columns = matrix.shape[1]
        # The right half multiplies normals; smplx's transfer tool leaves it out too.
        if columns % 2 == 0 and mesh_of_size(columns) is None:
            matrix = matrix[:, : columns // 2]
        return matrix
    if {'rows', 'columns', 'values', 'shape'} <= set(content):
        fields = {'data': content['values'], 'row': content['rows'], 'col': content['columns']}
        return _checked_sparse(str(path), 'coo', {**fields, 'shape': content['shape']})
    if {'data', 'shape'} <= set(content):
        kind = str(np.asarray(content.get('format', b'csr'))[()])
        kind = kind[2:-1] if kind.startswith("b'") else kind
        if kind not in ('csr', 'csc', 'coo'):
            raise DataError(f'{path}: format: found {kind!r}, expected csr, csc or coo')
        return _checked_sparse(str(path), kind, content)
    matrices = {k: v for k, v in content.items() if issparse(v) or np.ndim(v) == 2}
    name = 'matrix' if 'matrix' in matrices else next(iter(matrices), None)
    if name is None or (name != 'matrix' and len(matrices) > 1):
        raise DataError(
            f'{path}: found {sorted(content)}, expected a mapping between meshes: mtx or matrix, '
            'or triangle_ids and baryc_coords'
        )
    return _as_csr(f'{path}: {name}', matrices[name], limit)


def _checked_sparse(where: str, kind: str, fields: dict[str, Any]) -> csr_matrix:
    _check_size(where, fields['shape'])
    return csr_matrix(sparse_matrix(where, kind, fields))


def _check_size(where: str, shape: Any) -> None:
    """Refuse sizes for which compressed rows would take more memory than any mesh needs."""
    sizes = np.asarray(shape)
    if sizes.shape == (2,) and sizes.dtype.kind in 'iuf' and (sizes > _MAX_VERTICES).any():
        raise DataError(f'{where}: shape: found {sizes.tolist()}, expected at most {_MAX_VERTICES}')


def _as_csr(where: str, value: Any, limit: int) -> csr_matrix:
    if issparse(value):
        _check_size(where, value.shape)
        return csr_matrix(value, dtype=np.float64)
    matrix = check_array(where, value, ('target', 'source'), finite=False, limit=limit)
    return csr_matrix(matrix)


def _from_barycentric(
    path: Path,
    content: dict[str, Any],
    faces: str | Path | Array | None,
    limit: int,
    source: str | None,
) -> csr_matrix:
    checks: dict[str, Any] = {'sizes': {}, 'limit': limit}
    ids = check_array(
        f'{path}: triangle_ids', content['triangle_ids'], ('target',), 'integer', **checks
    )
    weights = check_array(f'{path}: baryc_coords', content['baryc_coords'], ('target', 3), **checks)
    where = 'faces'
    if isinstance(faces, (str, Path)):
        where = f'{faces}: faces'
    elif faces is None:
        faces, where = content.get('faces'), f'{path}: faces'
    if faces is None:
        raise DataError(
            f'{path}: triangle_ids are numbers of triangles of the source mesh, which the file '
            'does not hold; pass its mesh as faces= (on the command line, --faces), such as the '
            '.ply next to the file'
        )
    count = 0
    if isinstance(faces, (str, Path)):
        triangles = read_faces(faces)
        if Path(faces).suffix in MESH_SUFFIXES:
            count = len(read_mesh_vertices(faces))
    else:
        triangles = faces
    triangles = check_array(where, triangles, ('F', 3), 'integer')
    if len(ids) and (ids.min() < 0 or ids.max() >= len(triangles)):
        raise DataError(
            f'{path}: triangle_ids: found {ids.min()} to {ids.max()}, expected 0 to '
            f'{len(triangles) - 1}, the triangles of faces'
        )
    if triangles.min() < 0 or triangles.max() >= _MAX_VERTICES:
        raise DataError(f'{where}: found vertices {triangles.min()} to {triangles.max()}')
    count = max(count, _num_vertices(triangles, source))
    rows = np.repeat(np.arange(len(ids)), 3)
    return csr_matrix((weights.ravel(), (rows, triangles[ids].ravel())), shape=(len(ids), count))


def _num_vertices(triangles: Array, name: str | None) -> int:
    """Return the number of vertices of a mesh with these triangles.

    A known mesh, which is named, may have a few vertices behind the last one that a triangle uses.
    """
    count_in_use = int(triangles.max()) + 1
    known = NUM_VERTICES.get(name or '', 0)
    return known if 0 <= known - count_in_use < 64 else count_in_use
