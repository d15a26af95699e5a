"""Files of results in any format, as dicts, lists and arrays. Nothing in them is executed."""

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
    'If you trust it, load it where it was made, and write what counts with '
    "numpy.savez('results.npz', imgname=..., pose=..., betas=...)"
)


#: Extensions of files that are read where a folder is given.
SUFFIXES = ('.npz', '.npy', '.pkl', '.pickle', '.joblib', '.json', '.pt', '.pth', '.gz',
            '.obj', '.ply')  # fmt: skip


def result_files(path: str | Path) -> list[Path] | None:
    """Return the files of a folder or pattern in order; None for a single file.

    Raises:
        FileNotFoundError: there is no such file, the folder has none of :data:`SUFFIXES`, or
            nothing matches the pattern.
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
    """Read a file of results: npz, npy, pickle (joblib's and MMEngine's too), JSON or PyTorch.

    The format is told from the content, not from the name. Tensors come back as arrays.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is broken, of another format, or asks for code to be run.
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
