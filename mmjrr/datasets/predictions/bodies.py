"""Predicted bodies in one form, whatever file they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.errors import DataError
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_axis_angle, rotation_6d_to_matrix

from .layouts import ROTATIONS_6D

#: Bodies whose meshes have so many vertices.
MESHES = {
    778: "one hand's (MANO)",
    5023: "a head's (FLAME)",
    6890: "SMPL's (and SMPL-H's)",
    10475: "SMPL-X's",
    18439: "MHR's",
}
#: Vertices nearer to one another than this (in their unit) are no body.
_NO_EXTENT = 1e-6
_ARRAYS = ('vertices', 'global_orient', 'body_pose', 'betas', 'transl', 'camera', 'bbox', 'valid')
_LISTS = ('imgname', 'gender', 'track')


@dataclass
class Predictions:
    """N predicted bodies: vertices, or SMPL parameters, and where they were read. float32.

    Rotations stay in the representation that the file has: axis-angle, matrices, or 6D as
    :mod:`mmjrr.geometry.rotations` defines it. :class:`mmjrr.body_models.SMPL` takes each;
    :meth:`pose` returns axis-angle.

    Attributes:
        imgname: N image names, as stored.
        vertices: (N, V, 3).
        global_orient: (N, 3), (N, 3, 3) or (N, 6).
        body_pose: (N, 23, 3), (N, 23, 3, 3) or (N, 23, 6).
        betas: (N, K).
        transl: (N, 3).
        camera: (N, C).
        frame: (N,), numbers in the video, from 0.
        gender: of each body, 'neutral', 'male' or 'female'.
        track: identity of each person.
        bbox: (N, 4), pixels, width and height last.
        valid: (N,) bool; False in rows that hold no body. None: all rows do.
        source: the file, or folder.
        layout: name of the layout, of :data:`~mmjrr.datasets.predictions.layouts.LAYOUTS`,
            'words' or 'fields'.
        notes: what a reader should know, a sentence each.
        possible_rotations_6d: of :data:`ROTATIONS_6D`, those between which the numbers alone do
            not decide; see :meth:`with_rotation_6d`.
    """

    imgname: list[str] | None = None
    vertices: np.ndarray | None = None
    global_orient: np.ndarray | None = None
    body_pose: np.ndarray | None = None
    betas: np.ndarray | None = None
    transl: np.ndarray | None = None
    camera: np.ndarray | None = None
    frame: np.ndarray | None = None
    gender: list[str] | None = None
    track: list[str] | None = None
    bbox: np.ndarray | None = None
    valid: np.ndarray | None = None
    source: Path | None = None
    layout: str = ''
    notes: tuple[str, ...] = ()
    possible_rotations_6d: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        arrays = (self.vertices, self.body_pose, self.valid)
        return next((len(array) for array in arrays if array is not None), 0)

    @property
    def has_parameters(self) -> bool:
        """Whether all of ``global_orient``, ``body_pose`` and ``betas`` are there."""
        return not any(x is None for x in (self.global_orient, self.body_pose, self.betas))

    @property
    def name(self) -> str:
        """The file's path, for messages."""
        return str(self.source or 'predictions')

    def is_valid(self) -> np.ndarray:  # (N,) bool
        """Return which rows hold a body."""
        return np.ones(len(self), bool) if self.valid is None else self.valid

    def pose(self) -> np.ndarray:  # (N, 72)
        """Return all rotations as axis-angle, ``global_orient`` first.

        Raises:
            ValueError: there are only vertices.
            DataError: it is undecided how 6D rotations are stored.
        """
        if self.global_orient is None or self.body_pose is None:
            raise ValueError(f'{self.name}: found vertices and no poses')
        self.require_known_rotations()
        parts = [_axis_angle(self.global_orient[:, None]), _axis_angle(self.body_pose)]
        return np.concatenate(parts, axis=1).reshape(len(self), 72)

    def require_known_rotations(self) -> None:
        """Check that it is known how 6D rotations are stored.

        Raises:
            DataError: it is not.
        """
        if self.possible_rotations_6d:
            raise DataError(
                f'{self.name}: body_pose: found 6D rotations that may be '
                f'{" or ".join(self.possible_rotations_6d)} of the matrices; say '
                'rotation_6d= (on the command line, --rotation-6d): columns (Zhou et al., one '
                'after the other) or rows (PyTorch3D)'
            )

    def with_rotation_6d(self, kind: str) -> Predictions:
        """Return the same with 6D rotations read as one of :data:`ROTATIONS_6D`.

        Args:
            kind: 'interleaved' (the first two columns, row by row, as SPIN's networks give them),
                'columns' (one after the other, Zhou et al.) or 'rows' (the first two rows, one
                after the other, PyTorch3D).

        Raises:
            ValueError: another word.
        """
        if kind not in ROTATIONS_6D:
            raise ValueError(f'rotation_6d: found {kind!r}, expected one of {list(ROTATIONS_6D)}')
        chosen = replace(self, possible_rotations_6d=())
        for name in ('global_orient', 'body_pose'):
            value = getattr(self, name)
            if value is not None and value.shape[-1] == 6 and kind != 'interleaved':
                setattr(chosen, name, _from_pairs(value, kind))
        return chosen

    def require_gender(self, gender: str) -> None:
        """Check that bodies given by parameters are of a gender, where the file says theirs.

        Raises:
            DataError: some are of another.
        """
        if self.gender is None or self.vertices is not None:
            return
        genders = [name for name, valid in zip(self.gender, self.is_valid(), strict=True) if valid]
        others = [name for name in genders if name != gender]
        if others:
            raise DataError(
                f'{self.name}: gender: found {others[0]!r} in {len(others)} of {len(genders)} '
                f'rows, expected {gender!r}, the gender of the body they are evaluated with'
            )

    def with_num_betas(self, num_betas: int) -> Predictions:
        """Return the same with the first betas of each body only.

        Raises:
            DataError: there are fewer.
        """
        if self.betas is None:
            return self
        if self.betas.shape[1] < num_betas:
            raise DataError(
                f'{self.name}: betas: found {self.betas.shape[1]}, expected at least the '
                f'num_betas={num_betas} that are asked for'
            )
        return replace(self, betas=self.betas[:, :num_betas])

    def select(self, rows: np.ndarray) -> Predictions:
        """Return these rows (numbers or a mask), in this order."""
        rows = np.arange(len(self))[rows]
        chosen: dict[str, Any] = {
            name: [value[row] for row in rows] if isinstance(value, list) else value[rows]
            for name, value in self.columns().items()
        }
        return replace(self, **chosen)

    def columns(self) -> dict[str, Any]:
        """Return the fields with a value for each body, by name, those that are there."""
        names = (*_LISTS, 'frame', *_ARRAYS)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def join(source: Path, parts: Sequence[Predictions]) -> Predictions:
    """Put parts end to end. Parts without a body (only names, none valid) get rows of NaN.

    Raises:
        DataError: a field is not in all parts, or its shape differs.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    bodies = [part for part in parts if not _is_placeholder(part)]
    columns: dict[str, list] = {}
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
            shapes = {value.shape[1:] for value in values if not isinstance(value, list)}
            if len(values) < len(parts) or len(shapes) > 1:
                reason = (
                    f'found shapes {sorted(shapes)}, expected one'
                    if len(shapes) > 1
                    else f'found in {len(values)} of {len(parts)} parts, expected in all or none'
                )
                raise DataError(f'{source}: {name}: {reason}')
            joined = (
                [item for value in values for item in value]
                if isinstance(values[0], list)
                else np.concatenate(values)
            )
            setattr(whole, name, joined)
        whole.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return whole


def _is_placeholder(part: Predictions) -> bool:
    return part.vertices is None and part.body_pose is None


def _filled(part: Predictions, like: Sequence[Predictions]) -> Predictions:
    """Return the part with ``valid``, and with rows of NaN where it has no bodies."""
    filled = replace(part, valid=part.is_valid())
    if _is_placeholder(part) and like:
        for name, value in like[0].columns().items():
            if name in _ARRAYS and name != 'valid':
                setattr(filled, name, np.full((len(part), *value.shape[1:]), np.nan, np.float32))
            elif name == 'frame' and part.frame is None:
                filled.frame = np.full(len(part), -1)
            elif name in ('gender', 'track') and getattr(part, name) is None:
                setattr(filled, name, [''] * len(part))
    return filled


def mark_rows_without_body(whole: Predictions) -> Predictions:
    """Set ``valid`` to False in rows of zeros, of NaN and without extent, and note their count.

    A pose of 24 identities counts as zeros: it is what zero-filled rows become.
    """
    reasons: dict[str, np.ndarray] = {'nobody': ~whole.is_valid()}
    if whole.vertices is not None:
        vertices = whole.vertices[:, :: max(1, whole.vertices.shape[1] // 64)]
        reasons['NaN'] = np.isnan(vertices).all((1, 2))
        with np.errstate(invalid='ignore'):
            reasons['no extent'] = np.ptp(vertices, axis=1).max(1) < _NO_EXTENT
    elif whole.global_orient is not None and whole.body_pose is not None:
        pose = np.concatenate(
            [value.reshape(len(whole), -1) for value in (whole.global_orient, whole.body_pose)], 1
        )
        reasons['NaN'] = np.isnan(pose).all(1)
        reasons['zeros'] = ~pose.any(1)
        if whole.body_pose.ndim == 4:
            reasons['zeros'] |= (pose == np.tile(np.eye(3).ravel(), 24)).all(1)
    counts: dict[str, int] = {}
    absent = np.zeros(len(whole), bool)
    for reason, rows in reasons.items():
        if (rows & ~absent).any():
            counts[reason] = int((rows & ~absent).sum())
        absent |= rows
    if not counts:
        return whole
    first = int(np.argmax(absent))
    described = {'nobody': 'arrays of no length', 'zeros': 'all zeros', 'NaN': 'all NaN',
                 'no extent': 'vertices in one point'}  # fmt: skip
    note = (
        f'{int(absent.sum())} of {len(whole)} rows hold no body '
        f'({", ".join(f"{count} {described[reason]}" for reason, count in counts.items())}); the '
        f'first is {whole.imgname[first] if whole.imgname else f"row {first}"}'
    )
    return replace(whole, valid=~absent, notes=(*whole.notes, note))


# -- rotations -----------------------------------------------------------------------------------


def settle_rotations_6d(whole: Predictions, rotation_6d: str | None) -> Predictions:
    """Read 6D rotations as told, or, where their numbers show it, as they are stored.

    Exact rotations that are interleaved are orthonormal only as such. Whether exact rotations are
    two columns or two rows, one after the other, cannot be told from the numbers.
    """
    pose = whole.body_pose
    if pose is None or pose.ndim != 3 or pose.shape[-1] != 6 or whole.global_orient is None:
        if rotation_6d is not None and rotation_6d not in ROTATIONS_6D:
            whole.with_rotation_6d(rotation_6d)
        return whole
    if rotation_6d is not None:
        return whole.with_rotation_6d(rotation_6d)
    sample = pose[whole.is_valid()][:1000].astype(np.float64)
    interleaved = _off_orthonormal(sample.reshape(*sample.shape[:-1], 3, 2).swapaxes(-1, -2))
    in_sequence = _off_orthonormal(sample.reshape(*sample.shape[:-1], 2, 3))
    if interleaved < 1e-3:
        return whole
    if in_sequence < 1e-3:
        return replace(whole, possible_rotations_6d=('columns', 'rows'))
    note = '6D rotations are read as the first two columns, row by row, as SPIN has them'
    return replace(whole, notes=(*whole.notes, note))


def _off_orthonormal(pairs: np.ndarray) -> float:  # (..., 2, 3)
    return float(np.abs(pairs @ pairs.swapaxes(-1, -2) - np.eye(2)).max(initial=0))


def _from_pairs(value: np.ndarray, kind: str) -> np.ndarray:
    """Convert vectors one after the other (..., 6) to 6D as here (columns) or matrices (rows)."""
    pairs = value.reshape(*value.shape[:-1], 2, 3)
    if kind == 'columns':
        return np.ascontiguousarray(pairs.swapaxes(-1, -2)).reshape(value.shape)
    interleaved = np.ascontiguousarray(pairs.swapaxes(-1, -2)).reshape(value.shape)
    return rotation_6d_to_matrix(torch.from_numpy(interleaved)).transpose(-1, -2).numpy().copy()


def _axis_angle(rotations: np.ndarray) -> np.ndarray:  # (N, n, 3)
    value = torch.from_numpy(rotations)
    if rotations.ndim == 3 and rotations.shape[-1] == 3:
        return rotations
    matrices = rotation_6d_to_matrix(value) if rotations.ndim == 3 else value
    return matrix_to_axis_angle(matrices.double()).float().numpy()


def compose(root: np.ndarray, orient: np.ndarray) -> np.ndarray:
    """Apply ``root`` after ``orient``, both (N, 1, ...) in any representation; identity is free.

    Returns:
        ``root`` where ``orient`` is the identity (or zero) everywhere, otherwise matrices.
    """
    turned = _axis_angle(np.ascontiguousarray(orient))
    if not np.abs(np.nan_to_num(turned)).max(initial=0) > 1e-6:
        return root
    first, second = (
        axis_angle_to_matrix(torch.from_numpy(_axis_angle(np.ascontiguousarray(x))).double())
        for x in (root, orient)
    )
    return (first @ second).float().numpy()
