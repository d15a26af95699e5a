"""Opening of a file once, for its checksum and its reader."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from mmjrr.errors import DataError


@dataclass(frozen=True)
class InputFile:
    """An open file, which every reader of :mod:`mmjrr.io` takes in place of a path.

    Attributes:
        path: The file, for messages.
        stream: The open file.
        size: Its length in bytes.
    """

    path: Path
    stream: BinaryIO
    size: int

    def start(self, count: int) -> bytes:
        """Return the first ``count`` bytes, by which a format is recognized."""
        self.stream.seek(0)
        start = self.stream.read(count)
        self.stream.seek(0)
        return start

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes, in hex."""
        digest = hashlib.sha256()
        self.stream.seek(0)
        for block in iter(lambda: self.stream.read(1 << 20), b''):
            digest.update(block)
        self.stream.seek(0)
        return digest.hexdigest()


#: Extensions of the files that are read from a folder.
DATA_SUFFIXES = ('.npz', '.npy', '.pkl', '.pickle', '.pk', '.joblib', '.json', '.pt', '.pth', '.gz',
                 '.obj', '.ply')  # fmt: skip


def data_files(folder: Path) -> list[Path]:
    """Return the sorted files of a folder, of whatever depth, that readers take.

    Notes, logs and files of the system are left out.
    """
    found = (path for path in folder.rglob('*') if path.suffix in DATA_SUFFIXES)
    return sorted(path for path in found if path.is_file())


#: A file as the readers take it.
FilePath: TypeAlias = str | os.PathLike[str] | InputFile


@contextlib.contextmanager
def open_input(path: FilePath) -> Iterator[InputFile]:
    """Open a file for reading; an open one is rewound, and stays open afterwards.

    Raises:
        FileNotFoundError: The path is not a file.
        DataError: The file cannot be opened, because of its permissions for example.
    """
    if isinstance(path, InputFile):
        path.stream.seek(0)
        yield path
        return
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        stream = open(path, 'rb')  # noqa: SIM115
    except PermissionError as error:
        raise DataError(f'{path}: cannot be opened ({error.strerror})') from error
    with stream:
        yield InputFile(path, stream, os.fstat(stream.fileno()).st_size)


def sha256(path: FilePath) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        FileNotFoundError: The path is not a file.
    """
    with open_input(path) as file:
        return file.sha256()
