"""Weights from the files that SPIN's, VIBE's and MEVA's authors released, name by name."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmjrr.errors import DataError

#: Where a file may hold the weights: VIBE and MEVA, SPIN, MMEngine.
WEIGHT_KEYS = ('gen_state_dict', 'model', 'state_dict')

_CONVERTER = 'tools/model_converters/rewrite_checkpoint.py'


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint file into an estimator, strictly, without running anything in it.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is broken or no checkpoint, it names more than tensors and plain values, or
            weights are missing, unexpected or of another shape; all are listed.
    """
    content = read_checkpoint(path)
    try:
        model.load_state_dict(weights_of(content, str(path)))
    except DataError as error:
        raise DataError(f'{path}: {error}') from error
    except RuntimeError as error:  # of models that do not check for themselves
        raise DataError(f'{path}: {error}') from error


def read_checkpoint(path: str | Path) -> Any:
    """What a file of ``torch.save`` holds, by the loader that admits tensors and plain values."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r'unsupported \w+[^\n]*', str(error), re.IGNORECASE)
        reason = asked[0].rstrip('.') if asked else str(error).splitlines()[0]
        raise DataError(
            f'{path}: refused by the safe loader ({reason}). A checkpoint of old code that holds '
            f'NumPy numbers beside its weights is rewritten once, also without running anything, '
            f'by: python {_CONVERTER} {path} OUT.pt'
        ) from error
    except Exception as error:  # a broken file can bring up nearly anything
        raise DataError(f'{path}: not a readable checkpoint ({error})') from error


def weights_of(content: Any, path: str) -> dict[str, Tensor]:
    """The weights in what a checkpoint file holds: under a known key, or all of it.

    Raises:
        DataError: there are none.
    """
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


def translate(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    rename: Callable[[str], str | None],
    optional: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Weights under our names, checked.

    Args:
        weights: as a file names them, perhaps with ``module.`` before each name.
        expected: the model's own.
        rename: gives our name, or None for what is not needed.
        optional: names that may be missing.

    Raises:
        DataError: names all that are missing, unexpected, or of another shape.
    """
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unexpected = []
    for name, value in weights.items():
        plain = name.removeprefix('module.')
        ours = plain if plain in expected else rename(plain)
        if ours is None:
            continue
        if ours not in expected:
            unexpected.append(name)
        else:
            found[ours], origin[ours] = value, name
    may_miss = set(optional)
    problems = {
        'missing': [name for name in expected if name not in found and name not in may_miss],
        'unexpected': unexpected,
        'of another shape': [
            f'{origin[name]} (found {tuple(value.shape)}, expected {tuple(expected[name].shape)})'
            for name, value in found.items()
            if value.shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        raise DataError(
            'the weights do not fit the model: '
            + '; '.join(f'{kind}: {", ".join(names)}' for kind, names in problems.items() if names)
        )
    return found
