"""Reading files that may be broken, writing them whole, and naming them by their content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError

#: How many times its size a compressed file may become. The best that deflate can do is 1032.
MOST_EXPANSION = 1100
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an npz file; pickled objects in it are refused.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated or no npz file; the field is named where one can be.
    """
    return read_npz_with_objects(path, None)


def read_npz_with_objects(
    path: str | os.PathLike[str],
    read_object: Callable[[str, Any], Any] | None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> dict[str, Any]:
    """Fields of an npz file in which there may be pickles.

    Python values that NumPy has wrapped in an array without axes come back as themselves.

    Args:
        path: the file.
        read_object: reads a field that is a pickle, from its name for messages and the open file.
            None: such fields are refused.
        wanted: which fields to read.

    Raises:
        FileNotFoundError, DataError: as :func:`read_npz`, or what ``read_object`` raises.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    fields: dict[str, Any] = {}
    name = ''
    try:
        with open(path, 'rb') as file:
            if file.read(6) == b'\x93NUMPY':
                raise DataError(f'{path}: found a single array, expected an npz file')
        with zipfile.ZipFile(path) as archive:
            for member in npz_members(path, archive):
                name = member.filename.removesuffix('.npy')
                if not wanted(name):
                    continue
                where = f'{path}: {name}'
                with archive.open(member) as content:
                    if check_npy_header(where, content, member.file_size).hasobject:
                        if read_object is None:
                            raise DataError(f'{where}: not readable: holds Python objects')
                        value = read_object(where, content)
                        alone = isinstance(value, np.ndarray) and value.shape == ()
                        fields[name] = value.item() if alone else value
                        continue
                with archive.open(member) as content:
                    fields[name] = np.lib.format.read_array(content, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:  # NumPy parses headers as Python: a broken one raises anything
        where = f'{path}: {name}' if name else f'{path}'
        raise DataError(
            f'{where}: not readable; truncated, or holds more than arrays '
            f'({type(error).__name__}: {error})'
        ) from error
    return fields


def npz_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The arrays in an npz file, no larger than it and this machine can hold.

    Raises:
        DataError: it claims more, or has two arrays of one name.
    """
    members = [member for member in archive.infolist() if member.filename.endswith('.npy')]
    if len({member.filename for member in members}) < len(members):
        raise DataError(f'{path}: found two arrays of one name')
    claimed = sum(member.file_size for member in members)
    most = min(path.stat().st_size * MOST_EXPANSION, _memory())
    if claimed > most:
        raise DataError(f'{path}: its arrays claim {claimed} bytes, expected at most {most}')
    return members


def check_npy_header(where: str, file: Any, size: int) -> np.dtype:
    """Read the header of a ``.npy`` file of ``size`` bytes, before room is made for its array.

    Raises:
        DataError: it announces another number of bytes than there are (objects apart).
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DataError(f'{where}: found .npy version {version}, expected 1 or 2')
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        return dtype
    found, announced = size - file.tell(), math.prod(shape) * dtype.itemsize
    # Strings of no length, any number of which take no room.
    if announced != found or min(shape, default=0) < 0 or (math.prod(shape) and not dtype.itemsize):
        raise DataError(
            f'{where}: not readable, truncated perhaps: found {found} bytes, expected {announced} '
            f'for {dtype} of shape {shape}'
        )
    return dtype


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a ``.npy`` file; pickled objects are refused.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated or no ``.npy`` file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        with open(path, 'rb') as file:
            check_npy_header(str(path), file, path.stat().st_size)
        return np.load(path, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f'{path}: not readable; truncated, or holds more than an array '
            f'({type(error).__name__}: {error})'
        ) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated, no JSON text, or has a name twice in an object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not readable as JSON, truncated perhaps ({error})') from error


def read_note(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a JSON file, written by a run before, notes; nothing, if it cannot be read."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def as_text(where: str, array: np.ndarray) -> np.ndarray:
    """An array of text or of bytes as one of text; another as it is.

    Raises:
        DataError: not all in it is text.
    """
    try:
        if array.dtype.kind == 'S':
            array = np.char.decode(array, 'utf-8')
        if array.dtype.kind == 'U':
            ''.join(array.ravel().tolist()).encode()  # lone surrogates are not
    except ValueError as error:
        raise DataError(f'{where}: not text ({error})') from error
    return array


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f'{twice!r} is there twice')
    return found


class LimitedReader:
    """A file that refuses to give more than ``most`` bytes: for what a small file unpacks to."""

    def __init__(self, file: Any, most: int, where: str) -> None:
        self.file, self.left, self.most, self.where = file, most, most, where

    def read(self, size: int = -1) -> bytes:
        most = self.left + 1
        return self._counted(self.file.read(most if size < 0 else min(size, most)))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(self.left + 1))

    def _counted(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f'{self.where}: unpacks to more than {self.most} bytes')
        return data

    def __enter__(self) -> LimitedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # not on every system
        return 1 << 40


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    If the block raises, the temporary file is removed and ``path`` is left as it was. The
    temporary name keeps the suffix of ``path``, because some writers (``numpy.savez``) add one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f'.{path.stem}.', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        # mkstemp makes the file private; give it the mode an ordinary open() would have.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, Any]:
    """Versions of what a result depends on, for the provenance of result files."""
    import numpy
    import torch

    from .version import __version__

    return {
        'mmjrr': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': numpy.__version__,
        'numba': _installed('numba'),
    }


def _installed(package: str) -> str | None:
    """A package's version, without importing it; None where it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
