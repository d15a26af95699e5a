"""Description of a regressor's file: what it holds, for which joints, and what it resembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models.known_meshes import NUM_VERTICES
from mmjrr.joints import JOINT_ORDERS, joint_names_of
from mmjrr.regressors.checks import clean_rows
from mmjrr.regressors.joint_regressor import JointRegressor
from mmjrr.regressors.limbs import exchanged_joints
from mmjrr.regressors.regressor_files import RegressorFile, read_regressor
from mmjrr.regressors.sides import known_template, swapped_pairs
from mmjrr.regressors.zoo import ZOO, is_carried


@dataclass(frozen=True)
class Comparison:
    """Distance of two regressors' joints.

    Attributes:
        name: The other regressor.
        distance: Distance of each joint in meters on the rest pose, or, without a template, the
            share of the weight that lies on other vertices, by joint name.
        unit: ``'m'`` or ``'share'``.
        same_file: Whether the checksums are equal.
    """

    name: str
    distance: dict[str, float]
    unit: str
    same_file: bool = False

    @property
    def mean(self) -> float:
        """Mean over the joints."""
        return float(np.mean(list(self.distance.values())))


@dataclass(frozen=True)
class Inspection:
    """What a regressor's file holds.

    Attributes:
        file: The file, its matrix as (J, V).
        transposed: Whether the file holds (V, J).
        body_model: Name of the body with V vertices; ``'unnamed'`` if none is known.
        joint_names: Names of the rows, declared by the file or the caller; None if unknown.
        row_sums: (J,)
        negatives: Number of negative weights.
        not_finite: Number of NaN and infinite weights.
        support: Number of nonzero weights of each row.
        orders: Known orders of J rows, each with a list of the rows' contradictions to it; the list
            is empty if there are none.
        comparisons: Distances from other regressors, the nearest first.
        notes: Remarks, a sentence each.
    """

    file: RegressorFile
    transposed: bool
    body_model: str
    joint_names: tuple[str, ...] | None
    row_sums: FloatArray
    negatives: int
    not_finite: int
    support: tuple[int, ...]
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def weight(self) -> Array:
        """The matrix (J, V), as in the file."""
        return self.file.weight


def inspect_regressor(
    path_or_name: str | Path,
    joint_order: str | Sequence[str] | None = None,
    body_model: str | None = None,
    template: Array | None = None,
    others: Sequence[str | Path] = (),
) -> Inspection:
    """Describe a regressor's file. Whatever is wrong with the matrix is described, not raised.

    Args:
        path_or_name: A file (``.npy``, ``.npz``, ``.pkl``, ``.pt``, dense or sparse, also
            transposed), or a name of the zoo.
        joint_order: Order of its rows, for files that do not state it.
        body_model: Name of the body whose vertices are the columns. Default: the file's, or SMPL
            for 6890 columns.
        template: Rest-pose vertices (V, 3) of the body, meters, y up, x towards the body's left.
            Default: known for the free body.
        others: Further files to compare with. The regressors of the zoo whose files are at hand are
            always among them.

    Raises:
        FileNotFoundError, DataError: As in :meth:`~mmjrr.regressors.JointRegressor.load`.
        ValueError: ``joint_order`` is unknown, or has another number of joints; or the body has
            another number of vertices.
    """
    file, transposed = _read(path_or_name)
    weight = file.weight
    count, columns = weight.shape
    declared = file.joint_names if joint_order is None else joint_names_of(joint_order)
    notes = []
    if declared is not None and len(declared) != count:
        raise ValueError(
            f'{file.path}: found {count} rows, expected {len(declared)}, one for each joint name'
        )
    named = body_model or file.body_model
    vertices = NUM_VERTICES.get(named or '', columns) if template is None else len(template)
    if vertices != columns:
        text = f'{columns} columns are not the {vertices} vertices of the body {named!r}'
        if body_model is not None or template is not None:
            raise ValueError(f'{file.path}: {text}')
        notes.append(text)
        named = 'unnamed'
    if named is None:
        bodies_of_size = [name for name, number in NUM_VERTICES.items() if number == columns]
        named = (
            'smpl'
            if 'smpl' in bodies_of_size
            else bodies_of_size[0]
            if bodies_of_size
            else 'unnamed'
        )
        notes.append(
            f'{columns} columns are as many as the vertices of {", ".join(bodies_of_size)}'
            if bodies_of_size
            else f'{columns} columns are the number of vertices of no known body'
        )
    if template is None:
        template = known_template(named)
    if transposed:
        notes.append(f'the file holds the transposed matrix, {columns} x {count}')
    usable = _usable(weight)
    orders = {}
    if usable is not None:
        candidates = {k: names for k, names in JOINT_ORDERS.items() if len(names) == count}
        if declared is not None and declared not in candidates.values():
            candidates['declared'] = declared
        orders = {
            order: tuple(_problems(usable, names, named, template))
            for order, names in candidates.items()
        }
        fitting = [order for order, problems in orders.items() if not problems]
        if declared is None and len(fitting) == 1:
            notes.append(f'the rows fit only the order {fitting[0]!r}, which is assumed')
            declared = JOINT_ORDERS[fitting[0]]
    inspection = Inspection(
        file,
        transposed,
        named,
        declared,
        weight.sum(1),
        int((weight < 0).sum()),
        int((~np.isfinite(weight)).sum()),
        tuple((weight != 0).sum(1).tolist()),
        orders,
        (),
        tuple(notes),
    )
    comparisons, left_out = _compare(inspection, template, others)
    return replace(inspection, comparisons=comparisons, notes=(*notes, *left_out))


def _read(path_or_name: str | Path) -> tuple[RegressorFile, bool]:
    """Return the contents of a file, the matrix as (J, V), and whether the file transposes it."""
    if is_carried(path_or_name):
        regressor = JointRegressor.load(path_or_name, dtype=torch.float64)
        return RegressorFile(
            Path(path_or_name),
            '',
            regressor.weight.numpy(),
            regressor.joint_names,
            regressor.body_model,
            regressor.provenance,
        ), False
    file = read_regressor(path_or_name)
    if file.weight.shape[0] > file.weight.shape[1]:
        return replace(file, weight=np.ascontiguousarray(file.weight.T)), True
    return file, False


def _usable(weight: Array) -> Array | None:
    """Return the rows clamped and normalized; None if that is not possible."""
    if not np.isfinite(weight).all() or not (weight > 0).any(1).all():
        return None
    return clean_rows(weight, [str(row) for row in range(len(weight))])[0]


def _problems(
    weight: Array, names: Sequence[str], body_model: str, template: Array | None
) -> list[str]:
    """Return the contradictions between the rows and an order."""
    swapped = swapped_pairs(weight, names, body_model, template)
    exchanged = exchanged_joints(weight, names, body_model, template)
    return [f'{left} lies right of {right}' for left, right in swapped] + [
        f'{near} lies beyond {far}' for near, far in exchanged
    ]


def _compare(
    inspection: Inspection, template: Array | None, others: Sequence[str | Path]
) -> tuple[tuple[Comparison, ...], list[str]]:
    """Compare with other files and with those of the zoo that are at hand, by joint name.

    Returns:
        The comparisons, and a sentence for each of the other files that is not comparable.
    """
    comparisons, left_out = [], []
    for other in others:
        found = _comparison(inspection, template, other, _read(other)[0])
        if isinstance(found, str):
            left_out.append(f'{other} is not compared: {found}')
        else:
            comparisons.append(found)
    for name in ZOO:
        if is_carried(name):
            continue
        try:
            file, _ = _read(name)
        except (FileNotFoundError, ValueError):
            continue
        found = _comparison(inspection, template, name, file)
        if isinstance(found, Comparison) and file.body_model in (None, inspection.body_model):
            comparisons.append(found)
    return tuple(sorted(comparisons, key=lambda comparison: comparison.mean)), left_out


def _comparison(
    inspection: Inspection, template: Array | None, name: str | Path, file: RegressorFile
) -> Comparison | str:
    """Compare with another file; return why that is not possible, if it is not."""
    rows, names = _usable(inspection.weight), inspection.joint_names
    other_rows, other_names = _usable(file.weight), file.joint_names
    if file.weight.shape[1] != inspection.weight.shape[1]:
        return f'it has {file.weight.shape[1]} columns'
    if rows is None or other_rows is None:
        return 'a row has no positive weight, or a weight is not finite'
    if other_names is None and file.weight.shape == inspection.weight.shape:
        other_names = names
    if names is None or other_names is None:
        return 'the order of the rows is not known'
    common = [joint for joint in names if joint in other_names]
    if not common:
        return 'it has no joint in common'
    difference = rows[[names.index(joint) for joint in common]]
    difference = difference - other_rows[[other_names.index(joint) for joint in common]]
    if template is not None:
        values = np.linalg.norm(difference @ template, axis=1)
    else:
        values = np.abs(difference).sum(1) / 2
    return Comparison(
        str(name),
        dict(zip(common, values.tolist(), strict=True)),
        'share' if template is None else 'm',
        file.sha256 == inspection.file.sha256 != '',
    )


def format_inspection(inspection: Inspection) -> str:
    """Return the description as text."""
    file, sums = inspection.file, inspection.row_sums
    count, columns = inspection.weight.shape
    lines = [
        f'{file.path}',
        f'sha256 {file.sha256}' if file.sha256 else _carried_from(file),
        f'{count} rows, {columns} columns, body {inspection.body_model!r}'
        + (', transposed in the file' if inspection.transposed else ''),
        (
            f'row sums {sums.min():.4f} to {sums.max():.4f}; {inspection.negatives} negative '
            f'weights, {inspection.not_finite} NaN or infinite'
        ),
        (
            f'{min(inspection.support)} to {max(inspection.support)} nonzero weights per row, '
            f'{sum(inspection.support)} in all'
        ),
        *inspection.notes,
    ]
    for order, problems in inspection.orders.items():
        title = 'the declared names' if order == 'declared' else f'order {order!r}'
        lines.append(f'{title}: ' + ('fits' if not problems else f'no: {"; ".join(problems)}'))
    for comparison in inspection.comparisons:
        if comparison.same_file:
            lines.append(f'it is {comparison.name}: the checksums are equal')
            continue
        in_mm = comparison.unit == 'm'
        scale, unit = (1000, 'mm') if in_mm else (100, '% of the weight on other vertices')
        farthest = max(comparison.distance, key=lambda name: comparison.distance[name])
        lines.append(
            f'{comparison.name}: {scale * comparison.mean:.1f} {unit} away on average, '
            f'{farthest} {scale * comparison.distance[farthest]:.1f}'
        )
    lines += ['', *_rows(inspection)]
    return '\n'.join(lines)


def _carried_from(file: RegressorFile) -> str:
    step = file.provenance['carried'][-1]
    return f'carried from the mesh {step["from"]!r} by {step["mapping"]["file"]}'


def _rows(inspection: Inspection) -> list[str]:
    """Return a table with a line for each row."""
    names = inspection.joint_names or tuple(f'row {row}' for row in range(len(inspection.support)))
    header = ['Row', 'Joint', 'Sum', 'Weights', 'Negative', 'Largest at vertex']
    shown = inspection.comparisons[:3]
    header += [f'From {comparison.name}'[:28] for comparison in shown]
    table: list[list[Any]] = [header]
    for row, (name, weights) in enumerate(zip(names, inspection.weight, strict=True)):
        cells = [
            str(row), name, f'{weights.sum():.4f}', str(int((weights != 0).sum())),
            str(int((weights < 0).sum())), str(int(np.argmax(np.nan_to_num(weights)))),
        ]  # fmt: skip
        for comparison in shown:
            value = comparison.distance.get(name)
            unit = ('mm', 1000) if comparison.unit == 'm' else ('%', 100)
            cells.append('–' if value is None else f'{unit[1] * value:.1f} {unit[0]}')
        table.append(cells)
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    return [
        '  '.join(
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
