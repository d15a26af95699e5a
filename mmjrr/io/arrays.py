"""Checks of arrays that come from files."""

from __future__ import annotations

import numpy as np

from mmjrr.errors import DataError


def as_text(where: str, array: np.ndarray) -> np.ndarray:
    """An array of text or of bytes as one of text; another as it is.

    Raises:
        DataError: not all in it is text.
    """
    try:
        if array.dtype.kind == 'S':
            array = np.char.decode(array, 'utf-8')
        if array.dtype.kind == 'U':
            ''.join(array.ravel().tolist()).encode()  # lone surrogates are not
    except ValueError as error:
        raise DataError(f'{where}: not text ({error})') from error
    return array
