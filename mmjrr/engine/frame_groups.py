"""Random samples of a dataset's frames by subject and camera, for checks before a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.datasets.image_names import parse_image_name

#: Largest number of frames drawn for each subject and camera.
FRAMES_PER_GROUP = 16


@dataclass(frozen=True)
class FrameGroup:
    """Sampled frames of one subject and camera.

    Attributes:
        name: Subject and camera, such as ``'S1 54138969'``.
        indices: Positions of the frames in the dataset, ascending.
    """

    name: str
    indices: list[int]


def frame_groups(
    dataset: Any, seed: int = 0, keep: Callable[[int], bool] = lambda index: True
) -> list[FrameGroup]:
    """Draw up to :data:`FRAMES_PER_GROUP` frames of each subject and camera.

    The sample depends only on the seed and the image names, and uses no global random state.
    The first two and last two frames of the dataset, which lack neighbors, are drawn only if the
    subject and camera have no others.

    Args:
        dataset: A dataset with ``imgname(index)``.
        seed: Seed of the sample.
        keep: Predicate of a frame's position; only frames for which it is true are drawn. Defaults
            to all.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in range(len(dataset)):
        name = parse_image_name(dataset.imgname(index))
        if keep(index):
            members[name.subject, name.camera].append(index)
    random = np.random.default_rng(seed)
    groups = []
    for (subject, camera), indices in sorted(members.items()):
        inner = [index for index in indices if 2 <= index < len(dataset) - 2] or indices
        drawn = random.permutation(len(inner))[:FRAMES_PER_GROUP]
        groups.append(FrameGroup(f'{subject} {camera}', sorted(inner[i] for i in drawn)))
    return groups
