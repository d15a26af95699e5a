"""Triangles of meshes in each format, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.io import read_mesh_faces

PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
element face {count}
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
1 1 0
0 1 0
{faces}
"""
OBJ = 'v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n'


def test_polygons_are_cut_into_triangles(tmp_path: Path) -> None:
    (tmp_path / 'a.obj').write_text(OBJ + 'f 1/2/3 2//4 3 4\nf -4 -3 -2\n')
    assert read_mesh_faces(tmp_path / 'a.obj').tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    (tmp_path / 'a.ply').write_text(PLY.format(count=2, faces='3 0 1 2\n4 0 1 2 3'))
    assert read_mesh_faces(tmp_path / 'a.ply').tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def test_negative_indices_count_back_from_their_line(tmp_path: Path) -> None:
    triangle = 'v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\n'
    (tmp_path / 'a.obj').write_text(2 * triangle)
    assert read_mesh_faces(tmp_path / 'a.obj').tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.obj', OBJ, 'found no faces'),
        ('b.obj', OBJ + 'f 1 2 5\n', 'found faces of the vertices 0 to 4, expected 0 to 3'),
        ('e.obj', 'v 0 0 0\nf 0 1 2\n' + OBJ, 'found faces of the vertices -1 to 1'),
        ('c.obj', OBJ + 'f one 2 3\n', 'c.obj'),
        ('d.ply', PLY.format(count=1, faces='3 0 1 9'), 'found faces of the vertices 0 to 9'),
    ],
)
def test_broken_faces_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_mesh_faces(tmp_path / name)
