"""The topology of a triangle mesh: oriented faces, edges, and the faces at each edge."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from mmjrr.array_types import Array


class MeshTopology(nn.Module):
    """A mesh's faces, oriented consistently where possible, and its edges.

    The tables are non-persistent buffers: they move between devices with the module, but are not
    part of its state dict.

    Args:
        faces: (F, 3) vertex indices; faces whose corners are not distinct are dropped.
    """

    corners: Tensor  # (3, F) int64, vertices of the faces
    edges: Tensor  # (2, E) int64, vertices of the edges, the lower index first
    edge_faces: Tensor  # (K, E) int64, the faces at each edge, padded with 0
    edge_signs: Tensor  # (K, E) int8, +1 where the face runs along the edge, -1 against, 0 padding

    #: Whether at every edge as many faces run along it as against it.
    closed: bool
    #: K entries: the sign that all elements of a row of ``edge_signs`` share, or None if they
    #: differ. On a body, every edge has one face along it and one against it.
    shared_signs: list[int | None]

    def __init__(self, faces: Tensor) -> None:
        super().__init__()
        oriented = _oriented_consistently(faces.cpu().numpy())
        edges, edge_faces, edge_signs = _edge_tables(oriented)
        self.closed = bool((edge_signs.sum(0) == 0).all())
        self.shared_signs = [
            int(row[0]) if len(row) and (row == row[0]).all() else None for row in edge_signs
        ]
        for name, table in (
            ('corners', oriented.T),
            ('edges', edges),
            ('edge_faces', edge_faces),
            ('edge_signs', edge_signs),
        ):
            tensor = torch.from_numpy(np.ascontiguousarray(table))
            self.register_buffer(name, tensor.to(faces.device), persistent=False)

    @property
    def num_layers(self) -> int:
        """Number of layers to draw: 1 (front) on closed meshes, 2 (front and back) on others."""
        return 1 if self.closed else 2


def _oriented_consistently(faces: Array) -> Array:
    """Drop faces without three distinct corners; flip others so that neighbors agree.

    Two faces are neighbors if they share an edge that has no other faces. They agree if they run
    along it in opposite directions. Each connected part keeps the orientation of its first face; a
    part that cannot be oriented stays unchanged.
    """
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    faces = faces[distinct]
    num_faces = len(faces)
    edge, sign, face, num_edges = _half_edges(faces)[1:]
    order = np.argsort(edge, kind='stable')
    pairs = np.bincount(edge, minlength=num_edges) == 2
    paired = order[pairs[edge[order]]].reshape(-1, 2)
    a, b = face[paired].T
    flip = (sign[paired[:, 0]] == sign[paired[:, 1]]).astype(np.int64) * num_faces
    # Each face has two nodes, unflipped and flipped; links join the nodes that agree.
    rows = np.concatenate([a, a + num_faces])
    columns = np.concatenate([b + flip, (b + num_faces + flip) % (2 * num_faces)])
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (2 * num_faces,) * 2)
    part = connected_components(links, directed=False)[1].reshape(2, num_faces)
    # Parts are numbered by their first node, and every first node is an unflipped face.
    flipped = part[1] < part[0]
    faces[flipped] = faces[flipped][:, ::-1]
    return faces


def _edge_tables(faces: Array) -> tuple[Array, Array, Array]:
    """Return edges (2, E), the faces at each (K, E) and their signs (K, E).

    K is the largest number of faces at an edge.
    """
    edges, edge, sign, face, num_edges = _half_edges(faces)
    order = np.lexsort((-sign, edge))  # at each edge, faces along it before those against it
    valence = np.bincount(edge, minlength=num_edges)
    slot = np.arange(len(order)) - np.repeat(np.cumsum(valence) - valence, valence)
    edge_faces = np.zeros((int(valence.max(initial=1)), num_edges), np.int64)
    edge_signs = np.zeros(edge_faces.shape, np.int8)
    edge_faces[slot, edge[order]] = face[order]
    edge_signs[slot, edge[order]] = sign[order]
    return edges, edge_faces, edge_signs


def _half_edges(
    faces: Array,
) -> tuple[Array, Array, Array, Array, int]:
    """Return edges (2, E); edge, direction and face of the 3 F half-edges; and E."""
    halves = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, edge = np.unique(np.sort(halves, axis=1), axis=0, return_inverse=True)
    sign = np.where(halves[:, 0] < halves[:, 1], 1, -1).astype(np.int8)
    face = np.tile(np.arange(len(faces)), 3)
    return edges.T, edge.reshape(-1), sign, face, len(edges)
