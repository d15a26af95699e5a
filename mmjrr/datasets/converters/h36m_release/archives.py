"""Unpacking archives from elsewhere: no file lands where it was not asked for."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mmjrr.errors import DataError
from mmjrr.io import LimitedReader, atomic_write, read_note

#: Videos hardly shrink and annotations by a few times: what grows beyond is made to fill disks.
MOST_GROWTH = 100
#: Bytes that any archive may become, however small it is.
_LEAST = 1 << 26
_BLOCK = 1 << 20
#: Bytes of the headers that tarfile reads whole: long names and the like.
_LONGEST_HEADER = 1 << 20
_RECORD = 'unpacked.json'


def unpack(archive: str | Path, folder: str | Path, wanted: Collection[str]) -> dict[str, Any]:
    """Write the wanted files of a ``.tgz`` into one folder.

    Wanted are names without folders; a file's own folders in the archive do not matter, so that
    none can name a place outside ``folder``. An archive that tries is refused nonetheless. What
    was cut short goes on where it was; what is whole is not unpacked again.

    Args:
        archive: gzipped tar file.
        folder: where the files go.
        wanted: names of files.

    Returns:
        ``archive`` (its name), ``bytes``, ``sha256`` and ``files``, how many were wanted and there.

    Raises:
        FileNotFoundError: there is no such archive.
        DataError: it is truncated or damaged, holds links, devices, or paths that lead outside,
            or becomes over :data:`MOST_GROWTH` times its size.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f'{archive}: no such file')
    asked = hashlib.sha256('\n'.join(sorted(wanted)).encode()).hexdigest()
    identity = dict(archive=archive.name, bytes=archive.stat().st_size, asked=asked)
    done = read_note(folder / _RECORD)
    if not (identity.items() <= done.items() and _all_there(folder, done.get('files'))):
        if (read_note(folder / f'.{_RECORD}')) != identity:  # what is there is of another archive
            with atomic_write(folder / f'.{_RECORD}') as temporary:
                temporary.write_text(json.dumps(identity))
            fresh = True
        else:
            fresh = False
        digest, files = _unpack(archive, folder, wanted, fresh)
        done = dict(identity, sha256=digest, files=files)
        with atomic_write(folder / _RECORD) as temporary:
            temporary.write_text(json.dumps(done, indent=1))
    return {**{name: done[name] for name in ('archive', 'bytes', 'sha256')},
            'files': len(done['files'])}  # fmt: skip


def _all_there(folder: Path, files: Any) -> bool:
    return isinstance(files, dict) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in files.items()
    )


def _unpack(
    archive: Path, folder: Path, wanted: Collection[str], fresh: bool
) -> tuple[str, dict[str, int]]:
    """SHA-256 of the archive, and sizes of the files by name."""
    files: dict[str, int] = {}
    with open(archive, 'rb') as raw:
        hashed = _Hashed(raw)
        limit = max(MOST_GROWTH * archive.stat().st_size, _LEAST)
        try:
            with gzip.GzipFile(fileobj=hashed, mode='rb') as unzipped:  # type: ignore[call-overload]
                content = LimitedReader(unzipped, limit, str(archive))
                with tarfile.open(  # type: ignore[call-overload]
                    fileobj=content, mode='r|', tarinfo=_Member
                ) as tar:
                    for member in tar:
                        tar.members = []  # else they pile up
                        name = _checked_name(archive, member)
                        if name in files:
                            raise DataError(f'{archive}: found two files {name!r}')
                        if name not in wanted:
                            continue
                        files[name] = member.size
                        there = folder / name
                        if not fresh and there.is_file() and there.stat().st_size == member.size:
                            continue
                        _write(archive, tar, member, there)
                while content.read(_BLOCK):  # to the end, where gzip's checksum is
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
                f'{archive}: not readable, truncated perhaps ({type(error).__name__}: {error})'
            ) from error
        while hashed.read(_BLOCK):
            pass
        return hashed.digest.hexdigest(), files


def _checked_name(archive: Path, member: tarfile.TarInfo) -> str:
    """The file's name without folders; '' for a folder."""
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
    """An entry; one that would be read into memory must not be large."""

    @classmethod
    def frombuf(cls, *args: Any, **kwargs: Any) -> Any:
        entry = super().frombuf(*args, **kwargs)
        if not (entry.isreg() or entry.isdir()) and entry.size > _LONGEST_HEADER:
            raise DataError(
                f'an entry of type {entry.type!r} has {entry.size} bytes, expected at most '
                f'{_LONGEST_HEADER}; do not use this archive'
            )
        return entry


class _Hashed:
    """A file of which a digest is made as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data
