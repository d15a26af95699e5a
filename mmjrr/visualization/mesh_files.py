"""Posed bodies as GLB, PLY or OBJ files, through trimesh."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.io import atomic_write
from mmjrr.io.paths import check_suffix

#: Formats by suffix.
FORMATS = ('glb', 'ply', 'obj')
#: Characters of an image's name that a file's name keeps.
_UNSAFE = re.compile(r'[^A-Za-z0-9._-]+')
_LONGEST_NAME = 120


def write_mesh(vertices: FloatArray, faces: IndexArray, path: str | Path) -> Path:
    """Write a mesh in the format of the path's suffix.

    The camera frame (y down, z forward) becomes that of viewers (y up, z towards the viewer).
    Equal meshes give equal bytes.

    Args:
        vertices: (V, 3), meters, camera frame.
        faces: (F, 3).
        path: The file to write, ending in ``.glb``, ``.ply`` or ``.obj``.

    Returns:
        The path.

    Raises:
        ImportError: trimesh is not installed.
        ValueError: The suffix is another one.
    """
    path = check_suffix(path, *(f'.{name}' for name in FORMATS))
    kind = path.suffix.removeprefix('.')
    try:
        import trimesh
    except ImportError as error:
        raise ImportError('mesh files need trimesh: pip install trimesh') from error

    mesh = trimesh.Trimesh(
        np.asarray(vertices, dtype=np.float32) * np.array([1, -1, -1], np.float32),
        np.asarray(faces),
        process=False,
    )
    with atomic_write(path) as temporary:
        mesh.export(temporary, file_type=kind)
    return path


def file_names(imgnames: Iterable[str]) -> Iterator[str]:
    """Yield a unique file name without suffix for each image.

    Image names come from files of other people: characters that have a meaning for a file system or
    a shell become ``_``, and folders are left out. Names also differ in more than upper and lower
    case, which some file systems do not tell apart.

    >>> list(file_names(['S9/a b.jpg', 'S11/a_b.jpg', '../.ssh']))
    ['a_b', 'a_b-2', 'ssh']
    """
    used: set[str] = set()
    counts: dict[str, int] = {}
    for imgname in imgnames:
        last = str(imgname).replace('\\', '/').rsplit('/', 1)[-1]
        stem = last.rsplit('.', 1)[0] if '.' in last.lstrip('.') else last
        name = _UNSAFE.sub('_', stem).strip('.')[:_LONGEST_NAME] or 'body'
        unique = name
        while unique.lower() in used:
            counts[name] = counts.get(name, 1) + 1
            unique = f'{name}-{counts[name]}'
        used.add(unique.lower())
        yield unique
