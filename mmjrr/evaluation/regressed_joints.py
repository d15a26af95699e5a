"""Joints of predictions under several regressors, from vertices of nonzero weight only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.zoo import search_folders

#: A regressor: its name or path, a dict of ``JointRegressor.load``'s arguments, or the object.
RegressorLike = str | Path | dict[str, Any] | JointRegressor

#: Number of bodies that are computed at once; a constant, so that it does not change results.
_CHUNK = 256


def load_regressors(
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
) -> dict[str, JointRegressor]:
    """Load regressors and return them by the names under which results are quoted.

    Args:
        regressors: One or several. Each is a name of the zoo, a path, a
            :class:`~mmjrr.regressors.JointRegressor`, or a dict of the arguments of its ``load``
            (``path_or_name`` or ``path``, ``joint_order``, ``body_model``) and, optionally,
            ``name``. If several come in a dict, its keys are the names.

    Returns:
        The regressors by name, in the order of the argument. Loaded ones are float64.

    Raises:
        ValueError: There are no regressors, two have the same name, or an argument is invalid.
        DataError: A file is broken.
        FileNotFoundError: A file does not exist.
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
                "{'first': 'a/J.npy', 'second': 'b/J.npy'}; on the command line, first=a/J.npy "
                'second=b/J.npy'
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
    """Regression of the J joints of meshes or SMPL parameters under R regressors, in float64.

    Joints of a mesh are the same to the last bit whatever other meshes are in the batch. The last
    bits of joints of SMPL parameters depend on the batch: compute all frames at once, in a fixed
    order.

    Args:
        regressors: The R regressors by name.
        joint_names: Names of the joints to regress, in this order.
        body_model: The body or its config; only needed for parameters.

    Attributes:
        num_vertices: Number of vertices V of the regressors' mesh.
        support: (S,) indices of the vertices of nonzero weight in any regressor.
        num_betas: Number of betas that the body takes; None without a body.
        body_path: File of the body; None without a body.
        further_arguments: Arguments of the body besides those of SMPL, such as ``'jaw_pose'``.
        rotations: Number of rotations of each argument of the body; SMPL's without a body.
        coefficients: Number of coefficients that each argument may be, such as the principal
            components of a hand.

    Raises:
        ValueError: A regressor lacks a joint, or the regressors and the body are for different
            bodies.
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
        ordered = [regressor.reorder(self.joint_names).cpu() for regressor in regressors.values()]
        weight = np.concatenate([regressor.weight.double().numpy() for regressor in ordered])
        # (S,) vertices of nonzero weight in any row of (R * J, V), and those that normals need
        self.support = np.unique(np.concatenate([regressor.support for regressor in ordered]))
        self._normals = {
            index: (regressor.normals.double(), torch.from_numpy(rows[:, self.support]))
            for index, (regressor, rows) in enumerate(
                zip(ordered, np.split(weight, len(ordered)), strict=True)
            )
            if regressor.normals is not None
        }
        self._weight = csr_matrix(weight[:, self.support])
        self._body: nn.Module | None = None
        self.further_arguments: tuple[str, ...] = ()
        self.rotations: Mapping[str, int] = SMPL.ROTATIONS
        self.coefficients: dict[str, int] = {}
        self.num_betas: int | None = None
        self.body_path: Path | None = None
        if body_model is not None:
            body = body_model if isinstance(body_model, nn.Module) else _build_body(body_model)
            _check_body(body, body_model, regressors)
            self.num_betas, self.body_path = int(body.num_betas), body.path
            self.further_arguments = further_arguments(body)
            self.rotations = getattr(body, 'ROTATIONS', SMPL.ROTATIONS)
            self.coefficients = _coefficients(body)
            self._body = body.restrict_to(torch.from_numpy(self.support)).cpu().double()

    @property
    def has_body(self) -> bool:
        """Whether there is a body, which :meth:`from_parameters` needs."""
        return self._body is not None

    def select(self, meshes: Sequence[Tensor | Array]) -> Array:
        """Select the vertices of nonzero weight of N meshes.

        Args:
            meshes: N meshes (V, 3).

        Returns:
            The vertices (N, S, 3), float64, on the CPU.

        Raises:
            ValueError: A mesh has another shape.
        """
        for mesh in meshes:
            if tuple(mesh.shape) != (self.num_vertices, 3):
                raise ValueError(
                    f'vertices: found {tuple(mesh.shape)}, expected ({self.num_vertices}, 3), '
                    'as many as the regressors have columns'
                )
        if all(isinstance(mesh, Tensor) for mesh in meshes):
            first: Tensor = meshes[0]  # type: ignore[assignment]
            index = torch.from_numpy(self.support).to(first.device)
            parts = [mesh.detach().index_select(0, index) for mesh in meshes]  # type: ignore
            return torch.stack(parts).cpu().double().numpy()
        return np.stack([np.asarray(mesh)[self.support] for mesh in meshes]).astype(np.float64)

    def from_selected(
        self, selected: Array, scale: float = 1.0
    ) -> Array:  # (N, S, 3) -> (N, R, J, 3)
        """Regress joints in meters from vertices that :meth:`select` returned.

        A sparse product adds the terms of each joint in the order of the vertices. Unlike a dense
        product, it gives the same bits whatever else is in the batch.

        Args:
            selected: The vertices.
            scale: Meters per unit of the vertices.
        """
        count = len(selected)
        columns = np.ascontiguousarray(selected.transpose(1, 0, 2)).reshape(-1, 3 * count)
        joints = scale * (self._weight @ columns).reshape(len(self.names), -1, count, 3)
        joints = joints.transpose(2, 0, 1, 3)
        for index, (normals, weight) in self._normals.items():
            support = torch.from_numpy(self.support)
            for frame, vertices in enumerate(torch.from_numpy(scale * selected)):
                joints[frame, index] += normals(vertices, weight, support).numpy()
        return joints

    def from_parameters(
        self,
        parameters: Mapping[str, Array],
        progress: Callable[[int, int], None] | None = None,
    ) -> Array:
        """Regress joints (N, R, J, 3) in meters from SMPL parameters.

        Args:
            parameters: Arguments of :meth:`mmjrr.body_models.SMPL.articulate`, (N, ...) each.
            progress: A function that takes the number of frames done and N. Default: None.

        Raises:
            ValueError: There is no body.
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


