"""Grouping of frames into sequences of one camera, and into moments seen by several cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjrr.array_types import IndexArray
from mmjrr.datasets.image_names import ImageName


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


def moment_index(names: Sequence[ImageName]) -> IndexArray:  # (N,)
    """Assign a number to each moment, an instant of a sequence that several cameras see.

    Frames belong to one moment if their sequence and their frame number are the same, since
    Human3.6M's cameras are synchronized. Numbers start at 0, in the order of first frames.

    Returns:
        The number of each frame's moment.

    >>> from mmjrr.datasets.image_names import parse_image_name
    >>> names = ['S1_Eating.54138969_000006', 'S1_Eating.55011271_000006', 'S1_Eating.54138969_7']
    >>> moment_index([parse_image_name(name) for name in names]).tolist()
    [0, 0, 1]
    """
    numbers: dict[tuple[str, int], int] = {}
    moments = [numbers.setdefault((name.sequence, name.frame), len(numbers)) for name in names]
    return np.array(moments, dtype=np.int64)
