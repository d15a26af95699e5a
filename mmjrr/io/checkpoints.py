"""Checkpoints of networks: files of weights, with or without what training kept beside them."""

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

#: Where a checkpoint holds its weights: VIBE and MEVA, SPIN, MMEngine.
WEIGHT_KEYS = ('gen_state_dict', 'model', 'state_dict')
#: What MMEngine's checkpoints hold beside the weights: the history of the training's logs.
MMENGINE_HISTORY: GlobalName = ('mmengine.logging.history_buffer', 'HistoryBuffer')
#: How a history names its own statistics.
GETATTR: tuple[GlobalName, ...] = (('builtins', 'getattr'), ('__builtin__', 'getattr'))
_CONVERTER = 'tools/model_converters/rewrite_checkpoint.py'


def read_checkpoint(
    path: str | Path, extra: Mapping[GlobalName, NodeBuilder] | None = None
) -> dict[str, Any]:
    """Read a checkpoint of any age, without running anything in it.

    Args:
        path: the file.
        extra: builders of further names. Without one for them, MMEngine's histories of logs come
            back as :class:`~mmjrr.io.Skipped`.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafePickleError: it names classes or functions that are not known to be harmless; says
            which, and how to get at the weights.
        DataError: it is broken, or not a dict.
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
        raise DataError(f'{path}: holds a {type(content).__name__}, expected a dict of weights')
    return content


def weights_of(content: Any, path: str) -> dict[str, Tensor]:
    """Return the weights in a checkpoint's content: under a known key, or all of it.

    Raises:
        DataError: there are none.
    """
    import torch

    if isinstance(content, Mapping):
        for key in WEIGHT_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping):
        raise DataError(f'{path}: holds a {type(content).__name__}, expected a dict of weights')
    weights = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not weights or len(weights) < len(content):
        others = sorted(str(name) for name in content if str(name) not in weights)
        raise DataError(
            f'{path}: found {len(weights)} tensors and {others[:10]}, expected weights, or a dict '
            f'of them under one of {list(WEIGHT_KEYS)}'
        )
    return weights
