"""Which prediction is of which annotated frame, by image names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjrr.datasets.image_names import image_key
from mmjrr.errors import DataError


def match_names(found: Sequence[str], wanted: Sequence[str], where: str = '') -> np.ndarray:
    """Which of ``found`` is the image ``wanted``, for each wanted; -1 for none. (len(wanted),) int

    Folders and extension do not count, unless several found images have the same name: then the
    one whose folders agree the farthest, from the name upwards, is taken.

    Raises:
        DataError: two agree equally.

    >>> match_names(['/a/x/1.jpg', '/a/y/1.jpg', 'z/2.png'], ['y/1.jpg', '2.jpg', '3.jpg']).tolist()
    [1, 2, -1]
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(found):
        rows.setdefault(image_key(name), []).append(row)
    matches = np.full(len(wanted), -1)
    for index, name in enumerate(wanted):
        candidates = rows.get(image_key(name), [])
        if len(candidates) == 1:
            matches[index] = candidates[0]
        elif candidates:
            scores = [_agreement(found[row], name) for row in candidates]
            best = [
                row for row, score in zip(candidates, scores, strict=True) if score == max(scores)
            ]
            if len(best) > 1:
                raise DataError(
                    f'{where}: the image {name} has {len(best)} predictions, such as '
                    f'{found[best[0]]!r} (number {best[0]}) and {found[best[1]]!r} (number '
                    f'{best[1]}); keep one, that of the annotated person'
                )
            matches[index] = best[0]
    return matches


def _agreement(one: str, other: str) -> int:
    """How many folders are the same, from the file upwards."""
    pairs = zip(
        *(name.replace('\\', '/').split('/')[-2::-1] for name in (one, other)), strict=False
    )
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count
