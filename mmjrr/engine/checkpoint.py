"""Loading of MMEngine's checkpoints without running any code from them.

MMEngine 0.10.7 reads checkpoints by ``torch.load``, which before PyTorch 2.6 calls the functions
that a file names. A resumed run also executes the config that its checkpoint contains.
:func:`load_safely`, or :class:`~mmjrr.engine.SafeCheckpointHook` in a config, replaces MMEngine's
reader with that of this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner.checkpoint import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from mmengine.utils import apply_to

from mmjrr.downloads import RemoteFile, download
from mmjrr.engine.last_checkpoint import latest_checkpoint, repair_last_checkpoint
from mmjrr.errors import DataError
from mmjrr.io import Skipped
from mmjrr.io.checkpoints import GETATTR, MMENGINE_HISTORY, read_checkpoint
from mmjrr.jobs import on_main_process

MapLocation = str | torch.device | Callable[..., Any] | dict[str, Any] | None

#: Functions that return MMEngine's model lists (addresses by name), by their prefix in configs.
_MODEL_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'mmcls': get_mmcls_models,
}


def load_safely() -> None:
    """Make MMEngine load all checkpoints by :func:`load_from_local` and :func:`load_from_remote`.

    The change applies to the whole process: to ``load_from``, ``resume`` and ``init_cfg`` of
    models.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    prefixes = [prefix for prefix in CheckpointLoader._schemes if prefix]
    CheckpointLoader.register_scheme(prefixes, load_from_remote, force=True)


def secure_run(runner: Runner) -> None:
    """Make a run load its checkpoints safely; call this before the run begins.

    If the run resumes from its latest checkpoint, call :func:`repair_last_checkpoint` and take the
    checkpoint from :func:`latest_checkpoint`. If there is none, begin with :func:`first_weights`.
    """
    load_safely()
    # The Runner itself would accept any path that the file last_checkpoint contains.
    if runner._resume and runner._load_from is None:
        on_main_process(lambda: repair_last_checkpoint(runner.work_dir))
        path = latest_checkpoint(runner.work_dir)
        resume_or_begin(runner, None if path is None else str(path))


def resume_or_begin(runner: Runner, checkpoint: str | None) -> None:
    """Make a run resume from a checkpoint or, without one, begin with :func:`first_weights`."""
    weights = first_weights(runner.cfg)
    runner._resume = checkpoint is not None or weights is None
    runner._load_from = weights if checkpoint is None else checkpoint


def first_weights(cfg: Config) -> str | None:
    """Return the file or address of the weights with which a training begins; None without.

    They are the config's ``load_from``. In a run that resumes, ``load_from`` names the checkpoint
    to resume from, and ``begin_from`` the weights with which the training began.
    """
    return cfg.get('begin_from' if cfg.get('resume') else 'load_from')


def load_from_local(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Read a checkpoint file without running any code from it.

    Args:
        filename: The file; ``~`` is the home directory.
        map_location: Device to which tensors are moved. Functions and dicts are ignored, and the
            tensors stay on the CPU.

    Returns:
        The checkpoint without ``meta['config']``, which MMEngine would execute.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: The file names classes or functions that are not known to be harmless.
        DataError: The file is damaged, or contains no dict.
    """
    path = os.path.expanduser(filename)
    content = read_checkpoint(
        path, dict.fromkeys(GETATTR, _statistic) | {MMENGINE_HISTORY: _history}
    )
    meta = content.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)  # MMEngine executes it to read the number of GPUs
    if isinstance(map_location, (str, torch.device)):
        device = torch.device(map_location)
        content = apply_to(content, torch.is_tensor, lambda tensor: tensor.to(device))
    return content


def load_from_remote(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Download a checkpoint over https into PyTorch's checkpoint folder, and read it safely.

    Args:
        filename: An https address, or a name such as ``torchvision://resnet50``.
        map_location: As in :func:`load_from_local`.

    Raises:
        DataError: The address is not an https address of a file, or the file is not readable.
        OSError: The download fails.
    """
    content = load_from_local(str(local_file(filename)), map_location)
    if filename.startswith('mmcls://'):  # MMEngine takes only the backbone's weights
        weights = content.get('state_dict', content)
        prefix = 'backbone.'
        content = {
            'state_dict': {
                key.removeprefix(prefix): value
                for key, value in weights.items()
                if key.startswith(prefix)
            }
        }
    return content


def local_file(filename: str) -> Path:
    """Return the path of a checkpoint; download it if the name is an address.

    Args:
        filename: A file, or an address as in :func:`load_from_remote`.

    Raises:
        DataError: The address is not an https address of a file.
        OSError: The download fails.
    """
    if '://' not in filename:
        return Path(filename).expanduser()
    url = _address(filename)
    if not url.startswith('https://'):
        raise DataError(
            f'{filename}: found an address that is not https; copy the file to this machine and '
            'give its path'
        )
    name = url.split('?')[0].rsplit('/', 1)[-1]
    if not re.fullmatch(r'[\w.+-]+', name) or name.startswith('.'):
        raise DataError(f'{filename}: found no name of a file at the end of the address')
    digits = re.search(r'-([0-9a-f]{8,64})\.', name)
    item = RemoteFile(
        name, name, 'a checkpoint', url, sha256=digits[1] if digits else None, page=url, file=name
    )
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    on_main_process(lambda: download(item, folder))
    return download(item, folder)


def _address(filename: str) -> str:
    """Return the address of a model that MMEngine lists; return any other address unchanged."""
    scheme, _, name = filename.partition('://')
    if scheme not in _MODEL_LISTS:
        return filename
    if scheme in ('open-mmlab', 'openmmlab'):
        name = get_deprecated_model_names().get(name, name)
    try:
        addresses = _MODEL_LISTS[scheme]()
    except (ImportError, RuntimeError) as error:  # torchvision is missing, or does not fit PyTorch
        raise DataError(
            f'{filename}: the list of models cannot be read ({error}); give the path of a file'
        ) from error
    if name not in addresses:
        raise DataError(f'{filename}: found no such model among those that MMEngine knows')
    return addresses[name]


def _history(args: tuple[Any, ...], state: Any) -> HistoryBuffer:
    """Rebuild a ``HistoryBuffer`` from its pickled state."""
    if not isinstance(state, dict):
        raise DataError('a HistoryBuffer has no contents')
    length = state.get('max_length')
    return HistoryBuffer(
        state.get('_log_history', ()),
        state.get('_count_history', ()),
        length if isinstance(length, int) and length > 0 else 1_000_000,
    )


def _statistic(args: tuple[Any, ...], state: Any) -> Skipped:
    """Replace ``getattr``, by which a pickled ``HistoryBuffer`` refers to its own statistics.

    Raises:
        DataError: The file asks for any other attribute.
    """
    is_statistic = args[:1] == (Skipped(MMENGINE_HISTORY),) and args[1:] in (
        ('min',), ('max',), ('mean',), ('current',),
    )  # fmt: skip
    if not is_statistic:
        raise DataError(f'found an attribute {args!r:.80}, expected a statistic of a HistoryBuffer')
    return Skipped(MMENGINE_HISTORY)
