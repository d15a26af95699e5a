"""SMPL fits in SPIN's npz layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io import as_text, atomic_write, read_npz

#: Fields of a fits file and the shape of one frame; ``None`` stands for any number.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    'pose': (72,),
    'betas': (None,),
    'camera': (3,),
    'transl': (3,),
    'center': (2,),
    'scale': (),
    'part': (17, None),
    'S': (17, 4),
}
_FLAGS = ('valid_fit', 'has_smpl')


def load_fits(path: str | Path) -> dict[str, Any]:
    """Read and check a fits file.

    Returns:
        ``imgname`` (N,) str and float32 ``pose`` (N, 72) (axis-angle, ``global_orient`` first,
        camera frame) and ``betas`` (N, K) always; where the file has them ``camera`` (N, 3) (weak
        perspective on the 224 crop of ``center`` and ``scale``), ``transl`` (N, 3) metres in the
        camera frame, ``center`` (N, 2) pixels, ``scale`` (N,), ``part`` (N, 17, 2 or 3), ``S``
        (N, 17, 4), ``valid`` (N,) bool (from SPIN's ``valid_fit`` or ``has_smpl``) and
        ``provenance`` (dict). SPIN's ``shape`` is read as ``betas``.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is truncated, a field is missing, of a wrong length or shape, or not finite.
    """
    path = Path(path)
    raw = read_npz(path)
    if 'betas' not in raw and 'shape' in raw:
        raw['betas'] = raw['shape']
    for name in ('imgname', 'pose', 'betas'):
        if name not in raw:
            raise DataError(f"{path}: lacks '{name}', found {sorted(raw)}")
    fits: dict[str, Any] = {'imgname': image_names(path, raw['imgname'])}
    count = len(fits['imgname'])
    for name in _SHAPES:
        if name not in raw or (name in ('part', 'S') and raw[name].shape[1:2] != (17,)):
            continue  # SPIN's own files have 24 joints there, which nobody reads from here
        value = _checked(f'{path}: {name}', raw[name], (count, *_SHAPES[name]))
        finite = np.isfinite(value.reshape(count, -1)).all(1)
        if name not in ('part', 'S') and not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f'{path}: {name}: {int((~finite).sum())} rows are not finite, the first is row '
                f'{row} ({fits["imgname"][row]})'
            )
        fits[name] = value
    for name in _FLAGS:
        if name in raw:
            fits['valid'] = _checked(f'{path}: {name}', raw[name], (count,)) > 0
            break
    if 'provenance' in raw:
        try:
            fits['provenance'] = json.loads(str(raw['provenance'].item()))
        except (ValueError, RecursionError) as error:
            raise DataError(f'{path}: provenance: not a JSON text ({error})') from error
    return fits


def save_fits(
    path: str | Path,
    *,
    imgname: Sequence[str] | np.ndarray,  # (N,)
    pose: np.ndarray,  # (N, 72), axis-angle, global_orient first
    betas: np.ndarray,  # (N, K)
    camera: np.ndarray | None = None,  # (N, 3), s, tx, ty
    transl: np.ndarray | None = None,  # (N, 3), metres, camera frame
    center: np.ndarray | None = None,  # (N, 2), pixels
    scale: np.ndarray | None = None,  # (N,), box side / 200
    part: np.ndarray | None = None,  # (N, 17, 2 or 3), pixels
    S: np.ndarray | None = None,  # (N, 17, 4), metres, camera frame
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write a fits file, whole or not at all; equal arguments give equal bytes.

    The shape is written as ``betas`` and as ``shape``, since readers of SPIN's layout look for
    either.

    Raises:
        DataError: a length or shape is wrong, or a parameter is not finite.
    """
    names = image_names(Path(path), np.asarray(imgname))
    given = dict(
        pose=pose, betas=betas, camera=camera, transl=transl,
        center=center, scale=scale, part=part, S=S,
    )  # fmt: skip
    arrays: dict[str, np.ndarray] = {'imgname': names}
    for name, value in given.items():
        if value is None:
            continue
        array = _checked(f'{path}: {name}', np.asarray(value), (len(names), *_SHAPES[name]))
        if name not in ('part', 'S') and not np.isfinite(array).all():
            raise DataError(f'{path}: {name}: found values that are not finite')
        arrays[name] = array
    arrays['shape'] = arrays['betas']
    if provenance is not None:
        arrays['provenance'] = np.array(json.dumps(provenance, sort_keys=True))
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **{name: arrays[name] for name in sorted(arrays)})  # type: ignore[arg-type]


def image_names(path: Path, names: np.ndarray) -> np.ndarray:  # (N,) str
    """Image names of a file, as text.

    Raises:
        DataError: they are something else.
    """
    names = as_text(f'{path}: imgname', names)
    if names.dtype.kind != 'U' or names.ndim != 1:
        raise DataError(
            f'{path}: imgname: found {names.dtype} of shape {names.shape}, expected (N,) strings'
        )
    return names


def _checked(where: str, value: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """The value as float32 of the shape, or an error that says what was found."""
    if value.dtype.kind not in 'fiub':
        raise DataError(f'{where}: found {value.dtype}, expected numbers')
    if value.shape == (*shape, 1):
        value = value[..., 0]
    fits = value.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits:
        wanted = ', '.join('*' if size is None else str(size) for size in shape)
        raise DataError(f'{where}: found shape {value.shape}, expected ({wanted})')
    return np.ascontiguousarray(value, dtype=np.float32)
