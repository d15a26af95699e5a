"""The identity of a run: everything that changes its result, compared with a record."""

from __future__ import annotations

import glob
import hashlib
import inspect
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmjrr.errors import DataError
from mmjrr.io import sha256
from mmjrr.io.input_files import data_files

_ABSENT = object()
#: Characters of a value that an error message shows.
_SHOWN = 100


class IdentityError(DataError):
    """An error for existing results that a run with other settings made."""


@dataclass(frozen=True)
class Difference:
    """A setting whose recorded value differs from its present one.

    Attributes:
        name: The setting's name, with dots between levels.
        recorded: The value with which the run was begun, as text.
        present: The value of this run, as text.
    """

    name: str
    recorded: str
    present: str

    def __str__(self) -> str:
        return f'{self.name}: recorded {self.recorded}, present {self.present}'


class Identity:
    """Everything that changes the result of a run.

    Args:
        settings: Settings that must stay the same when a run is continued. Values are numbers,
            texts, lists and dicts, nested to any depth; ``str`` represents any other value.
        environment: Properties that may change the last digits of results, such as versions of
            packages. A difference causes a warning, not an error.

    Example:
        >>> begun = Identity(dict(solver=dict(lr=0.01, num_iters=100)), dict(torch='2.1.2'))
        >>> resumed = Identity(dict(solver=dict(lr=0.02, num_iters=100)), dict(torch='2.2.0'))
        >>> [str(difference) for difference in resumed.differences(begun.as_dict())]
        ['solver.lr: recorded 0.01, present 0.02']
    """

    def __init__(
        self, settings: Mapping[str, Any], environment: Mapping[str, Any] | None = None
    ) -> None:
        self.settings: dict[str, Any] = _plain(settings)
        self.environment: dict[str, Any] = _plain(environment or {})

    def as_dict(self) -> dict[str, Any]:
        """Return settings and environment as one dict of JSON values."""
        return {**self.settings, **self.environment}

    @property
    def digest(self) -> str:
        """SHA-256 of the settings, in hex."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def differences(self, recorded: Mapping[str, Any]) -> list[Difference]:
        """List the settings that a record lacks or has with another value, in this run's order."""
        return _differences(recorded, self.settings)

    def environment_differences(self, recorded: Mapping[str, Any]) -> list[Difference]:
        """List the differences between a record's environment and this run's."""
        return _differences(recorded, self.environment)

    def check(self, where: str | os.PathLike[str], recorded: Any, remedy: str) -> None:
        """Refuse a record of other settings; warn if only the environment differs.

        Args:
            where: The folder or file of the record, for messages.
            recorded: The dict that :meth:`as_dict` returned when the run was begun.
            remedy: What else the user can do. The message ends with "Restore the recorded
                settings, " and this text.

        Raises:
            IdentityError: Settings differ; the message lists all of them.
        """
        if not isinstance(recorded, dict):
            recorded = {}
        differences = self.differences(recorded)
        if differences:
            lines = ''.join(f'  {difference}\n' for difference in differences)
            raise IdentityError(
                f'{where}: was made with other settings:\n{lines}Restore the recorded settings, '
                f'{remedy}'
            )
        for difference in self.environment_differences(recorded):
            print_log(
                f'{where}: {difference}; the last digits of results may differ',
                logger='current',
                level=logging.WARNING,
            )


def digest_of_state(module: Any) -> str:
    """Return the SHA-256 of a module's parameters and buffers, with their names and types.

    Buffers that are not saved with the module count too: a body has no others. The device and
    attributes that are no tensors, such as a body's path, do not count.
    """
    import torch

    tensors = {**module.state_dict(), **dict(module.named_buffers(remove_duplicate=False))}
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def digest_of_names(dataset: Any) -> str | None:
    """Return the SHA-256 of the image names of a data set, in order; None without names."""
    if not hasattr(dataset, 'imgname'):
        return None
    names = '\n'.join(dataset.imgname(row) for row in range(len(dataset)))
    return hashlib.sha256(names.encode()).hexdigest()


def files_of(dataset: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of every file that a data set's config names, by option.

    Options that the config leaves at their defaults count too. Images are not read:
    :func:`digest_of_names` identifies them by name.

    Args:
        dataset: The data set that the config built. The signature of its constructor has the
            defaults.
        config: The data set's config.

    Returns:
        Digests by option, such as ``{'ann_file': '0a1b...'}``. If an option names several files,
        by a list, a pattern or, in an option whose name ends in ``_file``, a folder, the keys are
        numbered: ``'mask_file[0]'``, ``'mask_file[1]'``.
    """
    options = {
        name: parameter.default
        for kind in reversed(type(dataset).__mro__)
        if inspect.isfunction(constructor := vars(kind).get('__init__'))
        for name, parameter in inspect.signature(constructor).parameters.items()
        if isinstance(parameter.default, str)
    }
    options.update(config)
    return {
        name: sha256(path) for name, path in _named_files(options, str(config.get('data_root', '')))
    }


def _named_files(options: Any, root: str, name: str = '') -> Iterator[tuple[str, Path]]:
    if isinstance(options, Mapping):
        root = str(options.get('data_root') or root)
        for key in sorted(options, key=str):
            yield from _named_files(options[key], root, f'{name}.{key}' if name else str(key))
    elif isinstance(options, (list, tuple)):
        for index, value in enumerate(options):
            yield from _named_files(value, root, f'{name}[{index}]')
    elif isinstance(options, str) and options:
        # Other options name folders of images, or are texts that are also the name of a folder.
        of_files = name.rpartition('.')[2].partition('[')[0].endswith('_file')
        paths = _matching(os.path.join(root, options), of_files) or _matching(options, of_files)
        for index, path in enumerate(paths):
            yield (name if len(paths) == 1 else f'{name}[{index}]'), path


def _matching(pattern: str, with_folders: bool) -> list[Path]:
    """List the files of a path, a folder or a pattern."""
    paths = [Path(pattern)]
    if paths[0].is_dir():
        paths = data_files(paths[0]) if with_folders else []
    elif glob.has_magic(pattern) and not paths[0].is_file():
        paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    return [path for path in paths if path.is_file()]


def _plain(value: Any) -> Any:
    """Return the value as it is after a round trip through JSON."""
    return json.loads(json.dumps(value, default=str))


def _differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[Difference]:
    differences = []
    for name, value in present.items():
        differences += list(_compare(name, recorded.get(name, _ABSENT), value))
    return differences


def _compare(name: str, recorded: Any, present: Any) -> Iterator[Difference]:
    if recorded == present:
        return
    if isinstance(recorded, dict) and isinstance(present, dict):
        for key in [*present, *(key for key in recorded if key not in present)]:
            yield from _compare(
                f'{name}.{key}', recorded.get(key, _ABSENT), present.get(key, _ABSENT)
            )
        return
    if _are_lists(recorded, present) and len(recorded) == len(present):
        for index, (old, new) in enumerate(zip(recorded, present, strict=True)):
            yield from _compare(f'{name}[{index}]', old, new)
        return
    yield Difference(name, _shown(recorded), _shown(present))


def _are_lists(*values: Any) -> bool:
    return all(isinstance(value, Sequence) and not isinstance(value, str) for value in values)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return 'nothing'
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f'{text[: _SHOWN - 3]}...'
