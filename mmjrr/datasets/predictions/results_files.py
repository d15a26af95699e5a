"""Readers of results files in any format, which run no code from the files."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io import (
    FilePath,
    InputFile,
    UnsafePickleError,
    is_torch_file,
    open_input,
    read_json,
    read_mesh_vertices,
    read_npy,
    read_npz,
    read_pickle,
    read_torch,
)
from mmjrr.io.input_files import DATA_SUFFIXES, data_files

_HOW_TO_CONVERT = (
    'If you trust the file, load it where it was made, and write the needed arrays with '
    "numpy.savez('results.npz', imgname=..., pose=..., betas=...)"
)


def result_files(path: str | Path) -> list[Path] | None:
    """Return the sorted files of a folder or pattern; None if ``path`` is a file.

    Raises:
        FileNotFoundError: The file does not exist, the folder has no file with one of
            :data:`~mmjrr.io.input_files.DATA_SUFFIXES`, or no file matches the pattern.
    """
    folder = Path(path)
    if folder.is_file():
        return None
    if folder.is_dir():
        files = data_files(folder)
        if not files:
            raise FileNotFoundError(f'{folder}: no file that ends in {", ".join(DATA_SUFFIXES)}')
        return files
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f'{path}: no such file')
    files = sorted(Path(file) for file in glob.glob(str(path), recursive=True))
    files = [file for file in files if file.is_file()]
    if not files:
        raise FileNotFoundError(f'{path}: no file matches the pattern')
    return files


def load_results(path: FilePath, mapped: bool = False) -> Any:
    """Read a results file: npz, npy, pickle (also joblib's and MMEngine's), JSON, PyTorch, mesh.

    The format is recognized from the content first, then from the extension.

    Args:
        path: The file; an open one stays open, for a checksum of the same bytes.
        mapped: Whether large arrays of npz and npy files stay in their file
            (:mod:`mmjrr.io.mapped`).

    Returns:
        Nested dicts and lists of arrays and plain values; tensors become arrays.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, has another format, or asks to run code.
    """
    with open_input(path) as file:
        try:
            return _load(file, mapped)
        except UnsafePickleError as error:
            raise DataError(f'{error}. {_HOW_TO_CONVERT}') from error


def _load(file: InputFile, mapped: bool) -> Any:
    start, suffix = file.start(16), file.path.suffix
    if is_torch_file(file):
        return read_torch(file, as_torch=False)
    if start.startswith(b'PK') or suffix == '.npz':
        return read_npz(file, objects=True, mapped=mapped)
    if start.startswith(b'\x93NUMPY'):
        return read_npy(file, objects=True, mapped=mapped)
    if start.startswith(b'ply') or suffix.lower() == '.obj':
        return {'vertices': read_mesh_vertices(file)}
    if suffix == '.json' or start.lstrip()[:1] in (b'{', b'['):
        return read_json(file)
    return read_pickle(file)
