"""Checks of a joint regressor's weights (shape, values, row order, sides), and their cleaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.body_models.known_meshes import NUM_VERTICES
from mmjrr.joints import JOINT_ORDERS, joint_names_of
from mmjrr.regressors.limbs import exchanged_joints
from mmjrr.regressors.regressor_files import RegressorFile
from mmjrr.regressors.sides import has_known_sides, swapped_pairs

#: Largest deviation of a row's sum from one that is normalized without a note, for float32 files.
_SUM_TOLERANCE = 1e-5

#: File that a refinement fits before its first iteration.
_FITTED_FIRST = 'J_spin.npy'

#: A regressor fitted to fewer frames than this overfits their poses and noise.
FEW_FRAMES = 100

_UNCHECKED = 'left and right could not be checked'
_OTHER_BODY = (
    'the columns are of another body, which body_model= names (on the command line, --body-model)'
)


class DeclaredBody(NamedTuple):
    """Body whose vertices are a regressor's columns.

    Attributes:
        name: Name of the body; ``'unnamed'`` if it is not known.
        template: (V, 3) rest-pose vertices, meters, x towards the body's left; None if the caller
            passes no body.
        note: Assumption that was made, or None.
    """

    name: str
    template: Array | None = None
    note: str | None = None


def check_weight(weight: Array, joint_names: Sequence[str], body_model: str, where: str) -> None:
    """Check shape and values of a matrix of weights.

    Negative weights and rows with any positive sum pass; :func:`clean_rows` corrects them.

    Args:
        weight: (J, V)
        joint_names: Name of each row.
        body_model: Name of the body.
        where: Name of the matrix, for messages.

    Raises:
        ValueError: The shape is wrong, a value is NaN or infinite, or a row has no positive weight.
    """
    if weight.ndim != 2:
        raise ValueError(f'{where}: found the shape {weight.shape}, expected (J, V)')
    if weight.shape[0] != len(joint_names):
        hint = '; it looks transposed' if weight.shape[1] == len(joint_names) else ''
        raise ValueError(
            f'{where}: found the shape {weight.shape}, expected {len(joint_names)} rows, one for '
            f'each joint name{hint}'
        )
    expected = NUM_VERTICES.get(body_model, weight.shape[1])
    if weight.shape[1] != expected:
        raise ValueError(
            f'{where}: found the shape {weight.shape}, expected {expected} columns for the body '
            f'{body_model!r}'
        )
    for problem, mask in (('NaN', np.isnan(weight)), ('infinity', np.isinf(weight))):
        if mask.any():
            raise ValueError(f'{where}: found {problem} in the rows {_rows(mask, joint_names)}')
    has_no_positive = ~(weight > 0).any(1, keepdims=True)
    if has_no_positive.any():
        raise ValueError(
            f'{where}: found no positive weight in the rows {_rows(has_no_positive, joint_names)}'
        )


def clean_rows(weight: Array, joint_names: Sequence[str]) -> tuple[Array, list[str]]:
    """Clamp negative weights at zero, and divide each row by its sum.

    Args:
        weight: (J, V), at least one positive weight in each row.
        joint_names: Name of each row.

    Returns:
        The cleaned weights, and a sentence for each kind of change.
    """
    notes = []
    negative = weight < 0
    if negative.any():
        notes.append(
            f'clamped {int(negative.sum())} negative weights at zero (least: '
            f'{weight.min():.4f}) in the rows {_rows(negative, joint_names)}'
        )
        weight = weight.clip(min=0)
    sums = weight.sum(1, keepdims=True)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE:
        notes.append(
            f'divided each row by its sum (they were between {sums.min():.4f} and {sums.max():.4f})'
        )
    return weight / sums, notes


def declared_joint_names(
    file: RegressorFile, joint_order: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of a file's rows.

    Args:
        file: The file.
        joint_order: Order that the caller declares; None to rely on the file.

    Raises:
        ValueError: Neither file nor caller states the order, or they contradict each other.
    """
    if joint_order is None:
        if file.joint_names is None:
            raise ValueError(f'{file.path}: {_unknown_order(file)}')
        return joint_names_of(file.joint_names)
    names = joint_names_of(joint_order)
    if file.joint_names is not None and names != file.joint_names:
        raise ValueError(
            f'{file.path}: joint_order= declares the rows to be {list(names)}, but the file says '
            f'that they are {list(file.joint_names)}; leave joint_order= (on the command line, '
            '--joint-order) out. Rows are matched by name, and .reorder(...) changes their order'
        )
    return names


def declared_body(file: RegressorFile, body_model: Any) -> DeclaredBody:
    """Return the body whose vertices are a file's columns.

    Args:
        file: The file.
        body_model: As in :meth:`~mmjrr.regressors.JointRegressor.load`.

    Raises:
        ValueError: File and caller contradict each other, or the body has another number of
            vertices.
    """
    name, template = file.body_model, None
    if isinstance(body_model, str):
        if name is not None and name != body_model:
            raise ValueError(
                f'{file.path}: body_model: found {name!r} in the description of the file, but the '
                f'argument is {body_model!r}'
            )
        name = body_model
    elif body_model is not None:
        template = _template_of(body_model)
        if template.shape != (file.weight.shape[1], 3):
            raise ValueError(
                f'{file.path}: found the shape {file.weight.shape}, expected a column for each '
                f'vertex of body_model, whose template has the shape {template.shape}'
            )
        name = name or getattr(body_model, 'name', None)
    if isinstance(name, str):
        note = None
        if file.body_model is None and template is None and not has_known_sides(name):
            note = f'{_UNCHECKED} without the body {name!r} or its template'
        return DeclaredBody(name, template, note)
    if template is not None:
        return DeclaredBody('unnamed', template)
    if file.weight.shape[1] == NUM_VERTICES['smpl']:
        return DeclaredBody('smpl', note="assumed that its 6890 columns are SMPL's vertices")
    return DeclaredBody('unnamed', note=f'its body is not known, so {_UNCHECKED}')


