"""Predicted bodies in one form, independent of the layout of their file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_axis_angle, rotation_6d_to_matrix
from mmjrr.io.mapped import JoinedRows, pieces
from mmjrr.io.texts import take_texts

from .layouts import HANDS_AND_FACE, ROTATIONS_6D

#: Number of rotations of SMPL-H's and SMPL-X's bodies, whose hands have rotations of their own.
_NUM_BODY_ROTATIONS_WITH_HANDS = 21
#: Number of rotations of each of the hands' and the face's poses.
PART_COUNTS = {'left_hand_pose': 15, 'right_hand_pose': 15, 'jaw_pose': 1, 'leye_pose': 1,
               'reye_pose': 1}  # fmt: skip
#: A mesh whose extent is smaller than this (in its unit) is no body.
_NO_EXTENT = 1e-6
#: Shape coefficients are standard deviations of the people of whom a body is made: beyond this
#: number there is no person.
_MAX_BETA = 20.0
_ARRAYS = (
    'vertices', 'global_orient', 'body_pose', 'betas', 'transl', 'camera', 'bbox', 'valid',
    *HANDS_AND_FACE,
)  # fmt: skip
_LISTS = ('imgname', 'gender', 'track')


@dataclass
class Predictions:
    """N predicted bodies as vertices or SMPL parameters, and their origin. Arrays are float32.

    Rotations keep the representation of the file: axis-angle, matrices, or 6D as
    :mod:`mmjrr.geometry.rotations` defines it. :class:`mmjrr.body_models.SMPL` accepts all of them;
    :meth:`pose` converts to axis-angle.

    Attributes:
        imgname: N image names, as stored.
        vertices: (N, V, 3), in the file's unit. Vertices that stay in several files are
            :class:`~mmjrr.io.mapped.JoinedRows`.
        global_orient: (N, 3), (N, 3, 3) or (N, 6).
        body_pose: (N, 23, 3), (N, 23, 3, 3) or (N, 23, 6); 21 rotations of SMPL-H and SMPL-X.
        betas: (N, K).
        transl: (N, 3), in the file's unit.
        camera: (N, C), as stored.
        left_hand_pose: 15 rotations (N, 45), (N, 90) or (N, 15, 3, 3), or principal components
            (N, C); ``right_hand_pose`` is the same for the right hand.
        jaw_pose: One rotation, (N, 3), (N, 6) or (N, 1, 3, 3); ``leye_pose`` and ``reye_pose`` are
            those of the eyes.
        expression: (N, E).
        frame: (N,), numbers in the video, from 0.
        gender: 'neutral', 'male' or 'female' for each body.
        track: Identity of each person.
        bbox: (N, 4), pixels, width and height last.
        valid: (N,) bool; False in rows without a body. None if all rows have one.
        source: The file or folder.
        checksum: SHA-256 of the bytes that were read; None for several files or objects in memory.
        layout: Name of one of :data:`~mmjrr.datasets.predictions.layouts.LAYOUTS`, 'words' or
            'fields'.
        body: Kind of the body of poses with 21 rotations ('smplx'), if the layout says it.
        notes: Remarks on the reading of the file, a sentence each.
        possible_rotations_6d: Members of :data:`ROTATIONS_6D` that the numbers cannot tell apart;
            empty if the storage order is known. See :meth:`with_rotation_6d`.
    """

    imgname: Sequence[str] | None = None
    vertices: Array | JoinedRows | None = None
    global_orient: Array | None = None
    body_pose: Array | None = None
    betas: Array | None = None
    transl: Array | None = None
    camera: Array | None = None
    left_hand_pose: Array | None = None
    right_hand_pose: Array | None = None
    jaw_pose: Array | None = None
    leye_pose: Array | None = None
    reye_pose: Array | None = None
    expression: Array | None = None
    frame: Array | None = None
    gender: list[str] | None = None
    track: list[str] | None = None
    bbox: Array | None = None
    valid: Array | None = None
    source: Path | None = None
    checksum: str | None = None
    layout: str = ''
    body: str = ''
    notes: tuple[str, ...] = ()
    possible_rotations_6d: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        arrays = (self.vertices, self.body_pose, self.valid)
        return next((len(array) for array in arrays if array is not None), 0)

    @property
    def has_parameters(self) -> bool:
        """Whether ``global_orient``, ``body_pose`` and ``betas`` are all present."""
        return not any(x is None for x in (self.global_orient, self.body_pose, self.betas))

    @property
    def body_kinds(self) -> tuple[str, ...]:
        """Kinds of bodies of the SMPL family whose parameters these may be; () for vertices."""
        if self.body_pose is None:
            return ()
        if self.body_pose.shape[1] != _NUM_BODY_ROTATIONS_WITH_HANDS:
            return ('smpl',)
        if self.body:
            return (self.body,)
        face = (self.jaw_pose, self.leye_pose, self.reye_pose, self.expression)
        if any(value is not None for value in face):
            return ('smplx',)
        return ('smplh',) if self.left_hand_pose is not None else ('smplx', 'smplh')

    @property
    def name(self) -> str:
        """Path of the file, for messages."""
        return str(self.source or 'predictions')

    def is_valid(self) -> Array:  # (N,) bool
        """Return which rows have a body."""
        return np.ones(len(self), bool) if self.valid is None else self.valid

    def pose(self) -> Array:  # (N, 72)
        """Return all rotations as axis-angle, ``global_orient`` first.

        Raises:
            ValueError: The predictions are vertices.
            DataError: The storage order of 6D rotations is unknown.
        """
        if self.global_orient is None or self.body_pose is None:
            raise ValueError(f'{self.name}: found vertices and no poses')
        if 'smpl' not in self.body_kinds:
            raise DataError(
                f'{self.name}: body_pose: found {self.body_pose.shape[1]} rotations, those of '
                "SMPL-H or SMPL-X, expected SMPL's 23"
            )
        self.require_known_rotations()
        parts = [_axis_angle(self.global_orient[:, None]), _axis_angle(self.body_pose)]
        return np.concatenate(parts, axis=1).reshape(len(self), 72)

    def require_known_rotations(self, argument: str = 'rotation_6d') -> None:
        """Check that the storage order of 6D rotations is known.

        Args:
            argument: Name of the argument that says the order, for the message.

        Raises:
            DataError: The order is unknown.
        """
        if self.possible_rotations_6d:
            raise DataError(
                f'{self.name}: body_pose: found 6D rotations that may be '
                f'{" or ".join(self.possible_rotations_6d)} of the matrices; set {argument} (on '
                f"the command line, --{argument.replace('_', '-')}) to 'columns' (Zhou et al.) or "
                "'rows' (PyTorch3D)"
            )

    def with_rotation_6d(self, kind: str) -> Predictions:
        """Return a copy whose 6D rotations are interpreted in a storage order.

        Args:
            kind: 'interleaved': the first two columns, row by row, as SPIN's networks output them;
                'columns': the first column, then the second (Zhou et al.); or 'rows': the first
                row, then the second (PyTorch3D).

        Raises:
            ValueError: ``kind`` is another word.
        """
        if kind not in ROTATIONS_6D:
            raise ValueError(f'rotation_6d: found {kind!r}, expected one of {list(ROTATIONS_6D)}')
        chosen = replace(self, possible_rotations_6d=())
        for name in ('global_orient', 'body_pose'):
            value = getattr(self, name)
            if value is not None and value.shape[-1] == 6 and kind != 'interleaved':
                setattr(chosen, name, _from_pairs(value, kind))
        for name, count in PART_COUNTS.items():
            value = getattr(self, name)
            if value is not None and value.shape[1:] == (6 * count,) and kind != 'interleaved':
                part = _from_pairs(value.reshape(-1, count, 6), kind)
                setattr(chosen, name, part if part.ndim == 4 else part.reshape(value.shape))
        return chosen

    @property
    def has_rotations_6d(self) -> bool:
        """Whether some rotations are 6D."""
        body = [value for value in (self.global_orient, self.body_pose) if value is not None]
        parts = [(getattr(self, name), count) for name, count in PART_COUNTS.items()]
        return any(value.shape[-1] == 6 for value in body) or any(
            value is not None and value.shape[1:] == (6 * count,) for value, count in parts
        )

    def without_effect(self, arguments: Sequence[str], reason: str) -> Predictions:
        """Return a copy with a note that arguments of the evaluation have no effect.

        Args:
            arguments: Names of the arguments; without any, there is no note.
            reason: Why they have none, as the end of a sentence.
        """
        if not arguments:
            return self
        options = ', '.join(f'{name} (--{name.replace("_", "-")})' for name in arguments)
        verb = 'has' if len(arguments) == 1 else 'have'
        return replace(self, notes=(*self.notes, f'{options} {verb} no effect, since {reason}'))

    def require_gender(self, gender: str) -> None:
        """Check that bodies stored as parameters have a gender, if the file states genders.

        Raises:
            DataError: A body has another gender.
        """
        if self.gender is None or self.vertices is not None:
            return
        counts = Counter(
            name for name, valid in zip(self.gender, self.is_valid(), strict=True) if valid
        )
        if set(counts) - {gender}:
            genders = ' and '.join(f'{count} {name}' for name, count in sorted(counts.items()))
            raise DataError(
                f'{self.name}: gender: found {genders} bodies, expected only {gender!r}, the '
                'gender of the body they are evaluated with'
            )

    def with_num_betas(self, num_betas: int) -> Predictions:
        """Return a copy with only the first ``num_betas`` betas of each body.

        Raises:
            DataError: There are fewer betas.
        """
        if self.betas is None:
            return self
        if self.betas.shape[1] < num_betas:
            raise DataError(
                f'{self.name}: betas: found {self.betas.shape[1]}, expected at least '
                f'num_betas={num_betas}'
            )
        return replace(self, betas=self.betas[:, :num_betas])

    def select(self, rows: Array) -> Predictions:
        """Return a copy of only these rows (indices or a mask), in this order."""
        rows = np.arange(len(self))[rows]
        chosen: dict[str, Any] = {
            name: take_texts(value, rows) if name in _LISTS else value[rows]
            for name, value in self.columns().items()
        }
        return replace(self, **chosen)

    def columns(self) -> dict[str, Any]:
        """Return the present fields that have a value for each body, by name."""
        names = (*_LISTS, 'frame', *_ARRAYS)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def arrays(self) -> dict[str, Array | JoinedRows]:
        """Return the columns that are arrays, by name."""
        return {name: value for name, value in self.columns().items() if name not in _LISTS}


def join(source: Path, parts: Sequence[Predictions], mapped: bool = False) -> Predictions:
    """Concatenate parts. Rows of parts without bodies (names only) become invalid rows of NaN.

    Args:
        source: The origin of the parts, for messages.
        parts: The parts.
        mapped: Whether vertices of several parts stay where they are, as
            :class:`~mmjrr.io.mapped.JoinedRows`.

    Raises:
        DataError: Only some of the parts have a field, or its shapes differ.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    bodies = [part for part in parts if not _is_placeholder(part)]
    columns: dict[str, list[Any]] = {}
    for part in bodies:
        for name, value in part.columns().items():
            columns.setdefault(name, []).append(value)
    if len(bodies) < len(parts) or (columns.get('valid') and len(columns['valid']) < len(bodies)):
        parts = [_filled(part, bodies[:1]) for part in parts]
        columns = {}
        for part in parts:
            for name, value in part.columns().items():
                columns.setdefault(name, []).append(value)
    whole = replace(parts[0]) if len(parts) == 1 else Predictions()
    if len(parts) > 1:
        for name, values in columns.items():
            shapes = set() if name in _LISTS else {value.shape[1:] for value in values}
            if len(values) < len(parts) or len(shapes) > 1:
                reason = (
                    f'found shapes {sorted(shapes)}, expected one'
                    if len(shapes) > 1
                    else f'found in {len(values)} of {len(parts)} parts, expected in all or none'
                )
                raise DataError(f'{source}: {name}: {reason}')
            if name in _LISTS:
                setattr(whole, name, [item for value in values for item in value])
            elif name == 'vertices' and mapped:
                whole.vertices = JoinedRows(values)
            else:
                setattr(whole, name, np.concatenate(values))
        whole.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        whole.body = next((part.body for part in bodies if part.body), '')
        possible = (kind for part in bodies for kind in part.possible_rotations_6d)
        whole.possible_rotations_6d = tuple(dict.fromkeys(possible))
    return whole


