"""Readers of results files in any format, which run no code from the files."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io import (
    UnsafePickleError,
    is_torch_file,
    read_json,
    read_mesh_vertices,
    read_npy,
    read_npz,
    read_pickle,
    read_torch,
)

_HOW_TO_CONVERT = (
    'If you trust the file, load it where it was made, and write the needed arrays with '
    "numpy.savez('results.npz', imgname=..., pose=..., betas=...)"
)


#: Extensions of the files that are read from a folder.
SUFFIXES = ('.npz', '.npy', '.pkl', '.pickle', '.joblib', '.json', '.pt', '.pth', '.gz',
            '.obj', '.ply')  # fmt: skip


def result_files(path: str | Path) -> list[Path] | None:
    """Return the sorted files of a folder or pattern; None if ``path`` is a file.

    Raises:
        FileNotFoundError: The file does not exist, the folder has no file with one of
            :data:`SUFFIXES`, or no file matches the pattern.
    """
    folder = Path(path)
    if folder.is_file():
        return None
    if folder.is_dir():
        files = sorted(file for file in folder.rglob('*') if file.suffix in SUFFIXES)
        if not files:
            raise FileNotFoundError(f'{folder}: no file that ends in {", ".join(SUFFIXES)}')
        return files
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f'{path}: no such file')
    files = sorted(Path(file) for file in glob.glob(str(path), recursive=True))
    files = [file for file in files if file.is_file()]
    if not files:
        raise FileNotFoundError(f'{path}: no file matches the pattern')
    return files


def load_results(path: str | Path) -> Any:
    """Read a results file: npz, npy, pickle (also joblib's and MMEngine's), JSON, PyTorch, mesh.

    The format is recognized from the content first, then from the extension.

    Returns:
        Nested dicts and lists of arrays and plain values; tensors become arrays.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, has another format, or asks to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with open(path, 'rb') as file:
        start = file.read(16)
    try:
        if is_torch_file(path):
            return read_torch(path, as_torch=False)
        if start.startswith(b'PK') or path.suffix == '.npz':
            return read_npz(path, objects=True)
        if start.startswith(b'\x93NUMPY'):
            return read_npy(path, objects=True)
        if start.startswith(b'ply') or path.suffix.lower() == '.obj':
            return {'vertices': read_mesh_vertices(path)}
        if path.suffix == '.json' or start.lstrip()[:1] in (b'{', b'['):
            return read_json(path)
        return read_pickle(path)
    except UnsafePickleError as error:
        raise DataError(f'{error}. {_HOW_TO_CONVERT}') from error
