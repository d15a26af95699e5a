"""Annotations of another layout, as its reader returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera


@dataclass
class Source:
    """Annotations of one file or folder, unchanged except for the joints' order, MMPose's."""

    path: Path
    imgname: Array  # (N,) str, MMPose's names; '' for images that are not H36M's
    files: Array  # (N,) str, the images' names in the source
    part: Array  # (N, 17, 3), pixels of the full image, and weight
    S: Array  # (N, 17, 4), meters, camera frame or relative to the pelvis; weight
    center: Array | None = None  # (N, 2), pixels
    scale: Array | None = None  # (N,), side of the box / 200
    pose: Array | None = None  # (N, 72), axis-angle, global_orient first
    betas: Array | None = None  # (N, K)
    transl: Array | None = None  # (N, 3), meters, camera frame
    has_fit: Array | None = None  # (N,) bool
    cameras: Mapping[tuple[str, str], PerspectiveCamera] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)  # image names by reason

    def __len__(self) -> int:
        return len(self.imgname)

    def drop(self, reason: str, bad: Array, on_error: str) -> None:  # (N,) bool
        """Remove rows and record their images, or raise.

        Args:
            reason: Problem of these rows.
            bad: Rows to remove.
            on_error: 'raise' or 'exclude'.

        Raises:
            DataError: There are such rows and ``on_error`` is 'raise', or no row is left.
        """
        if not bad.any():
            return
        names = self.files[bad].tolist()
        if on_error == 'raise':
            raise DataError(
                f'{self.path}: {len(names)} of {len(self)} images: {reason}, such as '
                f'{names[0]!r}; --on-error exclude leaves them out'
            )
        self.left_out.setdefault(reason, []).extend(names)
        self.keep(~bad)
        if not len(self):
            raise DataError(f'{self.path}: no image is left; the last: {reason}')

    def keep(self, rows: Array) -> None:  # (N,) bool, or indices
        """Remove all other rows."""
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                setattr(self, name, value[rows])


def mmpose_image_names(path: Path, files: Array) -> Array:  # (N,) str
    """Translate image names into MMPose's; names that are not H36M's become ''.

    >>> mmpose_image_names(Path(), np.array(['images/S9_Posing 1.55011271_000001.jpg'])).tolist()
    ['S9/S9_Posing_1.55011271/S9_Posing_1.55011271_000001.jpg']
    """
    names = []
    for file in files.tolist():
        key = image_key(file).replace(' ', '_')
        try:
            name = parse_image_name(key)
        except DataError:
            names.append('')
            continue
        names.append(f'{name.subject}/{name.sequence}.{name.camera}/{key}.jpg')
    return np.array(names, dtype=np.str_)


def numbers(path: Path, raw: dict[str, Array], name: str, shape: tuple[int | None, ...]) -> Array:
    """Return a field as float64.

    Args:
        path: The file, for error messages.
        raw: Fields of the file.
        name: The field.
        shape: Expected shape; None stands for any size.

    Raises:
        DataError: The field is not numeric or has another shape.
    """
    value = raw[name]
    if value.shape == (*shape, 1):
        value = value[..., 0]
    matches = value.ndim == len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, value.shape, strict=True)
    )
    if not matches or value.dtype.kind not in 'fiub':
        expected_shape = ', '.join('*' if size is None else str(size) for size in shape)
        raise DataError(
            f'{path}: {name}: found {value.dtype} of shape {value.shape}, expected numbers of '
            f'shape ({expected_shape})'
        )
    return np.asarray(value, dtype=np.float64)
