"""Triangle meshes: checks, decimation, nearest points and diffusion along the surface."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

NUM_NEAREST_VERTICES = 6  # whose triangles are searched for the nearest point


def check_closed(vertices: np.ndarray, faces: np.ndarray) -> None:
    """Check that a mesh is a closed surface of a sphere's topology whose faces point outwards.

    Args:
        vertices: (V, 3).
        faces: (F, 3), vertex indices.

    Raises:
        ValueError: It is not.
    """
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(vertices)
    edges = directed[:, 0] * count + directed[:, 1]
    reversed_edges = directed[:, 1] * count + directed[:, 0]
    if len(np.unique(edges)) != len(edges) or set(edges.tolist()) != set(reversed_edges.tolist()):
        raise ValueError(
            'mesh: found an edge that is not shared by two faces of opposite direction, expected '
            'a closed surface'
        )
    euler = count - len(edges) // 2 + len(faces)
    if euler != 2 or len(np.unique(faces)) != count:
        raise ValueError(
            f'mesh: found Euler characteristic {euler}, expected 2 and a face at every vertex'
        )
    corners = vertices[faces]
    volume = np.einsum('ij,ij->i', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    if volume <= 0:
        raise ValueError('mesh: found faces that point inwards, expected outwards')


def largest_component(num_vertices: int, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Select the largest connected part of a mesh.

    Returns:
        Indices of its vertices, and its faces as indices into these.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(num_vertices, num_vertices))
    _, labels = connected_components(graph, directed=False)
    kept = np.flatnonzero(labels == np.bincount(labels).argmax())
    new_index = np.full(num_vertices, -1)
    new_index[kept] = np.arange(len(kept))
    inside = new_index[faces].min(1) >= 0
    return kept, new_index[faces[inside]]


def decimate(
    vertices: np.ndarray, faces: np.ndarray, num_vertices: int, num_faces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Simplify a mesh to a given number of vertices and faces.

    Raises:
        ValueError: The result has other numbers or is not closed.
    """
    import fast_simplification

    points, triangles = fast_simplification.simplify(
        np.ascontiguousarray(vertices, dtype=np.float32),
        np.ascontiguousarray(faces, dtype=np.int32),
        target_count=num_faces,
        agg=3,
    )
    points, triangles = points.astype(np.float64), triangles.astype(np.int64)
    if len(points) != num_vertices or len(triangles) != num_faces:
        raise ValueError(
            f'decimated mesh: found {len(points)} vertices and {len(triangles)} faces, expected '
            f'{num_vertices} and {num_faces}'
        )
    check_closed(points, triangles)
    return points, triangles


def surface_weights(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> csr_matrix:
    """Return the barycentric weights (P, V) of the point of a mesh nearest to each point (P, 3)."""
    faces_of_vertex: list[list[int]] = [[] for _ in vertices]
    for index, face in enumerate(faces):
        for vertex in face:
            faces_of_vertex[vertex].append(index)
    _, nearest_vertices = cKDTree(vertices).query(points, k=NUM_NEAREST_VERTICES)
    rows, columns, values = [], [], []
    for row, near in enumerate(nearest_vertices):
        candidates = sorted({index for vertex in near for index in faces_of_vertex[vertex]})
        weights, distance = nearest_on_triangles(points[row], vertices[faces[candidates]])
        best = int(distance.argmin())
        rows += [row] * 3
        columns += faces[candidates[best]].tolist()
        values += weights[best].tolist()
    return coo_matrix((values, (rows, columns)), shape=(len(points), len(vertices))).tocsr()


def nearest_on_triangles(
    point: np.ndarray,  # (3,)
    triangles: np.ndarray,  # (T, 3, 3), corners
) -> tuple[np.ndarray, np.ndarray]:  # (T, 3), (T,)
    """Return the barycentric coordinates and distance of the nearest point of each triangle."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    determinant = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
    projection = np.stack([1 - v - w, v, w], 1)
    candidates = [projection]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[:, i], triangles[:, j] - triangles[:, i]
        squared_length = np.maximum((edge * edge).sum(1), 1e-30)
        t = np.clip(((point - start) * edge).sum(1) / squared_length, 0, 1)
        on_edge = np.zeros((len(triangles), 3))
        on_edge[:, i], on_edge[:, j] = 1 - t, t
        candidates.append(on_edge)
    barycentric = np.stack(candidates)  # (4, T, 3): in the plane, and on the three edges
    positions = np.einsum('otk,tkc->otc', barycentric, triangles)
    distance = np.linalg.norm(positions - point, axis=2)
    distance[0, projection.min(1) < 0] = np.inf  # outside the triangle
    best = distance.argmin(0)
    triangle = np.arange(len(triangles))
    return barycentric[best, triangle], distance[best, triangle]


def diffuse(
    values: np.ndarray, vertices: np.ndarray, faces: np.ndarray, length: float
) -> np.ndarray:
    """Diffuse values (V, K) along a surface over about ``length`` meters.

    This is one implicit step of the heat equation over the time ``length**2``, with the cotangent
    Laplacian. Negative conductances, which very obtuse triangles have, are set to zero; then no
    result leaves the range of the values around it, and rows that sum to one keep their sum.
    """
    count = len(vertices)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normals, axis=1)
    vertex_area, conductance = np.zeros(count), coo_matrix((count, count))
    for k in range(3):
        i, j, opposite = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        p, q = vertices[i] - vertices[opposite], vertices[j] - vertices[opposite]
        cotangent = (p * q).sum(1) / double_area
        conductance = conductance + coo_matrix((cotangent / 2, (i, j)), shape=(count, count))
        np.add.at(vertex_area, i, double_area / 6)
    conductance = (conductance + conductance.T).maximum(0)
    laplacian = diags(np.asarray(conductance.sum(1)).ravel()) - conductance
    system = (diags(vertex_area) + length**2 * laplacian).tocsc()
    return splu(system).solve(vertex_area[:, None] * values)
