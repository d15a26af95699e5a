"""Nearest points on triangle meshes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from mmjrr.array_types import Array, FloatArray, IndexArray

#: Points that are compared with triangles at once.
_CHUNK = 2048


def nearest_surface_points(
    points: Array,  # (P, 3)
    vertices: Array,  # (V, 3)
    faces: Array,  # (F, 3)
) -> tuple[csr_matrix, FloatArray]:
    """Find the point of a triangle mesh nearest to each point.

    The distance to the nearest vertex bounds the search: a nearer triangle has its center within
    this distance plus its own radius. Triangles are searched by classes of similar radius.

    Returns:
        Barycentric weights (P, V), three in each row, and the distances (P,).

    Raises:
        ValueError: There are no faces.
    """
    if not len(faces):
        raise ValueError('faces: found none, expected a mesh of triangles')
    points, vertices = points.astype(np.float64), vertices.astype(np.float64)
    triangles = vertices[faces]
    centers = triangles.mean(1)
    radius = np.linalg.norm(triangles - centers[:, None], axis=2).max(1)
    size_class = np.ceil(np.log2(np.maximum(radius, 1e-9)))
    classes = [np.flatnonzero(size_class == size) for size in np.unique(size_class)]
    trees = [(cKDTree(centers[members]), members, radius[members].max()) for members in classes]
    bound, _ = cKDTree(vertices[np.unique(faces)]).query(points)
    barycentric = np.empty((len(points), 3))
    chosen = np.empty(len(points), np.int64)
    distance = np.empty(len(points))
    for start in range(0, len(points), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows, candidates = _candidates(points[part], bound[part], trees)
        weights, distances = _nearest_on_triangles(points[part][rows], triangles[candidates])
        order = np.lexsort((candidates, distances, rows))
        first = order[np.searchsorted(rows[order], np.arange(len(points[part])))]
        barycentric[part], distance[part] = weights[first], distances[first]
        chosen[part] = candidates[first]
    rows_of = np.repeat(np.arange(len(points)), 3)
    matrix = csr_matrix(
        (barycentric.ravel(), (rows_of, faces[chosen].ravel())), shape=(len(points), len(vertices))
    )
    return matrix, distance


def vertex_normals(vertices: Array, faces: Array) -> FloatArray:  # (V, 3)
    """Return unit normals: area-weighted means over the adjacent triangles; zero without any."""
    corners = vertices.astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], normals)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def _candidates(
    points: FloatArray,
    bound: FloatArray,
    trees: list[tuple[cKDTree, IndexArray, float]],
) -> tuple[IndexArray, IndexArray]:
    """Return pairs of a point and a triangle that may be the nearest to it."""
    rows, candidates = [], []
    for tree, members, radius in trees:
        # The margin keeps triangles whose distance equals the bound.
        lists = tree.query_ball_point(points, bound + radius + 1e-9)
        counts = [len(nearby) for nearby in lists]
        rows.append(np.repeat(np.arange(len(points)), counts))
        candidates.append(members[np.concatenate([*lists, []]).astype(np.int64)])
    return np.concatenate(rows), np.concatenate(candidates)


def _nearest_on_triangles(
    points: FloatArray,  # (N, 3)
    triangles: FloatArray,  # (N, 3, 3), corners
) -> tuple[FloatArray, FloatArray]:  # (N, 3), (N,)
    """Return barycentric coordinates and distance of the nearest point of each triangle.

    The nearest point is the projection onto the plane, if it is inside, or else on an edge.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    determinant = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
    best = np.stack([1 - v - w, v, w], 1)
    distance = _distance(points, best, triangles)
    distance[best.min(1) < 0] = np.inf  # outside the triangle
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[:, i], triangles[:, j] - triangles[:, i]
        squared_length = np.maximum((edge * edge).sum(1), 1e-30)
        t = np.clip(((points - start) * edge).sum(1) / squared_length, 0, 1)
        on_edge = np.zeros_like(best)
        on_edge[:, i], on_edge[:, j] = 1 - t, t
        to_edge = _distance(points, on_edge, triangles)
        nearer = to_edge < distance
        best[nearer], distance[nearer] = on_edge[nearer], to_edge[nearer]
    return best, distance


def _distance(points: FloatArray, barycentric: FloatArray, triangles: FloatArray) -> FloatArray:
    positions = np.einsum('nk,nkc->nc', barycentric, triangles)
    distance: FloatArray = np.linalg.norm(positions - points, axis=1)
    return distance
