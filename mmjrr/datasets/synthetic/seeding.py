"""Random numbers that depend on what they are for, not on the order in which they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator of its own for every purpose.

    Args:
        seed: the data set's seed.
        keys: what the numbers are for, e.g. ``('label', 'S1', 'Walking_1', 26)``.

    Returns:
        A generator that depends on ``seed`` and ``keys`` only, so frames can be made in any order
        and by any number of processes.

    >>> bool(stream(0, 'label', 'S1').random() == stream(0, 'label', 'S1').random())
    True
    >>> bool(stream(0, 'label', 'S1').random() == stream(0, 'label', 'S5').random())
    False
    """
    digest = hashlib.sha256('\x1f'.join(str(key) for key in keys).encode()).digest()
    words = np.frombuffer(digest[:16], dtype='<u4')
    return np.random.default_rng(np.random.SeedSequence([seed, *(int(word) for word in words)]))
