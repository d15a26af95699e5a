"""Weights from the files that SPIN's, VIBE's and MEVA's authors released, name by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from mmjrr.errors import DataError
from mmjrr.io import read_checkpoint, weights_of


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
