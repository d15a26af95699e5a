"""The table of an annotation file in MMPose's layout of Human3.6M."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE
from mmjrr.io import atomic_write
from mmjrr.joints import H36M_JOINTS_MMPOSE

#: By how much a box is wider than the joints' own, in MMPose's files.
_BOX_PADDING = 1.2


@dataclass
class Annotations:
    """The rows of an annotation file, joints in MMPose's order.

    Raises:
        DataError: a shape is wrong.
    """

    imgname: np.ndarray  # (N,) str
    center: np.ndarray  # (N, 2), pixels
    scale: np.ndarray  # (N,), side of the box / 200
    part: np.ndarray  # (N, 17, 3), pixels of the whole image, and weight
    S: np.ndarray  # (N, 17, 4), metres in the camera's frame, and weight

    def __post_init__(self) -> None:
        self.imgname = np.asarray(self.imgname, dtype=np.str_)
        count, joints = len(self.imgname), len(H36M_JOINTS_MMPOSE)
        for name, shape in dict(
            center=(count, 2), scale=(count,), part=(count, joints, 3), S=(count, joints, 4)
        ).items():
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape:
                raise DataError(f'annotations: {name}: found shape {value.shape}, expected {shape}')
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.imgname)

    def keep(self, rows: np.ndarray) -> Annotations:  # (N,) bool, or indices
        """These rows alone."""
        return Annotations(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Annotations]) -> Annotations:
        """All rows of the parts, in their order."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    def save(self, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the npz whole or not at all; equal rows give equal bytes.

        ``provenance``, plain values, goes into a JSON file of the same name beside it.
        """
        path = Path(path)
        arrays: dict[str, np.ndarray] = {'imgname': self.imgname}
        for name in ('center', 'scale', 'part', 'S'):
            arrays[name] = getattr(self, name).astype(np.float32)
        if provenance is not None:
            with atomic_write(path.with_suffix('.json')) as temporary:
                temporary.write_text(json.dumps(provenance, indent=1, sort_keys=True) + '\n')
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def boxes_of_joints(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (N, 17, 3)
    """MMPose's boxes about the labelled joints: (N, 2) centres in pixels, (N,) scales.

    >>> part = np.ones((1, 17, 3)) * [100, 200, 1]
    >>> part[0, 0] = 300, 250, 1
    >>> boxes_of_joints(part)
    (array([[200., 225.]]), array([1.2]))
    """
    used = part[..., 2:] > 0
    low = np.where(used, part[..., :2], np.inf).min(1)
    high = np.where(used, part[..., :2], -np.inf).max(1)
    return (low + high) / 2, _BOX_PADDING * (high - low).max(1) / PIXELS_PER_SCALE
