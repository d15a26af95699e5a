"""Files of SMPL fits by image name: reader of any results file, writer of SPIN's npz layout."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.body_models.smpl_files import GENDERS
from mmjrr.errors import DataError
from mmjrr.io import as_text, atomic_write
from mmjrr.io.mapped import all_finite, save_npz

from .predictions import read_predictions
from .predictions.layouts import describe
from .predictions.persons import first_of_equal
from .predictions.results_files import load_results

#: Fields of a fits file and the shape of one frame; ``None`` stands for any number.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    'pose': (72,),
    'betas': (None,),
    'camera': (3,),
    'transl': (3,),
    'center': (2,),
    'scale': (),
    'bbox_xywh': (4,),
    'part': (17, None),
    'S': (17, 4),
}
_FLAGS = ('valid_fit', 'has_smpl')
#: Arguments of :func:`read_predictions` that a caller of :func:`load_fits` can set.
_READING = tuple(
    name
    for name in inspect.signature(read_predictions).parameters
    if name not in ('path', 'content')
)


def load_fits(path: str | Path, *, gender: str | None = None, **reading: Any) -> dict[str, Any]:
    """Read and check SMPL fits from any results file with SMPL parameters and image names.

    Args:
        path: File, folder or pattern that
            :func:`~mmjrr.datasets.predictions.read_predictions` reads.
        gender: Gender of all bodies, in place of the file's. Default: None, the file's.
        reading: Further arguments of that function.

    Returns:
        Dict of arrays. These are always present:

        - ``imgname`` (N,) str
        - ``pose`` (N, 72) float32: axis-angle, ``global_orient`` first, camera frame
        - ``betas`` (N, K) float32

        These are present if the file has them:

        - ``transl`` (N, 3) float32: meters, camera frame
        - ``camera`` (N, 3) float32: weak perspective on the 224-pixel crop of ``center`` and
          ``scale``
        - ``center`` (N, 2) pixels, ``scale`` (N,) box side / 200: float32
        - ``part`` (N, 17, 2 or 3), ``S`` (N, 17, 4): float32
        - ``gender`` (N,) str: 'neutral', 'male' or 'female'
        - ``valid`` (N,) bool: SPIN's ``valid_fit`` or ``has_smpl``, and False in rows without a
          body, which are zeros or NaN
        - ``provenance``: dict

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated or has no rows, or a field is missing, has a wrong length
            or shape, or is not finite in a row that is valid.
        ValueError: ``gender`` or a further argument is unknown.
    """
    _check_reading(gender, reading)
    path = Path(path)
    tree = load_results(path) if path.is_file() else {}
    bodies = read_predictions(path, **reading, content=tree if path.is_file() else None)
    if bodies.body_pose is None and bodies.vertices is None:
        rows = 'rows' if bodies.imgname is None else f'fit in {len(bodies)} rows'
        raise DataError(f'{path}: has no {rows}, expected a fit of each image')
    if bodies.imgname is None:
        raise DataError(f'{path}: imgname: missing; the file has {describe(tree)}')
    if not bodies.has_parameters:
        raise DataError(f'{path}: found vertices, expected SMPL parameters; {describe(tree)}')
    count = len(bodies)
    fits: dict[str, Any] = {
        'imgname': np.array(bodies.imgname, dtype=np.str_),
        'pose': bodies.pose(),
        'betas': bodies.betas,
    }
    if bodies.transl is not None:
        fits['transl'] = bodies.transl
    genders = bodies.gender if gender is None else [gender] * count
    if genders is not None:
        fits['gender'] = np.array(genders, dtype=np.str_)
    raw = tree if isinstance(tree, Mapping) else {}
    for name in ('camera', 'center', 'scale', 'part', 'S'):
        value = raw.get(name)
        if not isinstance(value, np.ndarray) or value.shape[:1] != (count,):
            if name != 'camera' and isinstance(value, np.ndarray):
                fits[name] = _checked(f'{path}: {name}', value, (count, *_SHAPES[name]))
            continue
        if name in ('part', 'S') and value.shape[1:2] != (17,):
            continue  # SPIN's own files have 24 joints, which no caller needs
        fits[name] = _checked(f'{path}: {name}', value, (count, *_SHAPES[name]))
    valid = bodies.is_valid()
    for name in _FLAGS:
        if name in raw:
            flagged = _checked(f'{path}: {name}', np.asarray(raw[name]), (count,)) > 0
            valid = flagged & valid
            fits['valid'] = valid
            break
    if not valid.all():
        fits['valid'] = valid
    for name, value in fits.items():
        if name in ('imgname', 'gender', 'valid', 'part', 'S'):
            continue
        finite = np.isfinite(value.reshape(count, -1)).all(1) | ~valid
        if not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f'{path}: {name}: {int((~finite).sum())} rows are not finite, the first is row '
                f'{row} ({fits["imgname"][row]})'
            )
    kept = first_of_equal(bodies)
    if len(kept) < count:
        fits = {name: value[kept] for name, value in fits.items()}
    if 'provenance' in raw:
        try:
            fits['provenance'] = json.loads(str(np.asarray(raw['provenance']).item()))
        except (ValueError, RecursionError) as error:
            raise DataError(f'{path}: provenance: not a JSON text ({error})') from error
    return fits


def save_fits(
    path: str | Path,
    *,
    imgname: Sequence[str] | Array,  # (N,)
    pose: Array,  # (N, 72), axis-angle, global_orient first
    betas: Array,  # (N, K)
    camera: Array | None = None,  # (N, 3), s, tx, ty
    transl: Array | None = None,  # (N, 3), meters, camera frame
    center: Array | None = None,  # (N, 2), pixels
    scale: Array | None = None,  # (N,), box side / 200
    part: Array | None = None,  # (N, 17, 2 or 3), pixels
    S: Array | None = None,  # (N, 17, 4), meters, camera frame
    bbox_xywh: Array | None = None,  # (N, 4), corner, width and height in pixels
    gender: str | None = None,  # 'neutral', 'male' or 'female', of all bodies
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write a fits file, whole or not at all; equal arguments give equal bytes.

    The file has the shape coefficients under the names ``betas`` and ``shape``, since readers of
    SPIN's layout use either. The gender of male and female bodies is written as SPIN's files have
    it, ``'m'`` or ``'f'`` for each body. Neutral bodies get no field: readers of SPIN's layout take
    any other text for ``'f'``.

    Raises:
        DataError: A length or shape is wrong, or a parameter is not finite.
        ValueError: The gender is unknown.
    """
    _check_gender(gender)
    names = image_names(Path(path), np.asarray(imgname))
    fields = dict(
        pose=pose, betas=betas, camera=camera, transl=transl,
        center=center, scale=scale, part=part, S=S, bbox_xywh=bbox_xywh,
    )  # fmt: skip
    arrays: dict[str, Array] = {'imgname': names}
    for name, value in fields.items():
        if value is None:
            continue
        array = _checked(f'{path}: {name}', np.asarray(value), (len(names), *_SHAPES[name]))
        if name not in ('part', 'S') and not all_finite(array):
            raise DataError(f'{path}: {name}: found values that are not finite')
        arrays[name] = array
    arrays['shape'] = arrays['betas']
    if gender in ('male', 'female'):
        arrays['gender'] = np.full(len(names), gender[0])
    if provenance is not None:
        arrays['provenance'] = np.array(json.dumps(provenance, sort_keys=True))
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        save_npz(file, {name: arrays[name] for name in sorted(arrays)})


