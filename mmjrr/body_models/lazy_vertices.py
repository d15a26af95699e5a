r"""Vertices that are computed on demand, and products that need no vertices.

A regressor has nonzero weights at a few hundred of the body's thousands of vertices, and fitting it
needs products of vertices with other vectors more often than the vertices themselves. Linear blend
skinning (Loper et al., SMPL, SIGGRAPH Asia 2015, Equations 2 to 9) computes vertex :math:`v` of
frame :math:`n` from joints :math:`k` and blend shapes :math:`m` as

.. math:: x_{nv} = \sum_k w_{kv} \left( R_{nk} \sum_m c_{nm} s_{mv} + t_{nk} \right),
    \qquad c_{n0} = 1, \quad s_{0v} = \text{template},

so products with vectors :math:`r_n` are

.. math:: \sum_n r_n \cdot x_{nv}
    = \sum_k w_{kv} \left( \sum_m s_{mv} \cdot M_{km} + T_k \right), \qquad
    M_{km} = \sum_n c_{nm} R_{nk}^T r_n, \quad T_k = \sum_n r_n \cdot t_{nk}.

The *moments* :math:`M` and :math:`T` are sums over frames, computed for 24 joints instead of
thousands of vertices.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.body_models.skinned_body import Articulation, SkinnedBody


class VertexMaker:
    """A factory of :class:`LazyVertices` of one body, in float64.

    Args:
        body: The body; it is copied.
    """

    def __init__(self, body: SkinnedBody) -> None:
        self.body = copy.deepcopy(body).double()
        self._part = self.body
        self._part_ids: Tensor | None = None

    def __call__(self, **parameters: Tensor | Array) -> LazyVertices:
        """Return the vertices of bodies with these parameters.

        Args:
            **parameters: Arguments of :meth:`mmjrr.body_models.SMPL.articulate`, all of the same
                batch size.

        Raises:
            ValueError: The batch sizes differ, or there are no parameters.
        """
        lengths = {name: len(value) for name, value in parameters.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f'batch sizes: found {lengths}, expected parameters of one size')
        like = self.body.v_template
        return LazyVertices(
            self,
            {
                name: torch.as_tensor(value, dtype=like.dtype, device=like.device)
                for name, value in parameters.items()
            },
        )

    def part(self, vertex_ids: Tensor) -> SkinnedBody:
        """Return the body restricted to these vertices; the last result is cached."""
        if self._part_ids is None or not torch.equal(self._part_ids, vertex_ids):
            self._part, self._part_ids = self.body.restrict_to(vertex_ids), vertex_ids.clone()
        return self._part

    def products_of(self, moments: Tensor) -> Tensor:  # (J, 24, 4, M) -> (J, V)
        """Compute the products with all vertices from results of :meth:`LazyVertices.moments`.

        Args:
            moments: Moments of J vectors for each frame, summed over frames.
        """
        body = self.body
        shapes = torch.cat([body.v_template.T[None], body.blend_planes]).flatten(0, 1)
        products = moments.new_zeros(len(moments), body.num_vertices)
        for k, weights in enumerate(body.weight_planes):
            shape_moments = moments[:, k, :3].transpose(1, 2).flatten(1)  # (J, 3 M)
            products += (shape_moments @ shapes + moments[:, k, 3, :1]) * weights
        return products


class LazyVertices:
    """Vertices (N, V, 3) of N bodies in meters, computed on demand.

    :class:`VertexMaker` makes the objects.

    Args:
        maker: The factory, which has the body.
        parameters: Parameters of the bodies, float64, by name.
    """

    def __init__(self, maker: VertexMaker, parameters: dict[str, Tensor]) -> None:
        self.maker = maker
        self.parameters = parameters

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (N, V, 3) of the vertices."""
        return len(self), self.maker.body.num_vertices, 3

    @property
    def device(self) -> torch.device:
        """Device on which the vertices are computed."""
        return self.maker.body.v_template.device

    def __getitem__(self, frames: slice | Tensor) -> LazyVertices:
        """Select frames."""
        return LazyVertices(self.maker, {k: v[frames] for k, v in self.parameters.items()})

    def is_compatible_with(self, other: LazyVertices) -> bool:
        """Tell whether :meth:`cat` joins both: maker and shapes of parameters are the same."""

        def shapes(vertices: LazyVertices) -> dict[str, torch.Size]:
            return {name: value.shape[1:] for name, value in vertices.parameters.items()}

        return self.maker is other.maker and shapes(self) == shapes(other)

    @staticmethod
    def cat(parts: Sequence[LazyVertices]) -> LazyVertices:
        """Concatenate the frames of parts, which :meth:`is_compatible_with` one another."""
        names = parts[0].parameters
        joined = {name: torch.cat([part.parameters[name] for part in parts]) for name in names}
        return LazyVertices(parts[0].maker, joined)

    def check_finite(self) -> None:
        """Check that the parameters, and so all vertices, are finite.

        Raises:
            ValueError: A parameter is NaN or infinite; the message names it.
        """
        for name, value in self.parameters.items():
            if not torch.isfinite(value).all():
                raise ValueError(f'{name}: found NaN or infinity, expected finite values')

    @cached_property
    def _posed(self) -> Articulation:
        with torch.no_grad():
            return self.maker.body.articulate(**self.parameters)

    def of(self, vertex_ids: Tensor | None = None) -> Tensor:  # (N, len(vertex_ids), 3), float64
        """Compute the selected vertices.

        Args:
            vertex_ids: Vertices to compute. Default: all.
        """
        body = self.maker.body if vertex_ids is None else self.maker.part(vertex_ids)
        with torch.no_grad():
            return body.skin_vertices(self._posed)

    def moments(self, vectors: Tensor) -> Tensor:
        """Compute the moments of vectors, which determine their products with all vertices.

        :meth:`VertexMaker.products_of` turns moments into
        ``sum_n vectors[n, j] . vertices[n, v]``. Moments of several batches can be added first.
        The products leave out ``transl``, which adds the same product to all vertices of a frame.

        Args:
            vectors: (N, J, 3), float64.

        Returns:
            (J, 24, 4, M): the module's ``M`` at ``[:, :, :3]`` and ``T`` at ``[:, :, 3, 0]``.
        """
        posed = self._posed
        count, joints = vectors.shape[:2]
        rotated = vectors @ posed.transforms.transpose(1, 2).flatten(2)  # (N, J, 24 * 4)
        one = rotated.new_ones(count, 1)
        coefficients = torch.cat([one, posed.coefficients.expand(count, -1)], 1)
        return (rotated.flatten(1).T @ coefficients).unflatten(0, (joints, -1, 4))