def _is_placeholder(part: Predictions) -> bool:
    """Return whether a part has names but no bodies."""
    return part.vertices is None and part.body_pose is None


def _filled(part: Predictions, like: Sequence[Predictions]) -> Predictions:
    """Return a part with ``valid`` set, and with rows of NaN if it has no bodies."""
    filled = replace(part, valid=part.is_valid())
    if _is_placeholder(part) and like:
        for name, value in like[0].columns().items():
            if name in _ARRAYS and name != 'valid':
                shape = (len(part), *value.shape[1:])
                setattr(filled, name, np.broadcast_to(np.float32(np.nan), shape))
            elif name == 'frame' and part.frame is None:
                filled.frame = np.full(len(part), -1)
            elif name in ('gender', 'track') and getattr(part, name) is None:
                setattr(filled, name, [''] * len(part))
    return filled


def mark_rows_without_body(predictions: Predictions) -> Predictions:
    """Set ``valid`` to False in rows that hold no body, and note their number.

    Rows of zeros, of NaN and without extent hold none.

    A pose of 24 identity matrices counts as zeros, since zero-filled axis-angles convert to it.
    """
    reasons: dict[str, Array] = {'nobody': ~predictions.is_valid()}
    arrays = [predictions.vertices]
    if predictions.vertices is None:
        arrays = [predictions.global_orient, predictions.body_pose]
    present = [array for array in arrays if array is not None]
    if len(present) == len(arrays):
        for piece in pieces(*present):
            for reason, rows in _without_body(*(array[piece] for array in present)).items():
                reasons.setdefault(reason, np.zeros(len(predictions), bool))[piece] = rows
    counts: dict[str, int] = {}
    absent = np.zeros(len(predictions), bool)
    for reason, rows in reasons.items():
        if (rows & ~absent).any():
            counts[reason] = int((rows & ~absent).sum())
        absent |= rows
    if not counts:
        return predictions
    first = int(np.argmax(absent))
    described = {'nobody': 'arrays of no length', 'zeros': 'all zeros', 'NaN': 'all NaN',
                 'no extent': 'vertices in one point'}  # fmt: skip
    note = (
        f'{int(absent.sum())} of {len(predictions)} rows hold no body '
        f'({", ".join(f"{count} {described[reason]}" for reason, count in counts.items())}); the '
        f'first is {predictions.imgname[first] if predictions.imgname else f"row {first}"}'
    )
    return replace(predictions, valid=~absent, notes=(*predictions.notes, note))


