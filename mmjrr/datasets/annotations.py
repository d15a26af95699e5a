"""Table of an annotation file in MMPose's layout of Human3.6M: reader, checks and writer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.fits import image_names
from mmjrr.datasets.image_names import ImageName, image_key, parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import MAX_DISTANCE, MAX_PIXEL, PIXELS_PER_SCALE
from mmjrr.io import atomic_write, read_npz
from mmjrr.io.mapped import is_mapped, pieces, working_array
from mmjrr.io.paths import check_inside
from mmjrr.joints import H36M_JOINTS_MMPOSE

#: Side of MMPose's boxes as a multiple of the tight box around the joints.
_BOX_PADDING = 1.2
_NUM_JOINTS = len(H36M_JOINTS_MMPOSE)


@dataclass
class Annotations:
    """Rows of an annotation file, with joints in MMPose's order.

    float32 values stay float32; all other numbers become float64.

    Raises:
        DataError: A shape is wrong.
    """

    imgname: Array  # (N,) str
    center: Array  # (N, 2), pixels
    scale: Array  # (N,), side of the box / 200
    part: Array  # (N, 17, 3), pixels of the full image, and weight
    S: Array  # (N, 17, 4), meters in the camera frame, and weight

    def __post_init__(self) -> None:
        self.imgname = np.asarray(self.imgname, dtype=np.str_)
        count = len(self.imgname)
        for name, shape in dict(
            center=(count, 2),
            scale=(count,),
            part=(count, _NUM_JOINTS, 3),
            S=(count, _NUM_JOINTS, 4),
        ).items():
            value = np.asarray(getattr(self, name))
            if value.dtype != np.float32:
                value = value.astype(np.float64, copy=False)
            if value.shape != shape:
                raise DataError(f'annotations: {name}: found shape {value.shape}, expected {shape}')
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.imgname)

    @classmethod
    def load(cls, path: str | Path, mapped: bool = False) -> Annotations:
        """Read and check an annotation file.

        ``center`` and ``scale`` become float64, ``part`` and ``S`` float32. Joints of weight 0,
        which can be NaN in the file, become zero. ``part`` without weights gets weights of 1.

        Args:
            path: The file.
            mapped: Whether large arrays stay in files (:mod:`mmjrr.io.mapped`).

        Raises:
            FileNotFoundError: The file does not exist.
            DataError: The file is damaged, a field is missing, has a wrong shape or contains values
                that are not finite, an image is listed twice, or ``S`` is in millimeters.
        """
        path = Path(path)
        raw = read_npz(path, mapped=mapped)
        missing = [name for name in (f.name for f in fields(cls)) if name not in raw]
        if missing:
            raise DataError(f'{path}: {missing} missing, found {sorted(raw)}')
        names = image_names(path, raw['imgname'])
        _check_shapes(path, raw, len(names))
        _check_names(path, names)
        table = cls(
            imgname=names,
            center=raw['center'].astype(np.float64),
            scale=raw['scale'].astype(np.float64).reshape(-1),
            part=_labeled(raw['part'], 3),
            S=_labeled(raw['S'], 4),
        )
        _check_values(path, table)
        return table

    def keep(self, rows: Array) -> Annotations:  # (N,) bool, or indices
        """Return a table of only these rows."""
        return Annotations(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Annotations]) -> Annotations:
        """Return all rows of the parts, in their order."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    def save(self, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the npz whole or not at all; equal rows give equal bytes.

        Args:
            path: File to write.
            provenance: Plain values to write to a JSON file of the same name, with the extension
                ``.json``. Default: None, no JSON file.
        """
        path = Path(path)
        arrays: dict[str, Array] = {'imgname': self.imgname}
        for name in ('center', 'scale', 'part', 'S'):
            arrays[name] = getattr(self, name).astype(np.float32)
        if provenance is not None:
            with atomic_write(path.with_suffix('.json')) as temporary:
                temporary.write_text(json.dumps(provenance, indent=1, sort_keys=True) + '\n')
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, **arrays)


def boxes_of_joints(part: Array) -> tuple[Array, Array]:  # (N, 17, 3)
    """Return MMPose's boxes around the labeled joints: (N, 2) centers in pixels, (N,) scales.

    >>> part = np.ones((1, 17, 3)) * [100, 200, 1]
    >>> part[0, 0] = 300, 250, 1
    >>> boxes_of_joints(part)
    (array([[200., 225.]]), array([1.2]))
    """
    used = part[..., 2:] > 0
    low = np.where(used, part[..., :2], np.inf).min(1)
    high = np.where(used, part[..., :2], -np.inf).max(1)
    return (low + high) / 2, _BOX_PADDING * (high - low).max(1) / PIXELS_PER_SCALE


def parse_names(path: str | Path, names: Sequence[str]) -> list[ImageName]:
    """Parse the image names of a file.

    Raises:
        DataError: A name is not of Human3.6M's form.
    """
    try:
        return [parse_image_name(name) for name in names]
    except DataError as error:
        raise DataError(f'{path}: imgname: {error}') from error


def _labeled(points: Array, columns: int) -> Array:  # (N, 17, columns), float32, weight last
    """Return points of weight 0 as zeros; points without weights get weights of 1."""
    shape = (*points.shape[:2], columns)
    mapped = is_mapped(points)
    labeled = working_array(shape, np.float32) if mapped else np.empty(shape, np.float32)
    for piece in pieces(points, labeled):
        part = points[piece]
        if part.shape[-1] < columns:
            part = np.concatenate([part, np.ones((*part.shape[:2], 1), part.dtype)], -1)
        labeled[piece] = np.where(part[..., -1:] == 0, 0, part)
    return labeled


def _check_names(path: Path, names: Array) -> None:  # (N,) str
    hashes = np.empty(len(names), np.int64)
    for piece in pieces(names):
        texts = names[piece].tolist()
        check_inside(f'{path}: imgname', texts)
        hashes[piece] = [hash(image_key(name)) for name in texts]
        parse_names(path, texts)
    if len(np.unique(hashes)) == len(names):
        return
    keys = Counter(map(image_key, names.tolist()))
    repeated = [name for name, count in keys.items() if count > 1]
    if repeated:
        raise DataError(
            f'{path}: imgname: found {len(repeated)} images listed more than once, such as '
            f'{repeated[0]!r}, expected each once'
        )


def _check_shapes(path: Path, raw: Mapping[str, Array], count: int) -> None:
    expected: dict[str, tuple[tuple[int, ...], ...]] = {
        'center': ((count, 2),),
        'scale': ((count,), (count, 1)),
        'part': ((count, _NUM_JOINTS, 3), (count, _NUM_JOINTS, 2)),
        'S': ((count, _NUM_JOINTS, 4),),
    }
    for name, shapes in expected.items():
        if raw[name].shape not in shapes:
            expected_shapes = ' or '.join(map(str, shapes))
            raise DataError(
                f'{path}: {name}: found shape {raw[name].shape}, expected {expected_shapes} for '
                f'{count} image names and the 17 joints of H36M'
            )
        if raw[name].dtype.kind not in 'fiu':
            raise DataError(f'{path}: {name}: found {raw[name].dtype}, expected numbers')


def _check_values(path: Path, table: Annotations) -> None:
    for name in ('center', 'scale', 'part', 'S'):
        value = getattr(table, name)
        finite = np.ones(len(table), bool)
        for piece in pieces(value):
            finite[piece] = np.isfinite(value[piece].reshape(len(value[piece]), -1)).all(1)
        if not finite.all():
            raise DataError(
                f'{path}: {name}: {int((~finite).sum())} of {len(table)} rows are not finite, '
                f'the first is {table.imgname[np.argmin(finite)]}'
            )
    if not (table.scale > 0).all():
        row = np.argmin(table.scale)
        raise DataError(
            f'{path}: scale: found {table.scale[row]} at {table.imgname[row]}, expected positive '
            'numbers'
        )
    for name, value in dict(center=table.center, scale=table.scale * PIXELS_PER_SCALE).items():
        if np.abs(value).max(initial=0) > MAX_PIXEL:
            raise DataError(
                f'{path}: {name}: found {np.abs(value).max():.3g} pixels, expected at most '
                f'{MAX_PIXEL:.0f}'
            )
    depth = np.zeros(len(table))
    for piece in pieces(table.S):
        pelvis = table.S[piece, 0]
        depth[piece] = np.where(pelvis[:, 3] > 0, pelvis[:, 2], 0)
    if np.abs(depth).max(initial=0) > MAX_DISTANCE:
        row = np.argmax(np.abs(depth))
        raise DataError(
            f'{path}: S: found depth {depth[row]:.0f} of the pelvis of {table.imgname[row]}, '
            f'expected meters, below {MAX_DISTANCE:.0f}; these look like millimeters'
        )
