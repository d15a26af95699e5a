"""Readers of vertices and triangles in ``.obj`` and ``.ply`` files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.input_files import FilePath, open_input
from mmjrr.io.own_errors import own_errors

#: NumPy's code of each number type in PLY, which has an old and a new name for each.
_PLY_TYPES = {
    'char': 'i1', 'int8': 'i1', 'uchar': 'u1', 'uint8': 'u1', 'short': 'i2', 'int16': 'i2',
    'ushort': 'u2', 'uint16': 'u2', 'int': 'i4', 'int32': 'i4', 'uint': 'u4', 'uint32': 'u4',
    'float': 'f4', 'float32': 'f4', 'double': 'f8', 'float64': 'f8',
}  # fmt: skip
#: How the line of a vertex begins in an ``.obj`` file.
_OBJ_VERTEX = (b'v ', b'v\t')
_PLY_ORDERS = {'binary_little_endian': '<', 'binary_big_endian': '>'}


def read_mesh_vertices(path: FilePath) -> Array:  # (V, 3)
    """Read the vertices of a mesh, in the file's order and unit, as float32.

    Args:
        path: A Wavefront ``.obj`` file, or a ``.ply`` file in any of its three formats. The
            content decides which it is, not the suffix.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated, unreadable, or has no vertices.
    """
    with open_input(path) as file:
        content, where = file.stream.read(), str(file.path)
    is_ply = content.startswith(b'ply')
    with own_errors(where, 'a .ply file' if is_ply else 'an .obj file'):
        vertices = _ply_vertices(_read_ply(content)) if is_ply else _obj_vertices(content)
        if not len(vertices):
            raise DataError(f'{where}: found no vertices')
        return vertices.astype(np.float32)


def read_mesh_faces(path: FilePath) -> Array:  # (F, 3)
    """Read the faces of a mesh as triangles of vertex indices from 0, int64.

    Args:
        path: As in :func:`read_mesh_vertices`. Polygons of an ``.obj`` file are cut into triangles;
            a binary ``.ply`` file must hold triangles only.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated, unreadable, or has no faces, or a face has an index
            outside the vertices.
    """
    with open_input(path) as file:
        content, where = file.stream.read(), str(file.path)
    is_ply = content.startswith(b'ply')
    with own_errors(where, 'a .ply file' if is_ply else 'an .obj file'):
        if is_ply:
            ply = _read_ply(content)
            count = len(_ply_vertices(ply))
            faces = _triangles(_ply_faces(ply))
        else:
            count = len(_obj_vertices(content))
            faces = _triangles(_obj_faces(content))
        if not len(faces):
            raise DataError(f'{where}: found no faces')
        if faces.min() < 0 or faces.max() >= count:
            raise DataError(
                f'{where}: found faces of the vertices {faces.min()} to {faces.max()}, expected 0 '
                f'to {count - 1}'
            )
        return faces


def _triangles(polygons: Array | list[list[int]]) -> Array:
    """Cut polygons into triangles at their first corner."""
    if isinstance(polygons, np.ndarray):
        return polygons
    corners = [
        (polygon[0], polygon[i], polygon[i + 1])
        for polygon in polygons
        for i in range(1, len(polygon) - 1)
    ]
    return np.array(corners, dtype=np.int64).reshape(len(corners), 3)


def _obj_faces(content: bytes) -> list[list[int]]:
    """Return the polygons; negative indices count back from the last vertex above their line."""
    polygons, num_vertices = [], 0
    for line in content.splitlines():
        if line.startswith(_OBJ_VERTEX):
            num_vertices += 1
        elif line.startswith((b'f ', b'f\t')):
            numbers = [int(word.split(b'/')[0]) for word in line.split()[1:]]
            # The index 0 does not exist; it becomes -1, which is outside the vertices.
            polygons.append([n - 1 if n >= 0 else num_vertices + n for n in numbers])
    return polygons


def _obj_vertices(content: bytes) -> Array:
    rows = [line.split()[1:4] for line in content.splitlines() if line.startswith(_OBJ_VERTEX)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


@dataclass(frozen=True)
class _Ply:
    """Header and data of a ``.ply`` file.

    Attributes:
        kind: Format of the data.
        counts: Number of each element, by its name.
        properties: Words of each property's line after the first, by the element's name.
        data: The bytes after the header.
    """

    kind: str
    counts: dict[str, int]
    properties: dict[str, list[list[str]]]
    data: bytes

    def vertex_properties(self) -> list[tuple[str, str]]:
        """Return name and NumPy's type of each property of the vertices."""
        for words in self.properties['vertex']:
            if words[0] not in _PLY_TYPES:
                raise DataError(f'found a vertex property of type {words[0]!r}, expected a number')
        return [(words[1], _PLY_TYPES[words[0]]) for words in self.properties['vertex']]

    def vertex_dtype(self) -> np.dtype[Any]:
        """Return the type of a row of a binary file's vertices."""
        return np.dtype(
            [(name, _PLY_ORDERS[self.kind] + c) for name, c in self.vertex_properties()]
        )


