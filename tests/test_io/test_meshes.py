"""Vertices of mesh files, in the order and numbers that their writers gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.io import read_mesh_vertices

VERTICES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
HEADER = """ply
format {kind} 1.0
comment written by hand
element vertex 5
property float nx
property {number} x
property {number} y
property {number} z
property uchar red
element face 1
property list uchar int vertex_indices
end_header
"""


def binary(order: str, number: str) -> bytes:
    kind = {'<': 'binary_little_endian', '>': 'binary_big_endian'}[order]
    code = {'float': 'f4', 'double': 'f8'}[number]
    table = np.zeros(5, [('nx', f'{order}f4'), *((a, order + code) for a in 'xyz'), ('r', 'u1')])
    for index, axis in enumerate('xyz'):
        table[axis] = VERTICES[:, index]
    faces = b'\x03' + np.array([0, 1, 2], f'{order}i4').tobytes()
    return HEADER.format(kind=kind, number=number).encode() + table.tobytes() + faces


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('number', ['float', 'double'])
def test_binary_ply(tmp_path: Path, order: str, number: str) -> None:
    (tmp_path / 'm.ply').write_bytes(binary(order, number))
    content = read_mesh_vertices(tmp_path / 'm.ply')
    assert content.dtype == np.float32
    np.testing.assert_array_equal(content, VERTICES)


def test_text_ply_and_obj(tmp_path: Path) -> None:
    rows = [' '.join(map(repr, row)) for row in VERTICES.astype(float).tolist()]
    header = HEADER.format(kind='ascii', number='float')
    (tmp_path / 'm.ply').write_text(header + ''.join(f'0 {r} 7\n' for r in rows) + '3 0 1 2\n')
    np.testing.assert_array_equal(read_mesh_vertices(tmp_path / 'm.ply'), VERTICES)
    # With colors after the coordinates, as some programs write them.
    (tmp_path / 'm.obj').write_text(''.join(f'v {r} 1 0 0\nvn 0 0 1\n' for r in rows) + 'f 1 2 3')
    np.testing.assert_array_equal(read_mesh_vertices(tmp_path / 'm.obj'), VERTICES)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (binary('<', 'float')[:-60], 'found .* bytes, expected 5 vertices'),
        (b'ply\nformat ascii 1.0\n', 'header of the .ply file does not end'),
        ((b'ply\nformat ascii 1.0\nelement vertex 9999999999\nproperty float x\nproperty float y\n'
         b'property float z\nend_header\n0 0 0\n'), 'found 1 vertices, expected 9999999999'),
        (b'ply\nformat ascii 1.0\nelement face 1\nproperty list uchar int i\nend_header\n',
         "found the element 'face' first"),
        (b'v 1 2\n', 'not readable as an .obj file'),
        (b'v 1 2 x\n', 'not readable as an .obj file'),
        (b'f 1 2 3\n', 'found no vertices'),
    ],
)  # fmt: skip
def test_damaged_meshes_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / 'm.mesh').write_bytes(content)
    with pytest.raises(DataError, match=f'm.mesh: .*{message}'):
        read_mesh_vertices(tmp_path / 'm.mesh')
    with pytest.raises(FileNotFoundError, match='none.obj: no such file'):
        read_mesh_vertices(tmp_path / 'none.obj')
