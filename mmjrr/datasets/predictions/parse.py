"""Stored predictions of any model, read into one form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.errors import DataError
from mmjrr.geometry import matrix_to_axis_angle, rotation_6d_to_matrix
from mmjrr.io import as_text

from .files import load_results
from .layouts import BODY_FIELDS, FIELDS, LAYOUTS, Keys, describe, follow, recognise

#: Rotations in each field that has some.
_COUNTS = {'pose': 24, 'global_orient': 1, 'body_pose': 23}
#: How far from orthonormal a matrix may be that is still taken for a rotation.
_ORTHONORMAL = 0.02
_ARRAYS = ('vertices', 'global_orient', 'body_pose', 'betas', 'transl', 'camera')


@dataclass
class Predictions:
    """N predicted bodies: vertices, or SMPL parameters, and where they were read. float32.

    Rotations stay in the representation that was found: axis-angle, matrices, or 6D as
    :mod:`mmjrr.geometry` has it. :class:`mmjrr.body_models.SMPL` takes each;
    :meth:`pose` gives axis-angle.
    """

    imgname: list[str] | None = None  # N image names, as stored
    vertices: np.ndarray | None = None  # (N, V, 3)
    global_orient: np.ndarray | None = None  # (N, 3), (N, 3, 3) or (N, 6)
    body_pose: np.ndarray | None = None  # (N, 23, 3), (N, 23, 3, 3) or (N, 23, 6)
    betas: np.ndarray | None = None  # (N, K)
    transl: np.ndarray | None = None  # (N, 3)
    camera: np.ndarray | None = None  # (N, C)
    frame: np.ndarray | None = None  # (N,), numbers in the video, from 0
    source: Path | None = None
    layout: str = ''  # name of the layout, of :data:`LAYOUTS`, or 'fields'
    notes: tuple[str, ...] = ()  # what a reader should know, a sentence each

    def __len__(self) -> int:
        arrays = (self.vertices, self.body_pose)
        return next((len(array) for array in arrays if array is not None), 0)

    @property
    def has_parameters(self) -> bool:
        """Whether all of ``global_orient``, ``body_pose`` and ``betas`` are there."""
        return not any(x is None for x in (self.global_orient, self.body_pose, self.betas))

    def pose(self) -> np.ndarray:  # (N, 72)
        """All rotations as axis-angle, ``global_orient`` first.

        Raises:
            ValueError: there are only vertices.
        """
        if self.global_orient is None or self.body_pose is None:
            raise ValueError(f'{self.source or "predictions"}: there are vertices, but no poses')
        parts = [_axis_angle(self.global_orient[:, None]), _axis_angle(self.body_pose)]
        return np.concatenate(parts, axis=1).reshape(len(self), 72)


def read_predictions(
    path: str | Path,
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
) -> Predictions:
    """Predictions from npz, pickle (joblib's and MMEngine's too), JSON or ``.pt``; runs nothing.

    Args:
        path: the file. Its format is told from its content.
        layout: a name of :data:`~mmjrr.datasets.predictions.layouts.LAYOUTS`, or 'auto':
            whichever fits.
        fields: where fields are that the layout does not find, as
            ``dict(imgname='names', pose='out.theta')``; paths as in
            :mod:`mmjrr.datasets.predictions.layouts`. Naming one of vertices, pose,
            global_orient, body_pose and betas replaces all of them.
        name_format: makes image names where the file has only frame numbers: ``{frame}`` counts
            from 0, ``{number}`` from 1; ``{file}`` and ``{folder}`` are the file's name without
            extension and its folder's. ``'{folder}_{number:06d}'`` fits VIBE's output folders.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is broken, asks for code to be run, is of no known layout, or a field has
            the wrong shape.
        ValueError: an argument is wrong.
    """
    path = Path(path)
    return predictions_from(load_results(path), path, layout, fields, name_format)


def predictions_from(
    tree: Any,
    source: str | Path = 'predictions',
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
) -> Predictions:
    """The same for what a file would hold: nested dicts and lists of arrays."""
    source = Path(source)
    name, paths = _chosen(tree, source, layout, fields or {})
    found = {field: dict(follow(tree, where)) for field, where in paths.items()}
    for field, where in (fields or {}).items():
        if not found[field]:
            raise DataError(f'{source}: nothing at {where!r} ({field}); it holds {describe(tree)}')
    found = {field: leaves for field, leaves in found.items() if leaves}
    if not any(field in found for field in ('vertices', 'pose', 'body_pose')):
        raise DataError(
            f"{source}: read as '{name}', there is neither 'vertices' nor 'pose' nor 'body_pose'; "
            f'it holds {describe(tree)}'
        )
    parts = [_part(source, values) for values in _alike(source, found)]
    whole = _joined(source, [part for part, _ in parts])
    whole.source, whole.layout = source, name
    lost = sum(count for _, count in parts)
    if lost:
        whole.notes += (f'{lost} bodies are left out, which the tracker only remembered',)
    return _with_names(whole, name_format)


def _chosen(
    tree: Any, source: Path, layout: str, given: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Name of the layout and the path of each field."""
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise ValueError(f'fields: unknown {unknown}, expected some of {list(FIELDS)}')
    known = {item.name: item for item in LAYOUTS}
    if layout != 'auto' and layout not in known:
        raise ValueError(f"layout: found {layout!r}, expected 'auto' or one of {list(known)}")
    chosen = recognise(tree) if layout == 'auto' else known[layout]
    if chosen is not None and not chosen.fits(tree):
        raise DataError(
            f'{source}: is not of the layout {layout!r}, which has {list(chosen.needs)}; it holds '
            f'{describe(tree)}'
        )
    names_body = any(field in given for field in BODY_FIELDS)
    if chosen is None and not names_body:
        raise DataError(
            f'{source}: of no layout that is known ({", ".join(known)}); it holds '
            f'{describe(tree)}. Name where the fields are, as in fields=dict(imgname=..., '
            'pose=..., betas=...); on the command line, --fields imgname=... pose=... betas=...'
        )
    base = {} if chosen is None else dict(chosen.fields)
    if names_body:
        base = {field: where for field, where in base.items() if field not in BODY_FIELDS}
    return 'fields' if names_body or chosen is None else chosen.name, {**base, **given}


