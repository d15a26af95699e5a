"""Readers of network checkpoints: weights, with or without the training's other state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.errors import DataError
from mmjrr.io.pickle_stream import GlobalName, UnsafePickleError
from mmjrr.io.pickles import NodeBuilder, Skipped
from mmjrr.io.torch_archives import read_torch

if TYPE_CHECKING:
    from torch import Tensor

#: Keys under which checkpoints hold their weights: VIBE's and MEVA's, SPIN's, MMEngine's.
WEIGHT_KEYS = ('gen_state_dict', 'model', 'state_dict')
#: Class of the log histories that MMEngine's checkpoints hold besides the weights.
MMENGINE_HISTORY: GlobalName = ('mmengine.logging.history_buffer', 'HistoryBuffer')
#: Names by which a pickled log history refers to its statistics' methods.
GETATTR: tuple[GlobalName, ...] = (('builtins', 'getattr'), ('__builtin__', 'getattr'))
_CONVERTER = 'tools/model_converters/rewrite_checkpoint.py'


def read_checkpoint(
    path: str | Path, extra: Mapping[GlobalName, NodeBuilder] | None = None
) -> dict[str, Any]:
    """Read a checkpoint, of any version of PyTorch from 0.4, without running anything in it.

    Args:
        path: The file.
        extra: Builders of further names. Without builders for them, MMEngine's log histories come
            back as :class:`~mmjrr.io.Skipped`.

    Returns:
        The checkpoint's dict, with tensors on the CPU.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: The file names classes or functions that are not known to be harmless.
            The message lists them and says how to extract the weights.
        DataError: The file is broken, or does not hold a dict.
    """
    skipped: dict[GlobalName, NodeBuilder] = {
        name: lambda args, state: Skipped(MMENGINE_HISTORY) for name in (MMENGINE_HISTORY, *GETATTR)
    }
    try:
        content = read_torch(path, extra=skipped | dict(extra or {}))
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f'{error}. If it is a checkpoint that holds objects of its training code, write its '
            f'weights to a new file, also without running anything: python {_CONVERTER} {path} '
            'OUT.pt'
        ) from error
    if not isinstance(content, dict):
        raise DataError(f'{path}: found a {type(content).__name__}, expected a dict of weights')
    return content


def weights_of(content: Any, path: str) -> dict[str, Tensor]:
    """Return a checkpoint's weights by name.

    The weights are the dict under the first of :data:`WEIGHT_KEYS` that the content has;
    without such a key, the content itself.

    Args:
        content: What :func:`read_checkpoint` returned.
        path: The checkpoint's file, for messages.

    Raises:
        DataError: The content is not a dict, holds no tensors, or holds other values among them.
    """
    import torch

    if isinstance(content, Mapping):
        for key in WEIGHT_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping):
        raise DataError(f'{path}: found a {type(content).__name__}, expected a dict of weights')
    weights = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not weights or len(weights) < len(content):
        not_tensors = sorted(str(name) for name in content if str(name) not in weights)
        raise DataError(
            f'{path}: found {len(weights)} tensors and {not_tensors[:10]}, expected weights, or a '
            f'dict of them under one of {list(WEIGHT_KEYS)}'
        )
    return weights
