"""Readers of vertices and triangles in ``.obj`` and ``.ply`` files."""

from __future__ import annotations

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
        vertices = _ply_vertices(content) if is_ply else _obj_vertices(content)
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
        count = len(_ply_vertices(content) if is_ply else _obj_vertices(content))
        polygons = _ply_faces(content) if is_ply else _obj_faces(content, count)
        faces = _triangles(polygons)
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


def _obj_faces(content: bytes, num_vertices: int) -> list[list[int]]:
    """Return the polygons; negative indices count back from the last vertex."""
    polygons = []
    for line in content.splitlines():
        if line.startswith((b'f ', b'f\t')):
            numbers = [int(word.split(b'/')[0]) for word in line.split()[1:]]
            polygons.append([n - 1 if n > 0 else num_vertices + n for n in numbers])
    return polygons


def _ply_faces(content: bytes) -> Array | list[list[int]]:
    header, _, data = content.partition(b'end_header')
    data = data[data.find(b'\n') + 1 :]
    kind, vertex_size, counts = '', 0, {'vertex': 0, 'face': 0}
    lists: list[tuple[str, str]] = []
    element = ''
    for line in header.decode('ascii').splitlines():
        words = line.split()
        if words[:1] == ['format']:
            kind = words[1]
        elif words[:1] == ['element']:
            element = words[1]
            if element in counts:
                counts[element] = int(words[2])
        elif words[:1] == ['property'] and element == 'vertex':
            vertex_size += np.dtype(_PLY_TYPES[words[1]]).itemsize
        elif words[:1] == ['property'] and element == 'face':
            if words[1] != 'list' or lists:
                raise DataError(
                    f'found the face property {words[-1]!r}, expected a list of indices'
                )
            lists.append((_PLY_TYPES[words[2]], _PLY_TYPES[words[3]]))
    if not lists:
        raise DataError('found no faces')
    if kind == 'ascii':
        lines = data.splitlines()[counts['vertex'] : counts['vertex'] + counts['face']]
        return [[int(word) for word in line.split()[1:]] for line in lines]
    order = _PLY_ORDERS[kind]
    dtype = np.dtype([('count', order + lists[0][0]), ('corners', order + lists[0][1], (3,))])
    start = counts['vertex'] * vertex_size
    if start + counts['face'] * dtype.itemsize > len(data):
        raise DataError(f'found {len(data)} bytes, expected {counts["face"]} triangles')
    table = np.frombuffer(data, dtype, counts['face'], start)
    if (table['count'] != 3).any():
        raise DataError('found faces that do not have 3 corners, expected triangles')
    return table['corners'].astype(np.int64)


def _obj_vertices(content: bytes) -> Array:
    rows = [line.split()[1:4] for line in content.splitlines() if line.startswith((b'v ', b'v\t'))]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def _ply_vertices(content: bytes) -> Array:
    header, end, data = content.partition(b'end_header')
    newline = data.find(b'\n')
    if not end or newline < 0:
        raise DataError('the header of the .ply file does not end')
    data = data[newline + 1 :]
    kind, count, properties = '', -1, []
    element = ''
    for line in header.decode('ascii').splitlines():
        words = line.split()
        if words[:1] == ['format']:
            kind = words[1]
        elif words[:1] == ['element']:
            element = words[1]
            if element != 'vertex' and count < 0:
                raise DataError(f'found the element {element!r} first, expected vertices')
            if element == 'vertex':
                count = int(words[2])
        elif words[:1] == ['property'] and element == 'vertex':
            if words[1] not in _PLY_TYPES:
                raise DataError(f'found a vertex property of type {words[1]!r}, expected a number')
            properties.append((words[2], _PLY_TYPES[words[1]]))
    names = [name for name, _ in properties]
    if count < 0 or not {'x', 'y', 'z'} <= set(names):
        raise DataError(f'found vertices with {names}, expected x, y and z')
    if kind == 'ascii':
        rows = [line.split() for line in data.splitlines()[:count]]
        if len(rows) < count:
            raise DataError(f'found {len(rows)} vertices, expected {count}')
        columns = [names.index(axis) for axis in 'xyz']
        return np.array([[row[column] for column in columns] for row in rows], dtype=np.float64)
    if kind not in _PLY_ORDERS:
        raise DataError(f'found the format {kind!r}, expected ascii or {" or ".join(_PLY_ORDERS)}')
    dtype = np.dtype([(name, _PLY_ORDERS[kind] + code) for name, code in properties])
    if count * dtype.itemsize > len(data):
        raise DataError(f'found {len(data)} bytes, expected {count} vertices of {dtype.itemsize}')
    table = np.frombuffer(data, dtype, count)
    return np.stack([table[axis].astype(np.float64) for axis in 'xyz'], axis=1)