def check_sides(
    weight: Array,
    joint_names: tuple[str, ...],
    body: DeclaredBody,
    where: str,
    n_frames: int | None = None,
) -> None:
    """Check that no left joint lies to the right of the corresponding right joint.

    Args:
        weight: (J, V) rows on the simplex.
        joint_names: Name of each row.
        body: The body; sides of unknown bodies without a template are not checked.
        where: Name of the matrix, for messages.
        n_frames: Number of frames to which the regressor was fitted. Default: None, unknown.

    Raises:
        ValueError: Sides are swapped; the message names the order that the rows fit, or says that
            the regressor was fitted to too few frames.
    """
    swapped = swapped_pairs(weight, joint_names, body.name, body.template)
    if not swapped:
        return
    pairs = '; '.join(f'the row {left} lies right of {right}' for left, right in swapped)
    _check_enough_frames(where, n_frames, body, pairs)
    order = next((key for key, names in JOINT_ORDERS.items() if names == joint_names), None)
    declared = f'order {order!r}' if order else f'joint names {list(joint_names)}'
    matching = [
        key
        for key, names in JOINT_ORDERS.items()
        if sorted(names) == sorted(joint_names)
        and not swapped_pairs(weight, names, body.name, body.template)
    ]
    hint = (
        f'The rows fit joint_order={matching[0]!r} (on the command line, --joint-order '
        f'{matching[0]}).'
        if matching
        else f'No known order fits the rows: they are in another one, or {_OTHER_BODY}.'
    )
    raise ValueError(
        f'{where}: left and right are swapped against the declared {declared}: on the body '
        f'{body.name!r}, {pairs}. {hint}'
    )


def check_limbs(
    weight: Array,
    joint_names: tuple[str, ...],
    body: DeclaredBody,
    where: str,
    n_frames: int | None = None,
) -> None:
    """Check that no joint of a limb lies beyond the one that comes after it.

    Args:
        weight: (J, V) rows on the simplex.
        joint_names: Name of each row.
        body: The body; limbs of unknown bodies without a template are not checked.
        where: Name of the matrix, for messages.
        n_frames: As in :func:`check_sides`.

    Raises:
        ValueError: Joints are exchanged along a limb.
    """
    exchanged = exchanged_joints(weight, joint_names, body.name, body.template)
    if exchanged:
        pairs = '; '.join(f'{near} lies beyond {far}' for near, far in exchanged)
        _check_enough_frames(where, n_frames, body, pairs)
        raise ValueError(
            f'{where}: rows are exchanged along the limbs: on the body {body.name!r}, {pairs}; '
            'declare the order that the rows have with joint_order= (on the command line, '
            f'--joint-order), or {_OTHER_BODY}'
        )


def _check_enough_frames(where: str, n_frames: int | None, body: DeclaredBody, pairs: str) -> None:
    """Refuse misplaced rows of a regressor whose frames are too few to place them.

    Raises:
        ValueError: The regressor was fitted to fewer than :data:`FEW_FRAMES` frames.
    """
    if n_frames is not None and n_frames < FEW_FRAMES:
        raise ValueError(
            f'{where}: found a regressor that was fitted to {n_frames} frames, too few to place '
            f'its joints (on the body {body.name!r}, {pairs}); fit it to at least {FEW_FRAMES} '
            'frames of different poses'
        )


def _rows(mask: Array, joint_names: Sequence[str]) -> list[str]:
    """Return the names of the rows in which any entry of ``mask`` is true."""
    return [joint_names[i] for i in np.nonzero(mask.any(1))[0]]


def _unknown_order(file: RegressorFile) -> str:
    declare = (
        'pass joint_order= (on the command line, --joint-order): one of '
        f'{", ".join(sorted(JOINT_ORDERS))}, or joint names'
    )
    if file.sidecar is None:
        return f'the file does not say in what order its rows are; {declare}'
    left_behind = '; if a killed run left this file behind, delete it, and --resume fits it again'
    return (
        f'the order of its rows is unknown, since its sidecar {file.sidecar.name} is missing; '
        f'restore that file, or {declare}{left_behind if file.path.name == _FITTED_FIRST else ""}'
    )


def _template_of(body: Any) -> Array:
    for attribute in ('v_template', 'template'):
        if hasattr(body, attribute):
            body = getattr(body, attribute)
            break
    template = body.detach().cpu().numpy() if isinstance(body, Tensor) else np.asarray(body)
    if template.dtype.kind != 'f' or template.ndim != 2:
        raise ValueError(
            f'body_model: found {type(body).__name__} of {template.dtype}, shape '
            f'{template.shape}, expected a name, a body with v_template, or a (V, 3) template'
        )
    return template
