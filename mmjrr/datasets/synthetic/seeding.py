"""Random numbers that depend on their purpose, not on the order in which they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """Make the random generator of one purpose.

    Args:
        seed: Seed of the dataset.
        keys: Purpose of the numbers, such as ``('label', 'S1', 'Walking_1', 26)``.

    Returns:
        A generator that depends on ``seed`` and ``keys`` alone, so that frames can be made in any
        order and by any number of processes.

    >>> bool(stream(0, 'label', 'S1').random() == stream(0, 'label', 'S1').random())
    True
    >>> bool(stream(0, 'label', 'S1').random() == stream(0, 'label', 'S5').random())
    False
    """
    digest = hashlib.sha256('\x1f'.join(str(key) for key in keys).encode()).digest()
    words = np.frombuffer(digest[:16], dtype='<u4')
    return np.random.default_rng(np.random.SeedSequence([seed, *(int(word) for word in words)]))
