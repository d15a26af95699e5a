"""Loading of the checkpoints that the authors of SPIN, VIBE and MEVA released."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from mmjrr.errors import DataError
from mmjrr.io import read_checkpoint, weights_of


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint file into an estimator, strictly, and without running code from it.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged or not a checkpoint, it contains more than tensors and plain
            values, or weights are missing, unexpected or of another shape; the message lists them.
    """
    content = read_checkpoint(path)
    try:
        model.load_state_dict(weights_of(content, str(path)))
    except DataError as error:
        raise DataError(f'{path}: {error}') from error
    except RuntimeError as error:  # raised for models that do not use translate()
        raise DataError(f'{path}: {error}') from error


#: Prefixes that wrappers of models give to all names: ``DataParallel``, and modules of Lightning.
WRAPPER_PREFIXES = ('module.', 'model.')


def without_wrappers(name: str) -> str:
    """Return a weight's name without the prefixes of wrappers.

    >>> without_wrappers('model.module.fc1.bias')
    'fc1.bias'
    """
    while name.startswith(WRAPPER_PREFIXES):
        name = name.split('.', 1)[1]
    return name


def translate(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    rename: Callable[[str], str | None],
    optional: Iterable[str] = (),
) -> dict[str, Tensor]:
    """Rename the weights of a file to the model's names, and check them.

    Args:
        weights: Weights by the file's names, with or without the prefixes of
            :data:`WRAPPER_PREFIXES`.
        expected: Weights by the model's names.
        rename: Function that returns the model's name of a file's name, or None to ignore it.
        optional: Names of the model's weights that the file may omit.

    Raises:
        DataError: Weights are missing, unexpected or of another shape; the message lists them.
    """
    translated: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unexpected = []
    for name, value in weights.items():
        plain = without_wrappers(name)
        new_name = plain if plain in expected else rename(plain)
        if new_name is None:
            continue
        if new_name not in expected:
            unexpected.append(name)
        else:
            translated[new_name], origin[new_name] = value, name
    required = [name for name in expected if name not in set(optional)]
    problems = {
        'missing': [name for name in required if name not in translated],
        'unexpected': unexpected,
        'of another shape': [
            f'{origin[name]} (found {tuple(value.shape)}, expected {tuple(expected[name].shape)})'
            for name, value in translated.items()
            if value.shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        raise DataError(
            'the weights do not fit the model: '
            + '; '.join(f'{kind}: {", ".join(names)}' for kind, names in problems.items() if names)
        )
    return translated
