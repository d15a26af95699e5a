"""A context that turns the exceptions of libraries into :class:`~mmjrr.errors.DataError`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmjrr.errors import DataError


@contextlib.contextmanager
def own_errors(where: str, expected: str) -> Iterator[None]:
    """Turn any exception inside the context into a :class:`DataError` that names the file.

    Readers raise many types of exceptions for damaged files. ``FileNotFoundError`` passes
    unchanged.

    Args:
        where: The file, or file and field, which every message names.
        expected: The expected kind of file, with its article, such as ``'an npz file'``.

    Raises:
        DataError: The block raised an exception.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except DataError as error:
        if where in str(error):
            raise
        raise type(error)(f'{where}: {error}') from error
    except MemoryError:
        raise DataError(f'{where}: needs more memory than this machine can give') from None
    except RecursionError:
        raise DataError(f'{where}: nested too deeply, or holds itself') from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = f'{type(error).__name__}: {str(error)[:300]}'
        raise DataError(
            f'{where}: not readable as {expected}; truncated perhaps ({reason})'
        ) from error