def _read_ply(content: bytes) -> _Ply:
    header, end, data = content.partition(b'end_header')
    newline = data.find(b'\n')
    if not end or newline < 0:
        raise DataError('the header of the .ply file does not end')
    kind, element = '', ''
    counts: dict[str, int] = {}
    properties: dict[str, list[list[str]]] = {'vertex': [], 'face': []}
    for line in header.decode('ascii').splitlines():
        words = line.split()
        if words[:1] == ['format']:
            kind = words[1]
        elif words[:1] == ['element']:
            element = words[1]
            if element != 'vertex' and 'vertex' not in counts:
                raise DataError(f'found the element {element!r} first, expected vertices')
            counts[element] = int(words[2])
        elif words[:1] == ['property']:
            properties.setdefault(element, []).append(words[1:])
    return _Ply(kind, counts, properties, data[newline + 1 :])


def _ply_vertices(ply: _Ply) -> Array:
    properties, count = ply.vertex_properties(), ply.counts.get('vertex', -1)
    names = [name for name, _ in properties]
    if count < 0 or not {'x', 'y', 'z'} <= set(names):
        raise DataError(f'found vertices with {names}, expected x, y and z')
    if ply.kind == 'ascii':
        rows = [line.split() for line in ply.data.splitlines()[:count]]
        if len(rows) < count:
            raise DataError(f'found {len(rows)} vertices, expected {count}')
        columns = [names.index(axis) for axis in 'xyz']
        return np.array([[row[column] for column in columns] for row in rows], dtype=np.float64)
    if ply.kind not in _PLY_ORDERS:
        formats = ' or '.join(_PLY_ORDERS)
        raise DataError(f'found the format {ply.kind!r}, expected ascii or {formats}')
    dtype = ply.vertex_dtype()
    if count * dtype.itemsize > len(ply.data):
        raise DataError(
            f'found {len(ply.data)} bytes, expected {count} vertices of {dtype.itemsize}'
        )
    table = np.frombuffer(ply.data, dtype, count)
    return np.stack([table[axis].astype(np.float64) for axis in 'xyz'], axis=1)


def _ply_faces(ply: _Ply) -> Array | list[list[int]]:
    """Return the polygons of a file whose vertices are readable."""
    properties, count = ply.properties['face'], ply.counts.get('face', 0)
    if not properties:
        raise DataError('found no faces')
    if len(properties) > 1 or properties[0][0] != 'list':
        raise DataError(
            f'found the face property {properties[-1][-1]!r}, expected a list of indices'
        )
    types = _PLY_TYPES[properties[0][1]], _PLY_TYPES[properties[0][2]]
    num_vertices = ply.counts['vertex']
    if ply.kind == 'ascii':
        lines = ply.data.splitlines()[num_vertices : num_vertices + count]
        return [[int(word) for word in line.split()[1:]] for line in lines]
    order = _PLY_ORDERS[ply.kind]
    dtype = np.dtype([('count', order + types[0]), ('corners', order + types[1], (3,))])
    start = num_vertices * ply.vertex_dtype().itemsize
    if start + count * dtype.itemsize > len(ply.data):
        raise DataError(f'found {len(ply.data)} bytes, expected {count} triangles')
    table = np.frombuffer(ply.data, dtype, count, start)
    if (table['count'] != 3).any():
        raise DataError('found faces that do not have 3 corners, expected triangles')
    return table['corners'].astype(np.int64)