def _alike(source: Path, found: Mapping[str, dict[Keys, Any]]) -> Iterator[dict[str, np.ndarray]]:
    """Arrays by field: of all elements at once where they have equal shapes, else of each."""
    primary = next(field for field in ('vertices', 'body_pose', 'pose') if field in found)
    keys = list(found[primary])
    rows = {
        field: [_value(source, field, _nearest(source, field, leaves, key)) for key in keys]
        for field, leaves in found.items()
    }
    alike = all(len({value.shape for value in values}) == 1 for values in rows.values())
    if len(keys) > 1 and alike:
        yield {field: np.stack(values) for field, values in rows.items()}
    else:
        for index in range(len(keys)):
            yield {field: values[index] for field, values in rows.items()}


def _nearest(source: Path, field: str, leaves: dict[Keys, Any], key: Keys) -> Any:
    """The field's value at the key, or at what encloses it (one name for several persons)."""
    for length in range(len(key), -1, -1):
        if key[:length] in leaves:
            return leaves[key[:length]]
    where = '.'.join(map(str, key))
    raise DataError(f'{source}: {field}: not there for {where}, which has other fields')


def _value(source: Path, field: str, value: Any) -> np.ndarray:
    """Names as str, numbers as float32 (frame numbers as int64)."""
    try:
        array = np.asarray(value)
        if array.dtype.hasobject:
            array = np.array(array.tolist())
    except ValueError as error:
        raise DataError(f'{source}: {field}: is ragged ({error})') from error
    if field == 'imgname':
        array = as_text(f'{source}: {field}', array)
        kinds, wanted = 'U', 'text'
    else:
        kinds, wanted = 'fiub', 'numbers'
    if array.dtype.kind not in kinds:
        raise DataError(f'{source}: {field}: found {array.dtype} {array.shape}, expected {wanted}')
    if field == 'imgname':
        return array
    return array.astype(np.int64 if field in ('frame', 'lost') else np.float32, copy=False)


# -- shapes --------------------------------------------------------------------------------------


