"""How the C library keeps memory that is freed, on a CPU."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

#: Numbers of ``mallopt``'s parameters, from glibc's malloc.h, and what they are set to.
_TRIM_THRESHOLD = (-1, 2**30)
_MMAP_THRESHOLD = (-3, 32 * 2**20)  # more is refused


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for what is asked for next, for the rest of the process.

    By default it gives memory of some size back to the system, which fills it with zeros, page by
    page, when it is asked for again: with tensors of some megabytes, made and freed in each
    iteration, a fifth of the time. Up to a gigabyte is kept. Where the environment says how
    (``MALLOC_TRIM_THRESHOLD_`` or ``MALLOC_MMAP_THRESHOLD_``), nothing is changed.

    Returns:
        Whether it does so now by this; False where the C library is another, too.
    """
    if {'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_'} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(*setting) == 1 for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD)])
