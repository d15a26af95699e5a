"""Vertices of bodies that are made when asked for, and no more of them than are asked for.

A regressor weighs some hundreds of a body's thousands of vertices, and to fit one takes their
products with other vectors more often than the vertices themselves. Linear blend skinning (Loper
et al., SMPL, SIGGRAPH Asia 2015, Equations 2 to 9) makes vertex ``v`` of frame ``n``

    x_nv = sum_k w_kv (R_nk sum_m c_nm s_mv + t_nk),   c_n0 = 1, s_0v = template,

of joints ``k`` and blend shapes ``m``, so that with vectors ``r_n``

    sum_n r_n . x_nv = sum_k w_kv (sum_m s_mv . M_km + T_k),
    M_km = sum_n c_nm R_nk^T r_n,   T_k = sum_n r_n . t_nk:

the sums over frames are of 24 joints, not of thousands of vertices.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .smpl import SMPL, Articulation


class VertexMaker:
    """Makes :class:`LazyVertices` of a body, in float64.

    Args:
        body: the body; it is copied.
    """

    def __init__(self, body: SMPL) -> None:
        self.body = copy.deepcopy(body).double()
        self._part = self.body
        self._part_ids: Tensor | None = None

    def __call__(self, **parameters: Tensor | np.ndarray) -> LazyVertices:
        """Vertices of these ``parameters``, all of one length, otherwise as
        :meth:`mmjrr.body_models.SMPL.forward` takes them.

        Raises:
            ValueError: lengths differ, or there are no parameters.
        """
        lengths = {name: len(value) for name, value in parameters.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f'expected parameters of one length, found {lengths}')
        like = self.body.v_template
        return LazyVertices(
            self,
            {
                name: torch.as_tensor(value, dtype=like.dtype, device=like.device)
                for name, value in parameters.items()
            },
        )

    def part(self, vertex_ids: Tensor) -> SMPL:
        """The body with these vertices alone; kept until others are asked for."""
        if self._part_ids is None or not torch.equal(self._part_ids, vertex_ids):
            self._part, self._part_ids = self.body.restrict_to(vertex_ids), vertex_ids.clone()
        return self._part

    def products_of(self, moments: Tensor) -> Tensor:
        """From sums of :meth:`LazyVertices.moments` to products ``(J, V)``."""
        body = self.body
        shapes = torch.cat([body.v_template.T[None], body.blend_planes]).flatten(0, 1)
        products = moments.new_zeros(len(moments), body.num_vertices)
        for k, weights in enumerate(body.weight_planes):
            turned = moments[:, k, :3].transpose(1, 2).flatten(1)  # (J, 3 M)
            products += (turned @ shapes + moments[:, k, 3, :1]) * weights
        return products


class LazyVertices:
    """Vertices ``(N, V, 3)`` of bodies, metres; made by :class:`VertexMaker`."""

    def __init__(self, maker: VertexMaker, parameters: dict[str, Tensor]) -> None:
        self.maker = maker
        self.parameters = parameters

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self), self.maker.body.num_vertices, 3

    @property
    def device(self) -> torch.device:
        return self.maker.body.v_template.device

    def __getitem__(self, frames: slice | Tensor) -> LazyVertices:
        return LazyVertices(self.maker, {k: v[frames] for k, v in self.parameters.items()})

    def goes_with(self, other: LazyVertices) -> bool:
        """Whether :meth:`cat` takes both: one maker, and parameters of the same kinds."""

        def kinds(vertices: LazyVertices) -> dict[str, torch.Size]:
            return {name: value.shape[1:] for name, value in vertices.parameters.items()}

        return self.maker is other.maker and kinds(self) == kinds(other)

    @staticmethod
    def cat(parts: Sequence[LazyVertices]) -> LazyVertices:
        """All frames of these."""
        names = parts[0].parameters
        joined = {name: torch.cat([part.parameters[name] for part in parts]) for name in names}
        return LazyVertices(parts[0].maker, joined)

    def check_finite(self) -> None:
        """
        Raises:
            ValueError: a parameter is NaN or infinite; says which.
        """
        for name, value in self.parameters.items():
            if not torch.isfinite(value).all():
                raise ValueError(f'{name} is not all finite')

    @cached_property
    def _posed(self) -> Articulation:
        with torch.no_grad():
            return self.maker.body.articulate(**self.parameters)

    def of(self, vertex_ids: Tensor | None = None) -> Tensor:
        """These vertices ``(N, len(vertex_ids), 3)``, float64; by default all."""
        body = self.maker.body if vertex_ids is None else self.maker.part(vertex_ids)
        with torch.no_grad():
            return body.skinned(self._posed)

    def moments(self, vectors: Tensor) -> Tensor:
        """What ``vectors`` ``(N, J, 3)``, float64, give for :meth:`VertexMaker.products_of`, which
        makes ``sum_n vectors[n, j] . vertices[n, v]``, ``(J, V)``, of it, or of sums of it.

        Returns:
            ``(J, 24, 4, M)``: ``T`` is at ``[:, :, 3, 0]``, ``M`` at ``[:, :, :3]``. ``transl``,
            which adds the same to all vertices of a frame, is left out.
        """
        posed = self._posed
        count, joints = vectors.shape[:2]
        turned = vectors @ posed.transforms.transpose(1, 2).flatten(2)  # (N, J, 24 * 4)
        one = turned.new_ones(count, 1)
        weights = torch.cat([one, posed.coefficients.expand(count, -1)], 1)
        return (turned.flatten(1).T @ weights).unflatten(0, (joints, -1, 4))
