"""A reader of ``torch.save`` files that does not use ``torch.load``.

``torch.load(weights_only=True)`` runs the code of an archive that holds TorchScript.
:func:`read_torch` opens the archive itself, reads its pickle with :mod:`mmjrr.io.pickles`, and
builds tensors over the bytes of its storages.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io.input_files import FilePath, InputFile, open_input
from mmjrr.io.limits import check_unpacked_size, unpacked_limit
from mmjrr.io.own_errors import own_errors
from mmjrr.io.pickle_stream import GlobalName, UnsafePickleError
from mmjrr.io.pickles import Builder, NodeBuilder
from mmjrr.io.tensors import (
    LEGACY_START,
    Storage,
    legacy_reference,
    read_legacy_stream,
    storage_dtype,
    storage_from,
)


def read_torch(
    path: FilePath,
    extra: Mapping[GlobalName, NodeBuilder] | None = None,
    as_torch: bool = True,
    skip_unknown: bool = False,
    skipped_names: set[str] | None = None,
) -> Any:
    """Read tensors, NumPy arrays and plain values from a file of ``torch.save``.

    Both formats are read: the zip archive, and the stream of PyTorch before 1.6. Tensors that
    shared a storage share it again; they are on the CPU and do not require gradients.

    Args:
        path: The file.
        extra: Builders of further names that the file's pickle may use.
        as_torch: Whether to return tensors. False returns arrays (bfloat16 as float32) and does
            not import PyTorch.
        skip_unknown: Whether to return :class:`~mmjrr.io.Skipped` for objects of unknown classes
            in place of an error. They are not built, and no code of the file runs.
        skipped_names: A set to which the names of skipped classes are added.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: The file holds TorchScript or a package of code, or names a class or
            function that is not known to be harmless.
        DataError: The file is truncated, not written by ``torch.save``, or would take too much
            memory.
    """
    options: dict[str, Any] = dict(extra=extra, as_torch=as_torch, skip_unknown=skip_unknown)
    with open_input(path) as file, own_errors(str(file.path), 'a file of torch.save'):
        start = file.start(len(LEGACY_START))
        if start.startswith(b'PK'):
            with zipfile.ZipFile(file.stream) as archive:
                builder, description = _open_archive(file, archive, options)
                value = builder.build(description)
        elif start == LEGACY_START:
            builder = Builder(str(file.path), unpacked_limit(file.size), **options)
            stream = io.BytesIO(file.stream.read())
            description, storages = read_legacy_stream(stream, builder.unpickler)
            builder.storages = lambda pid: storages[legacy_reference(pid)[1]]
            value = builder.build(description)
        else:
            raise DataError('does not begin as files of torch.save do')
        if skipped_names is not None:
            skipped_names |= builder.skipped_names
        return value


def is_torch_file(path: FilePath) -> bool:
    """Tell whether ``torch.save`` wrote a file: a stream, or a zip archive with a pickle.

    An npz file is a zip archive without a pickle.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file begins as a zip archive, but is damaged.
    """
    with open_input(path) as file:
        start = file.start(len(LEGACY_START))
        if start == LEGACY_START:
            return True
        if not start.startswith(b'PK'):
            return False
        with own_errors(str(file.path), 'a zip archive'), zipfile.ZipFile(file.stream) as archive:
            return any(name.endswith('.pkl') for name in archive.namelist())


def _open_archive(
    file: InputFile, archive: zipfile.ZipFile, options: dict[str, Any]
) -> tuple[Builder, Any]:
    """Read the pickle of a zip archive, and return a builder that reads storages on demand."""
    members = {member.filename: member for member in archive.infolist()}
    _refuse_code(members)
    pickles = [name for name in members if name.endswith('/data.pkl')]
    if len(pickles) != 1 or len(members) != len(archive.infolist()):
        raise DataError(
            f'found the members {sorted(members)[:10]}, expected one data.pkl and its storages'
        )
    folder = pickles[0].removesuffix('data.pkl')
    limit = unpacked_limit(file.size)
    check_unpacked_size(str(file.path), sum(member.file_size for member in members.values()), limit)
    order = members.get(f'{folder}byteorder')
    if order is not None and archive.read(order).strip() != b'little':
        raise DataError('written on a big-endian machine, which is not read')
    storages: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage:
        kind, key = legacy_reference(pid)
        if key not in storages:
            member = members.get(f'{folder}data/{key}')
            if member is None:
                raise DataError(f'the storage {key!r:.40} is missing')
            storages[key] = storage_from(kind, archive.read(member), pid[4])
        if storages[key].dtype != storage_dtype(kind)[1]:
            raise DataError(f'the storage {key!r:.40} has two types')
        return storages[key]

    builder = Builder(str(file.path), limit, storages=storage, **options)
    return builder, builder.unpickler(io.BytesIO(archive.read(pickles[0]))).load()


def _refuse_code(members: Mapping[str, Any]) -> None:
    script = [
        name
        for name in members
        if name.endswith(('/constants.pkl', '.py', '/.data/extern_modules'))
        or 'code' in name.split('/')[:-1]
    ]
    if script:
        raise UnsafePickleError(
            f'holds code (TorchScript or a torch.package: {sorted(script)[:3]}), which is not '
            'run; save the weights alone, with torch.save(model.state_dict(), FILE)'
        )
