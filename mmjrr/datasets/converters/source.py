"""What a reader of another layout gives: annotations in H36M joints, not yet placed or checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera


@dataclass
class Source:
    """Annotations of one file or folder, joints in MMPose's order, nothing else changed yet."""

    path: Path
    imgname: np.ndarray  # (N,) str, MMPose's names; '' where the source's is not of H36M
    files: np.ndarray  # (N,) str, the images' names in the source
    part: np.ndarray  # (N, 17, 3), pixels of the whole image, and weight
    S: np.ndarray  # (N, 17, 4), metres in the camera's frame or about the pelvis, and weight
    center: np.ndarray | None = None  # (N, 2), pixels
    scale: np.ndarray | None = None  # (N,), side of the box / 200
    pose: np.ndarray | None = None  # (N, 72), axis-angle, global_orient first
    betas: np.ndarray | None = None  # (N, K)
    transl: np.ndarray | None = None  # (N, 3), metres, camera's frame
    has_fit: np.ndarray | None = None  # (N,) bool
    cameras: Mapping[tuple[str, str], PerspectiveCamera] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)  # reason: images

    def __len__(self) -> int:
        return len(self.imgname)

    def drop(self, reason: str, bad: np.ndarray, on_error: str) -> None:  # (N,) bool
        """Leave rows out, counted and listed, or raise.

        Raises:
            DataError: there are such rows and ``on_error`` is 'raise', or none is left.
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

    def keep(self, rows: np.ndarray) -> None:  # (N,) bool, or indices
        """Keep these rows alone."""
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                setattr(self, name, value[rows])


def mmpose_image_names(path: Path, files: np.ndarray) -> np.ndarray:  # (N,) str
    """MMPose's names of images named otherwise, '' for those that are not of H36M.

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


def numbers(
    path: Path, raw: dict[str, np.ndarray], name: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    """A field as float64 of the shape, where None stands for any number.

    Raises:
        DataError: it is something else.
    """
    value = raw[name]
    if value.shape == (*shape, 1):
        value = value[..., 0]
    fits = value.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits or value.dtype.kind not in 'fiub':
        wanted = ', '.join('*' if size is None else str(size) for size in shape)
        raise DataError(
            f'{path}: {name}: found {value.dtype} of shape {value.shape}, expected numbers of '
            f'shape ({wanted})'
        )
    return np.asarray(value, dtype=np.float64)
