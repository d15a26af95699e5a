"""The seven subjects of the synthetic H36M, and its train and test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmjrr.array_types import FloatArray
from mmjrr.datasets.image_names import SPLITS
from mmjrr.datasets.synthetic.seeding import stream

TRAIN_SUBJECTS = SPLITS['train']
SUBJECTS = TRAIN_SUBJECTS + SPLITS['test']

#: Standard deviation of the ankle label's position across subjects, in meters per axis. The paper's
#: Figure 8 shows ankles of different subjects labeled at visibly different positions.
ANKLE_OFFSET_STD = 0.010


@dataclass(frozen=True)
class Subject:
    """A person.

    Attributes:
        name: H36M's name, such as ``'S1'``.
        betas: (10,) shape of the free body, in standard deviations.
        ankle_offset: (2, 3) offset of this subject's left and right ankle labels from the training
            subjects' mean, meters, in the frame of the shank (SMPL's axes at rest).
        clothes: (4, 3) RGB in [0, 1]: skin, hair, shirt, trousers.
        phenotypes: (11,) shape of Anny, if the subject is one of Anny's adults; ``betas`` are then
            those of the nearest free body.
    """

    name: str
    betas: FloatArray
    ankle_offset: FloatArray
    clothes: FloatArray
    phenotypes: FloatArray | None = None


def make_subject(seed: int, name: str, num_betas: int = 10, ankle_offsets: bool = True) -> Subject:
    """Draw a subject from the population that the body model describes.

    Args:
        seed: Seed of the dataset.
        name: One of :data:`SUBJECTS`.
        num_betas: Number of shape components. Default: 10.
        ankle_offsets: Whether the ankles' labels are off; if not, the offsets are zero.
            Default: True.

    Raises:
        ValueError: The name is not H36M's.
    """
    if name not in SUBJECTS:
        raise ValueError(f'subject: found {name!r}, expected one of {list(SUBJECTS)}')
    rng = stream(seed, 'subject', name)
    betas = np.clip(rng.normal(0, 1, num_betas), -2, 2)
    tone = rng.uniform(0.45, 1.0)
    skin = tone * np.array([0.93, 0.74, 0.62])
    clothes = np.stack([skin, rng.uniform(0.05, 0.4) * np.array([1.0, 0.8, 0.6]),
                        rng.uniform(0.1, 0.9, 3), rng.uniform(0.08, 0.5, 3)])  # fmt: skip
    offset = _ankle_offset(seed, name) if ankle_offsets else np.zeros((2, 3))
    return Subject(name, betas, offset, clothes)


def _ankle_offset(seed: int, name: str) -> FloatArray:
    """Return (2, 3) meters relative to the training subjects' mean, which is the true ankle."""
    offset = _raw_ankle_offset(seed, name)
    if name in TRAIN_SUBJECTS:
        offset = offset - np.mean([_raw_ankle_offset(seed, n) for n in TRAIN_SUBJECTS], axis=0)
    return offset


def _raw_ankle_offset(seed: int, name: str) -> FloatArray:
    rng = stream(seed, 'ankle', name)
    shared = rng.normal(0, ANKLE_OFFSET_STD, 3)
    return np.stack([shared, shared * [-1, 1, 1]]) + rng.normal(0, 0.002, (2, 3))
