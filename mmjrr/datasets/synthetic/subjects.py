"""The seven people of the synthetic H36M, and its train and test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmjrr.datasets.image_names import SPLITS
from mmjrr.datasets.synthetic.seeding import stream

TRAIN_SUBJECTS = SPLITS['train']
SUBJECTS = TRAIN_SUBJECTS + SPLITS['test']

#: Standard deviation of the ankle label's place among subjects, metres and axis. The paper's
#: Figure 8 shows the ankles of different subjects labelled at visibly different places.
ANKLE_OFFSET_STD = 0.010


@dataclass(frozen=True)
class Subject:
    """A person.

    Attributes:
        name: H36M's name, e.g. ``'S1'``.
        betas: (10,) shape, in standard deviations.
        ankle_offset: (2, 3) metres, where this subject's left and right ankle are labelled relative
            to the training subjects' mean, in the frame of the shank (SMPL's axes at rest).
        clothes: (4, 3) RGB in [0, 1]: skin, hair, shirt, trousers.
    """

    name: str
    betas: NDArray[np.float64]
    ankle_offset: NDArray[np.float64]
    clothes: NDArray[np.float64]


def make_subject(seed: int, name: str, num_betas: int = 10) -> Subject:
    """One of :data:`SUBJECTS`, drawn from the population that the body model describes.

    Raises:
        ValueError: the name is not H36M's.
    """
    if name not in SUBJECTS:
        raise ValueError(f'unknown subject {name!r}; H36M has {list(SUBJECTS)}')
    rng = stream(seed, 'subject', name)
    betas = np.clip(rng.normal(0, 1, num_betas), -2, 2)
    tone = rng.uniform(0.45, 1.0)
    skin = tone * np.array([0.93, 0.74, 0.62])
    clothes = np.stack([skin, rng.uniform(0.05, 0.4) * np.array([1.0, 0.8, 0.6]),
                        rng.uniform(0.1, 0.9, 3), rng.uniform(0.08, 0.5, 3)])  # fmt: skip
    return Subject(name, betas, _ankle_offset(seed, name), clothes)


def _ankle_offset(seed: int, name: str) -> NDArray[np.float64]:
    """(2, 3) metres, relative to the training subjects' mean: that mean is the true ankle."""
    offset = _own_ankle_offset(seed, name)
    if name in TRAIN_SUBJECTS:
        offset = offset - np.mean([_own_ankle_offset(seed, n) for n in TRAIN_SUBJECTS], axis=0)
    return offset


def _own_ankle_offset(seed: int, name: str) -> NDArray[np.float64]:
    rng = stream(seed, 'ankle', name)
    shared = rng.normal(0, ANKLE_OFFSET_STD, 3)
    return np.stack([shared, shared * [-1, 1, 1]]) + rng.normal(0, 0.002, (2, 3))
