"""From predictions to joints under several regressors, computing as few vertices as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from mmjrr.body_models import SMPL
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.zoo import search_folders

#: One regressor: a name or path, ``JointRegressor.load``'s arguments (and ``name``), or itself.
RegressorLike = str | Path | dict[str, Any] | JointRegressor

#: Body frames computed at once; a constant, so that results do not depend on batch sizes.
_CHUNK = 256


def load_regressors(
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
) -> dict[str, JointRegressor]:
    """Load regressors by the names that results are quoted under.

    Args:
        regressors: one or several, each a name of the zoo, a path, a
            :class:`~mmjrr.regressors.JointRegressor`, or a dict of the arguments of its ``load``
            (``path_or_name`` or ``path``, ``joint_order``, ``body_model``) and, optionally,
            ``name``. The keys of a dict of these are the names.

    Raises:
        ValueError: there is none, two have the same name, or one cannot be loaded.
        FileNotFoundError: a file is not there.
    """
    entries: list[tuple[str | None, RegressorLike]]
    single = isinstance(regressors, (str, Path, JointRegressor))
    if isinstance(regressors, Mapping) and ({'path', 'path_or_name'} & set(regressors)):
        single = True
    if single:
        entries = [(None, regressors)]  # type: ignore[list-item]
    elif isinstance(regressors, Mapping):
        entries = list(regressors.items())
    else:
        entries = [(None, entry) for entry in regressors]  # type: ignore[union-attr]
    if not entries:
        raise ValueError('regressors: found none, expected at least one')
    loaded: dict[str, JointRegressor] = {}
    for chosen_name, entry in entries:
        name, regressor = _load(chosen_name, entry)
        if name in loaded:
            raise ValueError(
                f'regressors: two are named {name!r}; give them names, as in '
                "{'first': 'a/J.npy', 'second': 'b/J.npy'}"
            )
        loaded[name] = regressor
    return loaded


def _load(name: str | None, entry: RegressorLike) -> tuple[str, JointRegressor]:
    if isinstance(entry, JointRegressor):
        return name or str(entry.provenance.get('name', 'regressor')), entry
    arguments: dict[str, Any] = {}
    if isinstance(entry, Mapping):
        arguments = dict(entry)
        name = arguments.pop('name', None) or name
        if len({'path', 'path_or_name'} & set(arguments)) != 1:
            raise ValueError(f"regressors: {dict(entry)} needs 'path' (a file, or a zoo's name)")
        entry = arguments.pop('path', None) or arguments.pop('path_or_name', None)
        unknown = set(arguments) - {'joint_order', 'body_model'}
        if unknown:
            raise ValueError(f'regressors: {name or entry}: unknown arguments {sorted(unknown)}')
    if not isinstance(entry, (str, Path)):
        raise ValueError(f'regressors: found {type(entry).__name__}, expected a name or path')
    regressor = JointRegressor.load(entry, dtype=torch.float64, **arguments)
    return name or Path(entry).stem, regressor


class RegressedJoints:
    """Joints of meshes or SMPL parameters under several regressors, in float64.

    Joints of meshes do not depend, to the last bit, on the other meshes of the batch. Those of
    SMPL parameters do: compute all frames at once, in a fixed order.

    Args:
        regressors: by name.
        joint_names: joints to regress, in this order.
        body_model: the body, or its config; needed for parameters only.

    Raises:
        ValueError: a regressor lacks a joint, or regressors and body are for different bodies.
    """

    def __init__(
        self,
        regressors: Mapping[str, JointRegressor],
        joint_names: Sequence[str],
        body_model: dict[str, Any] | SMPL | None = None,
    ) -> None:
        self.names = tuple(regressors)
        self.joint_names = tuple(joint_names)
        for name, regressor in regressors.items():
            missing = [joint for joint in self.joint_names if joint not in regressor.joint_names]
            if missing:
                raise ValueError(f'regressor {name!r} lacks the joints {missing}')
        self.num_vertices = _common_vertices(regressors)
        rows = [
            regressor.reorder(self.joint_names).weight.cpu().double().numpy()
            for regressor in regressors.values()
        ]
        weight = np.concatenate(rows)  # (R * J, V)
        self.support = np.flatnonzero(weight.any(0))  # (S,) vertices of nonzero weight in any row
        self._weight = csr_matrix(weight[:, self.support])
        self._body: nn.Module | None = None
        self.num_betas: int | None = None
        self.body_path: Path | None = None
        if body_model is not None:
            body = body_model if isinstance(body_model, nn.Module) else _build_body(body_model)
            _check_body(body, body_model, regressors)
            self.num_betas, self.body_path = int(body.num_betas), Path(body.path)
            self._body = body.restrict_to(torch.from_numpy(self.support)).cpu().double()

    @property
    def has_body(self) -> bool:
        """Whether parameters can be turned into joints."""
        return self._body is not None

    def select(self, meshes: Sequence[Tensor | np.ndarray]) -> np.ndarray:
        """Return the vertices of nonzero weight of N meshes (V, 3): (N, S, 3), float64, CPU.

        Raises:
            ValueError: a mesh has another shape.
        """
        for mesh in meshes:
            if tuple(mesh.shape) != (self.num_vertices, 3):
                raise ValueError(
                    f'expected vertices ({self.num_vertices}, 3), as many as the regressors have '
                    f'columns, found {tuple(mesh.shape)}'
                )
        if all(isinstance(mesh, Tensor) for mesh in meshes):
            first: Tensor = meshes[0]  # type: ignore[assignment]
            index = torch.from_numpy(self.support).to(first.device)
            parts = [mesh.detach().index_select(0, index) for mesh in meshes]  # type: ignore
            return torch.stack(parts).cpu().double().numpy()
        return np.stack([np.asarray(mesh)[self.support] for mesh in meshes]).astype(np.float64)

    def from_selected(self, selected: np.ndarray) -> np.ndarray:  # (N, S, 3) -> (N, R, J, 3)
        """Regress joints from vertices that :meth:`select` returned.

        The sparse product adds up each number on its own, in the order of the vertices: unlike
        a dense one, it gives the same bits whatever else is in the batch.
        """
        count = len(selected)
        columns = np.ascontiguousarray(selected.transpose(1, 0, 2)).reshape(-1, 3 * count)
        joints = (self._weight @ columns).reshape(len(self.names), -1, count, 3)
        return joints.transpose(2, 0, 1, 3)

    def from_parameters(
        self,
        parameters: Mapping[str, np.ndarray],
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Regress joints (N, R, J, 3) in meters from SMPL parameters.

        Args:
            parameters: as :class:`mmjrr.body_models.SMPL` takes them, (N, ...) each.
            progress: called with the frames computed so far and their number. Default None.
        """
        if self._body is None:
            raise ValueError(
                'the predictions are SMPL parameters, for which a body is needed: '
                "body_model=dict(type='SMPL', model_path=...)"
            )
        count = len(next(iter(parameters.values())))
        joints = np.empty((count, len(self.names), len(self.joint_names), 3))
        with torch.no_grad():
            for start in range(0, count, _CHUNK):
                rows = slice(start, start + _CHUNK)
                part = {k: torch.from_numpy(v[rows]).double() for k, v in parameters.items()}
                joints[rows] = self.from_selected(self._body(**part).vertices.numpy())
                if progress is not None:
                    progress(min(start + _CHUNK, count), count)
        return joints


