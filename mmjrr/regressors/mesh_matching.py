"""Mappings between two meshes, computed from their templates in the same pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, vstack

from mmjrr.array_types import Array, BoolArray, FloatArray, IndexArray
from mmjrr.geometry.surface import nearest_surface_points, vertex_normals
from mmjrr.regressors.mesh_mapping import MeshMapping

#: Parts of a body by what the names of its joints or bones contain. Neighboring parts meet at the
#: trunk, so a vertex of any part may lie on the other mesh's trunk.
TRUNK, HEAD, ARM, LEG = range(4)
_PARTS = (
    (HEAD, ('head', 'neck', 'jaw', 'eye', 'face', 'tongue', 'oris', 'orbicularis', 'levator',
            'risorius', 'oculi', 'special', 'temporalis')),
    (ARM, ('left_shoulder', 'right_shoulder', 'elbow', 'wrist', 'hand', 'upperarm', 'lowerarm',
           'finger', 'metacarpal', 'thumb', 'index', 'middle', 'ring', 'pinky')),
    (LEG, ('knee', 'ankle', 'foot', 'toe', 'lowerleg', 'upperleg', 'hip')),
)  # fmt: skip
#: Vertices closer to the middle than this (meters) belong to both sides.
_MIDDLE = 0.02
#: Directions by which normals are sorted: along the axes, both ways.
_DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])
#: Distance (meters) beyond which no correspondence is assumed.
_FAR = 0.06


@dataclass
class Template:
    """A mesh in the same pose, and of the same shape, as another mesh.

    Attributes:
        name: Name of the mesh.
        vertices: (V, 3), meters, x towards the body's left.
        faces: (F, 3).
        parts: (V,) part of each vertex, :data:`TRUNK` and so on; None if unknown.
    """

    name: str
    vertices: FloatArray
    faces: IndexArray
    parts: IndexArray | None = None


def part_of_joint(name: str) -> int:
    """Return the part of the body that a joint or bone moves.

    >>> part_of_joint('left_elbow') == ARM, part_of_joint('spine2') == TRUNK
    (True, True)
    """
    plain = name.lower()
    return next((part for part, words in _PARTS if any(word in plain for word in words)), TRUNK)


def parts_of(weights: Array, joint_names: Sequence[str]) -> IndexArray:
    """Return the part of each vertex, that of the joint with the largest skinning weight.

    Args:
        weights: (K, V) skinning weights.
        joint_names: Names of the K joints.
    """
    of_joints = np.array([part_of_joint(name) for name in joint_names])
    return of_joints[weights.argmax(0)]


def match_meshes(source: Template, target: Template) -> MeshMapping:
    """Compute the mapping from ``source``'s vertices to those of ``target``.

    Each vertex becomes the nearest point of the source's surface that lies on the same side of the
    body, faces the same way and, if both meshes have parts, belongs to the same part or the trunk.

    Args:
        source: Mesh whose vertices the mapping takes.
        target: Mesh whose vertices the mapping returns.

    Returns:
        The mapping; its provenance states the distances between the surfaces.

    Raises:
        ValueError: The templates are not in the same place, pose or unit.
    """
    normals = vertex_normals(target.vertices, target.faces)
    source_normals = vertex_normals(source.vertices, source.faces)
    rows: list[IndexArray] = []
    blocks: list[csr_matrix] = []
    distances: list[FloatArray] = []
    for members, allowed in _groups(source, target):
        faces = source.faces[allowed[source.faces].all(1)]
        if not len(faces):
            raise ValueError(
                f'templates: {source.name!r} has no surface where {target.name!r} has vertices; '
                'expected the same pose, place and unit (meters)'
            )
        block, distance = _facing(
            target.vertices[members], normals[members], source.vertices, source_normals, faces
        )
        rows.append(members)
        blocks.append(block)
        distances.append(distance)
    order = np.argsort(np.concatenate(rows), kind='stable')
    matrix = csr_matrix(vstack(blocks))[order]
    distance = np.concatenate(distances)[order]
    middle = float(np.median(distance))
    if middle > _FAR:
        raise ValueError(
            f'templates: the vertices of {target.name!r} lie {1000 * middle:.0f} mm (median) from '
            f'the surface of {source.name!r}; expected the same pose, place and unit (meters)'
        )
    provenance = {
        'made_by': 'nearest points of the surface of the same side and part',
        'templates': [source.name, target.name],
        'distance_mm': {
            'mean': round(1000 * float(distance.mean()), 3),
            'median': round(1000 * middle, 3),
            'largest': round(1000 * float(distance.max()), 3),
        },
    }
    return MeshMapping(matrix, source.name, target.name, provenance)


def _groups(source: Template, target: Template) -> list[tuple[IndexArray, BoolArray]]:
    """Return groups of target vertices, with the source vertices that may stand for them."""
    sides = np.sign(np.where(np.abs(target.vertices[:, 0]) < _MIDDLE, 0, target.vertices[:, 0]))
    x = source.vertices[:, 0]
    has_parts = source.parts is not None and target.parts is not None
    parts = target.parts if has_parts else np.zeros(len(target.vertices), np.int64)
    assert parts is not None
    groups = []
    for side in (-1, 0, 1):
        of_side = np.ones(len(x), bool) if side == 0 else side * x > -_MIDDLE
        for part in np.unique(parts):
            members = np.flatnonzero((sides == side) & (parts == part))
            allowed = of_side.copy()
            if has_parts and part != TRUNK:
                assert source.parts is not None
                allowed &= (source.parts == part) | (source.parts == TRUNK)
            if len(members):
                groups.append((members, allowed))
    return groups


def _facing(
    points: FloatArray,  # (P, 3)
    normals: FloatArray,  # (P, 3)
    vertices: FloatArray,  # (V, 3)
    normals_of_vertices: FloatArray,  # (V, 3)
    faces: IndexArray,  # (F, 3)
) -> tuple[csr_matrix, FloatArray]:
    """Return the nearest points of the surface, which face the same way where such points exist.

    A nearest point that faces the other way lies across a thin part, such as between two fingers.
    It is replaced by the nearest point of triangles that face the point's main direction.
    """
    weights, distance = nearest_surface_points(points, vertices, faces)
    facing = np.einsum('pc,pc->p', weights @ normals_of_vertices, normals)
    opposite = np.flatnonzero(facing < 0)
    directions = (normals[opposite] @ _DIRECTIONS.T).argmax(1)
    replaced_members, blocks = [], []
    for number, direction in enumerate(_DIRECTIONS):
        members = opposite[directions == number]
        same = (normals_of_vertices @ direction > 0)[faces].all(1)
        if len(members) and same.any():
            block, distance[members] = nearest_surface_points(
                points[members], vertices, faces[same]
            )
            replaced_members.append(members)
            blocks.append(block)
    if not replaced_members:
        return weights, distance
    replaced = np.concatenate(replaced_members)
    index = np.arange(len(points))
    index[replaced] = len(points) + np.arange(len(replaced))
    return csr_matrix(vstack([weights, *blocks]))[index], distance
