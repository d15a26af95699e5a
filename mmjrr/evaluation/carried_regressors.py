"""Regressors that are carried to the mesh of the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.body_models.known_meshes import NUM_VERTICES, mesh_of_size, same_mesh
from mmjrr.datasets.predictions import Predictions
from mmjrr.regressors import JointRegressor, MeshMapping, find_mapping
from mmjrr.regressors.known_mappings import is_known_mapping

MappingLike = str | Path | MeshMapping

#: Meshes of the bodies that configs name, except those for which the zoo has regressors.
_MESH_OF_TYPE = {'SMPLX': 'smplx', 'AnnyBody': 'anny'}


def carry_regressors(
    regressors: Mapping[str, JointRegressor],
    part: Predictions,
    body: dict[str, Any] | SMPL | None = None,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
) -> dict[str, JointRegressor]:
    """Carry regressors to the mesh of predictions, which is recognized by its number of vertices.

    Args:
        regressors: The regressors by name.
        part: The predictions.
        body: The body of predicted parameters, or its config.
        mapping: Mapping that computes the regressors' mesh from that of the predictions, or its
            file. Default: None, the known one of the two meshes, see
            :func:`mmjrr.regressors.find_mapping`.
        faces: Triangles of the predictions' mesh, as for
            :meth:`mmjrr.regressors.MeshMapping.load`.

    Returns:
        The regressors. Those that are for this mesh, and those that no known mapping carries to
        it, are unchanged.

    Raises:
        FileNotFoundError: A file does not exist; for a known mapping the message says where to get
            it.
        DataError: A file is damaged or is no mapping.
        ValueError: The mapping is not between the two meshes.
    """
    if mapping is not None and not isinstance(mapping, MeshMapping):
        mapping = MeshMapping.load(mapping, faces)
    name, count = _mesh_of(part, body)
    if count is None:
        return dict(regressors)
    carried = {}
    for key, regressor in regressors.items():
        between = find_mesh_mapping(name, count, regressor, mapping, faces)
        carried[key] = regressor if between is None else regressor.to_mesh(between)
    return carried


def find_mesh_mapping(
    name: str | None,
    count: int,
    regressor: JointRegressor,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
) -> MeshMapping | None:
    """Return the mapping from a mesh to that of a regressor.

    Args:
        name: Name of the mesh; None if it is unknown.
        count: Its number of vertices.
        regressor: The regressor.
        mapping: As in :func:`carry_regressors`.
        faces: As in :func:`carry_regressors`.

    Returns:
        The mapping; None if the mesh is the regressor's, or no mapping is known.

    Raises:
        FileNotFoundError, DataError, ValueError: As in :func:`carry_regressors`.
    """
    if regressor.num_vertices == count:
        return None
    if mapping is not None:
        between = mapping
        if not isinstance(between, MeshMapping):
            between = MeshMapping.load(between, faces)
        if between.num_source_vertices != count:
            raise ValueError(
                f'mapping: found one from the mesh {between.source!r} with '
                f'{between.num_source_vertices} vertices, expected one from that of the '
                f'predictions, which has {count}'
            )
        return between
    if name is not None and is_known_mapping(name, regressor.body_model):
        return find_mapping(name, regressor.body_model)
    return None


def _mesh_of(
    part: Predictions, body: dict[str, Any] | SMPL | None
) -> tuple[str | None, int | None]:
    """Return the name of the predictions' mesh, if it is known, and its number of vertices."""
    if part.vertices is not None:
        count = int(part.vertices.shape[1])
        mesh = mesh_of_size(count)
        return (mesh.name if mesh is not None and mesh.is_body else None), count
    if isinstance(body, Mapping):
        name = _MESH_OF_TYPE.get(str(body.get('type', '')).rsplit('.', 1)[-1])
        return name, None if name is None else NUM_VERTICES[name]
    if body is not None:
        named = any(same_mesh(body.name, name) for name in _MESH_OF_TYPE.values())
        return (body.name if named else None), body.num_vertices
    return None, None
