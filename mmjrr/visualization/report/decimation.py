"""Coarse triangles over a subset of a body's vertices, and compact storage of posed vertices.

A coarse mesh uses some of the body's vertices where they are, so one set of triangles serves every
pose: a frame stores only where these vertices lie.
"""

from __future__ import annotations

import base64
import heapq
import zlib
from dataclasses import dataclass

import numpy as np

from mmjrr.array_types import FloatArray, IndexArray

#: Penalty on collapses that pull a boundary of an open mesh inwards, relative to the faces' planes.
_BOUNDARY_WEIGHT = 10.0


@dataclass(frozen=True)
class CoarseMesh:
    """A subset of a mesh's vertices, and triangles over it.

    Attributes:
        vertex_ids: (v,) vertices of the whole mesh, neighbors mostly close to one another.
        faces: (f, 3) indices into ``vertex_ids``.
    """

    vertex_ids: IndexArray
    faces: IndexArray


def decimate(vertices: FloatArray, faces: IndexArray, num_vertices: int) -> CoarseMesh:
    """Choose vertices and triangles that keep the shape of a mesh.

    Edges are collapsed onto one of their ends in the order of the quadric error (Garland and
    Heckbert, SIGGRAPH 1997), unless that would fold the surface or make it non-manifold. Equal
    meshes give equal results.

    Args:
        vertices: (V, 3), a pose in which the surface does not touch itself.
        faces: (F, 3).
        num_vertices: Number of vertices to keep; a mesh that has no more is returned whole.

    Returns:
        The coarse mesh. It has more vertices if no further edge can be collapsed.
    """
    triangles = [tuple(face) for face in np.asarray(faces).tolist()]
    positions = np.asarray(vertices, dtype=np.float64)
    alive = len(np.unique(faces))
    if alive > num_vertices:
        triangles = _collapse(positions, triangles, alive - num_vertices)
    return _ordered(triangles)


def whole_mesh(faces: IndexArray) -> CoarseMesh:
    """Return all vertices and triangles in the order that is stored compactly."""
    return _ordered([tuple(face) for face in np.asarray(faces).tolist()])


def encode(vertices: FloatArray, step: float) -> tuple[list[float], str]:
    """Encode points as differences between neighbors in whole steps.

    Args:
        vertices: (v, 3), meters.
        step: Resolution in meters.

    Returns:
        The first point in steps, and the base64 text of zlib's compression of the low bytes of all
        int16 differences followed by their high bytes.

    >>> first, text = encode(np.array([[0.0, 0.0, 1.0], [0.002, 0.0, 1.0]]), 0.001)
    >>> first, list(zlib.decompress(base64.b64decode(text)))[:6]
    ([0, 0, 1000], [0, 0, 0, 2, 0, 0])
    """
    steps = np.rint(np.asarray(vertices) / step).astype(np.int64)
    differences = np.diff(steps, axis=0, prepend=steps[:1]).clip(-32768, 32767)
    # Differences that exceed 16 bits (32 m) cannot occur in a body.
    planes = differences.astype('<i2').reshape(-1).view(np.uint8).reshape(-1, 2).T
    text = base64.b64encode(zlib.compress(np.ascontiguousarray(planes).tobytes(), 9)).decode()
    return steps[0].tolist(), text


def encode_faces(faces: IndexArray) -> str:
    """Encode triangles as base64 text of zlib's compression of uint16 indices, bytes in planes."""
    indices = np.asarray(faces).astype('<u2').reshape(-1).view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(zlib.compress(np.ascontiguousarray(indices).tobytes(), 9)).decode()