def mark_absurd_betas(predictions: Predictions) -> Predictions:
    """Set ``valid`` to False in rows with betas beyond any person's, and note their number.

    A refinement leaves such fits out by itself, by name; an evaluation counts them as missing.
    """
    betas = predictions.betas if predictions.vertices is None else None
    if betas is None or betas.ndim != 2 or not 0 < len(betas) == len(predictions):
        return predictions
    absurd = np.concatenate([(np.abs(betas[piece]) > _MAX_BETA).any(1) for piece in pieces(betas)])
    absurd &= predictions.is_valid()
    if not absurd.any():
        return predictions
    first = int(np.argmax(absurd))
    note = (
        f'{int(absurd.sum())} of {len(predictions)} rows have betas beyond {_MAX_BETA:g}, which no '
        'person has, and count as missing; the first is '
        f'{predictions.imgname[first] if predictions.imgname else f"row {first}"}'
    )
    valid = predictions.is_valid() & ~absurd
    return replace(predictions, valid=valid, notes=(*predictions.notes, note))


def _without_body(*arrays: Array) -> dict[str, Array]:
    """Return, by reason, which rows hold no body, judged by vertices, or by root and pose."""
    reasons = {}
    if len(arrays) == 1:
        vertices = arrays[0][:, :: max(1, arrays[0].shape[1] // 64)]
        reasons['NaN'] = np.isnan(vertices).all((1, 2))
        with np.errstate(invalid='ignore'):
            reasons['no extent'] = np.ptp(vertices, axis=1).max(1) < _NO_EXTENT
        return reasons
    pose = np.concatenate([value.reshape(len(value), -1) for value in arrays], 1)
    reasons['NaN'] = np.isnan(pose).all(1)
    reasons['zeros'] = np.all([are_zeros(value) for value in arrays], axis=0)
    return reasons


def are_zeros(rotations: Array) -> Array:  # (N, ...) -> (N,) bool
    """Return which rows are all zeros, or all identity matrices."""
    flat = rotations.reshape(len(rotations), -1)
    zeros: Array = ~flat.any(1)
    if rotations.ndim > 2 and rotations.shape[-2:] == (3, 3):
        zeros |= (flat == np.tile(np.eye(3).ravel(), flat.shape[1] // 9)).all(1)
    return zeros


# -- rotations -----------------------------------------------------------------------------------


def settle_rotations_6d(predictions: Predictions, rotation_6d: str | None) -> Predictions:
    """Interpret 6D rotations in the order ``rotation_6d``, or in an order inferred from the values.

    Exact rotations are orthonormal vectors only in their own order, so the values tell
    'interleaved' from the other two. They cannot tell 'columns' from 'rows': the order then stays
    open, in ``possible_rotations_6d``. Values that are not orthonormal in any order are taken for
    'interleaved'. Rotations of zeros, and those that are not finite, are ignored.

    Raises:
        ValueError: ``rotation_6d`` is an unknown word.
    """
    if rotation_6d is not None:
        return predictions.with_rotation_6d(rotation_6d)
    pose = predictions.body_pose
    if pose is None or pose.ndim != 3 or pose.shape[-1] != 6 or predictions.global_orient is None:
        return predictions
    sample = pose[np.flatnonzero(predictions.is_valid())[:1000]].astype(np.float64)
    sample = sample[sample.any(-1) & np.isfinite(sample).all(-1)]
    interleaved = _off_orthonormal(sample.reshape(*sample.shape[:-1], 3, 2).swapaxes(-1, -2))
    in_sequence = _off_orthonormal(sample.reshape(*sample.shape[:-1], 2, 3))
    if interleaved < 1e-3:
        return predictions
    if in_sequence < 1e-3:
        return replace(predictions, possible_rotations_6d=('columns', 'rows'))
    note = '6D rotations are read as the first two columns, row by row, as SPIN has them'
    return replace(predictions, notes=(*predictions.notes, note))


def _off_orthonormal(pairs: Array) -> float:  # (..., 2, 3)
    """Return the largest deviation of pairs of vectors from orthonormality."""
    return float(np.abs(pairs @ pairs.swapaxes(-1, -2) - np.eye(2)).max(initial=0))


def _from_pairs(value: Array, kind: str) -> Array:
    """Convert two vectors in sequence (..., 6): 'columns' to interleaved 6D, 'rows' to matrices."""
    pairs = value.reshape(*value.shape[:-1], 2, 3)
    if kind == 'columns':
        return np.ascontiguousarray(pairs.swapaxes(-1, -2)).reshape(value.shape)
    interleaved = np.ascontiguousarray(pairs.swapaxes(-1, -2)).reshape(value.shape)
    return rotation_6d_to_matrix(torch.from_numpy(interleaved)).transpose(-1, -2).numpy().copy()


def matrices_of_6d(
    rotations: Array,  # (N, n, 6)
    rotation_6d: str | None,
    source: Path,
) -> tuple[Array, tuple[str, ...]]:
    """Convert 6D rotations to matrices in the order ``rotation_6d``, or in an inferred order.

    Returns:
        The matrices (N, n, 3, 3), of zeros where the rotations are zeros, and notes.

    Raises:
        DataError: The order is open: the values may be columns or rows.
        ValueError: ``rotation_6d`` is an unknown word.
    """
    is_there = ~np.isnan(rotations).all((1, 2))
    stored = Predictions(
        global_orient=rotations[:, 0], body_pose=rotations, valid=is_there, source=source
    )
    settled = settle_rotations_6d(stored, rotation_6d)
    settled.require_known_rotations()
    pose = settled.body_pose
    assert pose is not None
    if pose.ndim == 3:
        pose = rotation_6d_to_matrix(torch.from_numpy(np.ascontiguousarray(pose))).numpy()
    return pose, settled.notes


def _axis_angle(rotations: Array) -> Array:  # (N, n, 3)
    value = torch.from_numpy(rotations)
    if rotations.ndim == 3 and rotations.shape[-1] == 3:
        return rotations
    matrices = rotation_6d_to_matrix(value) if rotations.ndim == 3 else value
    return matrix_to_axis_angle(matrices.double()).float().numpy()


def compose(root: Array, orient: Array) -> Array:
    """Return the rotations ``root`` @ ``orient``, both (N, 1, ...) in any representation.

    Returns:
        ``root`` itself if ``orient`` is the identity (or zero) in all rows, otherwise matrices.
    """
    angles = _axis_angle(np.ascontiguousarray(orient))
    if not np.abs(np.nan_to_num(angles)).max(initial=0) > 1e-6:
        return root
    first, second = (
        axis_angle_to_matrix(torch.from_numpy(_axis_angle(np.ascontiguousarray(x))).double())
        for x in (root, orient)
    )
    return (first @ second).float().numpy()
