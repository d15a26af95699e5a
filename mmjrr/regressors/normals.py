"""Points off the surface: an offset along the surface normal, for markers on the skin.

A convex combination of vertices lies on or within the surface; a marker of a motion-capture system
is a sphere on top of it. Its position is ``W x + d n``, with the offset ``d`` in meters and the
normal ``n``: the normalized mean, under the marker's weights, of the unit normals of the vertices.
A vertex normal is the normalized sum of the area-weighted normals of its faces.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmjrr.array_types import Array

#: Mean normals that are shorter than this are not normalized.
_MIN_LENGTH = 1e-9


class NormalOffsets(nn.Module):
    """Offsets of J points along the surface normal.

    Args:
        offsets: (J,), meters, positive outwards; zero for points without an offset.
        weight: (J, V), the points' weights.
        faces: (F, 3), vertex indices, counterclockwise seen from outside. Only faces at vertices
            that have a weight in a point with an offset are kept.

    Attributes:
        vertex_ids: Vertices that the normals depend on, sorted.
        faces: (F', 3), the faces that are kept.
    """

    offsets: Tensor
    faces: Tensor
    vertex_ids: Tensor

    def __init__(self, offsets: Tensor | Array, weight: Tensor, faces: Tensor | Array) -> None:
        super().__init__()
        offsets = torch.as_tensor(offsets, dtype=weight.dtype, device=weight.device)
        faces = torch.as_tensor(faces).long().to(weight.device)
        if offsets.shape != (len(weight),):
            raise ValueError(
                f'normal_offsets: found the shape {tuple(offsets.shape)}, expected ({len(weight)},)'
            )
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f'faces: found the shape {tuple(faces.shape)}, expected (F, 3)')
        if not torch.isfinite(offsets).all():
            raise ValueError('normal_offsets: found NaN or infinity')
        if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < weight.shape[1]:
            raise ValueError(
                f'faces: found vertices {int(faces.min())} to {int(faces.max())}, expected 0 to '
                f'{weight.shape[1] - 1}'
            )
        with_offset = (weight * (offsets != 0)[:, None]).any(0)
        faces = faces[with_offset[faces].any(1)]
        uncovered = with_offset.clone()
        uncovered[faces.flatten()] = False
        if uncovered.any():
            raise ValueError(
                f'faces: found none at vertex {int(torch.nonzero(uncovered)[0])}, on which a point '
                'with an offset has weight'
            )
        self.register_buffer('offsets', offsets, persistent=False)
        self.register_buffer('faces', faces, persistent=False)
        self.register_buffer('vertex_ids', torch.unique(faces), persistent=False)

    def directions(
        self,
        vertices: Tensor,  # (..., S, 3)
        weight: Tensor,  # (J, S)
        vertex_ids: Tensor,  # (S,)
    ) -> Tensor:  # (..., J, 3)
        """Compute the unit normal of each point.

        Args:
            vertices: Vertices that include :attr:`vertex_ids`.
            weight: Weights of the points on these vertices.
            vertex_ids: Number of each vertex in the whole mesh, sorted.
        """
        faces = torch.searchsorted(vertex_ids.to(vertices.device), self.faces.to(vertices.device))
        return _unit(weight.to(vertices) @ vertex_normals(vertices, faces))

    def forward(self, vertices: Tensor, weight: Tensor, vertex_ids: Tensor) -> Tensor:
        """Compute the displacement ``d n`` of each point, (..., J, 3); see :meth:`directions`."""
        normals = self.directions(vertices, weight, vertex_ids)
        return self.offsets.to(vertices)[:, None] * normals


def vertex_normals(
    vertices: Tensor,  # (..., V, 3)
    faces: Tensor,  # (F, 3)
) -> Tensor:  # (..., V, 3)
    """Compute the unit normal of each vertex, the sum of the area-weighted normals of its faces."""
    corners = [vertices.index_select(-2, faces[:, k]) for k in range(3)]
    face_normals = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    normals = torch.zeros_like(vertices)
    for k in range(3):
        normals = normals.index_add(-2, faces[:, k], face_normals)
    return _unit(normals)


def _unit(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length > _MIN_LENGTH, length, torch.ones_like(length))
