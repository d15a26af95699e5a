"""A linear map from a body's vertices to its joints, with named rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json, read_npy, read_npz, read_torch, sha256, versions
from mmjrr.joints import JOINT_ORDERS, joint_names_of, reorder_index

from .sides import swapped_pairs
from .zoo import ZOO, find_regressor

#: Vertices of the bodies whose names mmjrr knows.
NUM_VERTICES = {'smpl': 6890, 'smplh': 6890, 'smplx': 10475, 'free_body': 6890}

#: Rows whose sum is off one by no more than this are normalised without a word (float32 files).
_SUM_TOLERANCE = 1e-5

_SIDECAR_FIELDS = {'joint_names': list, 'body_model': str, 'provenance': dict}
#: Rows and columns beyond which a sparse file is not taken for a regressor: no body has so many.
_LARGEST = (1000, 1_000_000)
_SIDECAR_FORMAT = 'mmjrr.joint_regressor/1'


class JointRegressor(nn.Module):
    """Joints as convex combinations of vertices: ``joints = weight @ vertices``.

    Rows carry joint names, because files of the same shape come in different orders. The
    weights are constants (non-persistent buffers: they move with a module's device, but do not
    enter its checkpoints; a regressor is identified by its own file).

    Args:
        weight: ``(J, V)`` non-negative, rows summing to one (to 1e-4, and then normalised).
            :meth:`load` is there for arrays that need cleaning.
        joint_names: name of each row, or the name of an order (``'mmpose'``, ``'spin'``).
        body_model: name of the body whose vertices the columns are. Default ``'smpl'``.
        provenance: how it was made; anything JSON can hold. Default empty.
        cleaning: what loading changed, a sentence each. Default empty.

    Raises:
        ValueError: wrong shape, NaN or infinity, negative weights, all-zero rows, row sums off
            one, or not one name for each row.

    >>> regressor = JointRegressor(torch.tensor([[0.5, 0.5, 0.0]]), ['knee'], body_model='toy')
    >>> regressor(torch.tensor([[0.0, 0, 0], [2, 4, 6], [9, 9, 9]])).tolist()
    [[1.0, 2.0, 3.0]]
    """

    weight: Tensor
    support: Tensor
    support_weight: Tensor

    def __init__(
        self,
        weight: Tensor | np.ndarray,  # (J, V)
        joint_names: str | Sequence[str],
        body_model: str = 'smpl',
        provenance: dict[str, Any] | None = None,
        cleaning: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.joint_names = joint_names_of(joint_names)
        self.body_model = body_model
        self.provenance = dict(provenance or {})
        self.cleaning = tuple(cleaning)

        weight = torch.as_tensor(weight).detach()
        if not weight.is_floating_point():
            weight = weight.to(torch.get_default_dtype())
        array = weight.cpu().double().numpy()
        _check_array(array, self.joint_names, body_model, 'weight')
        if array.min() < 0:
            raise ValueError(f'weight has negative entries (least: {array.min():.3g})')
        off = np.abs(array.sum(1) - 1).max()
        if off > 1e-4:
            raise ValueError(f'rows of weight must sum to one; one is off by {off:.3g}')
        weight = weight / weight.double().sum(1, keepdim=True).to(weight.dtype)

        support = torch.nonzero(weight.any(0))[:, 0]  # sorted
        self.register_buffer('weight', weight, persistent=False)
        self.register_buffer('support', support, persistent=False)
        self.register_buffer('support_weight', weight[:, support], persistent=False)

    @property
    def num_joints(self) -> int:
        return self.weight.shape[0]

    @property
    def num_vertices(self) -> int:
        return self.weight.shape[1]

    @property
    def support_sizes(self) -> dict[str, int]:
        """How many vertices each joint weighs."""
        counts = (self.weight != 0).sum(1).tolist()
        return dict(zip(self.joint_names, counts, strict=True))

    def forward(self, vertices: Tensor) -> Tensor:
        """Joints of a body, in the vertices' frame, unit, dtype and device.

        Args:
            vertices: ``(..., V, 3)``; or ``(..., S, 3)``, only those of ``self.support``
                (what ``body.restrict_to(regressor.support)`` gives).

        Returns:
            ``(..., J, 3)``, differentiable in the vertices.

        Raises:
            ValueError: another number of vertices.
        """
        count = vertices.shape[-2] if vertices.ndim >= 2 else -1
        if (
            vertices.ndim < 2
            or vertices.shape[-1] != 3
            or count
            not in (
                self.num_vertices,
                len(self.support),
            )
        ):
            raise ValueError(
                f'vertices: expected (..., {self.num_vertices}, 3), or (..., '
                f'{len(self.support)}, 3) on the support, found {tuple(vertices.shape)}'
            )
        if count == self.num_vertices and count != len(self.support):
            vertices = vertices.index_select(-2, self.support.to(vertices.device))
        return self.support_weight.to(vertices) @ vertices

    def restrict(self) -> Tensor:
        """Weights ``(J, S)`` of the ``S`` vertices in ``self.support``."""
        return self.support_weight

    def restrict_to_support(self) -> tuple[Tensor, Tensor]:
        """Vertex ids ``(S,)`` that any row weighs, and their weights ``(J, S)``."""
        return self.support, self.support_weight

    def reorder(self, joint_order: str | Sequence[str]) -> JointRegressor:
        """The same regressor with its rows in another order (by name), or fewer of them."""
        names = joint_names_of(joint_order)
        index = reorder_index(self.joint_names, names)
        return JointRegressor(
            self.weight[index], names, self.body_model, self.provenance, self.cleaning
        )

    def extra_repr(self) -> str:
        order = next((k for k, v in JOINT_ORDERS.items() if v == self.joint_names), None)
        shown = f'order {order!r}' if order else f'joints {list(self.joint_names)}'
        return (
            f'{self.num_joints} joints from {self.num_vertices} vertices of {self.body_model!r}, '
            f'{shown}, {int((self.weight != 0).sum())} weights on {len(self.support)} vertices'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.extra_repr()})'

    # -- files -------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        joint_order: str | Sequence[str] | None = None,
        body_model: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> JointRegressor:
        """Read a regressor from a file, or by its name in the zoo.

        Negative weights are clamped at zero and rows divided by their sums; what that changed is
        logged and kept in ``.cleaning``. Everything else that is wrong is refused.

        Args:
            path_or_name: ``.npy``, ``.npz`` (one 2-D array, or this package's sparse form),
                ``.pt``/``.pth`` (a tensor, or a dict holding one); or a name of
                :data:`mmjrr.regressors.ZOO`.
            joint_order: what order the file's rows are in: ``'mmpose'``, ``'spin'`` or joint
                names. Needed for a file that neither the zoo nor a sidecar (``NAME.json``
                beside ``NAME.npy``, as :meth:`save` writes) describes. It declares, and does not
                reorder: for that, call :meth:`reorder`.
            body_model: the body whose vertices the columns are, by its name, or the body itself
                (with ``v_template`` or ``template``), or its template ``(V, 3)`` with x towards
                the body's left. With a template, sides are checked geometrically; by name for
                SMPL and the free body, see :mod:`mmjrr.regressors.sides`. Default: what zoo or
                sidecar say; ``'smpl'`` for 6890 columns else.
            dtype: of the weights. Default float32. Cleaning is done in float64.

        Raises:
            FileNotFoundError: no such file; for names of the zoo, says where to get it.
            DataError: unknown name or file type, checksum that does not hold, wrong shape, NaN
                or infinity, an all-zero row, left and right swapped against the declared order,
                an order that contradicts the sidecar's or the zoo's, or none at all.
        """
        try:
            return cls._load(path_or_name, joint_order, body_model, dtype)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(str(error)) from error

    @classmethod
    def _load(
        cls, path_or_name: str | Path, joint_order: Any, body_model: Any, dtype: torch.dtype
    ) -> JointRegressor:
        path, described = _locate(path_or_name)
        array, inner_names = _read_array(path)
        if inner_names is not None:
            described.setdefault('joint_names', inner_names)

        names = _declared_names(path, joint_order, described.get('joint_names'))
        body_name, template, body_note = _declared_body(body_model, described, array)
        _check_array(array, names, body_name, str(path))

        array, cleaning = _clean(array, names)
        swapped = swapped_pairs(array, names, body_name, template)
        if swapped:
            raise ValueError(_swap_message(path, names, array, body_name, template, swapped))

        provenance = dict(described.get('provenance', {}))
        provenance.setdefault('file', path.name)
        provenance['file_sha256'] = sha256(path)
        notes = cleaning + ([body_note] if body_note else [])
        for note in notes:
            _log(f'{path.name}: {note}')
        weight = torch.from_numpy(array).to(dtype)
        try:
            return cls(weight, names, body_name, provenance, cleaning=notes)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error

    def save(self, path: str | Path) -> Path:
        """Write ``NAME.npy`` and its sidecar ``NAME.json`` (names, body, checksum, provenance).

        Each file is replaced in one step. Saving the same regressor twice gives the same bytes.

        Returns:
            The path of the ``.npy``.

        Raises:
            ValueError: ``path`` does not end in ``.npy``.
        """
        path = Path(path)
        if path.suffix != '.npy':
            raise ValueError(f'{path}: expected a path ending in .npy')
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.save(file, self.weight.cpu().numpy())
        sidecar = {
            'format': _SIDECAR_FORMAT,
            'joint_names': list(self.joint_names),
            'body_model': self.body_model,
            'shape': list(self.weight.shape),
            'sha256': sha256(path),
            'cleaning': list(self.cleaning),
            'provenance': self.provenance,
            'versions': versions(),
        }
        with atomic_write(path.with_suffix('.json')) as temporary:
            Path(temporary).write_text(json.dumps(sidecar, indent=2) + '\n', encoding='utf-8')
        return path


# -- reading ---------------------------------------------------------------------------------


def _locate(path_or_name: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file, and what the zoo or a sidecar say of it."""
    path = Path(path_or_name)
    if isinstance(path_or_name, str) and path_or_name in ZOO and not path.is_file():
        entry, path = find_regressor(path_or_name)
        described: dict[str, Any] = {
            'joint_names': JOINT_ORDERS[entry.joint_order],
            'body_model': entry.body_model,
            'provenance': {'name': entry.name, 'source': entry.source, **entry.provenance},
        }
        # A file of ours says for itself what it is, and more exactly.
        return path, {**described, **_read_sidecar(path)}
    if not path.is_file():
        if path.suffix:
            raise FileNotFoundError(f'{path}: no such file')
        raise ValueError(
            f'{path_or_name!r} is neither a file nor a name in the zoo, which has {sorted(ZOO)}'
        )
    return path, _read_sidecar(path)


def _read_sidecar(path: Path) -> dict[str, Any]:
    sidecar = path.with_suffix('.json')
    if path.suffix != '.npy' or not sidecar.is_file():
        return {}
    described = read_json(sidecar)
    if not isinstance(described, dict) or described.get('format') != _SIDECAR_FORMAT:
        raise ValueError(f'{sidecar}: not a sidecar of the format {_SIDECAR_FORMAT!r}')
    for name, kind in _SIDECAR_FIELDS.items():
        if not isinstance(described.get(name, kind()), kind):
            raise ValueError(
                f'{sidecar}: {name}: found {described[name]!r:.80}, expected a {kind.__name__}'
            )
    found = sha256(path)
    if described.get('sha256') != found:
        raise ValueError(
            f'{path}: its sha256 is {found}, but its sidecar {sidecar.name} describes a file '
            f'with {described.get("sha256")}: one of the two was replaced'
        )
    return described


def _read_array(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The file's 2-D array in float64, and the joint names where the file holds them."""
    names = None
    if path.suffix == '.npy':
        array = read_npy(path)
    elif path.suffix == '.npz':
        array, names = _read_npz(path)
    elif path.suffix in ('.pt', '.pth'):
        array = _read_torch(path)
    else:
        raise ValueError(f'{path}: expected .npy, .npz, .pt or .pth, found {path.suffix!r}')
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'{path}: expected an array of real numbers, found {array.dtype}')
    if array.ndim != 2:
        raise ValueError(f'{path}: expected a (J, V) array, found the shape {array.shape}')
    return array.astype(np.float64), names


def _read_npz(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    arrays = read_npz(path)
    names = None
    if 'joint_names' in arrays:
        if arrays['joint_names'].dtype.kind != 'U' or arrays['joint_names'].ndim != 1:
            raise ValueError(f'{path}: joint_names: expected strings')
        names = tuple(arrays['joint_names'].tolist())
    if {'rows', 'columns', 'values', 'shape'} <= set(arrays):
        return _from_sparse(path, arrays), names
    return _only_matrix(path, arrays), names


def _from_sparse(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(J, V) of places and values."""
    rows, columns, values = (arrays[name] for name in ('rows', 'columns', 'values'))
    shape = arrays['shape'].tolist()
    whole = all(arrays[name].dtype.kind in 'iu' for name in ('rows', 'columns', 'shape'))
    if not whole or values.dtype.kind not in 'fiu' or rows.ndim != 1:
        raise ValueError(f'{path}: rows, columns, shape, values: expected whole numbers, and reals')
    if arrays['shape'].shape != (2,) or not all(
        0 < size <= most for size, most in zip(shape, _LARGEST, strict=True)
    ):
        raise ValueError(f'{path}: shape: found {shape!r:.80}, expected (J, V), at most {_LARGEST}')
    if not rows.shape == columns.shape == values.shape:
        raise ValueError(
            f'{path}: found {rows.shape} rows, {columns.shape} columns and {values.shape} values'
        )
    for name, size in (('rows', shape[0]), ('columns', shape[1])):
        if ((arrays[name] < 0) | (arrays[name] >= size)).any():
            raise ValueError(f'{path}: {name}: found numbers outside [0, {size})')
    array = np.zeros(shape)
    array[rows, columns] = values
    return array


def _read_torch(path: Path) -> np.ndarray:
    content = read_torch(path, as_torch=False)
    if isinstance(content, np.ndarray):
        return content
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected a tensor or a dict, found {type(content).__name__}')
    arrays = {str(key): value for key, value in content.items() if isinstance(value, np.ndarray)}
    return _only_matrix(path, arrays)


def _only_matrix(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    matrices = {key: value for key, value in arrays.items() if value.ndim == 2}
    if 'weight' in matrices:
        return matrices['weight']
    if len(matrices) != 1:
        raise ValueError(
            f"{path}: expected one 2-D array, or one named 'weight', among {sorted(arrays)}"
        )
    return next(iter(matrices.values()))


# -- checking and cleaning -------------------------------------------------------------------


def _declared_names(
    path: Path,
    joint_order: str | Sequence[str] | None,
    described: Sequence[str] | None,
) -> tuple[str, ...]:
    if joint_order is None and described is None:
        raise ValueError(
            f'{path}: the file does not say in what order its rows are; pass joint_order= '
            f'({sorted(JOINT_ORDERS)}, or joint names)'
        )
    if joint_order is None:
        return joint_names_of(tuple(described or ()))
    names = joint_names_of(joint_order)
    if described is not None and names != tuple(described):
        raise ValueError(
            f'{path}: joint_order= declares the rows to be {list(names)}, but they are '
            f'{list(described)}. To get another order, load without joint_order= and call '
            f'.reorder(...)'
        )
    return names


def _declared_body(
    body_model: Any, described: dict[str, Any], array: np.ndarray
) -> tuple[str, np.ndarray | None, str | None]:
    """Name of the body, its template where one was passed, and a note on what was assumed."""
    name, template = described.get('body_model'), None
    if isinstance(body_model, str):
        if name is not None and name != body_model:
            raise ValueError(f'body_model={body_model!r}, but the file is for {name!r}')
        name = body_model
    elif body_model is not None:
        template = _template_of(body_model)
        if template.shape != (array.shape[1], 3):
            raise ValueError(
                f'body_model: its template has the shape {template.shape}, but the regressor '
                f'has the shape {array.shape}'
            )
        name = name or getattr(body_model, 'name', None)
    if isinstance(name, str):
        return name, template, None
    if template is not None:
        return 'unnamed', template, None
    if array.shape[1] == NUM_VERTICES['smpl']:
        return 'smpl', None, "took its 6890 columns for SMPL's vertices"
    return 'unnamed', None, 'its body is not known, so left and right could not be checked'


def _template_of(body: Any) -> np.ndarray:
    for attribute in ('v_template', 'template'):
        if hasattr(body, attribute):
            body = getattr(body, attribute)
            break
    template = body.detach().cpu().numpy() if isinstance(body, Tensor) else np.asarray(body)
    if template.dtype.kind != 'f' or template.ndim != 2:
        raise ValueError(
            'body_model: expected a name, a body with v_template, or a (V, 3) template; found '
            f'{type(body).__name__} of {template.dtype}, shape {template.shape}'
        )
    return template


def _check_array(array: np.ndarray, names: Sequence[str], body: str, where: str) -> None:
    if array.ndim != 2:
        raise ValueError(f'{where}: expected the shape (J, V), found {array.shape}')
    if array.shape[0] != len(names):
        hint = '; it looks transposed' if array.shape[1] == len(names) else ''
        raise ValueError(
            f'{where}: expected {len(names)} rows, one for each joint name, found the shape '
            f'{array.shape}{hint}'
        )
    if body in NUM_VERTICES and array.shape[1] != NUM_VERTICES[body]:
        raise ValueError(
            f'{where}: expected {NUM_VERTICES[body]} columns for the body {body!r}, found the '
            f'shape {array.shape}'
        )
    for problem, mask in (('NaN', np.isnan(array)), ('infinity', np.isinf(array))):
        if mask.any():
            rows = [names[i] for i in np.nonzero(mask.any(1))[0]]
            raise ValueError(f'{where}: {problem} in the rows {rows}')
    empty = [names[i] for i in np.nonzero(~(array > 0).any(1))[0]]
    if empty:
        raise ValueError(f'{where}: no positive weight in the rows {empty}')


def _clean(array: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Rows brought onto the simplex, and a sentence for each thing changed."""
    notes = []
    negative = array < 0
    if negative.any():
        rows = [names[i] for i in np.nonzero(negative.any(1))[0]]
        notes.append(
            f'clamped {int(negative.sum())} negative weights at zero (least: '
            f'{array.min():.4f}) in the rows {rows}'
        )
        array = array.clip(min=0)
    sums = array.sum(1, keepdims=True)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE:
        notes.append(
            f'divided each row by its sum (they were between {sums.min():.4f} and {sums.max():.4f})'
        )
    return array / sums, notes


def _swap_message(
    path: Path,
    names: tuple[str, ...],
    array: np.ndarray,
    body: str,
    template: np.ndarray | None,
    swapped: list[tuple[str, str]],
) -> str:
    order = next((k for k, v in JOINT_ORDERS.items() if v == names), None)
    declared = f'order {order!r}' if order else f'joint names {list(names)}'
    fitting = [
        other
        for other, other_names in JOINT_ORDERS.items()
        if sorted(other_names) == sorted(names)
        and not swapped_pairs(array, other_names, body, template)
    ]
    hint = f' The rows fit joint_order={fitting[0]!r}.' if fitting else ''
    return (
        f'{path}: left and right are swapped against the declared {declared}: on the body '
        f'{body!r}, {"; ".join(f"the row {a} lies right of {b}" for a, b in swapped)}.{hint}'
    )


def _log(message: str) -> None:
    """To the running experiment's logger, as MMEngine's own components do."""
    print_log(message, logger='current')
