"""Normals of vertices on a CPU: a loop over bodies that Numba compiles.

:meth:`mmjrr.refinement.vertex_normals.VertexNormals.summed` has the same by PyTorch, as reference.
Importing this module imports Numba.
"""

from __future__ import annotations

import numpy as np

from mmjrr.array_types import Array
from mmjrr.compiled_loops import CompiledLoops

LOOPS = CompiledLoops(__file__, 'the normals of bodies')


def normals_of(planes: Array, faces: Array) -> Array:  # (B, 3, V), (F, 3) uint32 -> (B, 3, V)
    """Return unit normals of vertices, means over their faces weighted by area."""
    normals = np.zeros_like(planes)
    LOOPS.run('_add_normals', len(planes), planes, faces, normals)
    return normals


@LOOPS.compiled
def _add_normals(planes: Array, faces: Array, normals: Array, begin: int, end: int) -> None:
    for body in range(begin, end):
        x, y, z = planes[body, 0], planes[body, 1], planes[body, 2]
        of_x, of_y, of_z = normals[body, 0], normals[body, 1], normals[body, 2]
        for face in range(len(faces)):
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ux, uy, uz = x[b] - x[a], y[b] - y[a], z[b] - z[a]
            vx, vy, vz = x[c] - x[a], y[c] - y[a], z[c] - z[a]
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            for vertex in (a, b, c):
                of_x[vertex] += nx
                of_y[vertex] += ny
                of_z[vertex] += nz
        for vertex in range(planes.shape[2]):
            square = of_x[vertex] ** 2 + of_y[vertex] ** 2 + of_z[vertex] ** 2
            length = max(np.sqrt(square), 1e-12)
            of_x[vertex] /= length
            of_y[vertex] /= length
            of_z[vertex] /= length
