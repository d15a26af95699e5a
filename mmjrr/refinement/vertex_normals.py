"""Unit normals of the vertices of bodies: loops that Numba compiles on a CPU, sums on a GPU."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array


class VertexNormals:
    """Unit normals of vertices, means over their faces weighted by area.

    The digits of a body's normals do not depend on the other bodies of a batch, and on a GPU they
    are the same in every run.

    Args:
        faces: (F, 3) vertices of each face, counterclockwise seen from outside.
        num_vertices: Number of vertices V.
        device: Device of the bodies.
    """

    def __init__(self, faces: Array, num_vertices: int, device: torch.device) -> None:
        self._faces = faces.astype(np.uint32)
        # Made beforehand: a GPU would wait for them.
        self._corners, self._faces_of_vertices = _tables(
            self._faces.tobytes(), num_vertices, device
        )

    def __call__(self, planes: Tensor) -> Tensor:  # (B, 3, V) -> (B, 3, V)
        """Return the normals of B bodies, without gradients."""
        planes = planes.detach()
        loops = _import_loops() if planes.device.type == 'cpu' else None
        if loops is None:
            return self.summed(planes)
        return torch.from_numpy(loops.normals_of(planes.contiguous().numpy(), self._faces))

    def summed(self, planes: Tensor) -> Tensor:  # (B, 3, V) -> (B, 3, V)
        """Return the normals by operations of PyTorch, on any device."""
        a, b, c = (planes.index_select(2, corner) for corner in self._corners)
        of_faces = torch.linalg.cross(b - a, c - a, dim=1)
        of_faces = torch.nn.functional.pad(of_faces, (0, 1))  # of vertices with fewer faces
        columns = self._faces_of_vertices.unbind(1)
        sums = of_faces.index_select(2, columns[0])
        for faces in columns[1:]:
            sums = sums + of_faces.index_select(2, faces)
        return torch.nn.functional.normalize(sums, dim=1)


@lru_cache(maxsize=4)
def _tables(faces: bytes, num_vertices: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the vertices of faces (3, F), and the faces of vertices (V, N)."""
    rows = np.frombuffer(faces, np.uint32).reshape(-1, 3)
    corners = torch.from_numpy(rows.T.astype(np.int64))
    of_vertices = torch.from_numpy(_faces_of_vertices(rows, num_vertices))
    return corners.to(device), of_vertices.to(device)


@lru_cache(maxsize=1)
def _import_loops() -> ModuleType | None:
    try:
        from mmjrr.refinement import normal_loops
    except Exception:  # Numba is missing or broken: the operations of PyTorch do the same
        return None
    return normal_loops


def _faces_of_vertices(faces: Array, num_vertices: int) -> Array:  # (V, N) int64
    """List the faces of each vertex; F, the number of faces, fills rows of fewer than N."""
    vertex = faces.reshape(-1)
    order = np.argsort(vertex, kind='stable')
    counts = np.bincount(vertex, minlength=num_vertices)
    starts = np.cumsum(counts) - counts
    table = np.full((num_vertices, max(counts.max(initial=0), 1)), len(faces), np.int64)
    table[vertex[order], np.arange(len(order)) - starts[vertex[order]]] = order // 3
    return table
