"""One kind of error for everything that a damaged file makes libraries raise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmjrr.errors import DataError


@contextlib.contextmanager
def own_errors(where: str, expected: str) -> Iterator[None]:
    """Turn what a damaged file raises inside the context into a :class:`DataError` that names it.

    Args:
        where: the file, or file and field, with which every message begins.
        expected: what the file should be, with its article.
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
