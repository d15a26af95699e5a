"""Regressed and annotated joints of frames, with what their image names say about the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import frame_identity

from .protocols import FrameLabels


@dataclass(frozen=True)
class RegressedFrames:
    """Regressed and annotated joints of N frames, for R regressors and J joints.

    Attributes:
        joint_names: Names of the J joints.
        joints: Joints regressed from the predicted meshes, (N, R, J, 3), meters.
        target: Annotated joints, (N, J, 3), meters.
        weight: Weights of the annotated joints, (N, J); 0 if a joint is not annotated.
        labels: Subject, action, sequence and camera of each frame.
        numbers: Number of each frame in its video, -1 where it is unknown. Default: all unknown,
            which leaves the acceleration error undefined.
        imgname: Image name of each frame; empty if unknown.
    """

    joint_names: tuple[str, ...]
    joints: Array
    target: Array
    weight: Array
    labels: Sequence[FrameLabels]
    numbers: Sequence[int] | Array = ()
    imgname: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.target)


@lru_cache(maxsize=65536)
def frame_labels(
    subject: str | None, action: str | None, sequence: str | None, camera: str | None
) -> FrameLabels:
    """Return the labels of a frame; the frames of a video share one dict, which saves memory."""
    return dict(subject=subject, action=action, sequence=sequence, camera=camera)


def frame_numbers(names: Sequence[str]) -> Array:  # (N,)
    """Return the number of each frame in its video, as its image name has it, or -1."""
    identities = map(frame_identity, names)
    numbers = (-1 if identity is None else identity.frame for identity in identities)
    return np.fromiter(numbers, np.int64, len(names))


def find_neighbors(
    labels: Sequence[FrameLabels], numbers: Sequence[int] | Array
) -> Array | None:  # (N, 2)
    """Find the frames before and after each frame of a video.

    Frames are consecutive if their numbers differ by the most common difference of successive
    frames in all videos: 5 in the frames that MMPose annotates at 10 fps.

    Args:
        labels: Labels of the N frames.
        numbers: Number of each frame in its video, -1 where it is unknown.

    Returns:
        Rows of the frame before and the frame after, -1 if there is none; None if no frame has
        both.

    >>> video = dict(sequence='S9_Walking', camera='60457274')
    >>> find_neighbors([video] * 4, [1, 6, 11, 21]).tolist()
    [[-1, 1], [0, 2], [1, -1], [-1, -1]]
    """
    videos: dict[tuple[str | None, str | None], int] = {}
    video = np.full(len(labels), -1, np.int32)
    number = np.zeros(len(labels), np.int64)
    for row, (label, value) in enumerate(zip(labels, numbers, strict=False)):
        if value >= 0 and label.get('sequence') is not None:
            place = label.get('sequence'), label.get('camera')
            video[row] = videos.setdefault(place, len(videos))
            number[row] = value
    rows = np.flatnonzero(video >= 0).astype(np.int32)
    rows = rows[np.lexsort((number[rows], video[rows]))]
    video, number = video[rows], number[rows]
    # Of rows with the same frame, the last counts.
    last = np.append((np.diff(video) != 0) | (np.diff(number) != 0), True)[: len(rows)]
    if not last.all():
        rows, video, number = rows[last], video[last], number[last]
    steps, counts = np.unique(np.diff(number)[np.diff(video) == 0], return_counts=True)
    if not len(steps):
        return None
    step = int(steps[np.argmax(counts)])
    first = int(number.min()) - step
    span = int(number.max()) + step - first + 1
    keys = np.multiply(video, span, dtype=np.int64) + number - first  # ascending
    del video, number
    neighbors = np.full((len(labels), 2), -1, np.int32)
    for column, offset in enumerate((-step, step)):
        places = np.minimum(np.searchsorted(keys, keys + offset), len(keys) - 1)
        neighbors[rows, column] = np.where(keys[places] == keys + offset, rows[places], -1)
    return neighbors if (neighbors >= 0).all(1).any() else None