def _part(source: Path, values: dict[str, np.ndarray]) -> tuple[Predictions, int]:
    """Rows from arrays with any axes for frames, sequences and persons before each body's own.

    And how many were left out because the person was not seen.
    """
    lead = _lead(source, values)
    count = int(np.prod(lead, dtype=np.int64))
    part = Predictions()
    rotations = {
        field: _rotations(source, field, values[field], count)
        for field in _COUNTS
        if field in values
    }
    if 'pose' in rotations:
        part.global_orient, part.body_pose = rotations['pose'][:, 0], rotations['pose'][:, 1:]
    if 'global_orient' in rotations:
        part.global_orient = rotations['global_orient'][:, 0]
    part.body_pose = rotations.get('body_pose', part.body_pose)
    if 'vertices' in values:
        part.vertices = values['vertices'].reshape(count, *values['vertices'].shape[-2:])
    for field, axes in (('betas', 1), ('transl', 1), ('camera', 1), ('imgname', 0), ('frame', 0)):
        if field in values:
            setattr(part, field, _per_row(source, field, values[field], axes, lead))
    if part.imgname is not None:
        part.imgname = list(map(str, part.imgname))
    if part.vertices is None and not part.has_parameters:
        missing = [n for n in ('global_orient', 'betas') if getattr(part, n) is None]
        raise DataError(f'{source}: has body_pose, but no {" and no ".join(missing)}')
    if not part.has_parameters:
        part.global_orient = part.body_pose = part.betas = None
    if 'lost' in values:
        part = _select(part, _per_row(source, 'lost', values['lost'], 0, lead) == 0)
    return part, count - len(part)


def _lead(source: Path, values: dict[str, np.ndarray]) -> tuple[int, ...]:
    """Axes before a body's own, from the field whose own axes cannot be mistaken."""
    if 'vertices' in values:
        shape = values['vertices'].shape
        if len(shape) < 2 or shape[-1] != 3:
            raise DataError(f'{source}: vertices: found shape {shape}, expected (N, V, 3)')
        return shape[:-2]
    field = 'body_pose' if 'body_pose' in values else 'pose'
    shape, n = values[field].shape, _COUNTS[field]
    for tail in _tails(n):
        if shape[len(shape) - len(tail) :] == tail:
            return shape[: len(shape) - len(tail)]
    hint = ''
    if field == 'body_pose' and (shape[-1:] == (63,) or 21 in shape[-3:]):
        hint = "; 21 rotations are SMPL-X's or SMPL-H's, whose vertices are others"
    raise DataError(
        f'{source}: {field}: found shape {shape}, expected {n} rotations: axis-angle (N, {3 * n}) '
        f'or (N, {n}, 3), matrices (N, {n}, 3, 3), or 6D (N, {n}, 6){hint}'
    )


def _tails(n: int) -> list[tuple[int, ...]]:
    """Shapes of n rotations."""
    return [(n, 3, 3), *((n, size) for size in (3, 6, 9)), *((n * size,) for size in (3, 6, 9))]


def _rotations(source: Path, field: str, value: np.ndarray, count: int) -> np.ndarray:
    """Rotations of each body, (count, n, 3), (count, n, 6) or (count, n, 3, 3)."""
    n = _COUNTS[field]
    size = value.size / max(count * n, 1)
    if size not in (3, 6, 9):
        raise DataError(
            f'{source}: {field}: found shape {value.shape} for {count} bodies, expected {n} '
            'rotations of each as axis-angle, 6D or matrices'
        )
    if size != 9:
        return value.reshape(count, n, int(size))
    matrices = value.reshape(count, n, 3, 3)
    off = np.abs(matrices @ matrices.swapaxes(-1, -2) - np.eye(3, dtype=np.float32)).max((1, 2, 3))
    off = np.maximum(off, np.where(np.linalg.det(matrices).min(1) > 0, 0, 1))
    if count and not off.max() < _ORTHONORMAL:
        worst = int(np.argmax(~(off < _ORTHONORMAL)))
        raise DataError(
            f'{source}: {field}: body {worst} of {count} has a matrix that is no rotation'
        )
    return matrices


def _per_row(
    source: Path, field: str, value: np.ndarray, axes: int, lead: tuple[int, ...]
) -> np.ndarray:
    """The field for each body: as many, or one for all frames of a sequence, or one for all."""
    count = int(np.prod(lead, dtype=np.int64))
    own = value.shape[value.ndim - axes :]
    theirs = value.shape[: value.ndim - axes]
    number = int(np.prod(theirs, dtype=np.int64))
    if number == count:
        return value.reshape(count, *own)
    if field in ('betas', 'camera') and theirs == lead[: len(theirs)]:
        spread = value.reshape(*theirs, *(1,) * (len(lead) - len(theirs)), *own)
        return np.broadcast_to(spread, (*lead, *own)).reshape(count, *own)
    raise DataError(
        f'{source}: {field}: found shape {value.shape}, expected one for each of {count} bodies'
        + (f' {lead}' if len(lead) > 1 else '')
    )


