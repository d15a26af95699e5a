"""A reader of the vertices in ``.obj`` and ``.ply`` files."""

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
        path: a Wavefront ``.obj`` file, or a ``.ply`` file in any of its three formats. The
            content decides which it is, not the suffix.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: the file is truncated, unreadable, or has no vertices.
    """
    with open_input(path) as file:
        content, where = file.stream.read(), str(file.path)
    is_ply = content.startswith(b'ply')
    with own_errors(where, 'a .ply file' if is_ply else 'an .obj file'):
        vertices = _ply_vertices(content) if is_ply else _obj_vertices(content)
        if not len(vertices):
            raise DataError(f'{where}: found no vertices')
        return vertices.astype(np.float32)


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