def _collapse(
    positions: FloatArray, triangles: list[tuple[int, ...]], count: int
) -> list[tuple[int, ...]]:
    """Collapse up to ``count`` edges and return the triangles that are left."""
    faces_of: dict[int, set[int]] = {}
    for number, triangle in enumerate(triangles):
        for vertex in triangle:
            faces_of.setdefault(vertex, set()).add(number)
    current = list(triangles)
    points = positions.tolist()
    quadrics = _quadrics(positions, triangles)

    def neighbors(vertex: int) -> set[int]:
        return {other for face in faces_of[vertex] for other in current[face]} - {vertex}

    def cost(source: int, target: int) -> float:
        x, y, z = points[target]
        a, b, c, d, e, f, g, h, i, j = (
            p + q for p, q in zip(quadrics[source], quadrics[target], strict=True)
        )
        error = x * (a * x + b * y + c * z + d) + y * (e * y + f * z + g) + z * (h * z + i) + j
        length = sum((p - q) ** 2 for p, q in zip(points[source], points[target], strict=True))
        # The small second summand prefers short edges where the surface is flat.
        return float(error + 1e-9 * length)

    version = dict.fromkeys(faces_of, 0)
    heap: list[tuple[float, int, int, int, int]] = []

    def push(source: int, target: int) -> None:
        heapq.heappush(
            heap, (cost(source, target), source, target, version[source], version[target])
        )

    for vertex in sorted(faces_of):
        for other in sorted(neighbors(vertex)):
            push(vertex, other)
    while count and heap:
        _, source, target, at_source, at_target = heapq.heappop(heap)
        if version.get(source) != at_source or version.get(target) != at_target:
            continue
        shared = faces_of[source] & faces_of[target]
        if len(neighbors(source) & neighbors(target)) != len(shared) or not shared:
            continue  # the surface would become non-manifold
        kept = faces_of[source] - shared
        if _folds(points, current, kept, source, target):
            continue
        for face in shared:
            for vertex in current[face]:
                faces_of[vertex].discard(face)
        for face in kept:
            current[face] = tuple(target if v == source else v for v in current[face])
            faces_of[target].add(face)
        del faces_of[source], version[source]
        quadrics[target] = [p + q for p, q in zip(quadrics[target], quadrics[source], strict=True)]
        version[target] += 1
        count -= 1
        for other in sorted(neighbors(target)):
            push(target, other)
            push(other, target)
    left = sorted({face for faces in faces_of.values() for face in faces})
    return [current[face] for face in left]


def _quadrics(positions: FloatArray, triangles: list[tuple[int, ...]]) -> dict[int, list[float]]:
    """Return the sum of squared distances to the planes of each vertex's faces.

    A sum is a quadratic polynomial: the coefficients of xx, xy, xz, x, yy, yz, y, zz, z and 1.
    """
    faces = np.array(triangles)
    first, second, third = (positions[faces[:, corner]] for corner in range(3))
    normals = np.cross(second - first, third - first)
    areas = np.linalg.norm(normals, axis=1)
    normals = normals / np.maximum(areas, 1e-300)[:, None]
    planes = np.concatenate([normals, -(normals * first).sum(1, keepdims=True)], axis=1)
    matrices = areas[:, None, None] * planes[:, :, None] * planes[:, None, :]
    total = np.zeros((len(positions), 4, 4))
    for corner in range(3):
        np.add.at(total, faces[:, corner], matrices)
    edges: dict[tuple[int, int], list[int]] = {}
    for number, triangle in enumerate(triangles):
        for start, end in zip(triangle, (*triangle[1:], triangle[0]), strict=True):
            edges.setdefault((min(start, end), max(start, end)), []).append(number)
    for (start, end), members in edges.items():
        if len(members) == 1:
            along = positions[end] - positions[start]
            across = np.cross(along, normals[members[0]])
            across = across / max(float(np.linalg.norm(across)), 1e-300)
            plane = np.append(across, -float(across @ positions[start]))
            wall = _BOUNDARY_WEIGHT * float(along @ along) * np.outer(plane, plane)
            total[start] += wall
            total[end] += wall
    rows, columns = np.triu_indices(4)
    coefficients = total[:, rows, columns] * np.where(rows == columns, 1.0, 2.0)
    return {int(vertex): coefficients[vertex].tolist() for vertex in np.unique(faces)}


def _folds(
    points: list[list[float]],
    triangles: list[tuple[int, ...]],
    faces: set[int],
    source: int,
    target: int,
) -> bool:
    """Tell whether moving ``source`` to ``target`` turns a face by more than about 80 degrees."""
    for face in faces:
        before = _normal(*(points[vertex] for vertex in triangles[face]))
        after = _normal(
            *(points[target if vertex == source else vertex] for vertex in triangles[face])
        )
        product = sum(x * y for x, y in zip(before, after, strict=True))
        lengths = (sum(x * x for x in before) * sum(x * x for x in after)) ** 0.5
        if product <= 0.2 * lengths:
            return True
    return False


def _normal(a: list[float], b: list[float], c: list[float]) -> tuple[float, float, float]:
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def _ordered(triangles: list[tuple[int, ...]]) -> CoarseMesh:
    """Renumber the vertices in the order of a walk over the surface."""
    neighbors: dict[int, set[int]] = {}
    for triangle in triangles:
        for vertex in triangle:
            neighbors.setdefault(vertex, set()).update(triangle)
    order: dict[int, int] = {}
    for seed in sorted(neighbors):
        stack = [seed]
        while stack:
            vertex = stack.pop()
            if vertex in order:
                continue
            order[vertex] = len(order)
            stack += [other for other in sorted(neighbors[vertex]) if other not in order]
    ids = np.array(list(order), dtype=np.int64)
    faces = np.array([[order[v] for v in triangle] for triangle in triangles], dtype=np.int64)
    return CoarseMesh(ids, faces.reshape(-1, 3))
