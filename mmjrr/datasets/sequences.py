"""Frames of videos, put together for models that see several at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def consecutive(
    videos: Sequence[str],  # (N,)
    frames: Sequence[int],  # (N,), numbers within the video
    seq_len: int,
) -> list[list[int]]:
    """Rows of consecutive frames of one video, in order, at most ``seq_len`` at once.

    The smallest distance between frames of a video is its step; where two are farther apart, a
    sequence ends. Each row is in one sequence; the last of a video may be short.

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
    found: list[list[int]] = []
    for rows in rows_of.values():
        rows.sort(key=lambda row: frames[row])
        steps = np.diff([frames[row] for row in rows])
        breaks = np.flatnonzero(steps != steps.min(initial=np.iinfo(np.int64).max)) + 1
        for unbroken in np.split(rows, breaks):
            found += [
                unbroken[start : start + seq_len].tolist()
                for start in range(0, len(unbroken), seq_len)
            ]
    return found