# -- rows ----------------------------------------------------------------------------------------


def _row_fields(part: Predictions) -> dict[str, Any]:
    names = ('imgname', 'frame', *_ARRAYS)
    return {name: getattr(part, name) for name in names if getattr(part, name) is not None}


def _select(part: Predictions, keep: np.ndarray) -> Predictions:
    rows = np.flatnonzero(keep)
    chosen: dict[str, Any] = {
        name: [value[row] for row in rows] if isinstance(value, list) else value[rows]
        for name, value in _row_fields(part).items()
    }
    return replace(part, **chosen)


def _joined(source: Path, parts: list[Predictions]) -> Predictions:
    parts = [part for part in parts if len(part)] or parts[:1]
    columns: dict[str, list] = {}
    for part in parts:
        for name, value in _row_fields(part).items():
            columns.setdefault(name, []).append(value)
    whole = Predictions()
    for name, values in columns.items():
        shapes = {value.shape[1:] for value in values if not isinstance(value, list)}
        if len(values) < len(parts) or len(shapes) > 1:
            found = 'is not in all parts' if len(shapes) < 2 else f'differs: {sorted(shapes)}'
            raise DataError(f'{source}: {name}: {found}')
        joined = (
            [n for part in values for n in part] if name == 'imgname' else np.concatenate(values)
        )
        setattr(whole, name, joined)
    return whole


def _with_names(whole: Predictions, name_format: str | None) -> Predictions:
    """Names from frame numbers; 6D rotations in the layout of this package."""
    if name_format is not None:
        if whole.frame is None:
            raise ValueError(
                f'name_format: {whole.source} has no frame numbers'
                + (', but it has image names' if whole.imgname else '')
            )
        assert whole.source is not None
        file, folder = whole.source.stem, whole.source.absolute().parent.name
        try:
            whole.imgname = [
                name_format.format(frame=frame, number=frame + 1, file=file, folder=folder)
                for frame in whole.frame.tolist()
            ]
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(
                f'name_format: {name_format!r}: {error!r}; it may hold {{frame}}, {{number}}, '
                '{file} and {folder}, as in {number:06d}'
            ) from error
    elif whole.imgname is None and whole.frame is not None:
        whole.notes += (
            'it has frame numbers, no image names; name_format (--name-format) makes these',
        )
    return _with_columns_of_6d(whole)


def _with_columns_of_6d(whole: Predictions) -> Predictions:
    """Some store the first two rows of a matrix, not the columns: visible where orthonormal."""
    pose = whole.body_pose
    if pose is None or pose.shape[-1] != 6 or whole.global_orient is None:
        return whole
    sample = pose[:1000].astype(np.float64)
    as_columns = _off_orthonormal(sample.reshape(*sample.shape[:-1], 3, 2).swapaxes(-1, -2))
    as_rows = _off_orthonormal(sample.reshape(*sample.shape[:-1], 2, 3))
    if as_rows > 1e-3 or as_columns < 1e-3:
        whole.notes += (
            '6D rotations are taken for the first two columns, row by row, as SPIN has',
        )
        return whole
    note = '6D rotations are the first two rows of the matrices: only so are they orthonormal'
    whole.notes += (note,)
    for name in ('global_orient', 'body_pose'):
        rows = getattr(whole, name).reshape(*getattr(whole, name).shape[:-1], 2, 3)
        third = np.cross(rows[..., 0, :], rows[..., 1, :])[..., None, :]
        setattr(whole, name, np.concatenate([rows, third], axis=-2))
    return whole


def _off_orthonormal(pairs: np.ndarray) -> float:  # (..., 2, 3)
    return float(np.abs(pairs @ pairs.swapaxes(-1, -2) - np.eye(2)).max(initial=0))


def _axis_angle(rotations: np.ndarray) -> np.ndarray:  # (N, n, 3)
    value = torch.from_numpy(rotations)
    if rotations.ndim == 3 and rotations.shape[-1] == 3:
        return rotations
    matrices = rotation_6d_to_matrix(value) if rotations.ndim == 3 else value
    return matrix_to_axis_angle(matrices.double()).float().numpy()