def default_body(regressors: Mapping[str, JointRegressor]) -> dict[str, Any] | None:
    """Return the config of the body that the regressors are for, if its files are where expected.

    Args:
        regressors: by name.

    Returns:
        The free body's config; SMPL's, where ``data/smpl`` or ``smpl`` in a folder of downloads
        exists; or None.
    """
    bodies = {_plain(regressor.body_model) for regressor in regressors.values()}
    if bodies == {'freebody'}:
        return dict(type='FreeBody')
    if bodies <= {'smpl', 'unnamed'}:
        for folder in search_folders():
            if (folder / 'smpl').is_dir():
                return dict(type='SMPL', model_path=str(folder / 'smpl'))
    return None


def _build_body(config: dict[str, Any]) -> SMPL:
    return BODY_MODELS.build(dict(config))


def _common_vertices(regressors: Mapping[str, JointRegressor]) -> int:
    sizes = {name: regressor.num_vertices for name, regressor in regressors.items()}
    bodies = {name: _plain(regressor.body_model) for name, regressor in regressors.items()}
    named = {body for body in bodies.values() if body != 'unnamed'}
    if len(set(sizes.values())) > 1 or len(named) > 1:
        raise ValueError(
            'the regressors are for different bodies: '
            + ', '.join(f'{name}: {bodies[name]!r} ({sizes[name]} vertices)' for name in sizes)
        )
    return next(iter(sizes.values()))


def _check_body(
    body: SMPL, config: dict[str, Any] | SMPL, regressors: Mapping[str, JointRegressor]
) -> None:
    declared = str(config.get('type', '')) if isinstance(config, Mapping) else ''
    kind = _plain(declared.rsplit('.', 1)[-1])
    for name, regressor in regressors.items():
        theirs = _plain(regressor.body_model)
        if regressor.num_vertices != body.num_vertices:
            raise ValueError(
                f'regressor {name!r} has {regressor.num_vertices} columns, but the body model '
                f'has {body.num_vertices} vertices'
            )
        if kind == 'freebody' and theirs not in ('freebody', 'unnamed'):
            raise ValueError(
                f'regressor {name!r} is for the body {regressor.body_model!r}, but body_model '
                f'is {declared!r}, whose vertices are numbered otherwise'
            )


def _plain(body_name: str) -> str:
    """Return a body's name without case and underscores: FreeBody is free_body."""
    return body_name.replace('_', '').lower()