def further_arguments(body: nn.Module) -> tuple[str, ...]:
    """Return the arguments of a body besides those of SMPL, such as ``'jaw_pose'``."""
    arguments = tuple(getattr(body, 'ROTATIONS', ()))[2:]
    return (*arguments, 'expression') if getattr(body, 'num_expression_coeffs', 0) else arguments


def _coefficients(body: nn.Module) -> dict[str, int]:
    """Return the numbers of components of expression and hands, of those that the body has."""
    counts = {'expression': int(getattr(body, 'num_expression_coeffs', 0))}
    for side in ('left', 'right'):
        components = getattr(body, f'{side}_hand_components', None)
        counts[f'{side}_hand_pose'] = 0 if components is None else len(components)
    return {name: count for name, count in counts.items() if count}


def default_body(regressors: Mapping[str, JointRegressor]) -> dict[str, Any] | None:
    """Return the config of the regressors' body, if its files are in a standard folder.

    Args:
        regressors: The regressors by name.

    Returns:
        The free body's config if the regressors are for it. SMPL's config if they are for SMPL, or
        do not name their body, and ``smpl`` exists in ``data`` or in a folder of downloads.
        Otherwise None.
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
        regressor_body = _plain(regressor.body_model)
        if regressor.num_vertices != body.num_vertices:
            raise ValueError(
                f'regressor {name!r} has {regressor.num_vertices} columns, but the body model '
                f'has {body.num_vertices} vertices'
            )
        if kind == 'freebody' and regressor_body not in ('freebody', 'unnamed'):
            raise ValueError(
                f'regressor {name!r} is for the body {regressor.body_model!r}, but body_model '
                f'is {declared!r}, whose vertices are numbered otherwise'
            )


def _plain(body_name: str) -> str:
    """Return a body's name in lower case without underscores, so FreeBody equals free_body."""
    return body_name.replace('_', '').lower()
