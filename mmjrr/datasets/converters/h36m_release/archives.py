"""Unpacking of archives from others into one folder.

Members are written by their file names alone, so the rules here are stricter than those of
tarfile's data filter, which accepts absolute names and links.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mmjrr.errors import DataError
from mmjrr.io import LimitedReader, atomic_write
from mmjrr.jobs import Identity, Record

#: Largest ratio of unpacked to packed size. Annotations reach a few times, videos about one.
MAX_GROWTH = 100
#: Unpacked bytes that are accepted from any archive, however small it is.
_MIN_LIMIT = 1 << 26
_BLOCK = 1 << 20  # bytes read at once
#: Bytes of a header that tarfile reads whole, such as a long name.
_MAX_HEADER = 1 << 20
_RECORD = 'unpacked.json'


def unpack(archive: str | Path, folder: str | Path, file_names: Collection[str]) -> dict[str, Any]:
    """Write the named files of a ``.tgz`` into one folder.

    Folders within the archive are dropped, so no member can be written outside ``folder``; an
    archive with a path that leads outside is refused nonetheless. An interrupted call continues
    with the missing files, and a finished one is not repeated.

    Args:
        archive: Gzipped tar file.
        folder: Folder of the unpacked files.
        file_names: Names of files without folders.

    Returns:
        ``archive`` (its name), ``bytes``, ``sha256`` and ``files``, the number of named files in
        the archive.

    Raises:
        FileNotFoundError: There is no such archive.
        DataError: The archive is truncated or damaged, has links, devices or paths that lead
            outside, or exceeds :data:`MAX_GROWTH` times its size.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f'{archive}: no such file')
    asked = hashlib.sha256('\n'.join(sorted(file_names)).encode()).hexdigest()
    size = archive.stat().st_size
    identity = Identity({'archive': archive.name, 'bytes': size, 'asked': asked})
    record = Record(folder / _RECORD, identity)
    done = record.results_of_same_settings()
    if done is None or not _are_complete(folder, done.get('files')):
        if done is None:  # existing files are another archive's
            for name in file_names:
                (folder / name).unlink(missing_ok=True)
            record.write()
        digest, files = _unpack(archive, folder, file_names)
        done = {'sha256': digest, 'files': files}
        record.write(done)
    return {
        'archive': archive.name, 'bytes': size, 'sha256': done['sha256'],
        'files': len(done['files']),
    }  # fmt: skip


def _are_complete(folder: Path, files: Any) -> bool:
    return isinstance(files, dict) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in files.items()
    )


def _unpack(archive: Path, folder: Path, file_names: Collection[str]) -> tuple[str, dict[str, int]]:
    """Unpack; return the SHA-256 of the archive, and sizes of the files by name."""
    files: dict[str, int] = {}
    with open(archive, 'rb') as raw:
        hashed = _Hashed(raw)
        limit = max(MAX_GROWTH * archive.stat().st_size, _MIN_LIMIT)
        try:
            with gzip.GzipFile(fileobj=hashed, mode='rb') as unzipped:  # type: ignore[call-overload]
                content = LimitedReader(unzipped, limit, str(archive))
                with tarfile.open(  # type: ignore[call-overload]
                    fileobj=content, mode='r|', tarinfo=_Member
                ) as tar:
                    for member in tar:
                        tar.members = []  # tarfile would keep them all
                        name = _checked_name(archive, member)
                        if name in files:
                            raise DataError(f'{archive}: found two files {name!r}')
                        if name not in file_names:
                            continue
                        files[name] = member.size
                        path = folder / name
                        if path.is_file() and path.stat().st_size == member.size:
                            continue
                        _write(archive, tar, member, path)
                while content.read(_BLOCK):  # read gzip's checksum at the end
                    pass
        except DataError as error:
            named = str(error).startswith(str(archive))
            raise error if named else DataError(f'{archive}: {error}') from None
        except (
            tarfile.TarError,
            zlib.error,
            gzip.BadGzipFile,
            EOFError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise DataError(
                f'{archive}: not readable; possibly truncated ({type(error).__name__}: {error})'
            ) from error
        while hashed.read(_BLOCK):
            pass
        return hashed.digest.hexdigest(), files


def _checked_name(archive: Path, member: tarfile.TarInfo) -> str:
    """Return a member's name without folders; '' for a folder."""
    path = PurePosixPath(member.name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or '\0' in member.name:
        raise DataError(
            f'{archive}: {member.name!r} leads outside its folder; do not use this archive'
        )
    if member.isdir():
        return ''
    if not member.isreg() or member.issparse():
        raise DataError(
            f'{archive}: {member.name!r} is a link, a device or a sparse file, expected plain files'
        )
    return path.name


def _write(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # a regular file
    with atomic_write(path) as temporary, open(temporary, 'wb') as target:
        shutil.copyfileobj(source, target, _BLOCK)
        if target.tell() != member.size:
            raise DataError(
                f'{archive}: {member.name!r}: found {target.tell()} bytes, expected {member.size}'
            )


class _Member(tarfile.TarInfo):
    """Header of a member; one that tarfile reads whole must not be large."""

    @classmethod
    def frombuf(cls, *args: Any, **kwargs: Any) -> Any:
        entry = super().frombuf(*args, **kwargs)
        if not (entry.isreg() or entry.isdir()) and entry.size > _MAX_HEADER:
            raise DataError(
                f'an entry of type {entry.type!r} has {entry.size} bytes, expected at most '
                f'{_MAX_HEADER}; do not use this archive'
            )
        return entry


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data
