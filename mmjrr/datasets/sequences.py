"""Grouping of frames into sequences, for models that take several frames at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def consecutive(
    videos: Sequence[str],  # (N,)
    frames: Sequence[int],  # (N,), numbers within the video
    seq_len: int,
) -> list[list[int]]:
    """Group rows into sequences of at most ``seq_len`` consecutive frames of one video, in order.

    The step of a video is the smallest distance between its frames. A sequence ends where two
    frames are farther apart. Each row is in exactly one sequence. Sequences can be shorter than
    ``seq_len``.

    Raises:
        ValueError: ``seq_len`` is below 1.

    >>> consecutive(['a', 'b', 'a', 'a', 'a'], [6, 1, 1, 11, 21], seq_len=2)
    [[2, 0], [3], [4], [1]]
    """
    if seq_len < 1:
        raise ValueError(f'seq_len: found {seq_len}, expected at least 1')
    rows_of: dict[str, list[int]] = {}
    for row, video in enumerate(videos):
        rows_of.setdefault(video, []).append(row)
    sequences: list[list[int]] = []
    for rows in rows_of.values():
        rows.sort(key=lambda row: frames[row])
        steps = np.diff([frames[row] for row in rows])
        breaks = np.flatnonzero(steps != steps.min(initial=np.iinfo(np.int64).max)) + 1
        for unbroken in np.split(rows, breaks):
            sequences += [
                unbroken[start : start + seq_len].tolist()
                for start in range(0, len(unbroken), seq_len)
            ]
    return sequences
