"""Base class of all bodies: vertices from blend shapes and linear blend skinning."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models.lbs import skin
from mmjrr.frame_products import padded_matrix, product
from mmjrr.geometry import axis_angle_to_matrix, rotation_6d_to_matrix

if TYPE_CHECKING:
    from mmjrr.body_models.numba_lbs import SparseWeights

BodyT = TypeVar('BodyT', bound='SkinnedBody')


@dataclass
class BodyOutput:
    """Posed bodies in meters, in the frame of ``transl``."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, K, 3), the K joints of the kinematic tree


@dataclass
class Articulation:
    """Posed joints, and the blend coefficients and transforms that determine the vertices."""

    coefficients: Tensor  # (B or 1, C), of the blend shapes
    transforms: Tensor  # (B, K, 3, 4), from the rest pose to the pose, without transl
    joints: Tensor  # (B, J, 3), meters, posed, without transl
    transl: Tensor  # (B or 1, 3), meters


class SkinnedBody(nn.Module):
    """Body whose vertices are blend shapes in a rest pose, moved by the transforms of K bones.

    Attributes:
        v_template: (V, 3), meters: the vertices in the rest pose, before blend shapes.
        faces: (F, 3) int64, NumPy; ``faces_tensor`` is the same as a buffer.
        blend_planes: (C, 3, V), blend shapes.
        weight_planes: (K, V), skinning weights.
        vertex_ids: Vertices of the whole body that :meth:`restrict_to` kept; None for all.
        num_betas: Number of shape coefficients.
    """

    #: Name by which joint regressors refer to the body; a regressor fits one body's vertices.
    name: str

    v_template: Tensor
    faces: Array
    faces_tensor: Tensor
    vertex_ids: Tensor | None
    blend_planes: Tensor
    weight_planes: Tensor
    num_betas: int
    #: Skinning weights, and their sparse form.
    _sparse: tuple[Tensor, SparseWeights | None] | None = None
    #: Blend shapes by the buffer's name: the buffer, and the matrix that coefficients multiply.
    _matrices: dict[str, tuple[Tensor, Tensor]]

    @property
    def num_vertices(self) -> int:
        """Number of vertices that :meth:`forward` returns."""
        return int(self.v_template.shape[0])

    @abstractmethod
    def articulate(self, *args: Any, **kwargs: Any) -> Articulation:
        """Pose the joints without computing vertices."""

    def forward(self, *args: Any, **kwargs: Any) -> BodyOutput:
        """Pose the body. Arguments and errors are as in :meth:`articulate`."""
        return self.output(self.articulate(*args, **kwargs))

    def skin_vertices(self, posed: Articulation) -> Tensor:  # (B, V, 3), meters
        """Compute the vertices from the result of :meth:`articulate`."""
        batch = len(posed.transforms)
        shaped = product(  # (B or 1, 3 * V)
            posed.coefficients, self._matrix('blend_planes'), self.v_template.T.flatten()
        )
        vertices = skin(
            shaped.unflatten(1, (3, -1)).expand(batch, -1, -1),
            posed.transforms,
            self.weight_planes,
            posed.transl.expand(batch, -1),
            self._sparse_weights(),
        )
        return vertices.transpose(1, 2)  # a view: coordinates stay separate planes in memory

    def _matrix(self, name: str) -> Tensor:  # (C', ...)
        """Return a buffer of blend shapes (C, ..., ...) as a matrix for :func:`product`."""
        matrices = self.__dict__.setdefault('_matrices', {})
        buffer = self.get_buffer(name)
        if name not in matrices or matrices[name][0] is not buffer:
            matrices[name] = buffer, padded_matrix(buffer.flatten(1))
        matrix: Tensor = matrices[name][1]
        return matrix

    def _sparse_weights(self) -> SparseWeights | None:
        """Return the nonzero skinning weights, or None if too many are not zero."""
        dense = self.weight_planes
        if dense.device.type != 'cpu' or not torch.is_grad_enabled():
            return None
        if self._sparse is None or self._sparse[0] is not dense:
            self._sparse = dense, self._find_sparse_weights(dense)
        return self._sparse[1]

    @staticmethod
    def _find_sparse_weights(dense: Tensor) -> SparseWeights | None:
        try:
            from mmjrr.body_models.numba_lbs import MAX_JOINTS, SparseWeights
        except Exception:  # Numba is missing or broken: see lbs.compiled_loops
            return None
        if int((dense != 0).sum(0).max()) > MAX_JOINTS:
            return None
        return SparseWeights.from_dense(dense)

    def output(self, posed: Articulation) -> BodyOutput:
        """Compute vertices and joints from the result of :meth:`articulate`."""
        return BodyOutput(self.skin_vertices(posed), posed.joints + posed.transl[:, None])

    def restrict_to(self: BodyT, vertex_ids: Sequence[int] | Tensor) -> BodyT:
        """Return a body with all joints but only these vertices, in this order.

        The returned body's buffer ``vertex_ids`` holds their indices in the whole body, also if
        this body is itself a part. Its ``faces`` are those of the whole body and do not index the
        selected vertices.

        Args:
            vertex_ids: (S,) indices of vertices of this body.

        Raises:
            ValueError: There are no indices, or one is not a vertex of this body.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long, device=self.v_template.device)
        if ids.dim() != 1 or ids.numel() == 0 or ids.min() < 0 or ids.max() >= self.num_vertices:
            limits = f' with {ids.min()} to {ids.max()}' if ids.numel() else ''
            raise ValueError(
                f'vertex_ids: found shape {tuple(ids.shape)}{limits}, expected a list of indices '
                f'from 0 to {self.num_vertices - 1}'
            )
        part = object.__new__(type(self))
        nn.Module.__init__(part)
        for name, value in vars(self).items():
            if not name.startswith('_') and name != 'training':
                setattr(part, name, value)
        buffers = dict(self.named_buffers())
        for name in ('blend_planes', 'weight_planes'):
            buffers[name] = buffers[name][..., ids]
        whole = ids if self.vertex_ids is None else self.vertex_ids[ids]
        buffers.update(v_template=self.v_template[ids], vertex_ids=whole)
        for name in self._buffers:
            part.register_buffer(name, buffers.get(name), persistent=False)
        for name, module in self.named_children():
            setattr(part, name, copy.deepcopy(module))
        return part

    def _rotations(self, name: str, pose: Tensor | None, count: int) -> Tensor:
        """Convert rotations in any representation to matrices (B, count, 3, 3)."""
        if pose is None:
            eye = torch.eye(3, dtype=self.v_template.dtype, device=self.v_template.device)
            return eye.expand(1, count, 3, 3)
        shape = tuple(pose.shape[1:])
        if shape == (count, 3, 3) or (count == 1 and shape == (3, 3)):
            return pose.reshape(-1, count, 3, 3)
        if shape in ((count * 3,), (count, 3)):
            return axis_angle_to_matrix(pose.reshape(-1, count, 3))
        if shape in ((count * 6,), (count, 6)):
            return rotation_6d_to_matrix(pose.reshape(-1, count, 6))
        raise ValueError(
            f'{name}: found shape {tuple(pose.shape)}, expected axis-angle (B, {3 * count}) or '
            f'(B, {count}, 3), matrices (B, {count}, 3, 3), or 6D (B, {6 * count}) or '
            f'(B, {count}, 6)'
        )


def check_width(name: str, value: Tensor, width: int) -> None:
    """Check that a parameter has shape (B, width).

    Raises:
        ValueError: It has another shape.
    """
    if value.dim() != 2 or value.shape[1] != width:
        raise ValueError(f'{name}: found shape {tuple(value.shape)}, expected (B, {width})')


def batch_size(**parts: Tensor) -> int:
    """Return the common batch size of the parts, of which those of size 1 are broadcast."""
    sizes = {name: part.shape[0] for name, part in parts.items()}
    distinct = sorted(set(sizes.values()) - {1})
    if len(distinct) > 1:
        raise ValueError(f'batch sizes: found {sizes}, expected equal sizes or 1')
    return distinct[0] if distinct else 1
