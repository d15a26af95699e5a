"""An array from a ``.npy`` file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_npy_header(where: str, file: Any, size: int) -> np.dtype:
    """Read the header of a ``.npy`` file of ``size`` bytes, before room is made for its array.

    Raises:
        DataError: it announces another number of bytes than there are (objects apart).
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DataError(f'{where}: found .npy version {version}, expected 1 or 2')
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        return dtype
    found, announced = size - file.tell(), math.prod(shape) * dtype.itemsize
    # Strings of no length, any number of which take no room.
    if announced != found or min(shape, default=0) < 0 or (math.prod(shape) and not dtype.itemsize):
        raise DataError(
            f'{where}: not readable, truncated perhaps: found {found} bytes, expected {announced} '
            f'for {dtype} of shape {shape}'
        )
    return dtype


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a ``.npy`` file; pickled objects are refused.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated or no ``.npy`` file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        with open(path, 'rb') as file:
            check_npy_header(str(path), file, path.stat().st_size)
        return np.load(path, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f'{path}: not readable; truncated, or holds more than an array '
            f'({type(error).__name__}: {error})'
        ) from error
