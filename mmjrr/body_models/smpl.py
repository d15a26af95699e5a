"""The SMPL body model, which also loads other bodies in SMPL's file format.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models.lbs import KinematicTree, skin
from mmjrr.body_models.smpl_files import NUM_JOINTS, find_smpl_file, load_smpl_file
from mmjrr.geometry import axis_angle_to_matrix, rotation_6d_to_matrix
from mmjrr.registry import BODY_MODELS


@dataclass
class BodyOutput:
    """Posed bodies in meters, in the frame of ``transl``."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, 24, 3)


@dataclass
class Articulation:
    """Posed joints, and the blend coefficients and transforms that determine the vertices."""

    coefficients: Tensor  # (B or 1, C), of the blend shapes
    transforms: Tensor  # (B, 24, 3, 4), from T-pose to pose, without transl
    joints: Tensor  # (B, 24, 3), meters, posed, without transl
    transl: Tensor  # (B or 1, 3), meters


@BODY_MODELS.register_module()
class SMPL(nn.Module):
    """SMPL body model that accepts poses as axis-angle, matrices or 6D vectors.

    Vertices and joints equal those of ``smplx.SMPL``, except that there are only the 24 joints:
    smplx's extra joints are vertices at SMPL's indices, which are meaningless on the free body.
    Pose blend shapes are skipped if all are zero. Only first-order gradients are available.

    Args:
        model_path: A ``.pkl`` or ``.npz`` file in SMPL's format, or a folder that holds
            ``SMPL_<GENDER>.pkl`` or ``.npz``, directly or in its subfolder ``smpl``.
        gender: ``'neutral'``, ``'male'`` or ``'female'``; selects the file of a folder. Default:
            ``'neutral'``.
        num_betas: Number of shape coefficients. Default: 10.
        dtype: Type of buffers and outputs. Default: ``torch.float32``.

    Attributes:
        v_template: (V, 3), mean shape in T-pose: meters, x left, y up, z forward.
        faces: (F, 3) int64, NumPy; ``faces_tensor`` is the same as a buffer.
        vertex_ids: Vertices of the whole body that :meth:`restrict_to` kept; None for all.

    Raises:
        FileNotFoundError: If there is no such file; the message lists the paths that were tried.
        DataError: If the file is broken, an array is missing or has another shape, or a pickle
            names a type that is not admitted.
        ValueError: If the gender is unknown, or ``num_betas`` is less than 1 or exceeds the file's
            shape components.
    """

    #: Name by which joint regressors refer to the body; a regressor fits one body's vertices.
    name: str = 'smpl'

    def __init__(
        self,
        model_path: str | Path,
        gender: str = 'neutral',
        num_betas: int = 10,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.path = find_smpl_file(model_path, gender)
        self.gender = gender
        data = load_smpl_file(self.path)
        available = data['shapedirs'].shape[2]
        if not 1 <= num_betas <= available:
            raise ValueError(
                f'num_betas: found {num_betas}, expected 1 to {available}, the shape components of '
                f'{self.path}'
            )
        self.num_betas = num_betas
        self.faces: Array = data['f']  # (F, 3), int64
        self.parents: list[int] = data['parents']

        def buffer(name: str, array: Array) -> None:
            # torch.tensor keeps a transposed array's strides, and every flatten() would copy it.
            array = np.ascontiguousarray(array)
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)

        shapedirs = data['shapedirs'][:, :, :num_betas]
        buffer('v_template', data['v_template'])  # (V, 3)
        blend_shapes = [shapedirs]
        self.has_pose_blend_shapes = bool(np.any(data['posedirs']))
        if self.has_pose_blend_shapes:
            blend_shapes.append(data['posedirs'])
        # Coordinates are stored as separate planes so that skinning reads contiguous memory:
        # (num_betas, 3, V), or (num_betas + 207, 3, V) with pose blend shapes.
        buffer('blend_planes', np.concatenate(blend_shapes, 2).transpose(2, 1, 0))
        buffer('weight_planes', data['weights'].T)  # (24, V)
        # Joints in T-pose are linear in betas, so they are computed without the vertices.
        regressor = data['J_regressor']
        buffer('joint_template', regressor @ data['v_template'])  # (24, 3)
        buffer('joint_shapedirs', np.einsum('jv,vck->jck', regressor, shapedirs))
        self.register_buffer('faces_tensor', torch.from_numpy(self.faces), persistent=False)
        self.register_buffer('vertex_ids', None, persistent=False)
        self.tree = KinematicTree(self.parents)

    @property
    def num_vertices(self) -> int:
        """Number of vertices that :meth:`forward` returns."""
        return int(self.v_template.shape[0])

    def forward(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> BodyOutput:
        """Pose the body (Loper et al., Equations 2 to 10).

        Arguments of batch size 1 are broadcast.

        Args:
            betas: (B, num_betas). Default: zeros.
            body_pose: 23 rotations: axis-angle (B, 69) or (B, 23, 3), matrices (B, 23, 3, 3), or 6D
                (B, 138) or (B, 23, 6). Default: the T-pose.
            global_orient: One rotation in any of these representations: (B, 3), (B, 3, 3) or
                (B, 6), or with an axis of length 1 before the rotation. Default: no rotation.
            transl: (B, 3), meters. Default: zeros.

        Raises:
            ValueError: If an argument has another shape, or batch sizes differ.
        """
        posed = self.articulate(betas, body_pose, global_orient, transl)
        return BodyOutput(
            vertices=self.skin_vertices(posed), joints=posed.joints + posed.transl[:, None]
        )

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Articulation:
        """Pose the joints without computing vertices.

        Arguments and errors are as in :meth:`forward`.
        """
        like = self.v_template
        betas = like.new_zeros(1, self.num_betas) if betas is None else betas
        transl = like.new_zeros(1, 3) if transl is None else transl
        for name, value, width in (('betas', betas, self.num_betas), ('transl', transl, 3)):
            if value.dim() != 2 or value.shape[1] != width:
                raise ValueError(f'{name}: found shape {tuple(value.shape)}, expected (B, {width})')
        root = self._rotations('global_orient', global_orient, 1)
        others = self._rotations('body_pose', body_pose, NUM_JOINTS - 1)
        batch = _batch_size(betas=betas, body_pose=others, global_orient=root, transl=transl)
        rotations = torch.cat([part.expand(batch, -1, -1, -1) for part in (root, others)], dim=1)

        joints = self.joint_template + torch.einsum('jck,bk->bjc', self.joint_shapedirs, betas)
        joints, transforms = self.tree(rotations, joints.expand(batch, -1, -1))
        coefficients = betas
        if self.has_pose_blend_shapes:
            eye = torch.eye(3, dtype=like.dtype, device=like.device)
            pose_coefficients = (rotations[:, 1:] - eye).flatten(1)
            coefficients = torch.cat([betas.expand(batch, -1), pose_coefficients], 1)
        return Articulation(coefficients, transforms, joints, transl)

    def skin_vertices(self, posed: Articulation) -> Tensor:  # (B, V, 3), meters
        """Compute the vertices from the result of :meth:`articulate`."""
        batch = len(posed.transforms)
        offsets = posed.coefficients @ self.blend_planes.flatten(1)
        shaped = self.v_template.T + offsets.unflatten(1, (3, -1))  # (B, 3, V)
        vertices = skin(
            shaped.expand(batch, -1, -1),
            posed.transforms,
            self.weight_planes,
            posed.transl.expand(batch, -1),
        )
        return vertices.transpose(1, 2)  # a view: coordinates stay separate planes in memory

    def restrict_to(self, vertex_ids: Sequence[int] | Tensor) -> SMPL:
        """Return a body with all joints but only these vertices, in this order.

        The returned body's buffer ``vertex_ids`` holds the selection. Its ``faces`` are those of
        the whole body and do not index the selected vertices.

        Args:
            vertex_ids: (S,) indices of vertices of this body.

        Raises:
            ValueError: If there are no indices, or one is not a vertex of this body.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long, device=self.v_template.device)
        if ids.dim() != 1 or ids.numel() == 0 or ids.min() < 0 or ids.max() >= self.num_vertices:
            limits = f' with {ids.min()} to {ids.max()}' if ids.numel() else ''
            raise ValueError(
                f'vertex_ids: found shape {tuple(ids.shape)}{limits}, expected a list of indices '
                f'from 0 to {self.num_vertices - 1}'
            )
        part = object.__new__(SMPL)
        nn.Module.__init__(part)
        for name in ('name', 'path', 'gender', 'num_betas', 'faces', 'parents'):
            setattr(part, name, getattr(self, name))
        part.has_pose_blend_shapes = self.has_pose_blend_shapes
        buffers = dict(self.named_buffers())
        for name in ('blend_planes', 'weight_planes'):
            buffers[name] = buffers[name][..., ids]
        buffers.update(v_template=self.v_template[ids], vertex_ids=ids)
        for name in self._buffers:
            part.register_buffer(name, buffers.get(name), persistent=False)
        part.tree = KinematicTree(self.parents).to(ids.device)
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


def _batch_size(**parts: Tensor) -> int:
    """Return the common batch size of the parts, of which those of size 1 are broadcast."""
    sizes = {name: part.shape[0] for name, part in parts.items()}
    distinct = sorted(set(sizes.values()) - {1})
    if len(distinct) > 1:
        raise ValueError(f'batch sizes: found {sizes}, expected equal sizes or 1')
    return distinct[0] if distinct else 1