def image_names(path: Path, names: Array) -> Array:  # (N,) str
    """Return the image names of a file as text.

    Raises:
        DataError: The names are no 1D array of strings.
    """
    names = as_text(f'{path}: imgname', names)
    if names.dtype.kind != 'U' or names.ndim != 1:
        raise DataError(
            f'{path}: imgname: found {names.dtype} of shape {names.shape}, expected (N,) strings'
        )
    return names


def _check_reading(gender: str | None, reading: Mapping[str, Any]) -> None:
    """Check how a file is to be read.

    Raises:
        ValueError: The gender or the name of an argument is unknown.
    """
    _check_gender(gender)
    unknown = sorted(set(reading) - set(_READING))
    if unknown:
        raise ValueError(
            f'fits_reading: unknown {unknown}, expected some of {["gender", *_READING]}'
        )


def _check_gender(gender: str | None) -> None:
    if gender is not None and gender not in GENDERS:
        raise ValueError(f'gender: found {gender!r}, expected one of {list(GENDERS)}')


def _checked(where: str, value: Array, shape: tuple[int | None, ...]) -> Array:
    """Return a value as float32 of the shape, in which None stands for any size.

    Raises:
        DataError: The value is not numeric, or has another shape.
    """
    if value.dtype.kind not in 'fiub':
        raise DataError(f'{where}: found {value.dtype}, expected numbers')
    if value.shape == (*shape, 1):
        value = value[..., 0]
    matches = value.ndim == len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, value.shape, strict=True)
    )
    if not matches:
        expected_shape = ', '.join('*' if size is None else str(size) for size in shape)
        raise DataError(f'{where}: found shape {value.shape}, expected ({expected_shape})')
    return np.ascontiguousarray(value, dtype=np.float32)
